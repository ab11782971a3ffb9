package sigstore

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"airgap/verify/signing"
	"airgap/verify/sigstore/sigstoretest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func statementOf(t testing.TB, subjects ...digest.Digest) []byte {
	t.Helper()
	return must[[]byte](t)(sigstoretest.Statement(predicateTest, map[string]any{"ok": true}, subjects...))
}

// TestEachImageItsOwn: of N images with N signatures each form, exactly those of
// an image verify for it.
func TestEachImageItsOwn(t *testing.T) {
	s, pinned := newSigstore(t)
	const n = 6
	for _, f := range forms() {
		var images []digest.Digest
		var envelopes []*Envelope
		for i := range n {
			images = append(images, digest.FromString(fmt.Sprint("image ", i)))
			envelopes = append(envelopes, must[*Envelope](t)(f.make(s, images[i], byID)))
		}
		passed := 0
		for i, e := range envelopes {
			for j, d := range images {
				_, err := e.Verify(d, pinned, wantID)
				if (err == nil) != (i == j) {
					t.Errorf("%s: signature %d on image %d: %v", f.name, i, j, err)
				}
				if err == nil {
					passed++
				}
			}
		}
		if passed != n {
			t.Errorf("%s: %d of %d pass, want %d", f.name, passed, n*n, n)
		}
	}
}

// swap makes two layers for one signer and gives the first an annotation of the
// second.
func swap(t *testing.T, make func(d digest.Digest) sigstoretest.Layer, annotation string) sigstoretest.Layer {
	t.Helper()
	a, b := make(image), make(elsewhere)
	if a.Annotations[annotation] == b.Annotations[annotation] {
		t.Fatalf("annotation %s is the same", annotation)
	}
	a.Annotations[annotation] = b.Annotations[annotation]
	return a
}

// TestSwappedParts: what belongs to another image's signature is of no use, even
// by the same signer.
func TestSwappedParts(t *testing.T) {
	s, pinned := newSigstore(t)
	key := signing.InsecureKey("a")
	for _, by := range []struct {
		name string
		sigstoretest.Signing
		Want
	}{
		{"certificate", byID, wantID},
		{"key", sigstoretest.Signing{Key: key}, Want{Key: key.Public()}},
	} {
		simple := func(d digest.Digest) sigstoretest.Layer {
			return must[sigstoretest.Layer](t)(s.SignLayer(d, "registry.example/app", by.Signing))
		}
		attest := func(old bool) func(d digest.Digest) sigstoretest.Layer {
			return func(d digest.Digest) sigstoretest.Layer {
				o := by.Signing
				o.OldEntry = old
				return must[sigstoretest.Layer](t)(s.StatementLayer(statementOf(t, d), o))
			}
		}
		for _, c := range []struct {
			name   string
			layer  sigstoretest.Layer
			parse  func([]byte, map[string]string) (*Envelope, error)
			reason Reason
		}{
			{"log entry", swap(t, simple, annotationBundle), ParseSimpleSigning, NoLogEntry},
			{"log entry of an attestation", swap(t, attest(false), annotationBundle), ParseDSSE, NoLogEntry},
			{"old log entry of an attestation", swap(t, attest(true), annotationBundle), ParseDSSE, NoLogEntry},
			{"signature", swap(t, simple, annotationSignature), ParseSimpleSigning, ""},
		} {
			e := must[*Envelope](t)(c.parse(c.layer.Data, c.layer.Annotations))
			_, err := e.Verify(image, pinned, by.Want)
			if got := reason(t, err); err == nil || c.reason != "" && got != c.reason {
				t.Errorf("%s, %s of another image: %v", by.name, c.name, err)
			}
		}
	}
}

// TestSwappedTimestamp: a timestamp for another signature tells nothing.
func TestSwappedTimestamp(t *testing.T) {
	s, pinned := newSigstore(t)
	by := byID
	by.NoLog = true
	l := swap(t, func(d digest.Digest) sigstoretest.Layer {
		return must[sigstoretest.Layer](t)(s.SignLayer(d, "registry.example/app", by))
	}, annotationTimestamp)
	e := must[*Envelope](t)(ParseSimpleSigning(l.Data, l.Annotations))
	want := wantID
	want.NoLog = true
	if _, err := e.Verify(image, pinned, want); reason(t, err) != NoTimestamp {
		t.Error(err)
	}
}

// TestUnpinnedTimestamp: a timestamp by somebody else's authority does not count,
// and is told from none.
func TestUnpinnedTimestamp(t *testing.T) {
	s, pinned := newSigstore(t)
	other, _ := newSigstore(t)
	by := byID
	by.NoLog = true
	l := must[sigstoretest.Layer](t)(s.SignLayer(image, "registry.example/app", by))
	sig := must[[]byte](t)(base64.StdEncoding.DecodeString(l.Annotations[annotationSignature]))
	stamp := must[[]byte](t)(other.Timestamp(sig, sigstoretest.Moment))
	l.Annotations[annotationTimestamp] = string(must[[]byte](t)(json.Marshal(map[string]any{"SignedRFC3161Timestamp": stamp})))
	e := must[*Envelope](t)(ParseSimpleSigning(l.Data, l.Annotations))
	want := wantID
	want.NoLog = true
	if _, err := e.Verify(image, pinned, want); reason(t, err) != Untrusted {
		t.Error(err)
	}
}

// TestOldEntry: an entry of the first kind must be promised by the log, and for
// this certificate.
func TestOldEntry(t *testing.T) {
	s, pinned := newSigstore(t)
	by := byID
	by.OldEntry = true
	fresh := func() sigstoretest.Layer {
		return must[sigstoretest.Layer](t)(s.StatementLayer(statementOf(t, image), by))
	}
	verify := func(l sigstoretest.Layer) error {
		e := must[*Envelope](t)(ParseDSSE(l.Data, l.Annotations))
		_, err := e.Verify(image, pinned, wantID)
		return err
	}
	if err := verify(fresh()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(sigstoretest.Layer) sigstoretest.Layer{
		"earlier": func(l sigstoretest.Layer) sigstoretest.Layer {
			was := fmt.Sprintf(`"integratedTime":%d`, sigstoretest.Moment.Unix())
			now := fmt.Sprintf(`"integratedTime":%d`, sigstoretest.Moment.Unix()+1)
			l.Annotations[annotationBundle] = replaceOnce(t, l.Annotations[annotationBundle], was, now)
			return l
		},
		"another certificate": func(l sigstoretest.Layer) sigstoretest.Layer {
			l.Annotations[annotationCertificate] = fresh().Annotations[annotationCertificate]
			return l
		},
		"written otherwise": func(l sigstoretest.Layer) sigstoretest.Layer {
			l.Data = append(l.Data, '\n')
			return l
		},
	} {
		if err := verify(change(fresh())); reason(t, err) != NoLogEntry {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOldEntryInBundle: the same entries in a bundle, which has the envelope but not
// how it was written.
func TestOldEntryInBundle(t *testing.T) {
	s, pinned := newSigstore(t)
	_, other := newSigstore(t)
	key := signing.InsecureKey("a")
	for _, by := range []struct {
		sigstoretest.Signing
		Want
	}{{byID, wantID}, {sigstoretest.Signing{Key: key}, Want{Key: key.Public()}}} {
		by.OldEntry = true
		whole := func(d digest.Digest) map[string]any {
			var b map[string]any
			data := must[[]byte](t)(s.StatementBundle(statementOf(t, d), by.Signing))
			if err := json.Unmarshal(data, &b); err != nil {
				t.Fatal(err)
			}
			return b
		}
		entry := func(b map[string]any) map[string]any {
			return b["verificationMaterial"].(map[string]any)["tlogEntries"].([]any)[0].(map[string]any)
		}
		another := whole(elsewhere)
		for name, c := range map[string]struct {
			change func(b map[string]any)
			m      Material
			reason Reason
		}{
			"as it is":        {func(map[string]any) {}, pinned, ""},
			"another log":     {func(map[string]any) {}, other, Untrusted},
			"no promise":      {func(b map[string]any) { delete(entry(b), "inclusionPromise") }, pinned, NoLogEntry},
			"another promise": {func(b map[string]any) { entry(b)["inclusionPromise"] = entry(another)["inclusionPromise"] }, pinned, NoLogEntry},
			"another proof":   {func(b map[string]any) { entry(b)["inclusionProof"] = entry(another)["inclusionProof"] }, pinned, NoLogEntry},
			"another time":    {func(b map[string]any) { entry(b)["integratedTime"] = "1" }, pinned, NoLogEntry},
			"another entry": {func(b map[string]any) {
				b["verificationMaterial"].(map[string]any)["tlogEntries"] = []any{entry(another)}
			}, pinned, NoLogEntry},
			"no entry":         {func(b map[string]any) { delete(b["verificationMaterial"].(map[string]any), "tlogEntries") }, pinned, NoLogEntry},
			"another envelope": {func(b map[string]any) { b["dsseEnvelope"] = another["dsseEnvelope"] }, pinned, WrongSubject},
		} {
			b := whole(image)
			c.change(b)
			data := must[[]byte](t)(json.Marshal(b))
			e, err := ParseBundle(data)
			if err == nil {
				_, err = e.Verify(image, c.m, by.Want)
			}
			got := reason(t, err)
			if malformed := got == Malformed && c.reason == NoLogEntry; got != c.reason && !malformed {
				t.Errorf("%s, %v: %v", name, by.Signing.Key != nil, err)
			}
		}
	}
}

// TestOldEntryBundleContent: what the entry says is compared with the bundle, however
// the envelope was written when it was logged.
func TestOldEntryBundleContent(t *testing.T) {
	s, pinned := newSigstore(t)
	key := signing.InsecureKey("a")
	signer, otherKey := must[[]byte](t)(signing.PublicKeyPEM(key)), must[[]byte](t)(signing.PublicKeyPEM(signing.InsecureKey("b")))
	l := must[sigstoretest.Layer](t)(s.StatementLayer(statementOf(t, image), sigstoretest.Signing{Key: key}))
	var env struct {
		Payload    string
		Signatures []struct{ Sig string }
	}
	if err := json.Unmarshal(l.Data, &env); err != nil {
		t.Fatal(err)
	}
	payload := must[[]byte](t)(base64.StdEncoding.DecodeString(env.Payload))
	sig := env.Signatures[0].Sig
	another := base64.StdEncoding.EncodeToString(must[[]byte](t)(ecdsa.SignASN1(rand.Reader, key, make([]byte, sha256.Size))))
	const typ = `"payloadType":"application/vnd.in-toto+json"`
	for name, c := range map[string]struct {
		logged          string
		payload, signer []byte
		sig             string
		reason          Reason
	}{
		"Go":                  {`{` + typ + `,"payload":"` + env.Payload + `","signatures":[{"keyid":"","sig":"` + sig + `"}]}`, payload, signer, sig, ""},
		"JavaScript":          {`{"payload":"` + env.Payload + `",` + typ + `,"signatures":[{"sig":"` + sig + `","keyid":""}]}`, payload, signer, sig, ""},
		"no name of the key":  {`{"payload":"` + env.Payload + `",` + typ + `,"signatures":[{"sig":"` + sig + `"}]}` + "\n", payload, signer, sig, ""},
		"no payload hash":     {`{"payload":"` + env.Payload + `",` + typ + `,"signatures":[{"sig":"` + sig + `"}]}`, nil, signer, sig, ""},
		"in another way":      {`{ "payload":"` + env.Payload + `",` + typ + `,"signatures":[{"sig":"` + sig + `"}]}`, payload, signer, sig, Unsupported},
		"another payload":     {string(l.Data), []byte("x"), signer, sig, NoLogEntry},
		"another key":         {string(l.Data), payload, otherKey, sig, NoLogEntry},
		"another signature":   {`{` + typ + `,"payload":"` + env.Payload + `","signatures":[{"keyid":"","sig":"` + another + `"}]}`, payload, signer, sig, Unsupported},
		"a signature swapped": {string(l.Data), payload, signer, another, BadSignature},
	} {
		var promised struct {
			SignedEntryTimestamp []byte
			Payload              struct {
				Body           []byte
				IntegratedTime int64
				LogIndex       int64
				LogID          string
			}
		}
		if err := json.Unmarshal([]byte(logOld(t, s, []byte(c.logged), c.payload, c.signer)), &promised); err != nil {
			t.Fatal(err)
		}
		id := must[[]byte](t)(hex.DecodeString(promised.Payload.LogID))
		e := must[*Envelope](t)(ParseBundle(must[[]byte](t)(json.Marshal(map[string]any{
			"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
			"verificationMaterial": map[string]any{"publicKey": map[string]any{}, "tlogEntries": []any{map[string]any{
				"logIndex": fmt.Sprint(promised.Payload.LogIndex), "logId": map[string]any{"keyId": id}, "kindVersion": map[string]any{"kind": "intoto", "version": "0.0.1"},
				"integratedTime": fmt.Sprint(promised.Payload.IntegratedTime), "canonicalizedBody": promised.Payload.Body,
				"inclusionPromise": map[string]any{"signedEntryTimestamp": promised.SignedEntryTimestamp},
			}}},
			"dsseEnvelope": map[string]any{"payload": env.Payload, "payloadType": "application/vnd.in-toto+json", "signatures": []any{map[string]any{"sig": c.sig}}},
		}))))
		_, err := e.Verify(image, pinned, Want{Key: key.Public()})
		if got := reason(t, err); got != c.reason {
			t.Errorf("%s: %v", name, err)
		}
		if f := new(Failure); c.reason == Unsupported && (!asFailure(err, &f) || !f.Undecided()) {
			t.Errorf("%s: %v is a no", name, err)
		}
	}
}

// TestOldEntryContent: each thing an entry of the first kind says is compared, and
// the signature, which it does not have, is checked.
func TestOldEntryContent(t *testing.T) {
	s, pinned := newSigstore(t)
	key := signing.InsecureKey("a")
	otherKey := must[[]byte](t)(signing.PublicKeyPEM(signing.InsecureKey("b")))
	for _, by := range []struct {
		sigstoretest.Signing
		Want
	}{{byID, wantID}, {sigstoretest.Signing{Key: key}, Want{Key: key.Public()}}} {
		l := must[sigstoretest.Layer](t)(s.StatementLayer(statementOf(t, image), by.Signing))
		signer := []byte(l.Annotations[annotationCertificate])
		if by.Signing.Key != nil {
			signer = must[[]byte](t)(signing.PublicKeyPEM(key))
		}
		var env struct {
			Payload    []byte
			Signatures []struct{ Sig string }
		}
		if err := json.Unmarshal(l.Data, &env); err != nil {
			t.Fatal(err)
		}
		// A signature of the same form, over something else.
		forged := []byte(replaceOnce(t, string(l.Data), env.Signatures[0].Sig, base64.StdEncoding.EncodeToString(
			must[[]byte](t)(ecdsa.SignASN1(rand.Reader, key, make([]byte, sha256.Size))))))
		for name, c := range map[string]struct {
			envelope, logged, payload, signer []byte
			reason                            Reason
		}{
			"as it is":          {l.Data, l.Data, env.Payload, signer, ""},
			"no payload":        {l.Data, l.Data, nil, signer, ""},
			"another envelope":  {l.Data, forged, env.Payload, signer, NoLogEntry},
			"another payload":   {l.Data, l.Data, []byte("x"), signer, NoLogEntry},
			"another key":       {l.Data, l.Data, env.Payload, otherKey, NoLogEntry},
			"another signature": {forged, forged, env.Payload, signer, BadSignature},
		} {
			l.Annotations[annotationBundle] = logOld(t, s, c.logged, c.payload, c.signer)
			e := must[*Envelope](t)(ParseDSSE(c.envelope, l.Annotations))
			_, err := e.Verify(image, pinned, by.Want)
			if got := reason(t, err); got != c.reason {
				t.Errorf("%s, %v: %v", name, by.Signing.Key != nil, err)
			}
		}
	}
}

// logOld has an entry of the first kind for an attestation logged; without
// payload, one as they were at first.
func logOld(t *testing.T, s *sigstoretest.Sigstore, envelope, payload, signer []byte) string {
	t.Helper()
	hash := func(b []byte) map[string]any {
		return map[string]any{"algorithm": "sha256", "value": digest.FromBytes(b).Encoded()}
	}
	content := map[string]any{"hash": hash(envelope)}
	if payload != nil {
		content["payloadHash"] = hash(payload)
	}
	body := must[[]byte](t)(json.Marshal(map[string]any{
		"apiVersion": "0.0.1", "kind": "intoto", "spec": map[string]any{"content": content, "publicKey": signer},
	}))
	return must[string](t)(s.LogAnything("intoto", "0.0.1", body, sigstoretest.Moment))
}

func asFailure(err error, f **Failure) bool {
	got, ok := err.(*Failure)
	*f = got
	return ok
}

func replaceOnce(t testing.TB, s, was, now string) string {
	t.Helper()
	if strings.Count(s, was) != 1 {
		t.Fatalf("%q is there %d times in %s", was, strings.Count(s, was), s)
	}
	return strings.Replace(s, was, now, 1)
}

// TestSecondLog: entries of the second version of the log tell no time, so that a
// certificate needs a timestamp and a key does not.
func TestSecondLog(t *testing.T) {
	s, pinned := newSigstore(t)
	key := signing.InsecureKey("a")
	for _, c := range []struct {
		name   string
		by     sigstoretest.Signing
		want   Want
		reason Reason
		source string
	}{
		{"certificate", sigstoretest.Signing{Identity: identity, Issuer: issuer}, wantID, "", TimeStamped},
		{"certificate without timestamp", sigstoretest.Signing{Identity: identity, Issuer: issuer, NoTimestamp: true}, wantID, NoTimestamp, ""},
		{"key", sigstoretest.Signing{Key: key}, Want{Key: key.Public()}, "", TimeStamped},
		{"key without timestamp", sigstoretest.Signing{Key: key, NoTimestamp: true}, Want{Key: key.Public()}, "", ""},
	} {
		c.by.LogV2 = true
		for name, data := range map[string][]byte{
			"statement": must[[]byte](t)(s.StatementBundle(statementOf(t, image), c.by)),
			"message":   must[[]byte](t)(s.MessageBundle([]byte("image"), c.by)),
		} {
			e := must[*Envelope](t)(ParseBundle(data))
			got, err := e.Verify(image, pinned, c.want)
			if reason(t, err) != c.reason || err == nil && got.TimeSource != c.source {
				t.Errorf("%s, %s: %+v, %v", c.name, name, got, err)
			}
		}
	}
}

// TestMessageBundle: a bundle may sign the manifest itself.
func TestMessageBundle(t *testing.T) {
	s, pinned := newSigstore(t)
	e := must[*Envelope](t)(ParseBundle(must[[]byte](t)(s.MessageBundle([]byte("image"), byID))))
	got, err := e.Verify(image, pinned, wantID)
	if err != nil || !got.IsSignature {
		t.Fatal(err)
	}
	if _, err := e.Verify(elsewhere, pinned, wantID); reason(t, err) != WrongSubject {
		t.Error(err)
	}
	if _, err := e.Verify(digest.SHA512.FromString("image"), pinned, wantID); reason(t, err) != Unsupported {
		t.Error(err)
	}
}

// TestEd25519: a signature of nothing at all must not pass for one of an artifact
// of which only the digest is known; but payloads that are there can be judged.
func TestEd25519(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	want := Want{Key: key.Public()}
	sum := sha256.Sum256([]byte("image"))
	e := must[*Envelope](t)(ParseBundle(must[[]byte](t)(json.Marshal(map[string]any{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": ""}},
		"messageSignature": map[string]any{
			"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": sum[:]},
			"signature":     ed25519.Sign(key, nil),
		},
	}))))
	if _, err := e.Verify(image, Material{}, want); reason(t, err) != Unsupported {
		t.Errorf("a signature of nothing: %v", err)
	}
	s, _ := newSigstore(t)
	l := must[sigstoretest.Layer](t)(s.SignLayer(image, "registry.example/app", byID))
	for _, c := range []struct {
		signed []byte
		reason Reason
	}{{l.Data, ""}, {nil, WrongKey}} {
		e := must[*Envelope](t)(ParseSimpleSigning(l.Data, map[string]string{
			annotationSignature: base64.StdEncoding.EncodeToString(ed25519.Sign(key, c.signed)),
		}))
		if _, err := e.Verify(image, Material{}, want); reason(t, err) != c.reason {
			t.Errorf("signature of %q: %v", c.signed, err)
		}
	}
}

// TestClaimed: a failure says whose it claims to be.
func TestClaimed(t *testing.T) {
	s, pinned := newSigstore(t)
	key := signing.InsecureKey("a")
	e := must[*Envelope](t)(ParseBundle(must[[]byte](t)(s.SignBundle(image, byID))))
	_, err := e.Verify(image, pinned, Want{Identity: "somebody@example.com", Issuer: issuer})
	if f := new(Failure); !asFailure(err, &f) || f.Claimed.Identity != identity || f.Claimed.Issuer != issuer {
		t.Errorf("%+v", f)
	}
	want := must[string](t)(fingerprint(key.Public()))
	e = must[*Envelope](t)(ParseBundle(must[[]byte](t)(s.SignBundle(image, sigstoretest.Signing{Key: key}))))
	if got := e.Claimed(); got.KeyFingerprint != want {
		t.Errorf("bundle: %s", got)
	}
	l := must[sigstoretest.Layer](t)(s.SignLayer(image, "registry.example/app", sigstoretest.Signing{Key: key}))
	e = must[*Envelope](t)(ParseSimpleSigning(l.Data, l.Annotations))
	if got := e.Claimed(); got.KeyFingerprint != want {
		t.Errorf("layer: %s", got)
	}
	delete(l.Annotations, annotationBundle)
	e = must[*Envelope](t)(ParseSimpleSigning(l.Data, l.Annotations))
	if got := e.Claimed(); got != (Signer{}) {
		t.Errorf("layer without log entry: %s", got)
	}
}

// TestBadSignature: by who is wanted, it says, but it does not verify.
func TestBadSignature(t *testing.T) {
	s, pinned := newSigstore(t)
	key := signing.InsecureKey("a")
	for name, c := range map[string]struct {
		by   sigstoretest.Signing
		m    Material
		want Want
	}{
		"key":         {sigstoretest.Signing{Key: key, NoLog: true}, Material{}, Want{Key: key.Public()}},
		"certificate": {sigstoretest.Signing{Identity: identity, Issuer: issuer, NoLog: true}, pinned, Want{Identity: identity, Issuer: issuer, NoLog: true}},
	} {
		data := string(must[[]byte](t)(s.SignBundle(image, c.by)))
		payload := base64.StdEncoding.EncodeToString(must[[]byte](t)(sigstoretest.Statement(PredicateCosignSign, map[string]any{}, image)))
		forged := base64.StdEncoding.EncodeToString(must[[]byte](t)(sigstoretest.Statement(PredicateCosignSign, map[string]any{}, elsewhere)))
		e := must[*Envelope](t)(ParseBundle([]byte(replaceOnce(t, data, payload, forged))))
		if _, err := e.Verify(elsewhere, c.m, c.want); reason(t, err) != BadSignature {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSigning: what this project's own package signs is judged alike.
func TestSigning(t *testing.T) {
	key, subject := signing.InsecureKey("a"), ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: image, Size: 5}
	want := Want{Key: key.Public()}
	bundle := must[signing.Artifact](t)(signing.BundleSignature(subject, key))
	sig := must[signing.Artifact](t)(signing.CosignSignature(subject, signing.Claim{Reference: "registry.example/app"}, key))
	att := must[signing.Artifact](t)(signing.CosignAttestation(subject, key, signing.Attestation{PredicateType: signing.PredicateSPDX}))
	layer := func(a signing.Artifact) sigstoretest.Layer {
		var m ocispec.Manifest
		if err := json.Unmarshal(a.Raw, &m); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(a.Blobs, func(b signing.Blob) bool { return b.Desc.Digest == m.Layers[0].Digest })
		return sigstoretest.Layer{Data: a.Blobs[i].Data, Annotations: m.Layers[0].Annotations}
	}
	for name, c := range map[string]struct {
		e         *Envelope
		signature bool
	}{
		"bundle": {must[*Envelope](t)(ParseBundle(layer(bundle).Data)), true},
		"sig":    {must[*Envelope](t)(ParseSimpleSigning(layer(sig).Data, layer(sig).Annotations)), true},
		"att":    {must[*Envelope](t)(ParseDSSE(layer(att).Data, layer(att).Annotations)), false},
	} {
		got, err := c.e.Verify(image, Material{}, want)
		if err != nil || got.IsSignature != c.signature {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if _, err := c.e.Verify(elsewhere, Material{}, want); reason(t, err) != WrongSubject {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTogether: one envelope may be judged many times at once.
func TestTogether(t *testing.T) {
	s, pinned := newSigstore(t)
	for _, f := range forms() {
		e := must[*Envelope](t)(f.make(s, image, byID))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := e.Verify(image, pinned, wantID); err != nil {
					t.Errorf("%s: %v", f.name, err)
				}
			})
		}
		wg.Wait()
	}
}
