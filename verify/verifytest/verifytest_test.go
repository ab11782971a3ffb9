package verifytest_test

import (
	"testing"
	"time"

	"airgap/verify"
	"airgap/verify/signing"
	"airgap/verify/verifytest"

	"crypto/x509"
)

// What the virtual authorities make is accepted by the libraries that judge the
// real ones' work; a timestamp says what it was told to.
func TestNotaryWithTimestamp(t *testing.T) {
	root := verifytest.Root(t, "root")
	below := verifytest.Below(t, root, "intermediate", signing.TestOptions{})
	at := time.Now().Add(-90 * time.Minute).Truncate(time.Second)
	signer := verifytest.Issue(t, below, "signer", signing.TestOptions{NotBefore: at.Add(-time.Hour), NotAfter: at.Add(time.Hour)})
	tsa := verifytest.NewTSA(t, verifytest.Root(t, "tsa root"), "tsa", signing.TestOptions{})
	tr := verifytest.Trust(t, verifytest.Pins{CA: map[string]*x509.Certificate{"a": root.Certs[0]}, TSA: map[string]*x509.Certificate{"b": tsa.Root()}})
	j := &verify.Judge{Policy: verifytest.Policy(t, `notary: {stores: ["ca:a", "tsa:b"], identities: ["*"]}`), Trust: tr}
	for _, format := range []signing.NotaryFormat{signing.NotaryJWS, signing.NotaryCOSE} {
		r := verifytest.NewRepository(t)
		r.Attach(verifytest.Notary(t, r.Image("v1"), signer, verifytest.NotaryOptions{Format: format, SigningTime: at, TSA: tsa.At(at)}))
		v := r.Judge(j, "v1").Verdicts[0]
		if v.State != verify.Passed || len(v.Outcome.Evidence) != 1 {
			t.Fatalf("%+v", v.Outcome)
		}
		if e := v.Outcome.Evidence[0]; e.SignedAt == nil || !e.SignedAt.Equal(at) || e.Clock != "timestamp authority" {
			t.Errorf("signed at %v by %q, want %v", e.SignedAt, e.Clock, at)
		}
	}
}
