package bundle_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/signing"
	"airgap/verify/verifytest"
)

const listURL = "http://crl.example/ca.crl"

// pointed is an image with a Notary signature whose certificate points to a
// revocation list, its CA, and the certificate.
func pointed(t *testing.T) (layouttest.Content, *signing.TestCA, *x509.Certificate) {
	t.Helper()
	ca := verifytest.Root(t, "root")
	chain := verifytest.Issue(t, ca, "publisher", signing.TestOptions{CRL: listURL})
	b := layouttest.New(repo)
	image := b.Image("signed")
	b.Tag("v1", image)
	a, err := signing.Notary(image, chain, signing.NotaryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range a.Blobs {
		b.Blob(blob.Desc.MediaType, blob.Data)
	}
	b.Blob(a.Manifest.MediaType, a.Raw)
	return b.Content(), ca, chain.Certs[0]
}

func crl(t *testing.T, ca *signing.TestCA, number int64, revoked ...*x509.Certificate) []byte {
	t.Helper()
	return verifytest.CRL(t, ca, verifytest.List{Number: number, Revoked: revoked}).Raw
}

// judgeOf trusts ca and demands its signature, strictly.
func judgeOf(t *testing.T, ca *signing.TestCA) *verify.Judge {
	t.Helper()
	return &verify.Judge{
		Policy: verifytest.Policy(t, `notary: {stores: ["ca:acme"], identities: ["*"]}`),
		Trust:  verifytest.Trust(t, verifytest.Pins{CA: map[string]*x509.Certificate{"acme": ca.Certs[0]}}),
	}
}

// What the lists that travel say decides; without them it is not known whether a
// certificate was revoked.
func TestRevocationListsTravel(t *testing.T) {
	content, ca, cert := pointed(t)
	other := verifytest.Root(t, "root") // the same name
	for what, test := range map[string]struct {
		fetched func(string) ([]byte, error)
		state   verify.State
		missing int
	}{
		"good":           {func(string) ([]byte, error) { return crl(t, ca, 1), nil }, verify.Passed, 0},
		"revoked":        {func(string) ([]byte, error) { return crl(t, ca, 1, cert), nil }, verify.Refused, 0},
		"of a namesake":  {func(string) ([]byte, error) { return crl(t, other, 1), nil }, verify.Undecided, 0},
		"not to be had":  {func(string) ([]byte, error) { return nil, errors.New("no route") }, verify.Undecided, 1},
		"something else": {func(string) ([]byte, error) { return []byte("<html>"), nil }, verify.Undecided, 1},
		"not wanted":     {nil, verify.Undecided, 0},
	} {
		out := filepath.Join(t.TempDir(), "b.tar")
		o := bundle.ExportOptions{Output: out}
		if test.fetched != nil {
			o.FetchList = func(_ context.Context, url string) ([]byte, error) {
				if url != listURL {
					t.Errorf("%s was asked for", url)
				}
				return test.fetched(url)
			}
		}
		res, err := exportSel(t, memory(t, content), content.Roots(), o)
		if err != nil || len(res.MissingLists) != test.missing {
			t.Fatalf("%s: %v, missing %+v, want %d", what, err, res.MissingLists, test.missing)
		}
		r, err := judged(t, open(t, out), judgeOf(t, ca))
		if err != nil || r.State != test.state {
			t.Errorf("%s: %v, %v, want %s", what, r, err, test.state)
			continue
		}
		dst := layout.NewMemory()
		imported, err := bundle.Import(t.Context(), open(t, out), dst, bundle.ImportOptions{Judge: judgeOf(t, ca)})
		_, there := dst.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: "v1"})
		switch test.state {
		case verify.Passed:
			if err != nil || !imported.Verified || there != nil {
				t.Errorf("%s: import: %v", what, err)
			}
		case verify.Refused:
			if !errors.Is(err, bundle.ErrRefused) || there == nil {
				t.Errorf("%s: import: %v", what, err)
			}
		default:
			if !errors.Is(err, bundle.ErrUndecided) || errors.Is(err, bundle.ErrRefused) || there == nil {
				t.Errorf("%s: import: %v", what, err)
			}
		}
	}
}

// Exported on from a bundle, with no way to the authority, a list stays with it;
// a newer one takes its place.
func TestRevocationListsTravelOn(t *testing.T) {
	content, ca, cert := pointed(t)
	first := filepath.Join(t.TempDir(), "first.tar")
	give := func(der []byte, err error) func(context.Context, string) ([]byte, error) {
		return func(context.Context, string) ([]byte, error) { return der, err }
	}
	if _, err := exportSel(t, memory(t, content), content.Roots(), bundle.ExportOptions{Output: first, FetchList: give(crl(t, ca, 1), nil)}); err != nil {
		t.Fatal(err)
	}
	b := open(t, first)
	lists, err := b.RevocationLists(t.Context())
	if err != nil || len(lists) != 1 || lists[0].URL != listURL {
		t.Fatalf("%v, %v", lists, err)
	}
	sel := []bundle.Selection{{Source: b.Source(), References: b.References(), MayMiss: b.MayMiss, Lists: lists}}
	for what, test := range map[string]struct {
		fetch func(context.Context, string) ([]byte, error)
		state verify.State
	}{
		"none fetched":  {nil, verify.Passed},
		"no way there":  {give(nil, errors.New("no route")), verify.Passed},
		"revoked since": {give(crl(t, ca, 2, cert), nil), verify.Refused},
	} {
		out := filepath.Join(t.TempDir(), "next.tar")
		if _, err := bundle.Export(t.Context(), sel, bundle.ExportOptions{Output: out, FetchList: test.fetch}); err != nil {
			t.Fatal(err)
		}
		if r, err := judged(t, open(t, out), judgeOf(t, ca)); err != nil || r.State != test.state {
			t.Errorf("%s: %v, %v, want %s", what, r, err, test.state)
		}
	}
}

// A store keeps the lists that let something in; with those at hand, an older list
// that comes later does not count.
func TestOlderListDoesNotCount(t *testing.T) {
	content, ca, cert := pointed(t)
	exported := func(der []byte) string {
		out := filepath.Join(t.TempDir(), "b.tar")
		if _, err := exportSel(t, memory(t, content), content.Roots(), bundle.ExportOptions{Output: out,
			FetchList: func(context.Context, string) ([]byte, error) { return der, nil }}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	dst := &keeper{Memory: layout.NewMemory(), lists: map[string][]byte{}}
	if _, err := bundle.Import(t.Context(), open(t, exported(crl(t, ca, 5))), dst, bundle.ImportOptions{Judge: judgeOf(t, ca)}); err != nil || len(dst.lists) != 1 {
		t.Fatalf("%v, %d lists kept, want 1", err, len(dst.lists))
	}
	var kept []bundle.RevocationList
	for _, der := range dst.lists {
		kept = append(kept, bundle.RevocationList{DER: der})
	}
	// The certificate was revoked in list 6, which is at hand; the bundle has list 4.
	kept = append(kept, bundle.RevocationList{DER: crl(t, ca, 6, cert)})
	_, err := bundle.Import(t.Context(), open(t, exported(crl(t, ca, 4))), dst, bundle.ImportOptions{Judge: bundle.WithLists(judgeOf(t, ca), kept)})
	if !errors.Is(err, bundle.ErrRefused) {
		t.Errorf("an older list lets in what a newer one refuses: %v", err)
	}
	// What was refused leaves no list either.
	if len(dst.lists) != 1 {
		t.Errorf("%d lists kept", len(dst.lists))
	}
}

// keeper is a destination that keeps revocation lists, as a store does.
type keeper struct {
	*layout.Memory
	lists map[string][]byte
}

func (k *keeper) KeepList(issuer string, der []byte) error {
	k.lists[issuer] = der
	return nil
}

// A list cannot be changed, taken out or slipped in on the way.
func TestRevocationListsAreProven(t *testing.T) {
	content, ca, _ := pointed(t)
	out := filepath.Join(t.TempDir(), "b.tar")
	der := crl(t, ca, 1)
	if _, err := exportSel(t, memory(t, content), content.Roots(), bundle.ExportOptions{Output: out,
		FetchList: func(context.Context, string) ([]byte, error) { return der, nil }}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, der)
	if at < 0 {
		t.Fatal("the list is not in the bundle")
	}
	for i := 0; i < len(der); i += 7 {
		bad := bytes.Clone(data)
		bad[at+i] ^= 1
		path := filepath.Join(t.TempDir(), "bad.tar")
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		b, err := bundle.Open(t.Context(), path, bundle.OpenOptions{})
		if err == nil {
			_, err = judged(t, b, judgeOf(t, ca))
			b.Close()
		}
		if !errors.Is(err, layout.ErrCorrupt) {
			t.Fatalf("byte %d of the list: %v", i, err)
		}
	}
}

// A server that means harm gets a request without credentials, and no more.
func TestFetchList(t *testing.T) {
	big := func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for range 40 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	for what, test := range map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"not there": {http.NotFound, "404"},
		"too large": {big, "larger"},
		"in a loop": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "redirects"},
		"there": {func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" || r.Method != http.MethodGet {
				t.Errorf("%s with %v", r.Method, r.Header)
			}
			_, _ = w.Write([]byte("list"))
		}, ""},
	} {
		srv := httptest.NewServer(test.handler)
		data, err := bundle.ListFetcher{Hosts: []string{"127.0.0.1"}}.Fetch(t.Context(), srv.URL+"/ca.crl")
		srv.Close()
		if test.says == "" && (err != nil || string(data) != "list") || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
