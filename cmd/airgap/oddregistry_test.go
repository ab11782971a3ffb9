package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"airgap/layout/layouttest"
)

// front stands before a registry, counts what is asked, and may answer itself.
type front struct {
	next   http.Handler
	answer func(w http.ResponseWriter, r *http.Request) bool

	mu  sync.Mutex
	log []string
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.log = append(f.log, r.Method+" "+r.URL.Path)
	f.mu.Unlock()
	if f.answer == nil || !f.answer(w, r) {
		f.next.ServeHTTP(w, r)
	}
}

// count counts the requests so far that begin and contain this, and forgets all.
func (f *front) count(method, part string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, l := range f.log {
		if strings.HasPrefix(l, method+" ") && strings.Contains(l, part) {
			n++
		}
	}
	f.log = nil
	return n
}

func (r *testRegistry) behind(f *front) *front {
	f.next, r.next = r.next, f
	return f
}

// uiWith has an environment.
func uiWith(env map[string]string) *ui {
	u := testUI()
	u.getenv = func(name string) string { return env[name] }
	return u
}

// Something that is no registry answers for the referrers API: the export goes by the
// tags, warns, and records what was answered, or that it was told not to ask.
func TestOddReferrersAPI(t *testing.T) {
	r := startRegistry(t, false)
	load(t, r, layouttest.Everything(r.host+"/team/app"))
	f := r.behind(&front{answer: func(w http.ResponseWriter, req *http.Request) bool {
		if strings.Contains(req.URL.Path, "/referrers/") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}})
	dir := t.TempDir()
	for name, test := range map[string]struct {
		flags []string
		want  string
	}{
		"odd":       {nil, "the referrers API answers 403"},
		"not asked": {[]string{"--no-referrers-api"}, "the referrers API was not asked"},
	} {
		file := filepath.Join(dir, name+".tar")
		f.count("", "")
		args := append([]string{"export", r.host + "/team/app:v1", "-o", file, "-q"}, test.flags...)
		_, stderr, code := runLine(t, testUI(), args...)
		if code != 0 || strings.Count(stderr, "WARNING: "+r.host+"/team/app: "+test.want) != 1 {
			t.Fatalf("%s: exit code %d, %s", name, code, stderr)
		}
		if asked := f.count("GET", "/referrers/"); (asked > 0) != (test.flags == nil) {
			t.Errorf("%s: asked %d times", name, asked)
		}
		if out, _, _ := runLine(t, testUI(), "inspect", file); !strings.Contains(out, test.want) {
			t.Errorf("%s: the record does not say so:\n%s", name, out)
		}
	}
}

// A dry run and the export that follows it get each manifest once; so does an export
// of an export that was stopped.
func TestManifestsOnce(t *testing.T) {
	r := startRegistry(t, true)
	load(t, r, layouttest.Everything(r.host+"/team/app"))
	f := r.behind(&front{})
	env := map[string]string{"XDG_CACHE_HOME": t.TempDir()}
	ref, file := r.host+"/team/app:v1", filepath.Join(t.TempDir(), "app.tar")
	if _, stderr, code := runLine(t, uiWith(env), "export", ref, "--dry-run", "-q"); code != 0 {
		t.Fatal(stderr)
	}
	if n := f.count("GET", "/manifests/"); n == 0 {
		t.Fatal("no manifest was asked for")
	}
	if _, stderr, code := runLine(t, uiWith(env), "export", ref, "-o", file, "-q"); code != 0 {
		t.Fatal(stderr)
	}
	if n := f.count("GET", "/manifests/"); n != 0 {
		t.Errorf("the export asked for %d manifests again", n)
	}
}

// With --resend everything is sent, into a registry that has it all, too.
func TestResend(t *testing.T) {
	src, dst := startRegistry(t, true), startRegistry(t, true)
	load(t, src, layouttest.Everything(src.host+"/team/app"))
	f := dst.behind(&front{})
	dir := t.TempDir()
	file, store := filepath.Join(dir, "app.tar"), filepath.Join(dir, "store")
	lines := func(args ...string) {
		t.Helper()
		if _, stderr, code := runLine(t, testUI(), append(args, "-q")...); code != 0 {
			t.Fatalf("%q: exit code %d, %s", args, code, stderr)
		}
	}
	lines("export", src.host+"/team/app:v1", "-o", file)
	lines("import", file, "--store", store, "--insecure-skip-verify")
	for _, args := range [][]string{
		{"import", file, "--to", dst.host, "--insecure-skip-verify"},
		{"store", "push", "--store", store, "--all", "--to", dst.host + "/pushed"},
	} {
		lines(args...)
		first := f.count("PUT", "/blobs/uploads/")
		lines(args...)
		again := f.count("PUT", "/blobs/uploads/")
		lines(append(args, "--resend")...)
		// This registry has its blobs in common for all repositories: the push
		// finds there what the import brought.
		if resent := f.count("PUT", "/blobs/uploads/"); again != 0 || resent == 0 || args[0] == "import" && resent != first {
			t.Errorf("%s: %d blobs sent, then %d, with --resend %d", args[0], first, again, resent)
		}
	}
}
