package registry

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"airgap/layout"
)

// Canaries: each may be seen by some hosts, and never in an error.
const (
	user     = "canary-user"
	password = "canary-password"
	identity = "canary-identity-token"
	issued   = "canary-issued-token"
	sigQuery = "canary-signature"
)

// watcher is the one transport; it records what every host gets to see.
type watcher struct {
	next http.RoundTripper
	mu   sync.Mutex
	seen map[string]string // host → all that was sent there
}

func (w *watcher) RoundTrip(req *http.Request) (*http.Response, error) {
	var all strings.Builder
	fmt.Fprintf(&all, "%s %s\n", req.Method, req.URL)
	_ = req.Header.Write(&all)
	if req.GetBody != nil {
		body, _ := req.GetBody()
		data, _ := io.ReadAll(body)
		all.Write(data)
	}
	w.mu.Lock()
	w.seen[req.URL.Host] += all.String() + "\n"
	w.mu.Unlock()
	return w.next.RoundTrip(req)
}

func basic() string { return base64.StdEncoding.EncodeToString([]byte(user + ":" + password)) }

// trap is a registry that tries to have secrets sent to evil.example.
type trap struct {
	name  string
	login bool // RegistryConfig with an identity token instead of a password
	serve func(w http.ResponseWriter, r *http.Request) bool
	do    func(t *testing.T, c *Client) error
	ok    bool // it works all the same
	at    []string
}

var blobData = bytes.Repeat([]byte("blob"), 1000)

var blobDesc = layout.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(blobData), Size: int64(len(blobData))}

func open(t *testing.T, c *Client) error {
	d := blobDesc
	d.URLs = []string{"https://evil.example/foreign"}
	_, err := readAll(t, c, d)
	return err
}

func put(t *testing.T, c *Client) error {
	return c.Put(t.Context(), repo, blobDesc, bytes.NewReader(blobData))
}

func basicChallenge(w http.ResponseWriter, r *http.Request) bool {
	if r.Host == "reg.example" && r.Header.Get("Authorization") != "Basic "+basic() {
		w.Header().Set("WWW-Authenticate", `Basic realm="reg"`)
		w.WriteHeader(401)
		return true
	}
	return false
}

func bearerChallenge(realm string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Host != "reg.example" || r.Header.Get("Authorization") == "Bearer "+issued {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="reg"`, realm))
		w.WriteHeader(401)
		return true
	}
}

// first runs handlers until one has answered.
func first(hs ...func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		for _, h := range hs {
			if h(w, r) {
				return true
			}
		}
		return false
	}
}

func redirectTo(code int, where string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Host != "reg.example" {
			return false
		}
		w.Header().Set("Location", where)
		w.WriteHeader(code)
		return true
	}
}

// on answers for one host.
func on(host string, h http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Host != host {
			return false
		}
		h(w, r)
		return true
	}
}

func giveBlob(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(blobData) }

func giveToken(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, `{"token":%q,"access_token":%q}`, issued, issued)
}

// challengeAgain is what a thief says.
func challengeAgain(w http.ResponseWriter, _ *http.Request) {
	w.Header().Add("WWW-Authenticate", `Bearer realm="https://evil.example/token"`)
	w.WriteHeader(401)
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(403)
	fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"you sent %s to %s %s"}]}`,
		strings.ReplaceAll(r.Header.Get("Authorization"), `"`, ""), r.URL, "https://"+user+":"+password+"@x.example/?sig="+sigQuery)
}

const signedURL = "https://cdn.example/blob?sig=" + sigQuery

var traps = []trap{
	{name: "redirect to storage", ok: true, do: open,
		serve: first(basicChallenge, redirectTo(307, signedURL), on("cdn.example", giveBlob))},
	{name: "redirect to storage that fails", do: open,
		serve: first(basicChallenge, redirectTo(307, signedURL), on("cdn.example", echo))},
	{name: "redirect to storage that hangs up", do: open,
		serve: first(basicChallenge, redirectTo(307, signedURL), on("cdn.example", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))},
	{name: "redirect to storage that loops", do: open,
		serve: first(basicChallenge, redirectTo(http.StatusTemporaryRedirect, signedURL), on("cdn.example", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, signedURL, http.StatusTemporaryRedirect)
		}))},
	{name: "redirect to another port", do: open,
		serve: first(basicChallenge, redirectTo(307, "https://reg.example:8443/x"), on("reg.example:8443", echo))},
	{name: "redirect to a thief who asks for a login", do: open,
		serve: first(basicChallenge, redirectTo(307, "https://evil.example/x"), on("evil.example", challengeAgain))},
	{name: "thief asks with a challenge of our scheme", do: open,
		serve: first(basicChallenge, redirectTo(307, "https://evil.example/x"), on("evil.example", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="reg"`)
			w.WriteHeader(401)
		}))},
	{name: "redirect to plain http", do: open, at: []string{"evil.example"},
		serve: first(basicChallenge, redirectTo(307, "http://evil.example/x"))},
	{name: "realm over plain http", do: open, at: []string{"auth.example", "evil.example"},
		serve: bearerChallenge("http://auth.example/token")},
	{name: "realm is no web address", do: open, serve: bearerChallenge("file:///etc/passwd")},
	{name: "realm on this machine", do: open, at: []string{"127.0.0.1:1"}, serve: bearerChallenge("https://127.0.0.1:1/token")},
	{name: "realm elsewhere, as it may be", ok: true, do: open,
		serve: first(bearerChallenge("https://auth.example/token"), on("auth.example", giveToken), on("reg.example", giveBlob))},
	{name: "realm redirects to a thief", do: open,
		serve: first(bearerChallenge("https://auth.example/token"), on("auth.example", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/token", http.StatusTemporaryRedirect)
		}), on("evil.example", echo))},
	{name: "realm redirects to plain http", do: open, at: []string{"evil.example"},
		serve: first(bearerChallenge("https://auth.example/token"), on("auth.example", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.example/token", http.StatusTemporaryRedirect)
		}))},
	{name: "identity token, as it may be", ok: true, login: true, do: open,
		serve: first(bearerChallenge("https://auth.example/token"), on("auth.example", giveToken), on("reg.example", giveBlob))},
	{name: "identity token, redirected", login: true, do: open,
		serve: first(bearerChallenge("https://auth.example/token"), on("auth.example", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/token", http.StatusTemporaryRedirect)
		}), on("evil.example", giveToken))},
	{name: "identity token over plain http", login: true, do: open, at: []string{"auth.example"}, serve: bearerChallenge("http://auth.example/token")},
	{name: "token service repeats what it got", do: open,
		serve: first(bearerChallenge("https://auth.example/token"), on("auth.example", echo))},
	{name: "registry repeats what it got", do: open, serve: first(basicChallenge, on("reg.example", echo))},
	{name: "registry repeats the token", do: open,
		serve: first(bearerChallenge("https://auth.example/token"), on("auth.example", giveToken), on("reg.example", echo))},
	{name: "upload elsewhere", do: put, at: []string{"evil.example"},
		serve: first(basicChallenge, redirectTo(202, "https://evil.example/upload"))},
	{name: "upload over plain http", do: put, serve: first(basicChallenge, redirectTo(202, "http://reg.example/upload"))},
	{name: "upload redirected", do: put, at: []string{"evil.example"},
		serve: first(basicChallenge, redirectTo(308, "https://evil.example/upload"))},
	{name: "upload refused at a secret place", do: put,
		serve: first(basicChallenge, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				return redirectTo(202, "/upload?_state="+sigQuery)(w, r)
			}
			echo(w, r)
			return true
		})},
	{name: "referrers elsewhere", at: []string{"evil.example"}, do: func(t *testing.T, c *Client) error {
		_, err := c.Attached(t.Context(), repo, layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: blobDesc.Digest, Size: 1})
		return err
	}, serve: first(basicChallenge, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			w.WriteHeader(404)
			return true
		}
		w.Header().Set("Link", `<https://evil.example/v2/x?n=1>; rel="next"`)
		w.Header().Set("Content-Type", layout.MediaTypeIndex)
		_, _ = w.Write(indexOf())
		return true
	})},
}

// TestSecrets springs each trap with canaries for secrets.
func TestSecrets(t *testing.T) {
	for _, trap := range traps {
		t.Run(trap.name, func(t *testing.T) {
			w := &watcher{seen: map[string]string{}}
			err := trap.do(t, trapClient(t, trap, w))
			if trap.ok != (err == nil) {
				t.Errorf("%v", err)
			}
			checkSecrets(t, w, err)
			for _, host := range trap.at {
				if w.seen[host] != "" {
					t.Errorf("%s was asked: %s", host, w.seen[host])
				}
			}
			if !strings.Contains(w.seen["reg.example"], "GET") && !strings.Contains(w.seen["reg.example"], "POST") {
				t.Error("nothing happened")
			}
		})
	}
}

func trapClient(t *testing.T, trap trap, w *watcher) *Client {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if !trap.serve(w, r) {
			w.WriteHeader(404)
		}
	}))
	srv.Config.ErrorLog = quiet()
	srv.StartTLS()
	t.Cleanup(srv.Close)
	tr := &http.Transport{
		DialContext:     dialTo(srv.Listener.Addr().String()),
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	t.Cleanup(tr.CloseIdleConnections)
	w.next = tr
	o := Options{Wait: noWait, Retries: 2, Transport: w, RegistryConfig: noCredentials(t), Registry: "reg.example"}
	if trap.login {
		o.RegistryConfig = filepath.Join(t.TempDir(), "config.json")
		config := fmt.Sprintf(`{"auths":{"reg.example":{"auth":"%s","identitytoken":%q}}}`, base64.StdEncoding.EncodeToString([]byte("<token>:")), identity)
		if err := os.WriteFile(o.RegistryConfig, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	} else {
		o.Username, o.Password = user, password
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func checkSecrets(t *testing.T, w *watcher, err error) {
	t.Helper()
	allowed := map[string][]string{
		password: {"reg.example", "auth.example"}, basic(): {"reg.example", "auth.example"},
		identity: {"auth.example"}, issued: {"reg.example"}, sigQuery: {"cdn.example", "reg.example"},
	}
	for host, all := range w.seen {
		for secret, hosts := range allowed {
			if strings.Contains(all, secret) && !strings.Contains(strings.Join(hosts, " ")+" ", host+" ") {
				t.Errorf("%s got %s:\n%s", host, secret, all)
			}
		}
		if strings.Contains(all, "Referer:") {
			t.Errorf("%s got a Referer:\n%s", host, all)
		}
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		for secret := range allowed {
			for _, text := range []string{fmt.Sprint(e), fmt.Sprintf("%+v", e), layout.Hint(e)} {
				if strings.Contains(text, secret) {
					t.Errorf("the error has %s: %s", secret, text)
				}
			}
		}
	}
}

// TestLoopback: a registry on this machine is asked over plain http, and may
// have its token service here; one elsewhere may not be spoken to in the clear.
func TestLoopback(t *testing.T) {
	for _, host := range []string{"localhost", "localhost:5000", "127.0.0.1", "127.8.8.8:80", "[::1]:5000", "[::ffff:127.0.0.1]:1", "Reg.LocalHost"} {
		if !isLoopback(host) {
			t.Errorf("%s is here", host)
		}
	}
	for _, host := range []string{"localhost.example", "127.0.0.1.example", "10.0.0.1:5000", "reg.local", "[::]:1", "0.0.0.0", ""} {
		if isLoopback(host) {
			t.Errorf("%s is elsewhere", host)
		}
	}
	local := "http://localhost:5000/token"
	for realm, ok := range map[string]bool{local: true, "http://auth.example/token": false} {
		w := &watcher{seen: map[string]string{}, next: dialer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/token"):
				giveToken(w, r)
			case r.Header.Get("Authorization") != "":
				giveBlob(w, r)
			default:
				w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q", realm))
				w.WriteHeader(401)
			}
		}))}
		c, err := New(Options{Wait: noWait, Transport: w, RegistryConfig: noCredentials(t), Username: user, Password: password})
		if err != nil {
			t.Fatal(err)
		}
		rc, err := c.Open(t.Context(), "localhost:5000/team/app", blobDesc)
		if ok != (err == nil) {
			t.Errorf("realm %s: %v", realm, err)
		}
		if err == nil {
			rc.Close()
		}
		if w.seen["auth.example"] != "" {
			t.Errorf("sent in the clear: %s", w.seen["auth.example"])
		}
	}
}

// TestAmbiguous: a password that is not said to be for one registry is shown to
// one only.
func TestAmbiguous(t *testing.T) {
	w := &watcher{seen: map[string]string{}, next: dialer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(401)
			return
		}
		giveBlob(w, r)
	}))}
	o := Options{PlainHTTP: true, Wait: noWait, Transport: w, RegistryConfig: noCredentials(t), Username: user, Password: password}
	c, _ := New(o)
	if rc, err := c.Open(t.Context(), "one.example/a", blobDesc); err != nil {
		t.Error(err)
	} else {
		rc.Close()
	}
	_, err := c.Open(t.Context(), "two.example/a", blobDesc)
	if !errors.Is(err, errAmbiguous) || layout.Hint(err) == "" || w.seen["two.example"] != "" {
		t.Errorf("second registry: %v, %q", err, w.seen["two.example"])
	}
	o.Registry = "two.example"
	c, _ = New(o)
	if rc, err := c.Open(t.Context(), "two.example/a", blobDesc); err != nil {
		t.Error(err)
	} else {
		rc.Close()
	}
	w.seen["one.example"] = ""
	_, err = c.Open(t.Context(), "one.example/a", blobDesc)
	if err == nil || !strings.Contains(layout.Hint(err), "log in to one.example") {
		t.Errorf("other registry: %v, hint %q", err, layout.Hint(err))
	}
	if strings.Contains(w.seen["one.example"], "Authorization") {
		t.Errorf("one.example got %s", w.seen["one.example"])
	}
	o.Password = ""
	if _, err := New(o); err == nil {
		t.Error("a user name without a password")
	}
}
