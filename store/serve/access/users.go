package access

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"airgap/store/serve/reload"

	"golang.org/x/crypto/bcrypt"
)

// Limits on a file of users.
const (
	// MaxUsersBytes is how long the file may be.
	MaxUsersBytes = 1 << 20
	// MaxUsers is how many users it may name.
	MaxUsers = 10_000
	// MaxCost is the highest cost of a hash: about a second of one processor for
	// each password that is tried.
	MaxCost = 14
	// maxNameBytes is how long a name may be.
	maxNameBytes = 255
)

// What rules call users who are no single one. Nobody can have such a name.
const (
	everyUser     = "*"
	anonymousUser = "anonymous"
)

// SyntaxError says where a file of users or rights makes no sense. It tells nothing
// that is secret.
type SyntaxError struct {
	File string
	Line int // 0 if that is not known
	Why  string
}

func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Why
	}
	return fmt.Sprintf("%s: line %d: %s", e.File, e.Line, e.Why)
}

// users are names, and the hashes of their passwords.
type users struct {
	hashes map[string][]byte
	names  []string // in the order of the file
}

func readUsers(path string) (*users, error) {
	data, err := reload.ReadFile(path, MaxUsersBytes)
	if err != nil {
		return nil, err
	}
	return parseUsers(path, string(data))
}

func parseUsers(path, text string) (*users, error) {
	u := &users{hashes: map[string][]byte{}}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if why := u.add(line); why != "" {
			return nil, &SyntaxError{path, number, why}
		}
	}
	return u, nil
}

// add takes a line in, or says why not.
func (u *users) add(line string) string {
	name, hash, found := strings.Cut(line, ":")
	if !found {
		return "want NAME:HASH"
	}
	if why := checkName(name); why != "" {
		return why
	}
	if _, twice := u.hashes[name]; twice {
		return "a user who was named before"
	}
	if len(u.names) == MaxUsers {
		return fmt.Sprintf("more than %d users", MaxUsers)
	}
	if why := checkHash(hash); why != "" {
		return why
	}
	u.hashes[name] = []byte(hash)
	u.names = append(u.names, name)
	return ""
}

// checkName says why nobody can be called that.
func checkName(name string) string {
	switch {
	case name == "":
		return "a user without a name"
	case len(name) > maxNameBytes:
		return fmt.Sprintf("a name of more than %d bytes", maxNameBytes)
	case !utf8.ValidString(name), strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "a name with characters that cannot be printed"
	case strings.Contains(name, ":"):
		return "a name with a colon"
	case name == everyUser, name == anonymousUser:
		return fmt.Sprintf("%q is what rights call others than a single user", name)
	}
	return ""
}

var bcryptGrammar = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

// checkHash says why a hash cannot be used, and nothing of it.
func checkHash(hash string) string {
	if !bcryptGrammar.MatchString(hash) {
		return "the password is not hashed with bcrypt; htpasswd -B does that"
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || cost > MaxCost {
		return fmt.Sprintf("the cost of the hash is outside of %d to %d", bcrypt.MinCost, MaxCost)
	}
	return ""
}
