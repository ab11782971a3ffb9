package metrics_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/serve"
	"airgap/store/serve/metrics"
)

const repo = "ghcr.io/acme/app"

// registry is one with a metrics page.
func registry(t *testing.T) (h http.Handler, page func() string) {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := layouttest.New(repo)
	b.Tag("v1", b.Image("image"))
	if err := b.Content().Load(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	m := metrics.New()
	h = serve.New(s.View(), serve.Options{Begun: m.Begun, Access: m.Answered})
	m.Watch(h)
	return h, func() string { return get(t, m.Handler(), "GET", "/metrics").Body.String() }
}

func get(t *testing.T, h http.Handler, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Method = method
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// The page says what was asked.
func TestMetrics(t *testing.T) {
	h, page := registry(t)
	size := get(t, h, "GET", "/v2/"+repo+"/manifests/v1").Body.Len()
	get(t, h, "HEAD", "/v2/"+repo+"/manifests/v1")
	get(t, h, "GET", "/v2/"+repo+"/manifests/v2")
	get(t, h, "GET", "/livez")
	missing := get(t, h, "GET", "/v2/"+repo+"/manifests/v2").Body.Len()
	live := len("ok\n")
	text := page()
	for _, want := range []string{
		`airgap_requests_total{kind="manifests",method="GET",status="200"} 1`,
		`airgap_requests_total{kind="manifests",method="HEAD",status="200"} 1`,
		`airgap_requests_total{kind="manifests",method="GET",status="404"} 2`,
		`airgap_requests_total{kind="livez",method="GET",status="200"} 1`,
		`airgap_request_duration_seconds_count{kind="manifests"} 4`,
		`airgap_pulls_total{kind="manifests"} 1`,
		`airgap_requests_in_flight 0`,
		`airgap_wrong_logins_total 0`,
		`airgap_received_bytes_total 0`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("not on the page: %s", want)
		}
	}
	sent := regexp.MustCompile(`(?m)^airgap_sent_bytes_total (\S+)$`).FindStringSubmatch(text)
	if want := size + 2*missing + live; sent == nil || sent[1] != strconv.Itoa(want) {
		t.Errorf("%v bytes sent, want %d", sent, want)
	}
	if strings.Contains(text, repo) {
		t.Error("the page names a repository")
	}
}

// However many names and methods clients make up, the page does not grow.
func TestMetricsAreBounded(t *testing.T) {
	h, page := registry(t)
	ask := func(i int) {
		name := "x" + strings.Repeat("y", i)
		get(t, h, "GET", "/v2/quay.io/"+name+"/manifests/"+name)
		get(t, h, "GET", "/v2/quay.io/"+name+"/blobs/"+name)
		get(t, h, "GET", "/"+name)
		get(t, h, strings.ToUpper(name), "/v2/")
	}
	lines := func() int { return strings.Count(page(), "\nairgap_") }
	ask(1)
	before := lines()
	for i := range 100 {
		ask(i)
	}
	if after := lines(); before == 0 || after != before {
		t.Errorf("%d lines, and then %d", before, after)
	}
}

// Nothing else is there.
func TestOtherPages(t *testing.T) {
	m := metrics.New()
	for path, want := range map[string]int{"/": 404, "/debug/pprof/": 404, "/v2/": 404, "/metrics": 200} {
		if w := get(t, m.Handler(), "GET", path); w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := get(t, m.Handler(), "POST", "/metrics"); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
}
