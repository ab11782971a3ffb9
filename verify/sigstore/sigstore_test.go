package sigstore

import (
	"errors"
	"testing"
	"time"

	"airgap/verify/signing"
	"airgap/verify/sigstore/sigstoretest"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/root"
)

const (
	identity = "https://example.com/team/app/build.yml@refs/heads/main"
	issuer   = "https://issuer.example.com"
)

var (
	image     = digest.FromString("image")
	elsewhere = digest.FromString("another image")
	byID      = sigstoretest.Signing{Identity: identity, Issuer: issuer}
	wantID    = Want{Identity: identity, Issuer: issuer}
)

func newSigstore(t testing.TB) (*sigstoretest.Sigstore, Material) {
	t.Helper()
	s, err := sigstoretest.New()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := s.Root()
	if err != nil {
		t.Fatal(err)
	}
	return s, Material{Roots: []*root.TrustedRoot{tr}}
}

// form makes and parses one form of signature or attestation.
type form struct {
	name      string
	signature bool // a plain one
	layer     bool // cosign's older forms
	make      func(*sigstoretest.Sigstore, digest.Digest, sigstoretest.Signing) (*Envelope, error)
}

const predicateTest = "https://example.com/test/v1"

func forms() []form {
	return []form{
		{"bundle signature", true, false, func(s *sigstoretest.Sigstore, d digest.Digest, o sigstoretest.Signing) (*Envelope, error) {
			data, err := s.SignBundle(d, o)
			if err != nil {
				return nil, err
			}
			return ParseBundle(data)
		}},
		{"bundle attestation", false, false, func(s *sigstoretest.Sigstore, d digest.Digest, o sigstoretest.Signing) (*Envelope, error) {
			st, err := sigstoretest.Statement(predicateTest, map[string]any{"ok": true}, d)
			if err != nil {
				return nil, err
			}
			data, err := s.StatementBundle(st, o)
			if err != nil {
				return nil, err
			}
			return ParseBundle(data)
		}},
		{"bundle attestation, old entry", false, false, func(s *sigstoretest.Sigstore, d digest.Digest, o sigstoretest.Signing) (*Envelope, error) {
			st, err := sigstoretest.Statement(predicateTest, map[string]any{"ok": true}, d)
			if err != nil {
				return nil, err
			}
			o.OldEntry = true
			data, err := s.StatementBundle(st, o)
			if err != nil {
				return nil, err
			}
			return ParseBundle(data)
		}},
		{"simple signing layer", true, true, func(s *sigstoretest.Sigstore, d digest.Digest, o sigstoretest.Signing) (*Envelope, error) {
			l, err := s.SignLayer(d, "registry.example/app", o)
			if err != nil {
				return nil, err
			}
			return ParseSimpleSigning(l.Data, l.Annotations)
		}},
		{"attestation layer", false, true, func(s *sigstoretest.Sigstore, d digest.Digest, o sigstoretest.Signing) (*Envelope, error) {
			return statementLayer(s, d, o)
		}},
		{"attestation layer, old entry", false, true, func(s *sigstoretest.Sigstore, d digest.Digest, o sigstoretest.Signing) (*Envelope, error) {
			o.OldEntry = true
			return statementLayer(s, d, o)
		}},
	}
}

func statementLayer(s *sigstoretest.Sigstore, d digest.Digest, o sigstoretest.Signing) (*Envelope, error) {
	st, err := sigstoretest.Statement(predicateTest, map[string]any{"ok": true}, d)
	if err != nil {
		return nil, err
	}
	l, err := s.StatementLayer(st, o)
	if err != nil {
		return nil, err
	}
	return ParseDSSE(l.Data, l.Annotations)
}

// reason is why it failed, or "" if it did not.
func reason(t *testing.T, err error) Reason {
	t.Helper()
	if err == nil {
		return ""
	}
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("%T is no failure: %v", err, err)
	}
	return f.Reason
}

// TestMatrix: each form, signed and judged in each way, with certificates and with
// keys.
func TestMatrix(t *testing.T) {
	s, pinned := newSigstore(t)
	_, other := newSigstore(t)
	key, another := signing.InsecureKey("a"), signing.InsecureKey("b")
	byKey, wantKey := sigstoretest.Signing{Key: key}, Want{Key: key.Public()}
	later := sigstoretest.Moment.Add(sigstoretest.CertificateLife + time.Second)
	with := func(o sigstoretest.Signing, f func(*sigstoretest.Signing)) sigstoretest.Signing { f(&o); return o }
	for _, f := range forms() {
		for _, c := range []struct {
			name    string
			by      sigstoretest.Signing
			subject digest.Digest
			m       Material
			want    Want
			reason  Reason // "" passes
		}{
			{"good", byID, image, pinned, wantID, ""},
			{"good by expression", byID, image, pinned, Want{IdentityRegexp: "^https://example.com/team/", IssuerRegexp: "example.com$"}, ""},
			{"wrong identity", byID, image, pinned, Want{Identity: identity + "x", Issuer: issuer}, WrongIdentity},
			{"wrong issuer", byID, image, pinned, Want{Identity: identity, Issuer: issuer + "x"}, WrongIdentity},
			{"wrong by expression", byID, image, pinned, Want{IdentityRegexp: "^https://example.org/", Issuer: issuer}, WrongIdentity},
			{"wrong subject", byID, elsewhere, pinned, wantID, WrongSubject},
			{"another root", byID, image, other, wantID, Untrusted},
			{"several roots", byID, image, Material{Roots: append(other.Roots[:1:1], pinned.Roots...)}, wantID, ""},
			{"no root", byID, image, Material{}, wantID, NotPinned},
			{"a key is wanted", byID, image, pinned, wantKey, WrongKey},
			{"no log entry", with(byID, func(o *sigstoretest.Signing) { o.NoLog = true }), image, pinned, wantID, NoLogEntry},
			{"no log entry, none needed", with(byID, func(o *sigstoretest.Signing) { o.NoLog = true }), image, pinned, Want{Identity: identity, Issuer: issuer, NoLog: true}, ""},
			{"no log entry, no timestamp", with(byID, func(o *sigstoretest.Signing) { o.NoLog, o.NoTimestamp = true, true }), image, pinned, Want{Identity: identity, Issuer: issuer, NoLog: true}, NoTimestamp},
			{"no timestamp but the log's", with(byID, func(o *sigstoretest.Signing) { o.NoTimestamp = true }), image, pinned, wantID, ""},
			{"logged after expiry", with(byID, func(o *sigstoretest.Signing) { o.LoggedAt = later }), image, pinned, wantID, Expired},
			{"stamped after expiry", with(byID, func(o *sigstoretest.Signing) { o.StampedAt = later }), image, pinned, wantID, Expired},
			{"no SCT", with(byID, func(o *sigstoretest.Signing) { o.NoSCT = true }), image, pinned, wantID, Untrusted},
			{"no SCT, none needed", with(byID, func(o *sigstoretest.Signing) { o.NoSCT = true }), image, pinned, Want{Identity: identity, Issuer: issuer, InsecureNoSCT: true}, ""},

			{"key", byKey, image, pinned, wantKey, ""},
			{"key without root", byKey, image, Material{}, wantKey, ""},
			{"key, log demanded without root", byKey, image, Material{}, Want{Key: key.Public(), RequireLog: true}, NotPinned},
			{"wrong key", byKey, image, pinned, Want{Key: another.Public()}, WrongKey},
			{"wrong key without root", byKey, image, Material{}, Want{Key: another.Public()}, WrongKey},
			{"key, wrong subject", byKey, elsewhere, pinned, wantKey, WrongSubject},
			{"key, an identity is wanted", byKey, image, pinned, wantID, WrongIdentity},
			{"key, another log", byKey, image, other, wantKey, Untrusted},
			{"key, another log, none needed", byKey, image, other, Want{Key: key.Public(), NoLog: true}, ""},
			{"key not logged", with(byKey, func(o *sigstoretest.Signing) { o.NoLog = true }), image, pinned, wantKey, NoLogEntry},
			{"key not logged, none needed", with(byKey, func(o *sigstoretest.Signing) { o.NoLog = true }), image, pinned, Want{Key: key.Public(), NoLog: true}, ""},
		} {
			t.Run(f.name+"/"+c.name, func(t *testing.T) {
				e, err := f.make(s, image, c.by)
				if err != nil {
					t.Fatal(err)
				}
				signed, err := e.Verify(c.subject, c.m, c.want)
				if got := reason(t, err); got != c.reason {
					t.Fatalf("%q, want %q: %v", got, c.reason, err)
				}
				if err == nil {
					checkSigned(t, signed, f, c.by)
				}
			})
		}
	}
}

// checkSigned says whether what is reported is what was signed.
func checkSigned(t *testing.T, s *Signed, f form, by sigstoretest.Signing) {
	t.Helper()
	if s.IsSignature != f.signature {
		t.Errorf("IsSignature is %v", s.IsSignature)
	}
	if !f.signature && (s.PredicateType != predicateTest || string(s.Predicate) != `{"ok":true}`) {
		t.Errorf("it says %q, %s", s.PredicateType, s.Predicate)
	}
	if s.Signer.Identity != by.Identity || s.Signer.Issuer != by.Issuer || (s.Signer.KeyFingerprint == "") == (by.Key != nil) {
		t.Errorf("signed by %+v", s.Signer)
	}
	if by.Key == nil && !s.Time.Equal(sigstoretest.Moment) {
		t.Errorf("signed at %s by the %s", s.Time, s.TimeSource)
	}
	if f.name == "simple signing layer" && (s.Reference != "registry.example/app" || s.Annotations["env"] != "test") {
		t.Errorf("it says %q, %v", s.Reference, s.Annotations)
	}
}

// TestStampsAlone: under a root without any log, as GitHub's own for private
// repositories is, a timestamp says when a certificate was used; under one with a log
// it does if it is asked to, and a root's log cannot be wished away.
func TestStampsAlone(t *testing.T) {
	s, pinned := newSigstore(t)
	full := pinned.Roots[0]
	rootOf := func(logs, cts, stamps bool) Material {
		var l, c map[string]*root.TransparencyLog
		var tsa []root.TimestampingAuthority
		if logs {
			l = full.RekorLogs()
		}
		if cts {
			c = full.CTLogs()
		}
		if stamps {
			tsa = full.TimestampingAuthorities()
		}
		r := must[*root.TrustedRoot](t)(root.NewTrustedRoot(root.TrustedRootMediaType01, full.FulcioCertificateAuthorities(), c, tsa, l))
		data := must[[]byte](t)(r.MarshalJSON()) // as it is pinned
		return Material{Roots: []*root.TrustedRoot{must[*root.TrustedRoot](t)(root.NewTrustedRootFromJSON(data))}}
	}
	private, _ := newSigstore(t)
	privateRoot := must[*root.TrustedRoot](t)(private.Root())
	stamped := sigstoretest.Signing{Identity: identity, Issuer: issuer, NoLog: true, NoSCT: true}
	with := func(f func(*sigstoretest.Signing)) sigstoretest.Signing { o := stamped; f(&o); return o }
	want := func(f func(*Want)) Want { w := wantID; f(&w); return w }
	late := with(func(o *sigstoretest.Signing) {
		o.StampedAt = sigstoretest.Moment.Add(sigstoretest.CertificateLife + time.Second)
	})
	for _, f := range forms() {
		for name, c := range map[string]struct {
			by     sigstoretest.Signing
			m      Material
			want   Want
			reason Reason
		}{
			"no log, no certificate log":    {stamped, rootOf(false, false, true), wantID, ""},
			"beside another root":           {stamped, Material{Roots: append([]*root.TrustedRoot{privateRoot}, rootOf(false, false, true).Roots...)}, wantID, ""},
			"another identity":              {stamped, rootOf(false, false, true), want(func(w *Want) { w.Identity += "x" }), WrongIdentity},
			"another root":                  {stamped, Material{Roots: []*root.TrustedRoot{privateRoot}}, wantID, NoLogEntry},
			"stamped after expiry":          {late, rootOf(false, false, true), wantID, Expired},
			"not stamped":                   {with(func(o *sigstoretest.Signing) { o.NoTimestamp = true }), rootOf(false, false, true), wantID, NoTimestamp},
			"logged there, not stamped":     {with(func(o *sigstoretest.Signing) { o.NoTimestamp, o.NoLog = true, false }), rootOf(false, false, true), wantID, NoTimestamp},
			"a log entry is demanded":       {stamped, rootOf(false, false, true), want(func(w *Want) { w.RequireLog = true }), NoLogEntry},
			"a log of an address is wanted": {stamped, rootOf(false, false, true), want(func(w *Want) { w.LogURL = "https://rekor.test" }), NoLogEntry},
			"the root has a log":            {stamped, pinned, wantID, NoLogEntry},
			"the log of another address":    {stamped, pinned, want(func(w *Want) { w.LogURL = "https://nowhere.test" }), NoLogEntry},
			"a certificate log alone":       {stamped, rootOf(false, true, true), wantID, NoLogEntry},
			"nothing that tells the time":   {stamped, rootOf(false, false, false), wantID, NoLogEntry},
			"enough, says the policy":       {with(func(o *sigstoretest.Signing) { o.NoSCT = false }), pinned, want(func(w *Want) { w.NoLog = true }), ""},
			"enough, but no SCT":            {stamped, pinned, want(func(w *Want) { w.NoLog = true }), Untrusted},
			"enough, but late":              {late, pinned, want(func(w *Want) { w.NoLog = true }), Expired},
		} {
			e, err := f.make(s, image, c.by)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := e.Verify(image, c.m, c.want)
			if got := reason(t, err); got != c.reason {
				t.Errorf("%s, %s: %q, want %q: %v", f.name, name, got, c.reason, err)
			}
			if err == nil && (signed.TimeSource != TimeStamped || !signed.Time.Equal(sigstoretest.Moment)) {
				t.Errorf("%s, %s: %+v", f.name, name, signed)
			}
		}
	}
}
