package sigstore

import (
	"encoding/json"
	"testing"

	"airgap/verify/signing"
	"airgap/verify/sigstore/sigstoretest"
)

// judged is what may come of anything at all: an answer, and none that is yes for
// a subject that nobody signed.
func judged(t *testing.T, pinned Material, e *Envelope, err error) {
	t.Helper()
	if (e == nil) == (err == nil) {
		t.Fatalf("%v, %v", e, err)
	}
	reason(t, err)
	if e == nil {
		return
	}
	e.Claimed()
	for _, w := range []Want{wantID, {Key: signing.InsecureKey("a").Public()}} {
		if s, err := e.Verify(elsewhere, pinned, w); err == nil {
			t.Fatalf("nobody signed it: %+v", s)
		} else if reason(t, err) == "" {
			t.Fatal("no reason")
		}
		_, err := e.Verify(image, pinned, w)
		reason(t, err)
	}
}

var seeds = []sigstoretest.Signing{
	byID, {Key: signing.InsecureKey("a")}, {Identity: identity, Issuer: issuer, LogV2: true}, {Identity: identity, Issuer: issuer, NoLog: true},
}

func FuzzBundle(f *testing.F) {
	s, pinned := newSigstore(f)
	for _, by := range seeds {
		f.Add(must[[]byte](f)(s.SignBundle(image, by)))
		f.Add(must[[]byte](f)(s.MessageBundle([]byte("image"), by)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseBundle(data)
		judged(t, pinned, e, err)
	})
}

// annotationsOf reads annotations as fuzzing can change them.
func annotationsOf(text string) map[string]string {
	var m map[string]string
	if json.Unmarshal([]byte(text), &m) != nil {
		return nil
	}
	return m
}

func FuzzSimpleSigning(f *testing.F) {
	s, pinned := newSigstore(f)
	for _, by := range seeds {
		by.LogV2 = false
		l := must[sigstoretest.Layer](f)(s.SignLayer(image, "registry.example/app", by))
		f.Add(l.Data, string(must[[]byte](f)(json.Marshal(l.Annotations))))
	}
	f.Fuzz(func(t *testing.T, data []byte, annotations string) {
		e, err := ParseSimpleSigning(data, annotationsOf(annotations))
		judged(t, pinned, e, err)
	})
}

func FuzzDSSE(f *testing.F) {
	s, pinned := newSigstore(f)
	for _, by := range seeds {
		by.LogV2 = false
		for _, old := range []bool{false, true} {
			by.OldEntry = old
			l := must[sigstoretest.Layer](f)(s.StatementLayer(statementOf(f, image), by))
			f.Add(l.Data, string(must[[]byte](f)(json.Marshal(l.Annotations))))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, annotations string) {
		e, err := ParseDSSE(data, annotationsOf(annotations))
		judged(t, pinned, e, err)
	})
}
