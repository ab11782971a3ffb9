package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"airgap/layout"
)

// roundTrip is a transport without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// silence gives some bytes, then nothing until the request is given up.
type silence struct {
	io.Reader
	ctx context.Context
}

func (s *silence) Read(p []byte) (int, error) {
	if n, err := s.Reader.Read(p); err == nil {
		return n, nil
	}
	<-s.ctx.Done()
	return 0, context.Cause(s.ctx)
}

func (s *silence) Close() error { return nil }

func reply(r *http.Request, status int, body io.ReadCloser, header ...string) *http.Response {
	resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: body, Request: r, ContentLength: -1}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

func fakeNet(t *testing.T, f roundTrip) *Client {
	t.Helper()
	c, err := New(Options{Transport: f, RegistryConfig: noCredentials(t)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStall: a body that stands still is given up and resumed; a slow reader is
// not taken for one. The time is the bubble's.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		half := len(blobData) / 2
		n := 0
		c := fakeNet(t, func(r *http.Request) (*http.Response, error) {
			if n++; n == 1 {
				return reply(r, 200, &silence{bytes.NewReader(blobData[:half]), r.Context()}), nil
			}
			return reply(r, 206, io.NopCloser(bytes.NewReader(blobData[half:])),
				"Content-Range", fmt.Sprintf("bytes %d-%d/*", half, len(blobData)-1)), nil
		})
		start := time.Now()
		rc, err := c.Open(t.Context(), repo, blobDesc)
		if err != nil {
			t.Fatal(err)
		}
		defer rc.Close()
		head := make([]byte, 10)
		_, _ = io.ReadFull(rc, head)
		time.Sleep(10 * stallTimeout)
		rest, err := io.ReadAll(rc)
		if err != nil || !bytes.Equal(append(head, rest...), blobData) || n != 2 {
			t.Errorf("%d bytes, %d requests, %v", len(head)+len(rest), n, err)
		}
		if d := time.Since(start) - 10*stallTimeout; d < stallTimeout || d > stallTimeout+maxWait {
			t.Errorf("took %v besides", d)
		}
	})
}

// TestStallForEver: silence from every connection ends in an error that says so.
func TestStallForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fakeNet(t, func(r *http.Request) (*http.Response, error) {
			return reply(r, 200, &silence{bytes.NewReader(nil), r.Context()}), nil
		})
		_, err := readAll(t, c, blobDesc)
		if !errors.Is(err, ErrRegistry) || !errors.Is(err, errStalled) || !strings.Contains(err.Error(), "nothing moved") {
			t.Errorf("%v", err)
		}
	})
}

// drip gives a byte every so often.
type drip struct {
	data  []byte
	every time.Duration
	ctx   context.Context
}

func (d *drip) Read(p []byte) (int, error) {
	select {
	case <-time.After(d.every):
	case <-d.ctx.Done():
		return 0, context.Cause(d.ctx)
	}
	n := copy(p[:1], d.data)
	if d.data = d.data[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (d *drip) Close() error { return nil }

// TestTrickle: a registry that gives a few bytes of each answer, or one byte a second,
// is given up within a quarter of an hour, with an error that says how far it came.
// One that is slow and steady is not.
func TestTrickle(t *testing.T) {
	data, d := blobOf(2 << 20)
	for name, test := range map[string]struct {
		body func(r *http.Request, from int) io.ReadCloser
		ok   bool
	}{
		"some bytes, then nothing": {func(r *http.Request, from int) io.ReadCloser {
			return &silence{bytes.NewReader(data[from : from+1000]), r.Context()}
		}, false},
		"a byte a second": {func(r *http.Request, from int) io.ReadCloser {
			return &drip{data[from:], time.Second, r.Context()}
		}, false},
		"slow and steady": {func(r *http.Request, from int) io.ReadCloser {
			return &drip{data[from:], stallTimeout / (minProgress + 1), r.Context()}
		}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := fakeNet(t, func(r *http.Request) (*http.Response, error) {
				from := 0
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err != nil {
					return reply(r, 200, test.body(r, 0)), nil
				}
				return reply(r, 206, test.body(r, from), "Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data))), nil
			})
			start := time.Now()
			rc, err := c.Open(t.Context(), repo, d)
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			_, err = io.Copy(io.Discard, rc)
			if test.ok {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				return
			}
			if !errors.Is(err, errStalled) || !strings.Contains(err.Error(), "after 6 tries") || !strings.Contains(layout.Hint(err), "--jobs") {
				t.Errorf("%s: %v, hint %q", name, err, layout.Hint(err))
			}
			if took := time.Since(start); took > 15*time.Minute {
				t.Errorf("%s: given up after %v", name, took)
			}
		})
	}
}

// TestTrickledToken: the same holds for a token service.
func TestTrickledToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fakeNet(t, func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/token" {
				return reply(r, 200, &drip{bytes.Repeat([]byte(" "), 1<<20), time.Second, r.Context()}), nil
			}
			return reply(r, 401, http.NoBody, "WWW-Authenticate", `Bearer realm="https://reg.example/token",service="s"`), nil
		})
		start := time.Now()
		_, err := c.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: "v1"})
		if took := time.Since(start); err == nil || took > 15*time.Minute {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// TestStalledUpload: a registry that stops taking bytes is given up, a slow
// source is waited for.
func TestStalledUpload(t *testing.T) {
	for _, taking := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := fakeNet(t, func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPost {
					return reply(r, 202, http.NoBody, "Location", "/v2/upload"), nil
				}
				defer r.Body.Close()
				if !taking {
					_, _ = io.ReadFull(r.Body, make([]byte, 100))
					<-r.Context().Done()
					return nil, context.Cause(r.Context())
				}
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					return nil, err
				}
				if r.Context().Err() != nil {
					return nil, context.Cause(r.Context())
				}
				return reply(r, 201, http.NoBody), nil
			})
			data, d := blobOf(smallBlob + 1)
			slow := io.MultiReader(bytes.NewReader(data[:1]), sleeper(10*stallTimeout), bytes.NewReader(data[1:]))
			err := c.Put(t.Context(), repo, d, slow)
			if taking && err != nil || !taking && !errors.Is(err, errStalled) {
				t.Errorf("taking %v: %v", taking, err)
			}
		})
	}
}

type sleeper time.Duration

func (s sleeper) Read([]byte) (int, error) { time.Sleep(time.Duration(s)); return 0, io.EOF }

// TestLateReader: net/http may read on after it has answered; the reader that
// was given to Put is not touched then.
func TestLateReader(t *testing.T) {
	late := make(chan io.Reader, 1)
	c := fakeNet(t, func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPost {
			return reply(r, 202, http.NoBody, "Location", "/v2/upload"), nil
		}
		late <- r.Body
		r.Body.Close()
		return reply(r, 403, http.NoBody), nil
	})
	_, d := blobOf(smallBlob + 1)
	returned := false
	err := c.Put(t.Context(), repo, d, readerFunc(func(p []byte) (int, error) {
		if returned {
			t.Error("read after Put returned")
		}
		return len(p), nil
	}))
	returned = true
	if n, rerr := (<-late).Read(make([]byte, 10)); n != 0 || rerr == nil || err == nil {
		t.Errorf("late Read = %d, %v; Put = %v", n, rerr, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestTLS: certificates are checked, unless told otherwise or given the
// authority; the hint says how.
func TestTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(giveBlob))
	srv.Config.ErrorLog = quiet()
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*Options)
		host   string
		ok     bool
		hint   string
	}{
		"unknown authority": {func(*Options) {}, "reg.example", false, "--ca-file"},
		"with authority":    {func(o *Options) { o.CAFile = ca }, "example.com", true, ""},
		"other name":        {func(o *Options) { o.CAFile = ca }, "reg.example", false, "--ca-file"},
		"insecure":          {func(o *Options) { o.InsecureSkipVerify = true }, "reg.example", true, ""},
		"loopback with TLS": {func(o *Options) { o.InsecureSkipVerify = true }, "localhost:5000", true, ""},
		"loopback":          {func(*Options) {}, "localhost:5000", false, ""},
	} {
		o := Options{Wait: noWait, RegistryConfig: noCredentials(t)}
		test.change(&o)
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		c.opts.Transport.(*http.Transport).DialContext = dialTo(srv.Listener.Addr().String())
		rc, err := c.Open(t.Context(), test.host+"/team/app", blobDesc)
		if (err == nil) != test.ok || !strings.Contains(layout.Hint(err), test.hint) {
			t.Errorf("%s: %v, hint %q", name, err, layout.Hint(err))
		}
		if err == nil {
			rc.Close()
		}
		c.opts.Transport.(*http.Transport).CloseIdleConnections()
	}
}

// TestNew: bad options are refused before anything is asked.
func TestNew(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	broken := filepath.Join(t.TempDir(), "broken")
	for name, data := range map[string]string{empty: "", broken: "{"} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, o := range map[string]Options{
		"transport and TLS":    {Transport: http.DefaultTransport, InsecureSkipVerify: true},
		"no such CA":           {CAFile: filepath.Join(empty, "x")},
		"empty CA":             {CAFile: empty},
		"certificate alone":    {ClientCert: empty},
		"no such config":       {RegistryConfig: filepath.Join(empty, "x")},
		"broken config":        {RegistryConfig: broken},
		"password alone":       {Password: "x"},
		"registry with a path": {Username: "u", Password: "p", Registry: "a b"},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestUserAgent is on every request, token requests included.
func TestUserAgent(t *testing.T) {
	w := &watcher{seen: map[string]string{}}
	tr := trap{serve: first(bearerChallenge("https://auth.example/token"), on("auth.example", giveToken), on("reg.example", giveBlob))}
	c := trapClient(t, tr, w)
	if err := open(t, c); err != nil {
		t.Fatal(err)
	}
	for host, all := range w.seen {
		if strings.Count(all, "HTTP") > 0 || strings.Count(all, "GET ") != strings.Count(all, "User-Agent: airgap\r\n") {
			t.Errorf("%s: %s", host, all)
		}
	}
}

// TestCredentials: which file and which entry answers for which repository.
func TestCredentials(t *testing.T) {
	home, run, xdg := t.TempDir(), t.TempDir(), t.TempDir()
	entry := func(name string) string {
		return fmt.Sprintf(`{"auth":%q}`, base64.StdEncoding.EncodeToString([]byte(name+":secret-"+name)))
	}
	write := func(path, data string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(home, ".docker/config.json"), `{"auths":{"https://index.docker.io/v1/":`+entry("hub")+`,"one.example":`+entry("docker")+`},"credHelpers":{"helped.example":"airgaptest"}}`)
	write(filepath.Join(run, "containers/auth.json"), `{"auths":{"one.example":`+entry("podman")+`,"two.example":`+entry("two")+`,"two.example/team":`+entry("team")+`,"two.example/team/app":`+entry("app")+`}}`)
	write(filepath.Join(xdg, "containers/auth.json"), `{"auths":{"three.example":`+entry("three")+`}}`)
	write(filepath.Join(home, "bin/docker-credential-airgaptest"), "#!/bin/sh\necho '{\"Username\":\"helper\",\"Secret\":\"secret-helper\"}'\n")
	if err := os.Chmod(filepath.Join(home, "bin/docker-credential-airgaptest"), 0o700); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"HOME": home, "XDG_RUNTIME_DIR": run, "XDG_CONFIG_HOME": xdg, "DOCKER_CONFIG": "", "REGISTRY_AUTH_FILE": "",
		"PATH": filepath.Join(home, "bin") + ":" + os.Getenv("PATH")} {
		t.Setenv(k, v)
	}
	k, err := newKeychain(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for repo, want := range map[string]string{
		"docker.io/library/alpine": "hub", "one.example/a": "docker", "two.example/a": "two",
		"two.example/team/x": "team", "two.example/teams/x": "two", "two.example/team/app": "app", "two.example/team/app/x": "app",
		"three.example/a": "three", "four.example/a": "", "helped.example/a": "helper",
	} {
		host, _, err := splitRepo(repo)
		if err != nil {
			t.Fatal(err)
		}
		cred, err := k.credential(host, k.key(repo, host))(t.Context(), host)
		if err != nil || cred.Username != want {
			t.Errorf("%s: %q, %v, want %q", repo, cred.Username, err, want)
		}
		if cred, _ := k.credential(host, k.key(repo, host))(t.Context(), "evil.example"); cred.Username != "" {
			t.Errorf("%s: evil.example gets %q", repo, cred.Username)
		}
	}
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(run, "containers/auth.json"))
	k, _ = newKeychain(Options{})
	if cred, err := k.credential("one.example", "")(t.Context(), "one.example"); err != nil || cred.Username != "podman" {
		t.Errorf("REGISTRY_AUTH_FILE: %q, %v", cred.Username, err)
	}
}
