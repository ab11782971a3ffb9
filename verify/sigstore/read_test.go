package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/verify/signing"
	"airgap/verify/sigstore/sigstoretest"

	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// TestSeveralSubjects: a statement is about each of its subjects, and no other.
func TestSeveralSubjects(t *testing.T) {
	s, pinned := newSigstore(t)
	e := must[*Envelope](t)(ParseBundle(must[[]byte](t)(s.StatementBundle(statementOf(t, elsewhere, image), byID))))
	for d, want := range map[digest.Digest]Reason{image: "", elsewhere: "", digest.FromString("third"): WrongSubject} {
		if _, err := e.Verify(d, pinned, wantID); reason(t, err) != want {
			t.Errorf("%s: %v", d, err)
		}
	}
	// The right bytes under the name of another algorithm are not the digest.
	raw := replaceOnce(t, string(statementOf(t, image)), `"sha256"`, `"sha512"`)
	e = must[*Envelope](t)(ParseBundle(must[[]byte](t)(s.StatementBundle([]byte(raw), byID))))
	if _, err := e.Verify(image, pinned, wantID); reason(t, err) != WrongSubject {
		t.Error(err)
	}
}

// TestSeveralSignatures: any signature of an envelope may be the one.
func TestSeveralSignatures(t *testing.T) {
	s, _ := newSigstore(t)
	a, b := signing.InsecureKey("a"), signing.InsecureKey("b")
	st := statementOf(t, image)
	type envelope struct {
		PayloadType string           `json:"payloadType"`
		Payload     string           `json:"payload"`
		Signatures  []map[string]any `json:"signatures"`
	}
	var both envelope
	for _, by := range []sigstoretest.Signing{{Key: a, NoLog: true}, {Key: b, NoLog: true}} {
		var one envelope
		if err := json.Unmarshal(must[sigstoretest.Layer](t)(s.StatementLayer(st, by)).Data, &one); err != nil {
			t.Fatal(err)
		}
		one.Signatures = append(both.Signatures, one.Signatures...)
		both = one
	}
	e := must[*Envelope](t)(ParseDSSE(must[[]byte](t)(json.Marshal(both)), nil))
	for seed, want := range map[string]Reason{"a": "", "b": "", "c": WrongKey} {
		if _, err := e.Verify(image, Material{}, Want{Key: signing.InsecureKey(seed).Public()}); reason(t, err) != want {
			t.Errorf("key %s: %v", seed, err)
		}
	}
	for n, want := range map[int]Reason{0: Malformed, MaxSignatures: "", MaxSignatures + 1: Malformed} {
		many := both
		many.Signatures = nil
		for range n {
			many.Signatures = append(many.Signatures, both.Signatures[0])
		}
		if _, err := ParseDSSE(must[[]byte](t)(json.Marshal(many)), nil); reason(t, err) != want {
			t.Errorf("%d signatures: %v", n, err)
		}
	}
}

// TestStatements: a signed statement that could be read in two ways is refused,
// whoever signed it.
func TestStatements(t *testing.T) {
	s, pinned := newSigstore(t)
	good := string(statementOf(t, image))
	for name, c := range map[string]struct {
		was, now string
		reason   Reason
	}{
		"as it is":                  {`"ok"`, `"ok"`, ""},
		"version 0.1":               {"Statement/v1", "Statement/v0.1", ""},
		"another version":           {"Statement/v1", "Statement/v2", Unsupported},
		"a new field":               {`{"_type"`, `{"extra":1,"_type"`, ""},
		"capitals in the predicate": {`{"ok":true}`, `{"OS":1,"Digest":2,"Size":3}`, ""},
		"type twice":                {`{"_type"`, `{"_type":"x","_type"`, Malformed},
		"predicate type twice":      {`"predicateType"`, `"predicateType":"x","predicateType"`, Malformed},
		"predicate type, capital":   {`"predicateType"`, `"PredicateType":"x","predicateType"`, Malformed},
		"subject, long s":           {`"subject"`, `"ſubject":[],"subject"`, Malformed},
		"digest, capital":           {`"digest"`, `"Digest":{},"digest"`, Malformed},
		"no type":                   {`"_type"`, `"type"`, Malformed},
		"no predicate type":         {`"predicateType"`, `"other"`, Malformed},
		"no subject":                {`"subject"`, `"other"`, Malformed},
		"key twice in predicate":    {`{"ok":true}`, `{"ok":true,"ok":false}`, Malformed},
		"trailing data":             {`"subject":`, `"subject":[]}{"subject":`, Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			raw := []byte(replaceOnce(t, good, c.was, c.now))
			data := must[[]byte](t)(s.StatementBundle(raw, byID))
			layer := must[sigstoretest.Layer](t)(s.StatementLayer(raw, byID))
			inBundle, err1 := ParseBundle(data)
			inLayer, err2 := ParseDSSE(layer.Data, layer.Annotations)
			if err1 == nil && err2 == nil {
				_, err1 = inBundle.Verify(image, pinned, wantID)
				_, err2 = inLayer.Verify(image, pinned, wantID)
			}
			if reason(t, err1) != c.reason || reason(t, err2) != c.reason {
				t.Errorf("want %q: %v, %v", c.reason, err1, err2)
			}
		})
	}
}

// TestPayloads: the same for payloads of simple signing.
func TestPayloads(t *testing.T) {
	s, pinned := newSigstore(t)
	good := string(must[sigstoretest.Layer](t)(s.SignLayer(image, "registry.example/app", byID)).Data)
	for name, c := range map[string]struct {
		was, now string
		reason   Reason
	}{
		"as it is":       {`"env"`, `"env"`, ""},
		"another type":   {"cosign container image signature", "atomic container signature", Unsupported},
		"no type":        {`"type"`, `"typ"`, Malformed},
		"digest twice":   {`"docker-manifest-digest"`, `"docker-manifest-digest":"` + elsewhere.String() + `","docker-manifest-digest"`, Malformed},
		"digest, other":  {image.String(), elsewhere.String(), WrongSubject},
		"digest, no":     {image.String(), "", WrongSubject},
		"no digest":      {`"docker-manifest-digest"`, `"digest"`, Malformed},
		"image, capital": {`"image"`, `"Image":{},"image"`, Malformed},
		"no image":       {`"image"`, `"images"`, Malformed},
		"no critical":    {`"critical"`, `"optionals"`, Malformed},
		"no text":        {`"test"`, `{"a":1}`, ""},
	} {
		layer := must[sigstoretest.Layer](t)(s.PayloadLayer([]byte(replaceOnce(t, good, c.was, c.now)), byID))
		e, err := ParseSimpleSigning(layer.Data, layer.Annotations)
		if err == nil {
			_, err = e.Verify(image, pinned, wantID)
		}
		if reason(t, err) != c.reason {
			t.Errorf("%s: want %q: %v", name, c.reason, err)
		}
	}
}

// TestChangedBytes: no byte of what is signed can be another.
func TestChangedBytes(t *testing.T) {
	s, pinned := newSigstore(t)
	l := must[sigstoretest.Layer](t)(s.SignLayer(image, "registry.example/app", byID))
	changes := 0
	for i := range l.Data {
		data := append([]byte(nil), l.Data...)
		data[i] ^= 1
		e, err := ParseSimpleSigning(data, l.Annotations)
		if err == nil {
			_, err = e.Verify(image, pinned, wantID)
		}
		if err == nil {
			t.Errorf("byte %d can be %q", i, data[i])
		}
		changes++
	}
	if changes < 100 {
		t.Errorf("only %d changes", changes)
	}
}

// TestTruncated: nothing that ends early is read, or it does not verify.
func TestTruncated(t *testing.T) {
	s, pinned := newSigstore(t)
	bundle := must[[]byte](t)(s.SignBundle(image, byID))
	sig := must[sigstoretest.Layer](t)(s.SignLayer(image, "registry.example/app", byID))
	att := must[sigstoretest.Layer](t)(s.StatementLayer(statementOf(t, image), byID))
	for name, c := range map[string]struct {
		data  []byte
		parse func([]byte) (*Envelope, error)
	}{
		"bundle":  {bundle, ParseBundle},
		"payload": {sig.Data, func(b []byte) (*Envelope, error) { return ParseSimpleSigning(b, sig.Annotations) }},
		"dsse":    {att.Data, func(b []byte) (*Envelope, error) { return ParseDSSE(b, att.Annotations) }},
	} {
		for n := range c.data {
			if _, err := c.parse(c.data[:n]); reason(t, err) != Malformed {
				t.Fatalf("%s of %d bytes: %v", name, n, err)
			}
		}
	}
	for name, text := range sig.Annotations {
		// A certificate does without the line's end.
		for n := 1; n < len(strings.TrimSpace(text)); n += 7 {
			annotations := map[string]string{}
			for k, v := range sig.Annotations {
				annotations[k] = v
			}
			annotations[name] = text[:n]
			e, err := ParseSimpleSigning(sig.Data, annotations)
			if err == nil {
				_, err = e.Verify(image, pinned, wantID)
			}
			if err == nil {
				t.Fatalf("annotation %s of %d bytes verifies", name, n)
			}
		}
	}
}

// TestLimits: what is too large is refused before it is read.
func TestLimits(t *testing.T) {
	huge := make([]byte, MaxEnvelopeBytes+1)
	long := map[string]string{annotationBundle: strings.Repeat(" ", MaxAnnotationBytes+1), annotationSignature: "AA=="}
	s, _ := newSigstore(t)
	l := must[sigstoretest.Layer](t)(s.SignLayer(image, "registry.example/app", byID))
	a := must[sigstoretest.Layer](t)(s.StatementLayer(statementOf(t, image), byID))
	for name, parse := range map[string]func() (*Envelope, error){
		"bundle":                 func() (*Envelope, error) { return ParseBundle(huge) },
		"envelope":               func() (*Envelope, error) { return ParseDSSE(huge, nil) },
		"payload":                func() (*Envelope, error) { return ParseSimpleSigning(huge[:MaxPayloadBytes+1], nil) },
		"annotation":             func() (*Envelope, error) { return ParseSimpleSigning(l.Data, long) },
		"annotation of envelope": func() (*Envelope, error) { return ParseDSSE(a.Data, long) },
	} {
		if _, err := parse(); reason(t, err) != Malformed || !strings.Contains(err.Error(), "at most") {
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

// TestWants: a want that makes no sense is an error, and never lets anything pass.
func TestWants(t *testing.T) {
	s, pinned := newSigstore(t)
	e := must[*Envelope](t)(ParseBundle(must[[]byte](t)(s.SignBundle(image, byID))))
	key := signing.InsecureKey("a").Public()
	for name, w := range map[string]Want{
		"nobody":        {},
		"no issuer":     {Identity: identity},
		"no identity":   {Issuer: issuer},
		"both":          {Key: key, Identity: identity, Issuer: issuer},
		"no expression": {IdentityRegexp: "(", Issuer: issuer},
		"log or not":    {Key: key, NoLog: true, RequireLog: true},
		"no key":        {Key: "key"},
	} {
		if err := w.Check(); err == nil {
			t.Errorf("%s: Check lets it pass", name)
		}
		_, err := e.Verify(image, pinned, w)
		if f := new(Failure); !asFailure(err, &f) || !f.Undecided() {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := wantID.Check(); err != nil {
		t.Error(err)
	}
}

// TestPayloadTypes: a DSSE envelope of something else is not judged.
func TestPayloadTypes(t *testing.T) {
	key := signing.InsecureKey("a")
	e := must[*Envelope](t)(ParseDSSE([]byte(`{"payloadType":"text/plain","payload":"aGk=","signatures":[{"sig":"AAAA"}]}`), nil))
	if _, err := e.Verify(image, Material{}, Want{Key: key.Public()}); reason(t, err) != Unsupported {
		t.Error(err)
	}
	for raw, want := range map[string]Reason{
		`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.9+json"}`:                 Unsupported,
		`{"mediaType":"application/json"}`:                                              Malformed,
		`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`:                 Malformed,
		`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","mediaType":"x"}`: Malformed,
		`{}`:   Malformed,
		`null`: Malformed,
		``:     Malformed,
	} {
		if _, err := ParseBundle([]byte(raw)); reason(t, err) != want {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// TestCostly: a key so large that it would take long is not tried.
func TestCostly(t *testing.T) {
	s, _ := newSigstore(t)
	l := must[sigstoretest.Layer](t)(s.SignLayer(image, "registry.example/app", byID))
	n := new(big.Int).SetBit(big.NewInt(1), 1<<20, 1) // an RSA key of a million bits
	pub := must[[]byte](t)(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: 65537}))
	body := must[[]byte](t)(json.Marshal(map[string]any{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": map[string]any{
		"signature": map[string]any{
			"content":   n.Bytes(),
			"publicKey": map[string]any{"content": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})},
		},
		"data": map[string]any{"hash": map[string]any{"algorithm": "sha256", "value": image.Encoded()}},
	}}))
	text := must[[]byte](t)(json.Marshal(map[string]any{"SignedEntryTimestamp": []byte{1}, "Payload": map[string]any{"body": body, "logID": "aa"}}))
	l.Annotations[annotationBundle] = string(text)
	_, err := ParseSimpleSigning(l.Data, l.Annotations)
	if reason(t, err) != Malformed || !errors.Is(err, layout.ErrLimit) {
		t.Errorf("%.300v", err)
	}
}

// TestMaterialLimits: so much of a kind, and no more.
func TestMaterialLimits(t *testing.T) {
	s, _ := newSigstore(t)
	data := must[[]byte](t)(s.SignBundle(image, byID))
	for name, change := range map[string]func(m *protobundle.VerificationMaterial){
		"log entries": func(m *protobundle.VerificationMaterial) {
			for len(m.TlogEntries) <= MaxLogEntries {
				m.TlogEntries = append(m.TlogEntries, m.TlogEntries[0])
			}
		},
		"log entry": func(m *protobundle.VerificationMaterial) {
			m.TlogEntries[0].CanonicalizedBody = make([]byte, MaxLogEntryBytes+1)
		},
		"timestamps": func(m *protobundle.VerificationMaterial) {
			d := m.TimestampVerificationData
			for len(d.Rfc3161Timestamps) <= MaxTimestamps {
				d.Rfc3161Timestamps = append(d.Rfc3161Timestamps, d.Rfc3161Timestamps[0])
			}
		},
		"timestamp": func(m *protobundle.VerificationMaterial) {
			m.TimestampVerificationData.Rfc3161Timestamps[0].SignedTimestamp = make([]byte, MaxTimestampBytes+1)
		},
		"certificate": func(m *protobundle.VerificationMaterial) {
			m.GetCertificate().RawBytes = make([]byte, MaxCertificateBytes+1)
		},
	} {
		var b protobundle.Bundle
		if err := protojson.Unmarshal(data, &b); err != nil {
			t.Fatal(err)
		}
		change(b.VerificationMaterial)
		_, err := ParseBundle(must[[]byte](t)(protojson.Marshal(&b)))
		if reason(t, err) != Malformed || !errors.Is(err, layout.ErrLimit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// hashed signs a message with a key over a digest of it.
func hashed(t *testing.T, key crypto.Signer, message []byte, opts crypto.SignerOpts) []byte {
	h := opts.HashFunc().New()
	h.Write(message)
	return must[[]byte](t)(key.Sign(rand.Reader, h.Sum(nil), opts))
}

// TestHashes: cosign signs with SHA-256 whatever the key unless told otherwise, others
// with what fits it; both of its older forms count over each, and where one does not
// count, the reason is not that the key is another.
func TestHashes(t *testing.T) {
	s, _ := newSigstore(t)
	l := must[sigstoretest.Layer](t)(s.SignLayer(image, "registry.example/app", byID))
	small := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	ec := func(c elliptic.Curve) crypto.Signer {
		return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(c, rand.Reader))
	}
	for name, c := range map[string]struct {
		key    crypto.Signer
		opts   crypto.SignerOpts
		reason Reason
	}{
		"P-256, SHA-256":   {ec(elliptic.P256()), crypto.SHA256, ""},
		"P-256, SHA-384":   {ec(elliptic.P256()), crypto.SHA384, ""},
		"P-256, SHA-512":   {ec(elliptic.P256()), crypto.SHA512, ""},
		"P-384, SHA-256":   {ec(elliptic.P384()), crypto.SHA256, ""},
		"P-384, SHA-384":   {ec(elliptic.P384()), crypto.SHA384, ""},
		"P-521, SHA-384":   {ec(elliptic.P521()), crypto.SHA384, ""},
		"P-521, SHA-512":   {ec(elliptic.P521()), crypto.SHA512, ""},
		"RSA, SHA-256":     {small, crypto.SHA256, ""},
		"RSA, SHA-384":     {small, crypto.SHA384, ""},
		"RSA, SHA-512":     {small, crypto.SHA512, ""},
		"P-256, SHA-1":     {ec(elliptic.P256()), crypto.SHA1, BadSignature},
		"P-384, SHA-224":   {ec(elliptic.P384()), crypto.SHA224, BadSignature},
		"RSA, SHA-1":       {small, crypto.SHA1, BadSignature},
		"RSA-PSS, SHA-256": {small, &rsa.PSSOptions{Hash: crypto.SHA256}, BadSignature},
	} {
		e := must[*Envelope](t)(ParseSimpleSigning(l.Data, map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(hashed(t, c.key, l.Data, c.opts))}))
		_, err := e.Verify(image, Material{}, Want{Key: c.key.Public()})
		if reason(t, err) != c.reason || err != nil && !strings.Contains(err.Error(), "the key signed it over its SHA-") {
			t.Errorf("%s: %v", name, err)
		}
		// Policies of tools that have no option for it.
		_, err = e.Verify(image, Material{}, Want{Key: c.key.Public(), OnlySHA256: true})
		if plain := c.opts == crypto.SHA256; (err == nil) != plain || err != nil && reason(t, err) != BadSignature {
			t.Errorf("%s, SHA-256 alone: %v", name, err)
		}
		statement := statementOf(t, image)
		env := map[string]any{"payload": statement, "payloadType": "application/vnd.in-toto+json", "signatures": []any{
			map[string]any{"sig": hashed(t, c.key, dsse.PAE("application/vnd.in-toto+json", statement), c.opts)},
		}}
		e = must[*Envelope](t)(ParseDSSE(must[[]byte](t)(json.Marshal(env)), nil))
		if _, err := e.Verify(image, Material{}, Want{Key: c.key.Public()}); reason(t, err) != c.reason {
			t.Errorf("%s, a statement: %v", name, err)
		}
		if _, err := e.Verify(image, Material{}, Want{Key: ec(elliptic.P256()).Public()}); reason(t, err) != WrongKey {
			t.Errorf("%s, another key: %v", name, err)
		}
	}
}

// TestExactPayloads: under policy.json a payload counts only if containers/image reads
// it (its signature/internal/sigstore_payload.go), and else as cosign reads it.
func TestExactPayloads(t *testing.T) {
	key := signing.InsecureKey("release")
	const critical = `"identity":{"docker-reference":"r.example/app"},"image":{"docker-manifest-digest":"DIGEST"},"type":"cosign container image signature"`
	for payload, exact := range map[string]bool{
		`{"critical":{` + critical + `},"optional":null}`:                                                   true,
		`{"critical":{` + critical + `},"optional":{}}`:                                                     true,
		`{"optional":{"creator":"c","timestamp":1700000000,"more":{"a":1}},"critical":{` + critical + `}}`:  true,
		`{"critical":{` + critical + `},"optional":{"timestamp":1.7e9,"creator":null}}`:                     true,
		`{"critical":{` + critical + `,"expires":"2020-01-01"},"optional":null}`:                            false,
		`{"critical":{` + strings.Replace(critical, `app"}`, `app","only":1}`, 1) + `},"optional":null}`:    false,
		`{"critical":{` + strings.Replace(critical, `DIGEST"}`, `DIGEST","x":1}`, 1) + `},"optional":null}`: false,
		`{"critical":{` + critical + `},"optional":null,"more":1}`:                                          false,
		`{"critical":{` + critical + `}}`:                                                                   false,
		`{"critical":{` + critical + `},"optional":"x"}`:                                                    false,
		`{"critical":{` + critical + `},"optional":[]}`:                                                     false,
		`{"critical":{` + critical + `},"optional":{"creator":5}}`:                                          false,
		`{"critical":{` + critical + `},"optional":{"timestamp":"x"}}`:                                      false,
		`{"critical":{` + critical + `},"optional":{"timestamp":1.5}}`:                                      false,
		`{"critical":{` + critical + `},"optional":{"timestamp":1e300}}`:                                    false,
		`{"critical":{` + critical + `},"optional":null,"Optional":{}}`:                                     false,
	} {
		raw := []byte(strings.Replace(payload, "DIGEST", image.String(), 1))
		e := must[*Envelope](t)(ParseSimpleSigning(raw, map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(hashed(t, key, raw, crypto.SHA256))}))
		if _, err := e.Verify(image, Material{}, Want{Key: key.Public()}); err != nil {
			t.Errorf("%s: %v", payload, err)
		}
		_, err := e.Verify(image, Material{}, Want{Key: key.Public(), ExactPayload: true})
		if (err == nil) != exact || err != nil && reason(t, err) != Malformed {
			t.Errorf("%s, exactly: %v", payload, err)
		}
	}
}
