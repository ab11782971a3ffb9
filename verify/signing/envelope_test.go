package signing

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
)

const testPayload = "application/vnd.example.test+json"

func envelopeKeys() map[string]crypto.Signer {
	return map[string]crypto.Signer{
		"ECDSA P-256": InsecureKey("envelope"),
		"Ed25519":     ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)),
	}
}

func TestEnvelope(t *testing.T) {
	other := InsecureKey("other").Public()
	for name, key := range envelopeKeys() {
		data, err := SealEnvelope(testPayload, []byte("payload"), key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		e, err := OpenEnvelope(data, testPayload)
		if err != nil || string(e.Payload) != "payload" || !e.Signed() {
			t.Fatalf("%s: OpenEnvelope = %+v, %v", name, e, err)
		}
		if !e.SignedBy(key.Public()) || e.SignedBy(other) || e.SignedBy(nil) {
			t.Errorf("%s: signed by its key %v, by another %v, by none %v", name, e.SignedBy(key.Public()), e.SignedBy(other), e.SignedBy(nil))
		}
		e.PayloadType += "x"
		if e.SignedBy(key.Public()) {
			t.Errorf("%s: another payload type passes", name)
		}
	}
}

// An envelope that nobody signed is signed by nobody.
func TestEnvelopeWithoutKey(t *testing.T) {
	data, err := SealEnvelope(testPayload, []byte{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := OpenEnvelope(data, testPayload)
	if err != nil || e.Signed() || e.SignedBy(InsecureKey("envelope").Public()) {
		t.Errorf("OpenEnvelope = %+v, %v; want one without signatures", e, err)
	}
	if _, err := SealEnvelope("", []byte("x"), nil); !errors.Is(err, ErrContent) {
		t.Errorf("no type: %v", err)
	}
}

// No byte of an envelope can change: it is refused, or its signature fails.
func TestEnvelopeEveryByte(t *testing.T) {
	for name, key := range envelopeKeys() {
		data, err := SealEnvelope(testPayload, []byte("payload"), key)
		if err != nil {
			t.Fatal(err)
		}
		for i := range data {
			bad := bytes.Clone(data)
			bad[i] ^= 1
			if e, err := OpenEnvelope(bad, testPayload); err == nil && e.SignedBy(key.Public()) {
				t.Errorf("%s: byte %d (%q) changed, and it passes", name, i, data[i])
			} else if err != nil && !errors.Is(err, ErrEnvelope) {
				t.Errorf("%s: byte %d: %v, want ErrEnvelope", name, i, err)
			}
		}
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	sig := base64.StdEncoding.EncodeToString([]byte("signature"))
	for name, doc := range map[string]string{
		"another type":     fmt.Sprintf(`{"payload":"eA==","payloadType":"text/plain","signatures":[{"sig":%q}]}`, sig),
		"white space":      fmt.Sprintf(`{"payload":"eA==", "payloadType":%q,"signatures":[]}`, testPayload),
		"another order":    fmt.Sprintf(`{"payloadType":%q,"payload":"eA==","signatures":[]}`, testPayload),
		"unknown field":    fmt.Sprintf(`{"payload":"eA==","payloadType":%q,"signatures":[],"x":1}`, testPayload),
		"a field twice":    fmt.Sprintf(`{"payload":"eA==","payload":"eA==","payloadType":%q,"signatures":[]}`, testPayload),
		"data after it":    fmt.Sprintf(`{"payload":"eA==","payloadType":%q,"signatures":[]}{}`, testPayload),
		"null":             fmt.Sprintf(`{"payload":"eA==","payloadType":%q,"signatures":null}`, testPayload),
		"loose base64":     fmt.Sprintf(`{"payload":"eB==","payloadType":%q,"signatures":[]}`, testPayload),
		"URL base64":       fmt.Sprintf(`{"payload":"_w==","payloadType":%q,"signatures":[]}`, testPayload),
		"no base64":        fmt.Sprintf(`{"payload":"%%","payloadType":%q,"signatures":[]}`, testPayload),
		"many signatures":  fmt.Sprintf(`{"payload":"eA==","payloadType":%q,"signatures":[%s]}`, testPayload, string(bytes.TrimSuffix(bytes.Repeat([]byte(`{"sig":"eA=="},`), maxEnvelopeSignatures+1), []byte(",")))),
		"nothing":          ``,
		"another document": `[]`,
	} {
		if _, err := OpenEnvelope([]byte(doc), testPayload); !errors.Is(err, ErrEnvelope) {
			t.Errorf("%s: %v, want ErrEnvelope", name, err)
		}
	}
}

// What opens is what would be written.
func FuzzEnvelope(f *testing.F) {
	for _, key := range envelopeKeys() {
		data, err := SealEnvelope(testPayload, []byte("payload"), key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	key := InsecureKey("fuzz").Public()
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := OpenEnvelope(data, testPayload)
		if err != nil {
			return
		}
		if e.SignedBy(key) {
			t.Error("a signature was forged")
		}
		if e.Signed() {
			return
		}
		if again, err := SealEnvelope(e.PayloadType, e.Payload, nil); err != nil || !bytes.Equal(again, data) {
			t.Errorf("written anew it is %q, %v", again, err)
		}
	})
}
