package sigstore

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	_ "github.com/sigstore/rekor/pkg/types/intoto/v0.0.1" // entries of this kind can be read
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// oidSAN is the subject alternative name (RFC 5280, 4.2.1.6).
var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

func isSAN(oid asn1.ObjectIdentifier) bool { return oid.Equal(oidSAN) }

// oldEntry is the body of a log entry of the first kind for attestations, which
// sigstore-go refuses, if there is one. It names the hash of the whole envelope,
// and not the signature.
type oldEntry struct {
	entry *tlog.Entry
	spec  struct {
		Content struct {
			Hash, PayloadHash *struct{ Algorithm, Value string }
		} `json:"content"`
		PublicKey []byte `json:"publicKey"`
	}
}

// oldEntryOf returns the entry of that kind, or nil. One beside others is not
// looked for: cosign's annotations have room for one.
func oldEntryOf(b *sgbundle.Bundle) *oldEntry {
	raw := b.GetVerificationMaterial().GetTlogEntries()
	if len(raw) != 1 || raw[0].GetKindVersion().GetKind() != "intoto" || raw[0].GetKindVersion().GetVersion() != "0.0.1" {
		return nil
	}
	entries, err := b.TlogEntries()
	if err != nil {
		return nil
	}
	old := &oldEntry{entry: entries[0]}
	var body struct {
		Kind       string          `json:"kind"`
		APIVersion string          `json:"apiVersion"`
		Spec       json.RawMessage `json:"spec"`
	}
	if json.Unmarshal(raw[0].GetCanonicalizedBody(), &body) != nil || json.Unmarshal(body.Spec, &old.spec) != nil {
		return nil
	}
	if body.Kind != "intoto" || body.APIVersion != "0.0.1" {
		return nil
	}
	return old
}

// tryOld does for such an entry what the library does for others.
func (c *candidate) tryOld(tm root.TrustedMaterial, a attempt) ([]verify.TimestampVerificationResult, error) {
	old := oldEntryOf(c.bundle)
	if f := c.checkOld(old, tm); f != nil {
		return nil, f
	}
	stamps := []verify.TimestampVerificationResult{{Type: stampLog, Timestamp: old.entry.IntegratedTime()}}
	times := []time.Time{old.entry.IntegratedTime()}
	more, _, err := verify.VerifySignedTimestamp(c.bundle, tm)
	if err != nil {
		return nil, &Failure{Reason: NoTimestamp, Err: err}
	}
	for _, s := range more {
		stamps = append(stamps, verify.TimestampVerificationResult{Type: stampTSA, URI: s.URI, Timestamp: s.Time})
		times = append(times, s.Time)
	}
	if c.leaf != nil {
		if _, f := c.checkLeaf(tm, times, a.sct); f != nil {
			return nil, f
		}
	}
	sig, err := c.bundle.SignatureContent()
	if err != nil {
		return nil, &Failure{Reason: Malformed, Err: err}
	}
	content, err := c.bundle.VerificationContent()
	if err != nil {
		return nil, &Failure{Reason: Malformed, Err: err}
	}
	digests := []verify.ArtifactDigest{{Algorithm: c.subject.Algorithm().String(), Digest: c.sum}}
	if err := verify.VerifySignatureWithArtifactDigests(sig, content, tm, digests); err != nil {
		return nil, &Failure{Reason: BadSignature, Err: err}
	}
	// Who signed was compared before anything else, for certificates; a key is
	// the one wanted or the signature does not verify.
	return stamps, nil
}

// checkOld says whether the log promised the entry, and for this envelope, signed
// with this key.
func (c *candidate) checkOld(old *oldEntry, tm root.TrustedMaterial) *Failure {
	if !knownLog(old.entry, tm) {
		return failf(Untrusted, "the log it has an entry of is not pinned")
	}
	if err := tlog.VerifySET(old.entry, tm.RekorLogs()); err != nil {
		return &Failure{Reason: NoLogEntry, Err: err}
	}
	if err := included(old.entry, tm); err != nil {
		return &Failure{Reason: NoLogEntry, Err: err}
	}
	// What costs little first: the envelope is looked for only if the log says that
	// this very key signed this very payload.
	content, env := old.spec.Content, c.bundle.GetDsseEnvelope()
	if h := content.PayloadHash; h != nil && !hashes(h.Algorithm, h.Value, env.GetPayload()) {
		return failf(NoLogEntry, "the log entry is for another payload")
	}
	if err := c.sameKey(old.spec.PublicKey); err != nil {
		return &Failure{Reason: NoLogEntry, Err: err}
	}
	switch {
	case content.Hash == nil:
		return failf(NoLogEntry, "the log entry is for no envelope")
	case c.logged != nil:
		if !hashes(content.Hash.Algorithm, content.Hash.Value, c.logged) {
			return failf(NoLogEntry, "the log entry is for another envelope")
		}
	case !strings.EqualFold(content.Hash.Algorithm, "sha256") || !slices.Contains(writings(env), content.Hash.Value):
		return failf(Unsupported, "a log entry of kind intoto/0.0.1 in a bundle, for another envelope or for this one written in a way that is not known")
	}
	return nil
}

// included says whether the entry is in the log, if it comes with a proof.
func included(entry *tlog.Entry, tm root.TrustedMaterial) error {
	if !entry.HasInclusionProof() {
		return nil
	}
	l := tm.RekorLogs()[hex.EncodeToString([]byte(entry.LogKeyID()))]
	v, err := signature.LoadVerifier(l.PublicKey, l.SignatureHashFunc)
	if err != nil {
		return err
	}
	return tlog.VerifyInclusion(entry, v)
}

// writings are the SHA-256 of an envelope in each of the ways in which signers write
// the JSON that they then send to the log: the order of fields, the key's name written
// when it has none or not, a line end or none. A bundle has the envelope's content, and
// not how it was written.
func writings(env *protodsse.Envelope) []string {
	if len(env.GetSignatures()) != 1 {
		return nil
	}
	text := func(s string) string {
		out, err := json.Marshal(s)
		if err != nil {
			return `""` // a string can always be written
		}
		return string(out)
	}
	payload := `"payload":"` + base64.StdEncoding.EncodeToString(env.GetPayload()) + `"`
	typ := `"payloadType":` + text(env.GetPayloadType())
	one := env.GetSignatures()[0]
	keyid, sig := `"keyid":`+text(one.GetKeyid()), `"sig":"`+base64.StdEncoding.EncodeToString(one.GetSig())+`"`
	signatures := []string{keyid + "," + sig, sig + "," + keyid}
	if one.GetKeyid() == "" {
		signatures = append(signatures, sig)
	}
	var out []string
	for _, head := range []string{typ + "," + payload, payload + "," + typ} {
		for _, s := range signatures {
			h := sha256.New()
			io.WriteString(h, "{"+head+`,"signatures":[{`+s+"}]}")
			out = append(out, hex.EncodeToString(h.Sum(nil)))
			io.WriteString(h, "\n")
			out = append(out, hex.EncodeToString(h.Sum(nil)))
		}
	}
	return out
}

func hashes(algorithm, value string, data []byte) bool {
	sum := sha256.Sum256(data)
	return strings.EqualFold(algorithm, "sha256") && value == hex.EncodeToString(sum[:])
}

// sameKey says whether the entry names the certificate, or the key that is wanted.
func (c *candidate) sameKey(logged []byte) error {
	block, _ := pem.Decode(logged)
	if block == nil {
		return fmt.Errorf("the log entry names no key")
	}
	if c.leaf != nil {
		if !bytes.Equal(block.Bytes, c.leaf.Raw) {
			return fmt.Errorf("the log entry is for another certificate")
		}
		return nil
	}
	got, err := fingerprintDER(block.Bytes)
	if err != nil {
		return fmt.Errorf("the log entry's key: %w", err)
	}
	if want, err := fingerprint(c.want.Key); err != nil || got != want {
		return fmt.Errorf("the log entry is for another key")
	}
	return nil
}

// key is the fingerprint of the key that the entry names, or "".
func (o *oldEntry) key() string {
	block, _ := pem.Decode(o.spec.PublicKey)
	if block == nil {
		return ""
	}
	fp, err := fingerprintDER(block.Bytes)
	if err != nil {
		return ""
	}
	return fp
}

func fingerprintDER(der []byte) (string, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return "", err
	}
	return fingerprint(key)
}
