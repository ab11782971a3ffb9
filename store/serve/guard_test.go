package serve_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/push"
	"airgap/store/serve"
	"airgap/store/serve/access"

	"golang.org/x/crypto/bcrypt"
)

// canary is a password that has to be nowhere.
const canary = "c4n4ry-in-the-mine"

// newGuard lets ann pull from ghcr.io, ci push there, gc delete everywhere, ops pull
// from everywhere, and whoever gives no name from Docker Hub if open. new may do
// nothing of his own.
func newGuard(t *testing.T, open bool) *access.Guard {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(canary), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o := access.Options{Users: filepath.Join(dir, "users"), Rights: filepath.Join(dir, "rights.yaml"), Failed: func(err error) { t.Error(err) }}
	rights := "rules:\n" +
		"- {users: [ann], repositories: ['ghcr.io/acme/**'], actions: [pull]}\n" +
		"- {users: [ci], repositories: ['ghcr.io/acme/**'], actions: [push]}\n" +
		"- {users: [gc], repositories: ['**'], actions: [delete]}\n" +
		"- {users: [ops], repositories: ['**'], actions: [pull]}\n"
	if open {
		rights += "- {users: ['*', anonymous], repositories: ['docker.io/library/*'], actions: [pull]}\n"
	}
	users := ""
	for _, name := range []string{"ann", "ci", "gc", "ops", "new"} {
		users += name + ":" + string(hash) + "\n"
	}
	for path, text := range map[string]string{o.Users: users, o.Rights: rights} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g, err := access.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// guarded is a registry with a guard, and what it wrote about requests.
func guarded(t *testing.T, content layouttest.Content, g *access.Guard, writable bool) (base string, log func() []serve.Access) {
	t.Helper()
	s, _ := newStore(t, content)
	var pusher push.Pusher
	if writable {
		pusher = s.Pusher(store.PushOptions{})
	}
	var mu sync.Mutex
	var all []serve.Access
	srv := httptest.NewServer(serve.New(s.View(), serve.Options{
		Guard: g, Pusher: pusher, Failed: func(err error) { t.Error(err) },
		Access: func(a serve.Access) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, a)
		},
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() []serve.Access {
		srv.Close() // and with it what is under way
		return all
	}
}

func login(name, password string) []string {
	if name == "" {
		return nil
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth(name, password)
	return []string{"Authorization: " + r.Header.Get("Authorization")}
}

// Row 22: each method, by each role, at everything that can be asked of each
// repository, those that are not there among them.
func TestAccess(t *testing.T) {
	content := layouttest.Merge(layouttest.Everything(ghcr), layouttest.Everything(hub), layouttest.Everything(port))
	item := content.Repositories[ghcr][0].Descriptor.Digest.String()
	repos := []string{ghcr, hub, port, "ghcr.io/acme/none", "docker.io/library/none", "quay.io/acme/none"}
	kinds := []string{"tags/list", "manifests/v1", "manifests/" + item, "blobs/" + item, "referrers/" + item, "blobs/uploads/", "blobs/uploads/some"}
	for _, c := range []struct{ open, writable bool }{{true, true}, {false, true}, {true, false}} {
		base, log := guarded(t, content, newGuard(t, c.open), c.writable)
		n, granted := 0, map[string]int{}
		for _, role := range []string{"", "ann", "ci", "gc", "ops", "new", "wrong", "nobody"} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "get"} {
				for _, repo := range repos {
					if (role == "wrong" || role == "nobody") && repo != hub {
						continue // each costs a bcrypt; hub is what may be open to all
					}
					refusals := map[string]bool{} // which have to be the same
					for _, kind := range kinds {
						n++
						status, body := askAs(t, role, method, base+"/v2/"+serve.Name(repo)+"/"+kind)
						want := mayBe(role, method, kind, repo, c.open, c.writable)
						refused := status == 401 || status == 405 || status == 403 && strings.Contains(body, "this user may not do that here")
						if want != 0 && status != want || want == 0 && refused {
							t.Errorf("%+v %q %s %s %s: %d, want %d", c, role, method, repo, kind, status, want)
						}
						if want == 0 {
							granted[role]++
						} else if want == 401 || want == 403 {
							refusals[body] = true
						}
					}
					if len(refusals) > 1 {
						t.Errorf("%+v %q %s %s: the refusals differ: %v", c, role, method, repo, refusals)
					}
				}
			}
		}
		if n != (6*6+2)*9*7 || granted["ann"] == 0 || granted["gc"] == 0 || granted["wrong"]+granted["nobody"] > 0 || (granted[""] > 0) != c.open {
			t.Errorf("%d cases, granted %v", n, granted)
		}
		checkLog(t, log())
	}
}

// askAs is for somebody; a refusal comes with a challenge if, and only if, to say a
// name would help.
func askAs(t *testing.T, role, method, url string) (status int, body string) {
	t.Helper()
	password := canary
	if role == "wrong" {
		role, password = "ann", "guess"
	}
	res, data := ask(t, method, url, login(role, password)...)
	if challenge := res.Header.Get("WWW-Authenticate"); (challenge != "") != (res.StatusCode == 401) {
		t.Errorf("%q %s %s: %d with the challenge %q", role, method, url, res.StatusCode, challenge)
	}
	return res.StatusCode, string(data)
}

// mayBe is the status that a request has to have, or 0 if it may go on. It says again,
// and in another way, what the code should.
func mayBe(role, method, kind, repo string, open, writable bool) int {
	read := method == "GET" || method == "HEAD"
	upload, begin := kind == "blobs/uploads/some", kind == "blobs/uploads/"
	manifest, blob := strings.HasPrefix(kind, "manifests/"), strings.HasPrefix(kind, "blobs/") && !upload && !begin
	acme, public := strings.HasPrefix(repo, "ghcr.io/acme/"), open && strings.HasPrefix(repo, "docker.io/library/")
	var may bool
	switch {
	case !writable && !read:
		return 405
	case role == "wrong", role == "nobody":
		return 401 // also where nobody needs a name
	case !writable && (upload || begin):
		return 404
	case begin && method == "POST", upload && (read || method == "PUT" || method == "PATCH" || method == "DELETE"), manifest && method == "PUT":
		may = role == "ci" && acme
	case (manifest || blob) && method == "DELETE":
		may = role == "gc"
	case read && !upload && !begin:
		may = role == "ops" || role == "gc" || (role == "ann" || role == "ci") && acme || public
	default:
		return 405
	}
	switch {
	case may:
		return 0
	case role == "":
		return 401
	}
	return 403
}

// No password, in whatever form, is written down; names are, of those who had the
// right one.
func checkLog(t *testing.T, all []serve.Access) {
	t.Helper()
	names, wrong := map[string]int{}, 0
	for _, a := range all {
		text := fmt.Sprintf("%+v", a)
		for _, secret := range []string{canary, "guess", "Basic", strings.TrimPrefix(login("ann", canary)[0], "Authorization: Basic "), "$2a$"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is written down: %s", secret, text)
			}
		}
		names[a.User]++
		if a.WrongLogin {
			wrong++
			if a.User != "" || a.Status != 401 {
				t.Errorf("a wrong login: %s", text)
			}
		}
	}
	if names["ann"] == 0 || names["ops"] == 0 || names["new"] == 0 || names["nobody"] > 0 || len(names) != 6 || wrong == 0 {
		t.Errorf("users %v, %d wrong logins", names, wrong)
	}
}

// What clients ask first says whether they have to log in, and lists name only what
// may be pulled.
func TestBaseAndCatalog(t *testing.T) {
	content := layouttest.Merge(layouttest.Everything(ghcr), layouttest.Everything(hub))
	g, h := `"ghcr.io/acme/team/app"`, `"docker.io/library/nginx"`
	for _, c := range []struct {
		role   string
		open   bool
		status int
		names  string
	}{
		{"", true, 200, h},
		{"", false, 401, ""},
		{"ann", true, 200, h + "," + g},
		{"ann", false, 200, g},
		{"ops", false, 200, h + "," + g},
		{"new", true, 200, h},
		{"new", false, 200, ""},
	} {
		base, _ := guarded(t, content, newGuard(t, c.open), false)
		for _, path := range []string{"/v2", "/v2/", "/v2/_catalog"} {
			res, body := ask(t, "GET", base+path, login(c.role, canary)...)
			if res.StatusCode != c.status {
				t.Errorf("%q, open %v: %s: %s", c.role, c.open, path, res.Status)
			}
			if challenge := res.Header.Get("WWW-Authenticate"); (challenge != "") != (c.role == "") {
				t.Errorf("%q, open %v: %s: the challenge is %q", c.role, c.open, path, challenge)
			}
			if want := `{"repositories":[` + c.names + `]}`; path == "/v2/_catalog" && c.status == 200 && string(body) != want {
				t.Errorf("%q, open %v: %s, want %s", c.role, c.open, body, want)
			}
			if res, _ := ask(t, "GET", base+path, login("ann", "guess")...); res.StatusCode != 401 {
				t.Errorf("a wrong password: %s", res.Status)
			}
		}
	}
}

// Rights are about the repository, whatever a client calls it.
func TestAccessByOtherNames(t *testing.T) {
	base, _ := guarded(t, layouttest.Merge(layouttest.Everything(ghcr), layouttest.Everything(hub)), newGuard(t, true), false)
	for path, want := range map[string]int{
		"/v2/library/nginx/tags/list":                         200,
		"/v2/library/nginx/tags/list?ns=docker.io":            200,
		"/v2/docker.io/library/nginx/tags/list":               200,
		"/v2/acme/team/app/tags/list?ns=ghcr.io":              401,
		"/v2/ghcr.io/acme/team/app/tags/list":                 401,
		"/v2/library/nginx/tags/list?ns=ghcr.io":              401,
		"/v2/docker.io/library/../../ghcr.io/acme/team/app/x": 404,
		"/v2/docker.io/library/%2e%2e/tags/list":              400,
	} {
		if res, _ := ask(t, "GET", base+path); res.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, res.Status, want)
		}
	}
}

// Whoever looks after the server needs no name for that.
func TestHealthNeedsNoName(t *testing.T) {
	base, _ := guarded(t, layouttest.Everything(ghcr), newGuard(t, false), false)
	for _, path := range []string{"/livez", "/readyz", "/healthz"} {
		for _, headers := range [][]string{nil, login("ann", "guess")} {
			if res, body := ask(t, "GET", base+path, headers...); res.StatusCode != 200 || string(body) != "ok\n" {
				t.Errorf("%s: %s %q", path, res.Status, body)
			}
		}
	}
	if res, _ := ask(t, "GET", base+"/"+url.PathEscape("livez/../v2/"), nil...); res.StatusCode == 200 {
		t.Error(res.Status)
	}
}
