package custody_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

var update = flag.Bool("update", false, "rewrite testdata")

var (
	then    = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	later   = then.AddDate(0, 1, 0)
	image   = layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString("image"), Size: 5}
	another = layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString("another"), Size: 7}
	tool    = custody.Tool{Name: "airgap", Version: "test", Digest: digest.FromString("program")}
	name    = "reg.example/team/app:v1"
	bundled = &custody.Place{Kind: custody.InBundle, Digest: digest.FromString("bundle")}
)

// records has one of each act, with every field that it can have.
func records() map[custody.Act]custody.Record {
	base := custody.Record{At: then, Clock: custody.ClockHost, By: "release team", Tool: tool, Reference: name}
	with := func(change func(*custody.Record)) custody.Record {
		r := base
		change(&r)
		return r
	}
	return map[custody.Act]custody.Record{
		custody.Export: with(func(r *custody.Record) {
			r.From, r.To = &custody.Place{Kind: custody.InRegistry, Name: "reg.example/team/app"}, bundled
			r.Line = &custody.Line{Name: "weekly", Serial: 7, Previous: digest.FromString("six")}
			r.Expires, r.Checkpoint = &later, "airgap/ledger/0\n3\nAAAA\n\n— airgap/ledger/0 AAAA\n"
			r.Previous = []digest.Digest{digest.FromString("one"), digest.FromString("two")}
		}),
		custody.Receive: with(func(r *custody.Record) {
			r.From, r.To = bundled, &custody.Place{Kind: custody.InStore}
			r.Media, r.Line = &custody.Media{Label: "WEEKLY 7", Serial: "S/N 0815"}, &custody.Line{Name: "weekly", Serial: 1}
			r.Previous = []digest.Digest{digest.FromString("export")}
		}),
		custody.Promote: with(func(r *custody.Record) {
			r.From, r.To = &custody.Place{Kind: custody.InEnvironment, Name: "stage"}, &custody.Place{Kind: custody.InEnvironment, Name: "prod"}
			r.Policy, r.Result, r.Reason = digest.FromString("policy"), custody.Passed, "<tests> & review"
		}),
		custody.Override: with(func(r *custody.Record) {
			r.Policy, r.Result, r.Reason = digest.FromString("policy"), custody.Refused, "the line is down"
		}),
		custody.Delete: with(func(r *custody.Record) { r.Reason = "withdrawn" }),
	}
}

func verdict() signing.VerificationSummary {
	s := signing.NewVerificationSummary(true)
	s.Verifier, s.TimeVerified, s.ResourceURI = signing.Verifier{ID: "https://corp.example/import"}, then, "oci://"+name
	s.Policy = signing.PolicyResource("policy.yaml", digest.FromString("policy"), "prod", "")
	s.InputAttestations = []signing.Resource{signing.NewResource("oci://reg.example/team/app", digest.FromString("signature"))}
	return s
}

// attestations has what is signed of each act.
func attestations(t testing.TB) map[custody.Act]signing.Attestation {
	t.Helper()
	out := map[custody.Act]signing.Attestation{}
	for act, r := range records() {
		att, err := r.Attestation(act, name)
		if err != nil {
			t.Fatalf("%s: %v", act, err)
		}
		out[act] = att
	}
	att, err := verdict().Attestation(name)
	if err != nil {
		t.Fatal(err)
	}
	out[custody.Import] = att
	if len(out) != 6 {
		t.Fatalf("%d kinds of records", len(out))
	}
	return out
}

func statement(t testing.TB, subject layout.Descriptor, att signing.Attestation) []byte {
	t.Helper()
	data, err := signing.Statement(subject, att)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sealed(t testing.TB, subject layout.Descriptor, att signing.Attestation, key crypto.Signer) []byte {
	t.Helper()
	data, err := signing.SealRecord(subject, att, key)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sealedBefore is a record as earlier versions sealed it: a Sigstore bundle.
func sealedBefore(t testing.TB, subject layout.Descriptor, att signing.Attestation, key crypto.Signer) []byte {
	t.Helper()
	a, err := signing.BundleAttestation(subject, att, key)
	if err != nil {
		t.Fatal(err)
	}
	return a.Blobs[len(a.Blobs)-1].Data
}

func pins(keys ...crypto.Signer) []custody.Key {
	var out []custody.Key
	for i, k := range keys {
		out = append(out, custody.Key{Name: string(rune('a' + i)), Public: k.Public()})
	}
	return out
}

const typeStatement = "application/vnd.in-toto+json"

// A record of each act is what it was, to the byte, signed and as a claim; and it is
// read back as what was written.
func TestGolden(t *testing.T) {
	key := signing.InsecureKey("recorder")
	for act, att := range attestations(t) {
		claim, signed, before := statement(t, image, att), sealed(t, image, att, key), sealedBefore(t, image, att, key)
		golden(t, string(act)+".statement.json", claim)
		golden(t, string(act)+".record.json", signed)
		golden(t, string(act)+".bundle.json", before) // earlier versions' form, which is still read
		for mediaType, data := range map[string][]byte{typeStatement: claim, signing.MediaTypeRecord: signed, signing.MediaTypeBundle: before} {
			f := custody.Read("sha256:m", image.Digest, mediaType, data, pins(signing.InsecureKey("x"), key))
			if f == nil || f.Act != act || !f.At().Equal(then) {
				t.Fatalf("%s as %s: read as %+v", act, mediaType, f)
			}
			want := custody.Claimed
			if mediaType != typeStatement {
				want = custody.Verified
			}
			if f.Standing != want || (f.Key == "b") != (want == custody.Verified) || (f.Reason == "") != (want == custody.Verified) {
				t.Errorf("%s as %s: %+v", act, mediaType, f)
			}
			if act == custody.Import {
				continue
			}
			again, err := f.Record.Attestation(act, name)
			if err != nil || !bytes.Equal(again.Predicate, att.Predicate) {
				t.Errorf("%s: written again: %s, %v", act, again.Predicate, err)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.json"))
	if err != nil || len(files) != 18 {
		t.Errorf("%d golden files", len(files))
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", file)
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, append(got, '\n'), 0o644)); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got)+"\n" {
		t.Errorf("%s differs; if that is meant, run go test ./bundle/custody -update\n%s", file, got)
	}
}

// An auditor's questions have a field each.
func TestFieldsForAuditors(t *testing.T) {
	said := map[string]bool{}
	for act := range records() {
		var doc struct{ Predicate map[string]any }
		if err := json.Unmarshal(statement(t, image, attestations(t)[act]), &doc); err != nil {
			t.Fatal(err)
		}
		for field := range doc.Predicate {
			said[field] = true
		}
	}
	for question, field := range map[string]string{
		"who": "by", "from where": "from", "to where": "to", "when": "at", "by which clock": "clock", "why": "reason", "how": "tool", "as what": "reference",
		"by which policy": "policy", "what that said": "result", "on what": "media", "in which line": "line", "until when": "expires",
		"what is known of the other side": "checkpoint", "after what": "previous",
	} {
		if !said[field] {
			t.Errorf("%s: no record has a field %s", question, field)
		}
		delete(said, field)
	}
	if len(said) > 0 {
		t.Errorf("not asked for: %v", said)
	}
}

// broken are predicates of promotions that are not in the form in which they are
// written, or say what they must not; inSchema are those that a schema can tell.
func broken() (inSchema, beyond map[string]string) {
	const d = `"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"`
	with := func(more string) string {
		return `{"at":"2026-05-04T03:02:01Z","clock":"host","tool":{"name":"airgap"},"to":{"kind":"environment","name":"prod"}` + more + `}`
	}
	at := func(at string) string {
		return `{"at":` + at + `,"clock":"host","tool":{"name":"airgap"},"to":{"kind":"environment","name":"prod"}}`
	}
	many := strings.Builder{}
	for i := range 1001 {
		many.WriteString(`,"` + string(digest.FromString(string(rune('a'+i)))) + `"`)
	}
	inSchema = map[string]string{
		"not an object": `[]`, "a text": `"x"`, "nothing": `null`, "empty": `{}`,
		"unknown field":       with(`,"verified":true`),
		"unknown inner field": `{"at":"2026-05-04T03:02:01Z","clock":"host","tool":{"name":"airgap","x":1},"to":{"kind":"environment","name":"prod"}}`,
		"another spelling":    `{"At":"2026-05-04T03:02:01Z","clock":"host","tool":{"name":"airgap"},"to":{"kind":"environment","name":"prod"}}`,
		"long s":              strings.Replace(with(`,"reason":"x"`), `"reason"`, `"reaſon"`, 1),
		"null field":          with(`,"reason":null`), "empty field": with(`,"reason":""`), "wrong type": with(`,"reason":1`),
		"time with a zone": at(`"2026-05-04T03:02:01+02:00"`), "zone of zero": at(`"2026-05-04T03:02:01+00:00"`), "small z": at(`"2026-05-04T03:02:01z"`),
		"fractions": at(`"2026-05-04T03:02:01.5Z"`), "fractions of zero": at(`"2026-05-04T03:02:01.0Z"`), "before all clocks": at(`"0001-01-01T00:00:00Z"`), "no time": at(`""`), "a number for a time": at(`1777863721`),
		"far future": at(`"10000-01-01T00:00:00Z"`), "13th month": at(`"2026-13-04T03:02:01Z"`),
		"no clock":        strings.Replace(with(""), `"host"`, `""`, 1),
		"no tool":         strings.Replace(with(""), `"airgap"`, `""`, 1),
		"nowhere":         `{"at":"2026-05-04T03:02:01Z","clock":"host","tool":{"name":"airgap"}}`,
		"to no name":      strings.Replace(with(""), `,"name":"prod"`, ``, 1),
		"to a store":      strings.Replace(with(""), `"environment"`, `"store"`, 1),
		"odd place":       with(`,"from":{"kind":"moon"}`),
		"ESC":             with(`,"reason":"\u001b[2J"`),
		"line end":        with(`,"reason":"a\nverified"`),
		"C1":              with(`,"by":"\u009b2J"`),
		"odd digest":      with(`,"policy":"sha256:abc"`),
		"weak digest":     with(`,"policy":"md5:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"`),
		"digest as path":  with(`,"policy":"sha256:../../../../../../../../../../../../../../../../../../../../../x"`),
		"odd result":      with(`,"policy":` + d + `,"result":"PASSED"`),
		"result of none":  with(`,"result":"passed"`),
		"no media":        with(`,"media":{}`),
		"previous twice":  with(`,"previous":[` + d + `,` + d + `]`),
		"previous empty":  with(`,"previous":[]`),
		"empty previous":  with(`,"previous":[""]`),
		"too many before": with(`,"previous":[` + many.String()[1:] + `]`),
		"line of zero":    with(`,"line":{"name":"x","serial":0}`),
		"line below":      with(`,"line":{"name":"x","serial":-1}`),
		"first with one":  with(`,"line":{"name":"x","serial":1,"previous":` + d + `}`),
		"second without":  with(`,"line":{"name":"x","serial":2}`),
		"huge serial":     with(`,"line":{"name":"x","serial":9007199254740992,"previous":` + d + `}`),
		"half a serial":   with(`,"line":{"name":"x","serial":1.5}`),
		"endless text":    with(`,"reason":"` + strings.Repeat("x", 5000) + `"`),
		"endless note":    with(`,"checkpoint":"` + strings.Repeat("x", 20000) + `"`),
	}
	beyond = map[string]string{
		"trailing data": with("") + `{}`, "cut": with("")[:60], "not JSON": `at: x`,
		"twice":           with(`,"to":{"kind":"environment","name":"prod"}`),
		"twice inside":    strings.Replace(with(""), `"name":"prod"`, `"name":"dev","name":"prod"`, 1),
		"another order":   `{"clock":"host","at":"2026-05-04T03:02:01Z","tool":{"name":"airgap"},"to":{"kind":"environment","name":"prod"}}`,
		"escaped letters": strings.Replace(with(""), `prod`, `pr\u006fd`, 1),
		"broken UTF-8":    with(`,"reason":"` + "\xff" + `"`),
		"expired before":  with(`,"expires":"2026-05-04T03:02:00Z"`),
		"serial with e":   with(`,"line":{"name":"x","serial":1e0}`),
		"too large":       with(`,"reason":"` + strings.Repeat("x", custody.MaxRecordBytes) + `"`),
		"24:60":           at(`"2026-05-04T23:59:60Z"`),
		"wide text":       with(`,"reason":"` + strings.Repeat("é", 3000) + `"`),
	}
	return inSchema, beyond
}

func TestParseRefuses(t *testing.T) {
	inSchema, beyond := broken()
	for _, set := range []map[string]string{inSchema, beyond} {
		for what, text := range set {
			if r, err := custody.Parse(custody.Promote, []byte(text)); !errors.Is(err, custody.ErrRecord) || r != nil {
				t.Errorf("%s: %+v, %v", what, r, err)
			}
		}
	}
	good := attestations(t)[custody.Promote].Predicate
	if _, err := custody.Parse(custody.Promote, good); err != nil {
		t.Error(err)
	}
	for _, act := range []custody.Act{custody.Import, custody.Refuse, custody.Quarantine, "", "x"} {
		if _, err := custody.Parse(act, good); !errors.Is(err, custody.ErrRecord) {
			t.Errorf("%q: %v", act, err)
		}
	}
	// White space between tokens is not content; other tools may indent.
	var spaced bytes.Buffer
	if err := json.Indent(&spaced, good, " ", "\t"); err != nil {
		t.Fatal(err)
	}
	if _, err := custody.Parse(custody.Promote, spaced.Bytes()); err != nil {
		t.Error(err)
	}
}

// What would be refused when read is not written.
func TestWriteRefuses(t *testing.T) {
	for what, change := range map[string]func(*custody.Record){
		"no time":       func(r *custody.Record) { r.At = time.Time{} },
		"a zone":        func(r *custody.Record) { r.At = then.In(time.FixedZone("x", 3600)) },
		"nanoseconds":   func(r *custody.Record) { r.At = then.Add(1) },
		"no clock":      func(r *custody.Record) { r.Clock = "" },
		"no tool":       func(r *custody.Record) { r.Tool = custody.Tool{} },
		"a bell":        func(r *custody.Record) { r.By = "\a" },
		"to nowhere":    func(r *custody.Record) { r.To = nil },
		"odd digest":    func(r *custody.Record) { r.Policy = "sha256:x" },
		"half a second": func(r *custody.Record) { e := later.Add(1); r.Expires = &e },
		"before itself": func(r *custody.Record) { e := then.Add(-time.Second); r.Expires = &e },
		"too much":      func(r *custody.Record) { r.Previous = make([]digest.Digest, 1001) },
	} {
		r := records()[custody.Promote]
		change(&r)
		if _, err := r.Artifact(custody.Promote, image, name, nil); !errors.Is(err, custody.ErrRecord) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, act := range []custody.Act{custody.Import, custody.Refuse, custody.Release, "x"} {
		r := records()[custody.Promote]
		if _, err := r.Attestation(act, name); !errors.Is(err, custody.ErrRecord) {
			t.Errorf("%s: %v", act, err)
		}
	}
	for act, change := range map[custody.Act]func(*custody.Record){
		custody.Override: func(r *custody.Record) { r.Reason = "" },
		custody.Delete:   func(r *custody.Record) { r.Reference = "" },
	} {
		r := records()[act]
		change(&r)
		if _, err := r.Attestation(act, name); !errors.Is(err, custody.ErrRecord) {
			t.Errorf("%s: %v", act, err)
		}
	}
}

// ed is a key of the other kind.
var ed = ed25519.NewKeyFromSeed(make([]byte, 32))

func TestEd25519(t *testing.T) {
	att := attestations(t)[custody.Promote]
	f := custody.Read("", image.Digest, signing.MediaTypeRecord, sealed(t, image, att, ed), pins(ed))
	if f == nil || f.Standing != custody.Verified {
		t.Errorf("%+v", f)
	}
}
