package access

import (
	"errors"
	"net/http"
	"time"

	"airgap/store/serve/reload"
)

// Action is what somebody wants to do with a repository.
type Action int

// Push and Delete imply nothing of each other; both imply Pull.
const (
	Pull Action = iota
	Push
	Delete
)

// User is who a request is from; the zero value is nobody in particular.
type User struct{ Name string }

// Known says whether the user has a name.
func (u User) Known() bool { return u.Name != "" }

var (
	// ErrCredentials says that a name or a password is wrong, or that they came in
	// no form that is known here.
	ErrCredentials = errors.New("wrong name or password")
	// ErrBusy says that too many passwords are being checked.
	ErrBusy = errors.New("too many passwords are being checked")
)

// Options say where users and rights come from. One of the files has to be given.
type Options struct {
	// Users is the path of a file of users; without one nobody has a name.
	Users string
	// Rights is the path of a file of rights; without one every user may do
	// everything.
	Rights string
	// Anonymous lets whoever gives no name pull everything. It goes with no file of
	// rights, which says that by itself.
	Anonymous bool
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Failed is told of files that changed and make no sense.
	Failed func(error)
}

// Guard says who may do what. A nil Guard lets everybody do everything. It is safe for
// concurrent use.
type Guard struct {
	users     *reload.Value[*users]  // nil: there are none
	rights    *reload.Value[*rights] // nil: there is no such file
	anonymous bool
	passwords *passwords
}

// Open reads the files.
func Open(o Options) (*Guard, error) {
	switch {
	case o.Users == "" && o.Rights == "":
		return nil, errors.New("neither a file of users nor one of rights")
	case o.Rights != "" && o.Anonymous:
		return nil, errors.New("there are rights: it is for them to say what the anonymous may do")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Guard{anonymous: o.Anonymous, passwords: newPasswords(o.Now)}
	again := reload.Options{Now: o.Now, Failed: o.Failed}
	var err error
	if o.Users != "" {
		if g.users, err = reload.Open(again, func() (*users, error) { return readUsers(o.Users) }, o.Users); err != nil {
			return nil, err
		}
	}
	if o.Rights != "" {
		if g.rights, err = reload.Open(again, func() (*rights, error) { return readRights(o.Rights) }, o.Rights); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Identify says who a request is from. It fails with ErrCredentials, also where
// nobody would have had to say who they are, and with ErrBusy.
func (g *Guard) Identify(r *http.Request) (User, error) {
	if g == nil {
		return User{}, nil
	}
	given := r.Header.Values("Authorization")
	if len(given) == 0 {
		return User{}, nil
	}
	name, password, ok := r.BasicAuth()
	if !ok || len(given) > 1 {
		return User{}, ErrCredentials
	}
	if name == "" && password == "" {
		return User{}, nil // some clients send that where they have nothing to send
	}
	if g.users == nil {
		return User{}, ErrCredentials
	}
	if err := g.passwords.check(r.Context(), g.users.Get(), name, password); err != nil {
		return User{}, err
	}
	return User{name}, nil
}

// May says whether u may do a with a repository, named in full as it is stored.
func (g *Guard) May(u User, a Action, repo string) bool {
	switch {
	case g == nil:
		return true
	case g.rights != nil:
		return g.rights.Get().may(u, a, repo)
	}
	return u.Known() || a == Pull && g.anonymous
}

// Welcome says whether u may do anything at all: clients ask that first, to learn
// whether they have to say who they are.
func (g *Guard) Welcome(u User) bool {
	switch {
	case g == nil || u.Known():
		return true
	case g.rights != nil:
		return g.rights.Get().anonymous()
	}
	return g.anonymous
}

// Challenge is the WWW-Authenticate header (RFC 7617); "" of a nil Guard, which wants
// to know nothing.
func (g *Guard) Challenge() string {
	if g == nil {
		return ""
	}
	return `Basic realm="airgap", charset="UTF-8"`
}
