package access

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// hash is a line's second half, of the lowest cost there is.
func hash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// fixture is a guard over files that can be changed, with a clock of its own.
type fixture struct {
	*Guard
	dir     string
	mu      sync.Mutex
	time    time.Time
	reports []error
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.time
}

func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.time = f.time.Add(d)
}

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

func (f *fixture) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(f.path(name+".new"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.path(name+".new"), f.path(name)); err != nil {
		t.Fatal(err)
	}
	f.pass(time.Second)
}

// open makes a guard; a text that is empty is a file that is not used.
func open(t *testing.T, users, rights string, anonymous bool) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir(), time: time.Unix(1e9, 0)}
	o := Options{Anonymous: anonymous, Now: f.now, Failed: func(err error) { f.reports = append(f.reports, err) }}
	if users != "" {
		o.Users = f.path("users")
		f.write(t, "users", users)
	}
	if rights != "" {
		o.Rights = f.path("rights")
		f.write(t, "rights", rights)
	}
	g, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	f.Guard = g
	return f
}

// as is a request by somebody.
func as(name, password string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	if name != "" || password != "" {
		r.SetBasicAuth(name, password)
	}
	return r
}

// counting has each bcrypt counted.
func (f *fixture) counting() *int {
	n, compare := new(int), f.passwords.compare
	f.passwords.compare = func(hash, password []byte) error {
		*n++
		return compare(hash, password)
	}
	return n
}
