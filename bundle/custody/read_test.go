package custody_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify/signing"
	"airgap/verify/verifytest"

	"github.com/opencontainers/go-digest"
)

// Nothing but a record about just this image is one, and nothing but a pinned key
// makes it verified.
func TestReadHostile(t *testing.T) {
	key, forger := signing.InsecureKey("recorder"), signing.InsecureKey("forger")
	att := attestations(t)[custody.Promote]
	claim, signed := statement(t, image, att), sealed(t, image, att, key)
	changed := func(data []byte, from, to string) []byte {
		out := bytes.Replace(data, []byte(from), []byte(to), 1)
		if bytes.Equal(out, data) {
			t.Fatalf("%q is not in it", from)
		}
		return out
	}
	other := func(predicateType, predicate string) []byte {
		return sealed(t, image, signing.Attestation{PredicateType: predicateType, Predicate: json.RawMessage(predicate)}, key)
	}
	none := map[string][2]string{
		"a claim about another image":   {typeStatement, string(statement(t, another, att))},
		"a record about another image":  {signing.MediaTypeRecord, string(sealed(t, another, att, key))},
		"a claim that is a record":      {typeStatement, string(signed)},
		"a record that is a claim":      {signing.MediaTypeRecord, string(claim)},
		"a claim with a field twice":    {typeStatement, string(changed(claim, `"predicateType"`, `"predicateType":"x","predicateType"`))},
		"a claim in another spelling":   {typeStatement, string(changed(claim, `"predicateType"`, `"PredicateType"`))},
		"a claim with an unknown field": {typeStatement, string(changed(claim, `"clock"`, `"verified":true,"clock"`))},
		"a claim with an odd place":     {typeStatement, string(changed(claim, `"environment"`, `"moon"`))},
		"a claim that is cut":           {typeStatement, string(claim[:len(claim)/2])},
		"a claim of another version":    {typeStatement, string(changed(claim, `:v1","predicate"`, `:v2","predicate"`))},
		"a claim of a refusal":          {typeStatement, string(changed(claim, `custody:promote`, `custody:refuse`))},
		"a signature":                   {signing.MediaTypeRecord, string(other(signing.PredicateCosignSign, `{}`))},
		"another statement":             {signing.MediaTypeRecord, string(other(signing.PredicateSPDX, string(att.Predicate)))},
		"a verdict that is a promotion": {signing.MediaTypeRecord, string(other(signing.PredicateVerificationSummary, string(att.Predicate)))},
		"a promotion to nowhere":        {signing.MediaTypeRecord, string(other(custody.Promote.PredicateType(), `{"at":"2026-05-04T03:02:01Z","clock":"host","tool":{"name":"airgap"}}`))},
		"an empty record":               {signing.MediaTypeRecord, "{}"},
		"nothing":                       {typeStatement, ""},
		"an envelope of another type":   {signing.MediaTypeRecord, string(changed(signed, "vnd.airgap.statement.v1", "vnd.in-toto"))},
		"an envelope without signature": {signing.MediaTypeRecord, string(changed(signed, `"signatures":[`, `"signatures":[],"x":[`))},
		"a record in another spelling":  {signing.MediaTypeRecord, string(changed(signed, `"payload"`, `"Payload"`))},
		"a signature of cosign's form":  {signing.MediaTypeRecord, string(sealedBefore(t, image, signing.Attestation{PredicateType: signing.PredicateCosignSign}, key))},
		"a record as a bundle":          {signing.MediaTypeBundle, string(signed)},
		"something endless":             {typeStatement, string(claim[:len(claim)-1]) + strings.Repeat(" ", custody.MaxRecordBytes) + "}"},
	}
	for what, in := range none {
		if f := custody.Read("sha256:m", image.Digest, in[0], []byte(in[1]), pins(key)); f != nil {
			t.Errorf("%s: %+v", what, f)
		}
	}
	for what, c := range map[string]struct {
		mediaType string
		data      []byte
		standing  custody.Standing
	}{
		"a claim":                              {typeStatement, claim, custody.Claimed},
		"a record":                             {signing.MediaTypeRecord, signed, custody.Verified},
		"one of earlier versions":              {signing.MediaTypeBundle, sealedBefore(t, image, att, key), custody.Verified},
		"one of earlier versions, reattached":  {signing.MediaTypeRecord, sealedBefore(t, image, att, key), custody.Verified},
		"one of earlier versions, by a forger": {signing.MediaTypeRecord, sealedBefore(t, image, att, forger), custody.Unknown},
		"one by a forger":                      {signing.MediaTypeRecord, sealed(t, image, att, forger), custody.Unknown},
		"one with a flipped hint":              {signing.MediaTypeRecord, changed(signed, `"keyid":"`, `"keyid":"AAAA`), custody.Verified},
		"one with a forger's signature": {signing.MediaTypeRecord, func() []byte {
			var a, b map[string]any
			if json.Unmarshal(signed, &a) != nil || json.Unmarshal(sealed(t, image, att, forger), &b) != nil {
				t.Fatal("not JSON")
			}
			a["signatures"].([]any)[0].(map[string]any)["sig"] = b["signatures"].([]any)[0].(map[string]any)["sig"]
			out, _ := json.Marshal(a)
			return out
		}(), custody.Unknown},
		"one with what another signed": {signing.MediaTypeRecord, func() []byte {
			var a, b map[string]any
			r := records()[custody.Promote]
			r.To = &custody.Place{Kind: custody.InEnvironment, Name: "dev"}
			dev, err := r.Attestation(custody.Promote, name)
			if err != nil || json.Unmarshal(sealed(t, image, dev, key), &a) != nil || json.Unmarshal(signed, &b) != nil {
				t.Fatal("not JSON")
			}
			a["payload"] = b["payload"]
			out, _ := json.Marshal(a)
			return out
		}(), custody.Unknown},
	} {
		f := custody.Read("sha256:m", image.Digest, c.mediaType, c.data, pins(key))
		if f == nil || f.Standing != c.standing || (f.Key != "") != (c.standing == custody.Verified) || (f.Fingerprint != "") != (c.standing == custody.Verified) {
			t.Errorf("%s: %+v", what, f)
		}
		// What names the pinned key falsely is told apart from what others signed.
		if falsely := strings.Contains(f.Reason, "names the pinned key a,"); falsely != (strings.HasPrefix(what, "one with") && c.standing == custody.Unknown) {
			t.Errorf("%s: %s", what, f.Reason)
		}
	}
}

// A verdict that others wrote may name what is no digest at all.
func TestOddSummary(t *testing.T) {
	s := verdict()
	s.InputAttestations = []signing.Resource{
		{Digest: map[string]string{"sha256": "zz", "gitCommit": "abc", "": "", "md5": strings.Repeat("a", 32)}},
		{Digest: map[string]string{"sha512": digest.SHA512.FromString("x").Encoded(), "sha256": digest.FromString("x").Encoded()}},
		{Digest: map[string]string{"sha256": digest.FromString("x").Encoded()}},
	}
	f := custody.Found{Act: custody.Import, Summary: &s}
	if got := f.Previous(); !slices.Equal(got, []digest.Digest{digest.FromString("x"), digest.SHA512.FromString("x")}) {
		t.Error(got)
	}
	for i := range 5000 {
		s.InputAttestations = append(s.InputAttestations, signing.NewResource("", digest.FromString(string(rune(i)))))
	}
	if got := f.Previous(); len(got) > 1001 {
		t.Errorf("%d", len(got))
	}
}

const repo = "reg.example/team/app"

// Of finds what is attached to the image in its repository, and takes for a record
// only what names it as its subject.
func TestOf(t *testing.T) {
	key := signing.InsecureKey("recorder")
	b := layouttest.New(repo)
	img, second := b.Image("one"), b.Image("two")
	b.Tag("v1", img)
	b.Tag("v2", second)
	b.Notary(img, "publisher")
	b.Cosign(layout.FormCosignSig, img, "key")
	b.Referrer(img, "application/spdx+json", "SBOM")
	b.ReferrerIndex(img, b.Image("rider"))
	mem := layout.NewMemory()
	if err := b.Content().Load(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	attach := func(to layout.Descriptor, a signing.Artifact, err error) digest.Digest {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bundle.Attach(t.Context(), mem, []bundle.Addition{{Repository: repo, Subject: to.Digest, Artifact: a}}); err != nil {
			t.Fatal(err)
		}
		return a.Manifest.Digest
	}
	record := func(act custody.Act, key crypto.Signer, about layout.Descriptor) (signing.Artifact, error) {
		r := records()[act]
		return r.Artifact(act, about, name, key)
	}
	want := map[digest.Digest]custody.Standing{}
	for act, key := range map[custody.Act]crypto.Signer{custody.Export: key, custody.Receive: nil, custody.Promote: signing.InsecureKey("forger")} {
		standing := map[custody.Act]custody.Standing{custody.Export: custody.Verified, custody.Receive: custody.Claimed, custody.Promote: custody.Unknown}[act]
		a, err := record(act, key, img)
		want[attach(img, a, err)] = standing
	}
	// Of another image, and of that image moved here.
	a, err := record(custody.Promote, key, second)
	attach(second, a, err)
	attach(img, verifytest.Moved(t, a, img), nil)
	// Two in one, one in an image, one that is endless.
	data := a.Blobs[len(a.Blobs)-1].Data
	layer := verifytest.Layer{MediaType: signing.MediaTypeRecord, Data: data}
	attach(img, verifytest.FromLayers(t, img, "", layer, layer), nil)
	attach(img, verifytest.FromLayers(t, img, "", verifytest.Layer{MediaType: signing.MediaTypeRecord, Data: make([]byte, custody.MaxRecordBytes+1)}), nil)

	g := look(t, mem, "v1", "v2")
	all, err := custody.Of(t.Context(), mem, g, repo, img.Digest, pins(key))
	if err != nil || len(all) != len(want) {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, f := range all {
		if want[f.Manifest] != f.Standing || f.Subject != img.Digest {
			t.Errorf("%+v", f)
		}
	}
	if _, err := custody.Of(t.Context(), mem, g, "reg.example/other", img.Digest, nil); !errors.Is(err, layout.ErrNotFound) {
		t.Error(err)
	}
}

// look walks the names of a repository in memory.
func look(t *testing.T, mem *layout.Memory, tags ...string) *layout.Graph {
	t.Helper()
	var refs []layout.Reference
	for _, tag := range tags {
		refs = append(refs, layout.Reference{Repository: repo, Tag: tag})
	}
	g, err := layout.Walk(context.Background(), mem, refs, layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func found(manifest string, at time.Duration, previous ...string) custody.Found {
	f := custody.Found{Manifest: digest.FromString(manifest), Standing: custody.Verified, Record: &custody.Record{At: then.Add(at)}}
	for _, p := range previous {
		f.Record.Previous = append(f.Record.Previous, digest.FromString(p))
	}
	return f
}

// Names count for more than clocks.
func TestOrderAndHeads(t *testing.T) {
	all := []custody.Found{
		found("last", 0, "third", "lost"), found("third", time.Hour, "second"), found("second", 3*time.Hour, "first"), found("first", 2*time.Hour), found("aside", 4*time.Hour), found("itself", -time.Hour, "itself"),
	}
	for range 3 {
		slices.Reverse(all)
		var got []string
		for _, f := range custody.Order(all) {
			for _, name := range []string{"last", "third", "second", "first", "aside", "itself"} {
				if f.Manifest == digest.FromString(name) {
					got = append(got, name)
				}
			}
		}
		if !slices.Equal(got, []string{"itself", "first", "second", "third", "last", "aside"}) {
			t.Errorf("%v", got)
		}
		all = append(all[1:], all[0])
	}
	heads := custody.Heads(all)
	for _, name := range []string{"last", "aside"} {
		if !slices.Contains(heads, digest.FromString(name)) {
			t.Errorf("%s is no head", name)
		}
	}
	if slices.Contains(heads, digest.FromString("third")) || slices.Contains(heads, digest.FromString("first")) {
		t.Errorf("%v", heads)
	}
	// A circle is nothing that digests can form; it loses nothing.
	circle := []custody.Found{found("a", 0, "b"), found("b", 0, "a"), found("c", 0)}
	if got := custody.Order(circle); len(got) != 3 || got[0].Manifest != digest.FromString("c") {
		t.Errorf("%v", got)
	}
}

// A verdict stands behind the reception of the same import, even where all happened in
// one second.
func TestOrderOfVerdicts(t *testing.T) {
	at := func(act custody.Act, name string, previous ...string) custody.Found {
		f := found(name, 0, previous...)
		f.Act, f.Standing, f.Fingerprint, f.Record.Reference = act, custody.Verified, "k", "reg.example/"+name[len(name)-1:]
		return f
	}
	verdictAt := func(name string) custody.Found {
		s := verdict()
		s.ResourceURI = "oci://reg.example/" + name[len(name)-1:]
		return custody.Found{Act: custody.Import, Manifest: digest.FromString(name), Standing: custody.Verified, Fingerprint: "k", Summary: &s}
	}
	names := []string{"export1", "receive1", "verdict1", "promote1", "export2", "receive2", "verdict2"}
	all := []custody.Found{
		at(custody.Export, "export1"), at(custody.Receive, "receive1", "export1"), verdictAt("verdict1"), at(custody.Promote, "promote1", "receive1", "verdict1"),
		at(custody.Export, "export2", "promote1"), at(custody.Receive, "receive2", "export2"), verdictAt("verdict2"),
	}
	// By a stranger, who knows nothing of the order of others.
	fake := at(custody.Receive, "fake1", "verdict2")
	fake.Standing, fake.Fingerprint = custody.Claimed, ""
	all = append(all, fake)
	for range all {
		var got []string
		for _, f := range custody.Order(all) {
			if i := slices.IndexFunc(names, func(n string) bool { return f.Manifest == digest.FromString(n) }); i >= 0 {
				got = append(got, names[i])
			}
		}
		if !slices.Equal(got, names) {
			t.Errorf("%v", got)
		}
		all = append(all[1:], all[0])
	}
}

// Whatever is read is one of ours, to the byte; nothing else is, and nothing panics.
func FuzzRead(f *testing.F) {
	key := signing.InsecureKey("recorder")
	for _, att := range attestations(f) {
		f.Add(true, statement(f, image, att))
		f.Add(false, sealed(f, image, att, key))
		f.Add(true, []byte(att.Predicate))
	}
	f.Fuzz(func(t *testing.T, claim bool, data []byte) {
		mediaType := signing.MediaTypeRecord
		if claim {
			mediaType = typeStatement
		}
		if r := custody.Read("sha256:m", image.Digest, mediaType, data, pins(key)); r != nil {
			if r.At().IsZero() || claim && r.Standing != custody.Claimed {
				t.Errorf("%+v", r)
			}
			_ = r.Previous()
		}
		for _, act := range []custody.Act{custody.Export, custody.Promote, custody.Override} {
			r, err := custody.Parse(act, data)
			if err != nil {
				if !errors.Is(err, custody.ErrRecord) {
					t.Error(err)
				}
				continue
			}
			var compact bytes.Buffer
			again, err := r.Attestation(act, "")
			if err != nil || json.Compact(&compact, data) != nil || !bytes.Equal(compact.Bytes(), again.Predicate) {
				t.Errorf("%s is written as %s, %v", data, again.Predicate, err)
			}
		}
		if e, err := custody.ParseEntry(data); err == nil {
			if again, err := e.Bytes(); err != nil || !bytes.Equal(again, data) {
				t.Errorf("%s is written as %s, %v", data, again, err)
			}
		}
	})
}
