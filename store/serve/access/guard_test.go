package access

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func TestIdentify(t *testing.T) {
	long := strings.Repeat("p", 72)
	f := open(t, "alice:"+hash(t, "secret")+"\nlong:"+hash(t, long)+"\ny:"+strings.Replace(hash(t, "secret"), "$2a", "$2y", 1)+"\nb:"+strings.Replace(hash(t, "secret"), "$2a", "$2b", 1)+"\nempty:"+hash(t, "")+"\nkürze:"+hash(t, "gr\u00fc\u00df"), "", true)
	for _, c := range []struct {
		name, password string
		want           error
	}{
		{"", "", nil},
		{"alice", "secret", nil},
		{"y", "secret", nil}, // as htpasswd writes it
		{"y", "Secret", ErrCredentials},
		{"b", "secret", nil},
		{"kürze", "gr\u00fc\u00df", nil},
		{"long", long, nil},
		{"empty", "", nil},
		{"alice", "Secret", ErrCredentials},
		{"alice", "", ErrCredentials},
		{"alice", "secret\x00secret", ErrCredentials}, // the same to bcrypt
		{"alice", "secret ", ErrCredentials},
		{"long", long + "p", ErrCredentials}, // the same to bcrypt
		{"Alice", "secret", ErrCredentials},
		{"alice ", "secret", ErrCredentials},
		{"bob", "secret", ErrCredentials},
		{"", "secret", ErrCredentials},
		{"*", "secret", ErrCredentials},
		{"anonymous", "secret", ErrCredentials},
	} {
		u, err := f.Identify(as(c.name, c.password))
		if want := (User{c.name}); !errors.Is(err, c.want) || err == nil && u != want || err != nil && u != (User{}) {
			t.Errorf("%q, %q: %v, %v", c.name, c.password, u, err)
		}
	}
	for _, header := range []string{"", "Basic", "Basic !", "Bearer x", "basic", "Basic YWxpY2U6c2VjcmV0 x", "Negotiate YWxpY2U6c2VjcmV0"} {
		r := as("", "")
		r.Header["Authorization"] = []string{header}
		if u, err := f.Identify(r); !errors.Is(err, ErrCredentials) || u != (User{}) {
			t.Errorf("%q: %v, %v", header, u, err)
		}
	}
	r := as("alice", "secret")
	r.Header.Add("Authorization", "Basic eDp5")
	if _, err := f.Identify(r); !errors.Is(err, ErrCredentials) {
		t.Errorf("two names: %v", err)
	}
	r = as("", "")
	r.Header.Set("Authorization", "Basic Og==") // ":"
	if u, err := f.Identify(r); err != nil || u != (User{}) {
		t.Errorf("nothing to send: %v, %v", u, err)
	}
}

// Rights without users: whoever says a name has a wrong one.
func TestIdentifyWithoutUsers(t *testing.T) {
	f := open(t, "", testRights, false)
	if _, err := f.Identify(as("alice", "secret")); !errors.Is(err, ErrCredentials) {
		t.Error(err)
	}
	if u, err := f.Identify(as("", "")); err != nil || !f.May(u, Pull, "docker.io/library/nginx") || f.May(u, Pull, "ghcr.io/acme/app") {
		t.Errorf("%v, %v", u, err)
	}
}

// A name that is unknown costs a bcrypt of the same cost, and each time.
func TestUnknownCostsTheSame(t *testing.T) {
	h, err := bcrypt.GenerateFromPassword([]byte("secret"), 5)
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, "alice:"+string(h), "", false)
	var costs []int
	f.passwords.compare = func(hash, password []byte) error {
		cost, err := bcrypt.Cost(hash)
		if err != nil {
			t.Error(err)
		}
		costs = append(costs, cost)
		return bcrypt.CompareHashAndPassword(hash, password)
	}
	// The last is right for the hash that bob's is held against.
	for _, c := range [][2]string{{"alice", "wrong"}, {"bob", "wrong"}, {"bob", "secret"}, {"bob", "secret"}} {
		if _, err := f.Identify(as(c[0], c[1])); !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: %v", c, err)
		}
	}
	if len(costs) != 4 || bytes.ContainsFunc([]byte{byte(costs[0]), byte(costs[1]), byte(costs[2]), byte(costs[3])}, func(r rune) bool { return r != 5 }) {
		t.Errorf("costs %v", costs)
	}
}

func TestRightPasswordsAreRemembered(t *testing.T) {
	f := open(t, "alice:"+hash(t, "secret")+"\nbob:"+hash(t, "secret"), "", false)
	n := f.counting()
	for i, c := range []struct {
		name, password string
		after          time.Duration
		want           int
	}{
		{"alice", "secret", 0, 1},
		{"alice", "secret", 0, 1},
		{"bob", "secret", 0, 2},
		{"alice", "wrong", 0, 3},
		{"alice", "wrong", 0, 4}, // is not
		{"alice", "secret", rememberTime - time.Second, 4},
		{"alice", "secret", time.Second, 5},
		{"alice", "secret", -time.Hour, 6}, // the clock was put back
	} {
		f.pass(c.after)
		_, err := f.Identify(as(c.name, c.password))
		if (err == nil) != (c.password == "secret") || *n != c.want {
			t.Errorf("%d: %v, %d checks, want %d", i, err, *n, c.want)
		}
	}
	for k := range f.passwords.right {
		if strings.Contains(string(k[:]), "secret") {
			t.Error("a password is kept")
		}
	}
	// There is a limit.
	for i := range maxRemembered + 10 {
		f.passwords.remember(f.passwords.proof(string(rune(i))))
	}
	if len(f.passwords.right) > maxRemembered {
		t.Errorf("%d are remembered", len(f.passwords.right))
	}
}

// Changes count from the next second; a remembered password ends with its line.
func TestUsersChange(t *testing.T) {
	f := open(t, "alice:"+hash(t, "secret")+"\nbob:"+hash(t, "secret"), "", false)
	identify := func(name, password string, want error) {
		t.Helper()
		if _, err := f.Identify(as(name, password)); !errors.Is(err, want) {
			t.Errorf("%s, %s: %v", name, password, err)
		}
	}
	identify("alice", "secret", nil)
	identify("bob", "secret", nil)
	f.write(t, "users", "alice:"+hash(t, "other")+"\ncarl:"+hash(t, "secret"))
	identify("alice", "secret", ErrCredentials)
	identify("alice", "other", nil)
	identify("bob", "secret", ErrCredentials)
	identify("carl", "secret", nil)
	// What is broken changes nothing, neither way.
	f.write(t, "users", "alice:"+hash(t, "secret")+"\ncarl:secret\nmallory:"+hash(t, "secret"))
	identify("alice", "other", nil)
	identify("alice", "secret", ErrCredentials)
	identify("mallory", "secret", ErrCredentials)
	identify("carl", "secret", nil)
	if len(f.reports) != 1 || strings.Contains(f.reports[0].Error(), "secret") {
		t.Errorf("reported %v", f.reports)
	}
	f.write(t, "users", "# nobody\n")
	identify("alice", "other", ErrCredentials)
	identify("mallory", "secret", ErrCredentials)
}

func TestRightsChange(t *testing.T) {
	f := open(t, "alice:"+hashOfX, testRights, false)
	may := func(want bool, u string, a Action) {
		t.Helper()
		if got := f.May(User{u}, a, "ghcr.io/acme/app"); got != want {
			t.Errorf("%q, %d: %v", u, a, got)
		}
	}
	may(true, "ci", Push)
	f.write(t, "rights", strings.Replace(testRights, "[ci]", "[robot]", 1))
	may(false, "ci", Push)
	may(true, "robot", Push)
	f.write(t, "rights", "rules:\n- users: ['*', anonymous]\n  repositories: ['**']\n  actions: [pull, push]\n") // anonymous pushes
	may(true, "robot", Push)
	may(false, "ci", Push)
	may(false, "", Pull)
	f.write(t, "rights", "")
	may(true, "robot", Push)
	may(false, "ci", Push)
	if len(f.reports) != 2 {
		t.Errorf("reported %v", f.reports)
	}
}

// No more than the slots are checked at once, no more than maxWaiting wait, and nobody
// for ever. Whoever was right before is let in meanwhile.
func TestTooManyChecks(t *testing.T) {
	f := open(t, "alice:"+hash(t, "secret"), "", false)
	if _, err := f.Identify(as("alice", "secret")); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := f.passwords
		p.slots = make(chan struct{}, 2)
		release, under := make(chan struct{}), make(chan struct{}, 1000)
		p.compare = func(_, _ []byte) error { under <- struct{}{}; <-release; return bcrypt.ErrMismatchedHashAndPassword }
		errs := make(chan error, 1000)
		ask := func(r *http.Request) {
			go func() {
				_, err := f.Identify(r)
				errs <- err
			}()
			synctest.Wait()
		}
		for range cap(p.slots) + maxWaiting {
			ask(as("alice", "guess"))
		}
		if len(under) != 2 || len(errs) > 0 {
			t.Errorf("%d at once, %d have an answer", len(under), len(errs))
		}
		ask(as("alice", "guess"))
		ask(as("nobody", "guess"))
		if len(errs) != 2 {
			t.Fatal("more than the limit wait")
		}
		for range 2 {
			if err := <-errs; !errors.Is(err, ErrBusy) {
				t.Errorf("one too many: %v", err)
			}
		}
		ask(as("alice", "secret"))
		if err := <-errs; err != nil {
			t.Errorf("who was right before: %v", err)
		}
		time.Sleep(waitTime) // of the bubble's clock
		synctest.Wait()
		if len(errs) != maxWaiting {
			t.Errorf("%d gave up waiting", len(errs))
		}
		for range maxWaiting {
			if err := <-errs; !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
		}
		close(release)
		for range 2 {
			if err := <-errs; !errors.Is(err, ErrCredentials) {
				t.Error(err)
			}
		}
		ask(as("alice", "guess"))
		if err := <-errs; !errors.Is(err, ErrCredentials) {
			t.Errorf("afterwards: %v", err)
		}
	})
}
