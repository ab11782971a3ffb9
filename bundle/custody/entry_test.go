package custody_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"airgap/bundle/custody"

	"github.com/opencontainers/go-digest"
)

func entries() map[string]custody.Entry {
	return map[string]custody.Entry{
		"least": {At: then, Act: custody.Release},
		"most": {
			At: then, Act: custody.Import, Reference: name, Digest: image.Digest, Bundle: bundled.Digest, Line: &custody.Line{Name: "weekly", Serial: 1}, By: "import desk",
			Key: "sha256:k", Result: "refused", Policy: digest.FromString("policy"), Reason: "no signature\nby <release>", Records: []digest.Digest{digest.FromString("record")},
		},
		"whole index":  {At: then, Act: custody.Import, Digest: image.Digest, Absent: []digest.Digest{}},
		"sparse index": {At: then, Act: custody.Import, Digest: image.Digest, Absent: manyDigests(custody.MaxAbsent), Source: name},
		"promotion":    {At: then, Act: custody.Promote, Digest: image.Digest, To: &custody.Place{Kind: custody.InEnvironment, Name: "prod"}},
		"long":         {At: then, Act: custody.Override, Reason: strings.Repeat("x", 1023) + "é" + strings.Repeat("y", 5000)},
	}
}

// manyDigests are n digests of the longest algorithm, sorted.
func manyDigests(n int) (out []digest.Digest) {
	for i := range n {
		out = append(out, digest.SHA512.FromString(strconv.Itoa(i)))
	}
	slices.Sort(out)
	return out
}

// An entry is one line, whatever is in it, and is read back as what was written.
func TestEntries(t *testing.T) {
	for what, e := range entries() {
		data, err := e.Bytes()
		if err != nil || bytes.ContainsAny(data, "\n\r") {
			t.Fatalf("%s: %s, %v", what, data, err)
		}
		got, err := custody.ParseEntry(data)
		if what == "long" {
			e.Reason = strings.Repeat("x", 1023) + "…"
		}
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	local := custody.Entry{At: then.In(time.FixedZone("x", 3600)).Add(5), Act: custody.Refuse}
	data, err := local.Bytes()
	if err != nil || !bytes.Contains(data, []byte(`"at":"2026-05-04T03:02:01Z"`)) {
		t.Errorf("%s, %v", data, err)
	}
	for what, e := range map[string]custody.Entry{
		"no time": {Act: custody.Import}, "no act": {At: then}, "odd act": {At: then, Act: "approve"}, "odd result": {At: then, Act: custody.Import, Result: "PASSED"},
		"odd digest": {At: then, Act: custody.Import, Digest: "x"}, "odd record": {At: then, Act: custody.Import, Records: []digest.Digest{"sha256:x"}},
		"absent twice": {At: then, Act: custody.Import, Absent: []digest.Digest{image.Digest, image.Digest}}, "absent, empty": {At: then, Act: custody.Import, Absent: []digest.Digest{""}},
		"odd absent": {At: then, Act: custody.Import, Absent: []digest.Digest{"sha256:x"}}, "too many absent": {At: then, Act: custody.Import, Absent: manyDigests(custody.MaxAbsent + 1)},
		"odd line": {At: then, Act: custody.Import, Line: &custody.Line{}}, "too large": {At: then, Act: custody.Import, Reference: strings.Repeat("x", 1<<16)},
	} {
		if data, err := e.Bytes(); !errors.Is(err, custody.ErrRecord) {
			t.Errorf("%s: %s, %v", what, data, err)
		}
	}
}

func brokenEntries() map[string]string {
	const head = `{"at":"2026-05-04T03:02:01Z","act":"import"`
	return map[string]string{
		"empty": ``, "nothing": `null`, "object": `{}`, "unknown field": head + `,"x":1}`, "twice": head + `,"act":"import"}`, "two lines": head + "}\n", "order": `{"act":"import","at":"2026-05-04T03:02:01Z"}`,
		"spelling": strings.Replace(head, "act", "Act", 1) + `}`, "odd act": strings.Replace(head, "import", "imported", 1) + `}`, "zone": strings.Replace(head, "Z", "+01:00", 1) + `}`,
		"odd digest": head + `,"digest":"x"}`, "result": head + `,"result":"ok"}`, "endless": head + `,"by":"` + strings.Repeat("x", 1<<16) + `"}`,
		"long reason": head + `,"reason":"` + strings.Repeat("x", 2000) + `"}`, "absent is null": head + `,"absent":null}`, "odd place": head + `,"to":{"kind":"moon"}}`,
	}
}

func TestParseEntryRefuses(t *testing.T) {
	for what, text := range brokenEntries() {
		if e, err := custody.ParseEntry([]byte(text)); !errors.Is(err, custody.ErrRecord) {
			t.Errorf("%s: %+v, %v", what, e, err)
		}
	}
}

// What somebody typed in another encoding is in the ledger for ever: it has to be
// readable.
func TestEntryOfAnotherEncoding(t *testing.T) {
	e := custody.Entry{At: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC), Act: custody.Override, Reason: "K\xfcrze", By: "J\xfcrgen", Reference: "reg.example/a:\xff"}
	data, err := e.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	got, err := custody.ParseEntry(data)
	if err != nil || got.Reason != "K\uFFFDrze" {
		t.Errorf("%+v, %v", got, err)
	}
}
