package custody_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"airgap/bundle/custody"
	"airgap/verify/policy"
	"airgap/verify/signing"
)

// docs/custody.md names every record and every field, and its policy is one.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../../docs/custody.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for act := range attestations(t) {
		if !strings.Contains(page, "| "+string(act)+" | `"+act.PredicateType()+"` |") {
			t.Errorf("it does not tell of %s", act)
		}
	}
	typ := reflect.TypeFor[custody.Record]()
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if !regexp.MustCompile("(?m)^\\|.*`" + name + "`.*\\|").MatchString(page) {
			t.Errorf("it does not tell of the field %s", name)
		}
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(blocks) != 1 {
		t.Fatalf("%d policies", len(blocks))
	}
	if _, err := policy.Parse("custody.md", []byte(blocks[0][1]), "prod"); err != nil {
		t.Error(err)
	}
}

// A record can be checked by hand, as docs/custody.md says: with JSON, base64 and a
// signature, and nothing of Sigstore's.
func TestCheckedByHand(t *testing.T) {
	p256 := signing.InsecureKey("recorder")
	for act, att := range attestations(t) {
		for what, data := range map[string][]byte{"ECDSA": sealed(t, image, att, p256), "Ed25519": sealed(t, image, att, ed)} {
			var b struct {
				Payload    []byte
				Signatures []struct{ Sig []byte }
			}
			if err := json.Unmarshal(data, &b); err != nil || len(b.Signatures) != 1 {
				t.Fatal(err)
			}
			payload := b.Payload
			if string(payload) != string(statement(t, image, att)) {
				t.Errorf("%s, %s: %s", act, what, payload)
			}
			message := fmt.Appendf(nil, "DSSEv1 40 application/vnd.airgap.statement.v1+json %d %s", len(payload), payload)
			sum, sig := sha256.Sum256(message), b.Signatures[0].Sig
			ok := ecdsa.VerifyASN1(&p256.PublicKey, sum[:], sig)
			if what == "Ed25519" {
				ok = ed25519.Verify(ed.Public().(ed25519.PublicKey), message, sig)
			}
			if !ok {
				t.Errorf("%s, %s: the signature does not fit", act, what)
			}
		}
	}
}
