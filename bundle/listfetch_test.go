package bundle_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"airgap/bundle"
)

// A list's address is judged when it is dialed, whatever name led there; nothing is
// sent to one that is refused.
func TestListFetcherAddresses(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte("list"))
	}))
	defer srv.Close()
	port := srv.URL[strings.LastIndex(srv.URL, ":"):]
	for _, c := range []struct {
		url   string
		hosts []string
		asked int32
		ok    bool
	}{
		{"http://127.0.0.1" + port + "/ca.crl", nil, 0, false},
		{"http://localhost" + port + "/ca.crl", nil, 0, false}, // a public name that leads inside is just this
		{"http://localhost" + port + "/ca.crl", []string{"127.0.0.1", "crl.corp.example"}, 0, false},
		{"http://[::ffff:127.0.0.1]" + port + "/ca.crl", nil, 0, false},
		{"http://127.0.0.1" + port + "/ca.crl", []string{"127.0.0.1"}, 1, true},
		{"http://LOCALHOST" + port + "/ca.crl", []string{"crl.corp.example", "localhost"}, 1, true},
		{"http://127.0.0.1" + port + "/away", []string{"127.0.0.1", "169.254.169.254"}, 1, false},
		{"http://169.254.169.254/ca.crl", []string{"169.254.169.254"}, 0, false},
		{"http://0.0.0.0" + port + "/ca.crl", []string{"0.0.0.0"}, 0, false},
		{"http://[fe80::1%25lo]" + port + "/ca.crl", []string{"fe80::1%lo"}, 0, false},
		{"http://user:secret@127.0.0.1" + port + "/ca.crl", []string{"127.0.0.1"}, 0, false},
		{"ftp://127.0.0.1" + port + "/ca.crl", []string{"127.0.0.1"}, 0, false},
		{"file:///etc/passwd", []string{""}, 0, false},
		{"http:///ca.crl", []string{""}, 0, false},
	} {
		asked.Store(0)
		data, err := bundle.ListFetcher{Hosts: c.hosts}.Fetch(t.Context(), c.url)
		if c.ok != (err == nil) || c.ok && string(data) != "list" || asked.Load() != c.asked {
			t.Errorf("%s, allowed %q: %v; asked %d times, want %d", c.url, c.hosts, err, asked.Load(), c.asked)
		}
		if !c.ok && c.asked == 0 && !errors.Is(err, bundle.ErrAddress) {
			t.Errorf("%s: %v", c.url, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells a password: %v", c.url, err)
		}
	}
}

// Where there is a proxy, it is asked, and its own address is not that of a list;
// an address in the URL is judged all the same.
func TestListFetcherProxy(t *testing.T) {
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte("list"))
	}))
	defer proxy.Close()
	// The environment is read once in a process.
	cmd := exec.Command(os.Args[0], "-test.run=^TestListFetcherChild$", "-test.v")
	cmd.Env = append(os.Environ(), "HTTP_PROXY="+proxy.URL, "NO_PROXY=", "AIRGAP_TEST_LISTS=http://crl.example/ca.crl http://10.0.0.1/ca.crl http://169.254.169.254/ca.crl")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "came to: ok refused refused\n") || asked.Load() != 1 {
		t.Errorf("the proxy was asked %d times, %v\n%s", asked.Load(), err, out)
	}
}

// TestListFetcherChild is the process of TestListFetcherProxy.
func TestListFetcherChild(t *testing.T) {
	urls := os.Getenv("AIRGAP_TEST_LISTS")
	if urls == "" {
		t.Skip("it is run by TestListFetcherProxy")
	}
	said := "came to:"
	for u := range strings.FieldsSeq(urls) {
		switch _, err := (bundle.ListFetcher{}).Fetch(t.Context(), u); {
		case err == nil:
			said += " ok"
		case errors.Is(err, bundle.ErrAddress):
			said += " refused"
		default:
			t.Error(err)
		}
	}
	fmt.Println(said)
}
