package bundle_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

func newReceipt(t testing.TB, blobs ...digest.Digest) *bundle.Receipt {
	t.Helper()
	r, err := bundle.NewReceipt("airgap/ledger/0123", exportTime, "a checkpoint", blobs)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func seal(t testing.TB, r *bundle.Receipt, key crypto.Signer) []byte {
	t.Helper()
	data, err := r.Seal(key)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestReceipt(t *testing.T) {
	one, two := digest.FromString("one"), digest.SHA512.FromString("two")
	for what, key := range map[string]crypto.Signer{
		"unsigned": nil, "ECDSA": signing.InsecureKey("holder"), "Ed25519": ed25519.NewKeyFromSeed(make([]byte, 32)),
	} {
		data := seal(t, newReceipt(t, two, one, one), key)
		got, err := bundle.OpenReceipt(data, nil)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got.Holder != "airgap/ledger/0123" || !got.Time.Equal(exportTime) || got.Checkpoint != "a checkpoint" || got.Len() != 2 {
			t.Errorf("%s: %+v", what, got)
		}
		if !got.Holds(one) || !got.Holds(two) || got.Holds(digest.FromString("two")) || got.Holds(digest.SHA512.FromString("one")) || got.Holds("") {
			t.Errorf("%s: it lists what it should not, or not what it should", what)
		}
		if got.Standing != bundle.BaseClaimed {
			t.Errorf("%s: without keys it is %s", what, got.Standing)
		}
		if again := seal(t, got, key); !bytes.Equal(again, data) {
			t.Errorf("%s: read and written it differs", what)
		}
		if key == nil {
			continue
		}
		got, err = bundle.OpenReceipt(data, pinnedKeys(signing.InsecureKey("other"), key))
		if err != nil || got.Standing != bundle.BaseStated || got.Key != "b" {
			t.Errorf("%s: with its key pinned %+v, %v", what, got, err)
		}
	}
}

// A receipt counts as its holder's only if a pinned key signed it, as it is.
func TestReceiptSignatures(t *testing.T) {
	key := signing.InsecureKey("holder")
	r := newReceipt(t, digest.FromString("one"))
	other := newReceipt(t, digest.FromString("two"))
	signed, foreign := seal(t, r, key), seal(t, other, key)
	payload := func(data []byte) string {
		_, rest, _ := strings.Cut(string(data), `"payload":"`)
		text, _, _ := strings.Cut(rest, `"`)
		return text
	}
	for name, data := range map[string][]byte{
		"unsigned":                 seal(t, r, nil),
		"by another key":           seal(t, r, signing.InsecureKey("other")),
		"with another's signature": bytes.Replace(signed, []byte(payload(signed)), []byte(payload(foreign)), 1),
		"of another type":          bytes.Replace(signed, []byte("receipt.v1"), []byte("receipt.v2"), 1),
	} {
		if _, err := bundle.OpenReceipt(data, pinnedKeys(key)); !errors.Is(err, bundle.ErrReceipt) {
			t.Errorf("%s: %v, want ErrReceipt", name, err)
		}
	}
	for i := range signed {
		bad := bytes.Clone(signed)
		bad[i] ^= 1
		if _, err := bundle.OpenReceipt(bad, pinnedKeys(key)); !errors.Is(err, bundle.ErrReceipt) {
			t.Errorf("byte %d (%q) changed: %v, want ErrReceipt", i, signed[i], err)
		}
	}
}

// statement seals what need not be one.
func statement(t testing.TB, text string) []byte {
	t.Helper()
	data, err := signing.SealEnvelope(bundle.ReceiptType, []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestHostileReceipts(t *testing.T) {
	hash := func(n byte, size int) []byte { return bytes.Repeat([]byte{n}, size) }
	blobs := func(hashes ...[]byte) string {
		return fmt.Sprintf(`{"version":1,"time":"2026-05-04T03:02:01Z","blobs":{"sha256":%q}}`, base64.StdEncoding.EncodeToString(bytes.Join(hashes, nil)))
	}
	good := blobs(hash(1, 32), hash(2, 32))
	if _, err := bundle.OpenReceipt(statement(t, good), nil); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for name, data := range map[string][]byte{
		"nothing":          {},
		"no envelope":      []byte(good),
		"twice":            statement(t, blobs(hash(1, 32), hash(1, 32))),
		"unsorted":         statement(t, blobs(hash(2, 32), hash(1, 32))),
		"half a hash":      statement(t, blobs(hash(1, 32), hash(2, 16))),
		"sha512 unsorted":  statement(t, strings.Replace(blobs(hash(2, 64), hash(1, 64)), "sha256", "sha512", 1)),
		"half a sha512":    statement(t, strings.Replace(blobs(hash(1, 32)), "sha256", "sha512", 1)),
		"no base64":        statement(t, strings.Replace(good, "AQEB", "A%EB", 1)),
		"URL base64":       statement(t, strings.Replace(blobs(hash(0xfb, 32)), "+", "-", -1)),
		"lines of base64":  statement(t, strings.Replace(good, "AQEB", `AQEB\n`, 1)),
		"loose base64":     statement(t, strings.Replace(good, `="`, "\"", 1)),
		"no algorithm":     statement(t, strings.Replace(good, "sha256", "sha384", 1)),
		"another version":  statement(t, strings.Replace(good, `"version":1`, `"version":2`, 1)),
		"no time":          statement(t, strings.Replace(good, `"time":"2026-05-04T03:02:01Z",`, "", 1)),
		"a local time":     statement(t, strings.Replace(good, "01Z", "01+02:00", 1)),
		"a fine time":      statement(t, strings.Replace(good, "01Z", "01.5Z", 1)),
		"white space":      statement(t, " "+good),
		"data after it":    statement(t, good+"{}"),
		"a field twice":    statement(t, strings.Replace(good, `"version":1`, `"version":1,"version":1`, 1)),
		"another spelling": statement(t, strings.Replace(good, "version", "Version", 1)),
		"unknown field":    statement(t, strings.Replace(good, `"version"`, `"x":1,"version"`, 1)),
		"an endless name":  statement(t, strings.Replace(good, `"time"`, `"holder":"`+strings.Repeat("x", 5000)+`","time"`, 1)),
		"an endless note":  statement(t, strings.Replace(good, `"blobs"`, `"checkpoint":"`+strings.Repeat("x", 17<<10)+`","blobs"`, 1)),
		"deep":             statement(t, strings.Repeat("[", 100_000)),
		"huge":             bytes.Repeat([]byte(" "), bundle.MaxReceiptBytes+1),
	} {
		if _, err := bundle.OpenReceipt(data, nil); !errors.Is(err, bundle.ErrReceipt) {
			t.Errorf("%s: %v, want ErrReceipt", name, err)
		}
	}
	if _, err := bundle.NewReceipt("x", exportTime, "", []digest.Digest{"sha256:x"}); !errors.Is(err, bundle.ErrReceipt) {
		t.Errorf("an odd digest: %v", err)
	}
}

// What is read as a receipt is what would be written.
func FuzzReceipt(f *testing.F) {
	f.Add(seal(f, newReceipt(f, digest.FromString("one"), digest.SHA512.FromString("two")), nil))
	f.Add(seal(f, newReceipt(f), nil))
	f.Add([]byte(`{"version":1,"time":"2026-05-04T03:02:01Z","blobs":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 0 && data[0] == '{' && !bytes.Contains(data[:min(len(data), 20)], []byte("payload")) {
			data = statement(t, string(data)) // let it get further
		}
		r, err := bundle.OpenReceipt(data, nil)
		if err != nil {
			return
		}
		if again := seal(t, r, nil); !bytes.Equal(again, data) && bytes.Contains(data, []byte(`"signatures":[]`)) {
			t.Errorf("written anew it is %q", again)
		}
	})
}

const manyBlobs = 100_000

func manyDigests(n int) []digest.Digest {
	out := make([]digest.Digest, n)
	for i := range out {
		out[i] = digest.FromString(fmt.Sprint("blob ", i))
	}
	return out
}

// A receipt of 100,000 blobs stays small.
func TestReceiptSize(t *testing.T) {
	if n := len(seal(t, newReceipt(t, manyDigests(manyBlobs)...), signing.InsecureKey("holder"))); n > 10e6 {
		t.Errorf("%d bytes for %d blobs", n, manyBlobs)
	}
}

// Reading a receipt, checking its signature, and looking up as many layers.
func BenchmarkReceipt(b *testing.B) {
	key := signing.InsecureKey("holder")
	all := manyDigests(manyBlobs)
	data := seal(b, newReceipt(b, all...), key)
	keys := pinnedKeys(key)
	for b.Loop() {
		r, err := bundle.OpenReceipt(data, keys)
		if err != nil {
			b.Fatal(err)
		}
		base := r.Base()
		for _, d := range all {
			if !base.Holds(d) {
				b.Fatal(d)
			}
		}
	}
	b.ReportMetric(float64(len(data)), "bytes/receipt")
}

// The whole of a dry run on an image set of 100,000 layers, all of them held.
func BenchmarkReceiptApplied(b *testing.B) {
	content := layouttest.New(repo)
	const perImage = 100
	for i := range manyBlobs / perImage {
		var layers []layout.Descriptor
		for j := range perImage {
			layers = append(layers, layout.Descriptor{MediaType: layerType, Digest: digest.FromString(fmt.Sprint("blob ", i*perImage+j)), Size: 1000})
		}
		content.Tag(fmt.Sprint("v", i), content.Image(fmt.Sprint("image ", i), layers...))
	}
	c := content.Content()
	sel := []bundle.Selection{{Source: memory(b, c), References: c.Roots()}}
	since := []bundle.Base{newReceipt(b, manyDigests(manyBlobs)...).Base()}
	for name, o := range map[string]bundle.ExportOptions{"none": {DryRun: true}, "receipt": {DryRun: true, Since: since}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := bundle.Export(b.Context(), sel, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
