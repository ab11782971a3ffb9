package notary_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"airgap/layout"
	"airgap/verify/notary"
	"airgap/verify/signing"
	"airgap/verify/verifytest"
)

type stores = verifytest.Stores

var subject = verifytest.Subject

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// envelope signs subject and returns the envelope.
func envelope(t *testing.T, s layout.Descriptor, c signing.Chain, o signing.NotaryOptions) (data []byte, mediaType string) {
	t.Helper()
	a, err := signing.Notary(s, c, o)
	if err != nil {
		t.Fatal(err)
	}
	b := a.Blobs[len(a.Blobs)-1]
	return b.Data, b.Desc.MediaType
}

const crlURL = "http://crl.example/ca.crl"

// list is a revocation list of ca's.
func list(t *testing.T, ca *signing.TestCA, number int64, next time.Time, revoked ...*x509.Certificate) *x509.RevocationList {
	t.Helper()
	return verifytest.CRL(t, ca, verifytest.List{Number: number, NextUpdate: next, Revoked: revoked})
}

func TestVerify(t *testing.T) {
	verifytest.Offline(t)
	ca := verifytest.Root(t, "root")
	other := verifytest.Root(t, "other root")
	twin := verifytest.Root(t, "root") // the same name, another key
	later, earlier := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	plain := verifytest.Issue(t, ca, "signer", signing.TestOptions{})
	pointed := verifytest.Issue(t, ca, "pointed", signing.TestOptions{CRL: crlURL})
	ocsp := verifytest.Issue(t, ca, "ocsp", signing.TestOptions{OCSP: "http://ocsp.example"})
	foreign := verifytest.Issue(t, other, "signer", signing.TestOptions{})
	expired := verifytest.Issue(t, ca, "signer", signing.TestOptions{NotBefore: earlier.Add(-time.Hour), NotAfter: earlier})
	crls := func(l ...*x509.RevocationList) []*x509.RevocationList { return l }
	for what, test := range map[string]struct {
		chain     signing.Chain
		options   signing.NotaryOptions
		want      notary.Want
		crls      []*x509.RevocationList
		about     string // other than the image
		reason    notary.Reason
		undecided bool
		let       string // let through
	}{
		"good":             {chain: plain},
		"good COSE":        {chain: plain, options: signing.NotaryOptions{Format: signing.NotaryCOSE}},
		"with an expiry":   {chain: plain, options: signing.NotaryOptions{Expiry: later}},
		"named":            {chain: plain, want: notary.Want{Identities: []string{verifytest.Identity("signer")}}},
		"wrong identity":   {chain: plain, want: notary.Want{Identities: []string{verifytest.Identity("somebody")}}, reason: notary.WrongIdentity},
		"wrong root":       {chain: foreign, reason: notary.Untrusted},
		"wrong subject":    {chain: plain, about: "another", reason: notary.BadSignature},
		"wrong store type": {chain: plain, want: notary.Want{Stores: []string{"signingAuthority:test"}}, reason: notary.NotPinned, undecided: true},
		"no such store":    {chain: plain, want: notary.Want{Stores: []string{"ca:none"}}, reason: notary.NotPinned, undecided: true},
		"empty store":      {chain: plain, want: notary.Want{Stores: []string{"ca:empty"}}, reason: notary.NotPinned, undecided: true},

		"CRL good":            {chain: pointed, crls: crls(list(t, ca, 1, later))},
		"CRL of another":      {chain: pointed, crls: crls(list(t, other, 1, later)), reason: notary.UnknownRevoked, undecided: true},
		"CRL of a namesake":   {chain: pointed, crls: crls(list(t, twin, 1, later)), reason: notary.UnknownRevoked, undecided: true},
		"CRL missing":         {chain: pointed, reason: notary.UnknownRevoked, undecided: true},
		"CRL stale":           {chain: pointed, crls: crls(list(t, ca, 1, earlier)), reason: notary.UnknownRevoked, undecided: true},
		"revoked":             {chain: pointed, crls: crls(list(t, ca, 1, later, pointed.Certs[0])), reason: notary.Revoked},
		"another is revoked":  {chain: pointed, crls: crls(list(t, ca, 1, later, plain.Certs[0]))},
		"revoked in the new":  {chain: pointed, crls: crls(list(t, ca, 1, later), list(t, ca, 2, later, pointed.Certs[0])), reason: notary.Revoked},
		"revoked, old after":  {chain: pointed, crls: crls(list(t, ca, 2, later, pointed.Certs[0]), list(t, ca, 1, later)), reason: notary.Revoked},
		"OCSP only":           {chain: ocsp, reason: notary.UnknownRevoked, undecided: true},
		"revoked, permissive": {chain: pointed, want: notary.Want{Level: "permissive"}, crls: crls(list(t, ca, 1, later, pointed.Certs[0])), let: "revoked"},
		"revoked, enforced after all": {chain: pointed, want: notary.Want{Level: "permissive", Override: map[string]string{"revocation": "enforce"}},
			crls: crls(list(t, ca, 1, later, pointed.Certs[0])), reason: notary.Revoked},
		"OCSP only, permissive": {chain: ocsp, want: notary.Want{Level: "permissive"}, let: "unknown"},
		"OCSP only, skipped":    {chain: ocsp, want: notary.Want{Override: map[string]string{"revocation": "skip"}}},
		"wrong root, audit":     {chain: foreign, want: notary.Want{Level: "audit"}, let: "authenticity"},
		"level skip":            {chain: plain, want: notary.Want{Level: "skip"}, reason: notary.Unsupported, undecided: true},
		"level nonsense":        {chain: plain, want: notary.Want{Level: "lax"}, reason: notary.Unsupported, undecided: true},
		"expired, signed then":  {chain: expired, options: signing.NotaryOptions{SigningTime: earlier.Add(-time.Minute)}, reason: notary.WrongTime},
		"expired, permissive": {chain: expired, options: signing.NotaryOptions{SigningTime: earlier.Add(-time.Minute)},
			want: notary.Want{Level: "permissive"}, let: "authenticTimestamp"},
	} {
		data, mediaType := envelope(t, subject("image"), test.chain, test.options)
		if test.want.Stores == nil {
			test.want.Stores = []string{"ca:test"}
		}
		if test.want.Identities == nil {
			test.want.Identities = []string{"*"}
		}
		about := subject("image")
		if test.about != "" {
			about = subject(test.about)
		}
		pinned := stores{"ca:test": {ca.Certs[0]}, "ca:empty": {}}
		s, err := notary.Verify(t.Context(), data, mediaType, about, test.want, notary.Trust{Store: pinned, CRLs: test.crls})
		if test.reason != "" {
			var f *notary.Failure
			if s != nil || !errors.As(err, &f) || f.Reason != test.reason || f.Undecided() != test.undecided {
				t.Errorf("%s: %v, want %s (undecided %v)", what, err, test.reason, test.undecided)
			} else if f.Reason != notary.Unsupported && f.Claimed.Subject == "" {
				t.Errorf("%s: does not say who it claims to be from", what)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if let := strings.Join(s.LetThrough, "\n"); !strings.Contains(let, test.let) || test.let == "" && let != "" {
			t.Errorf("%s: let through %q, want %q", what, let, test.let)
		}
		if want := test.chain.Certs[0].Subject.String(); s.Signer.Subject != want || s.TimeSource != "" {
			t.Errorf("%s: signed by %+v at a time known from %q, want %s and none", what, s.Signer, s.TimeSource, want)
		}
	}
}

// A signature that was made to expire does.
func TestExpires(t *testing.T) {
	chain := must(signing.NewTestChain("signer"))
	synctest.Test(t, func(t *testing.T) {
		data, mediaType := envelope(t, subject("image"), chain, signing.NotaryOptions{SigningTime: time.Now(), Expiry: time.Now().Add(time.Hour)})
		judge := func() error {
			_, err := notary.Verify(t.Context(), data, mediaType, subject("image"), notary.Want{Stores: []string{"ca:test"}, Identities: []string{"*"}},
				notary.Trust{Store: stores{"ca:test": {chain.Root()}}})
			return err
		}
		if err := judge(); err != nil {
			t.Errorf("before: %v", err)
		}
		time.Sleep(2 * time.Hour) // of the bubble's clock
		var f *notary.Failure
		if err := judge(); !errors.As(err, &f) || f.Reason != notary.Expired || f.Undecided() {
			t.Errorf("after: %v, want expired", err)
		}
	})
}

// Each of N signatures is good for its own image and for no other.
func TestEachForItsOwn(t *testing.T) {
	chain := must(signing.NewTestChain("signer"))
	const n = 6
	good := 0
	for i := range n {
		data, mediaType := envelope(t, subject(fmt.Sprint(i)), chain, signing.NotaryOptions{Format: signing.NotaryFormat(i % 2)})
		for j := range n {
			_, err := notary.Verify(t.Context(), data, mediaType, subject(fmt.Sprint(j)), notary.Want{Stores: []string{"ca:test"}, Identities: []string{"*"}},
				notary.Trust{Store: stores{"ca:test": {chain.Root()}}})
			if err == nil {
				good++
			}
			if (err == nil) != (i == j) {
				t.Errorf("signature of %d on %d: %v", i, j, err)
			}
		}
	}
	if good != n {
		t.Errorf("%d of %d × %d verify, want %d", good, n, n, n)
	}
}

// Damage is refused, never a panic and never undecided.
func TestDamaged(t *testing.T) {
	chain := must(signing.NewTestChain("signer"))
	for _, format := range []signing.NotaryFormat{signing.NotaryJWS, signing.NotaryCOSE} {
		data, mediaType := envelope(t, subject("image"), chain, signing.NotaryOptions{Format: format, SigningTime: time.Now()})
		judge := func(what string, data []byte) {
			s, err := notary.Verify(t.Context(), data, mediaType, subject("image"), notary.Want{Stores: []string{"ca:test"}, Identities: []string{"*"}},
				notary.Trust{Store: stores{"ca:test": {chain.Root()}}})
			var f *notary.Failure
			if s != nil || !errors.As(err, &f) || f.Undecided() {
				t.Errorf("%s: %v, %v", what, s, err)
			}
		}
		for cut := 0; cut < len(data); cut += 97 {
			judge(fmt.Sprint("cut at ", cut), data[:cut])
		}
		judge("nothing", nil)
		judge("too large", make([]byte, notary.MaxEnvelopeBytes+1))
	}
}

func FuzzVerify(f *testing.F) {
	chain := must(signing.NewTestChain("signer"))
	for _, format := range []signing.NotaryFormat{signing.NotaryJWS, signing.NotaryCOSE} {
		a := must(signing.Notary(subject("image"), chain, signing.NotaryOptions{Format: format}))
		f.Add(a.Blobs[len(a.Blobs)-1].Data, int(format))
	}
	f.Fuzz(func(t *testing.T, data []byte, format int) {
		mediaType := notary.MediaTypes[format&1]
		s, err := notary.Verify(t.Context(), data, mediaType, subject("another"), notary.Want{Stores: []string{"ca:test"}, Identities: []string{"*"}},
			notary.Trust{Store: stores{"ca:test": {chain.Root()}}})
		if s != nil || err == nil {
			t.Errorf("verifies for another image: %+v", s)
		}
	})
}

// A list that is not the complete one for this certificate never stands in for it,
// however new it is and whoever signed it.
func TestListsOfOtherScope(t *testing.T) {
	ca := verifytest.Root(t, "root")
	signer := verifytest.Issue(t, ca, "signer", signing.TestOptions{CRL: crlURL})
	only := func(url string, flags ...int) []pkix.Extension { return verifytest.OnlyFor(t, url, flags...) }
	strange := verifytest.Critical(asn1.ObjectIdentifier{1, 2, 3}, []byte{5, 0})
	broken := verifytest.Critical(asn1.ObjectIdentifier{2, 5, 29, 28}, []byte(crlURL))
	revokes := list(t, ca, 1, time.Now().Add(time.Hour), signer.Certs[0])
	for what, ext := range map[string][]pkix.Extension{
		"delta": verifytest.Delta(t, 1), "another point": only("http://crl.example/other.crl"), "a longer name": only(crlURL + "0"),
		"of CAs": only(crlURL, verifytest.OnlyCAs), "of attribute certificates": only(crlURL, verifytest.OnlyAttributes), "of other issuers": only(crlURL, verifytest.Indirect),
		"some reasons": only(crlURL, verifytest.SomeReasons), "unknown and critical": strange, "malformed": broken,
	} {
		newer := verifytest.CRL(t, ca, verifytest.List{Number: 2, Scope: ext})
		for _, beside := range []bool{true, false} {
			crls, want := []*x509.RevocationList{newer}, notary.UnknownRevoked
			if beside {
				crls, want = append(crls, revokes), notary.Revoked
			}
			data, mediaType := envelope(t, subject("image"), signer, signing.NotaryOptions{})
			_, err := notary.Verify(t.Context(), data, mediaType, subject("image"), notary.Want{Stores: []string{"ca:test"}, Identities: []string{"*"}},
				notary.Trust{Store: stores{"ca:test": ca.Certs}, CRLs: crls})
			var f *notary.Failure
			if !errors.As(err, &f) || f.Reason != want {
				t.Errorf("%s, beside one that revokes: %v: %v, want %s", what, beside, err, want)
			}
		}
	}
	// Those of just this scope count.
	for what, ext := range map[string][]pkix.Extension{"this point": only(crlURL), "of users, this point": only(crlURL, verifytest.OnlyUsers)} {
		data, mediaType := envelope(t, subject("image"), signer, signing.NotaryOptions{})
		if _, err := notary.Verify(t.Context(), data, mediaType, subject("image"), notary.Want{Stores: []string{"ca:test"}, Identities: []string{"*"}},
			notary.Trust{Store: stores{"ca:test": ca.Certs}, CRLs: []*x509.RevocationList{verifytest.CRL(t, ca, verifytest.List{Number: 2, Scope: ext})}}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A chain that would take hours to follow is refused before anybody does.
func TestCostlyChain(t *testing.T) {
	chain := must(signing.NewTestChain("signer"))
	raw := make([]byte, 1<<20/8)
	raw[0], raw[len(raw)-1] = 0x80, 1
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	huge := must(x509.CreateCertificate(rand.Reader, template, template, &rsa.PublicKey{N: new(big.Int).SetBytes(raw), E: 65537}, must(rsa.GenerateKey(rand.Reader, 2048))))
	raw = raw[:1<<14/8]
	raw[len(raw)-1] = 1
	large := must(x509.CreateCertificate(rand.Reader, template, template, &rsa.PublicKey{N: new(big.Int).SetBytes(raw), E: 65537}, must(rsa.GenerateKey(rand.Reader, 2048))))
	data, mediaType := envelope(t, subject("image"), chain, signing.NotaryOptions{})
	for what, certs := range map[string][][]byte{
		"a million bits": {chain.Certs[0].Raw, huge}, "16,384 bits": {chain.Certs[0].Raw, large}, "very many": slices.Repeat([][]byte{chain.Certs[0].Raw}, 17),
	} {
		var env map[string]any
		if err := json.Unmarshal(data, &env); err != nil {
			t.Fatal(err)
		}
		env["header"].(map[string]any)["x5c"] = certs
		bad := must(json.Marshal(env))
		_, err := notary.Verify(t.Context(), bad, mediaType, subject("image"), notary.Want{Stores: []string{"ca:test"}, Identities: []string{"*"}},
			notary.Trust{Store: stores{"ca:test": {chain.Root()}}})
		var f *notary.Failure
		if !errors.As(err, &f) || f.Reason != notary.Malformed || !errors.Is(err, layout.ErrLimit) {
			t.Errorf("%s: %v, want a limit", what, err)
		}
		if urls := notary.Points(bad, mediaType); urls != nil {
			t.Errorf("%s: %v", what, urls)
		}
	}
}

// Those of a timestamp are looked at just so, in both kinds of envelope.
func TestCostlyTimestamp(t *testing.T) {
	chain := must(signing.NewTestChain("signer"))
	ca := verifytest.Root(t, "tsa root")
	root := ca.Certs[0]
	for i := range 14 {
		ca = verifytest.Below(t, ca, fmt.Sprint("tsa intermediate ", i), signing.TestOptions{})
	}
	most := verifytest.NewTSA(t, ca, "tsa", signing.TestOptions{}).At(time.Now()) // 16 certificates
	tooMany := verifytest.NewTSA(t, verifytest.Below(t, ca, "one more", signing.TestOptions{}), "tsa", signing.TestOptions{}).At(time.Now())
	for _, format := range []signing.NotaryFormat{signing.NotaryJWS, signing.NotaryCOSE} {
		for tsa, limit := range map[*verifytest.TSA]bool{most: false, tooMany: true} {
			data, mediaType := verifytest.Envelope(verifytest.Notary(t, subject("image"), chain, verifytest.NotaryOptions{Format: format, TSA: tsa}))
			_, err := notary.Verify(t.Context(), data, mediaType, subject("image"), notary.Want{Stores: []string{"ca:test", "tsa:test"}, Identities: []string{"*"}},
				notary.Trust{Store: stores{"ca:test": {chain.Root()}, "tsa:test": {root}}})
			if !limit && err != nil || limit && (!errors.Is(err, layout.ErrLimit) || !strings.Contains(err.Error(), "in the timestamp")) {
				t.Errorf("%s, %d certificates: %v", mediaType, len(tsa.Chain.Certs), err)
			}
		}
	}
}

// The certificates of both kinds of envelope are looked at for their cost.
func TestPoints(t *testing.T) {
	ca := verifytest.Root(t, "root")
	signer := verifytest.Issue(t, ca, "signer", signing.TestOptions{CRL: crlURL})
	for _, format := range []signing.NotaryFormat{signing.NotaryJWS, signing.NotaryCOSE} {
		data, mediaType := envelope(t, subject("image"), signer, signing.NotaryOptions{Format: format})
		if got := notary.Points(data, mediaType); len(got) != 1 || got[0] != crlURL {
			t.Errorf("%s: %v", mediaType, got)
		}
		if n := notary.Certificates(data, mediaType); n != 2 {
			t.Errorf("%s: %d certificates seen, want 2", mediaType, n)
		}
	}
	if notary.Points([]byte("x"), notary.MediaTypes[0]) != nil {
		t.Error("nonsense has points")
	}
}
