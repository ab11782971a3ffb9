package verify_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"
)

// tagged tags d with n tags.
func tagged(b *layouttest.Builder, d layout.Descriptor, n int) (tags []string) {
	for i := range n {
		tags = append(tags, fmt.Sprint("v", i))
		b.Tag(tags[i], d)
	}
	return tags
}

// largeIndex is an index of unsigned children, with as many that are absent, under many tags.
func largeIndex(t *testing.T, children, references int) (*fixture, *layout.Graph) {
	t.Helper()
	f := newFixture(t)
	b, other := layouttest.New(repo), layouttest.New(repo)
	var list []layout.Descriptor
	for i := range children {
		list = append(list, layouttest.ForPlatform(b.Image(fmt.Sprint(i)), "linux", "amd64"), other.Image(fmt.Sprint("absent ", i)))
	}
	tags := tagged(b, b.Index(list...), references)
	f.content(b.Content())
	return f, f.Graph(tags...)
}

// An index with many tags is judged once: the verdicts share what they hold, and a report
// prints it once if it would be too long otherwise. No verdict is missing.
func TestReferencesShareVerdicts(t *testing.T) {
	const children, references = 40, 1500
	j, _ := childrenRule(t)
	f, g := largeIndex(t, children, references)
	r, err := j.Graph(t.Context(), f.Source, g)
	if err != nil {
		t.Fatal(err)
	}
	first := r.Verdicts[0]
	if len(r.Verdicts) != references || len(first.Children) != children || len(first.Absent) != children || first.State != verify.Refused {
		t.Fatalf("%d verdicts, the first is %s, with %d children and %d absent", len(r.Verdicts), first.State, len(first.Children), len(first.Absent))
	}
	for i, v := range r.Verdicts {
		if &v.Children[0] != &first.Children[0] || &v.Absent[0] != &first.Absent[0] {
			t.Fatalf("verdict %d has children of its own", i)
		}
		if want := g.Roots[i].Reference.String(); v.Reference != want {
			t.Errorf("verdict %d is on %s, want %s", i, v.Reference, want)
		}
		if v.Reference, v.SameAs = first.Reference, ""; !reflect.DeepEqual(v, first) {
			t.Errorf("verdict %d differs from the first", i)
		}
	}
	raw := must(json.Marshal(r))
	var read verify.Report
	if err := json.Unmarshal(raw, &read); err != nil {
		t.Fatal(err)
	}
	whole := 0
	for i, v := range read.Verdicts {
		switch {
		case v.State != verify.Refused || v.Reference != r.Verdicts[i].Reference:
			t.Errorf("verdict %d in print: %s of %s", i, v.State, v.Reference)
		case v.SameAs == "":
			whole++
			if len(v.Children) != children || len(v.Absent) != children {
				t.Errorf("verdict %d in print has %d children", i, len(v.Children))
			}
		case v.SameAs != first.Reference || len(v.Children)+len(v.Absent) > 0:
			t.Errorf("verdict %d in print is the same as %s, and has %d children", i, v.SameAs, len(v.Children))
		}
	}
	if whole < 300 || whole > references/2 {
		t.Errorf("%d of %d verdicts are printed whole", whole, references)
	}
}

// A report that is not long has every verdict whole.
func TestShortReportIsWhole(t *testing.T) {
	j, _ := childrenRule(t)
	f, g := largeIndex(t, 10, 50)
	r, err := j.Graph(t.Context(), f.Source, g)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r.Verdicts.Printed(), []verify.Verdict(r.Verdicts)) || strings.Contains(string(must(json.Marshal(r))), "sameAs") {
		t.Error("a report of 50 references of ten children is not printed whole")
	}
}

// Who adds to a verdict does not change those of other references.
func TestSharedVerdictsAreApart(t *testing.T) {
	p := ruled(t, "insecureAcceptAnything: true")
	p.Rules[0].Index = policy.IndexChildren
	f, g := largeIndex(t, 5, 2)
	r, err := (&verify.Judge{Policy: p, Trust: pinned(t, nil, nil)}).Graph(t.Context(), f.Source, g)
	if err != nil {
		t.Fatal(err)
	}
	a, b := &r.Verdicts[0], &r.Verdicts[1]
	for i, v := range []*verify.Verdict{a, b} {
		v.Warnings = append(v.Warnings, fmt.Sprint(i))
		v.Absent = append(v.Absent, g.Roots[0].Descriptor.Digest)
		v.Children = append(v.Children, verify.Child{Platform: fmt.Sprint(i)})
	}
	if a.Warnings[5] != "0" || b.Warnings[5] != "1" || a.Children[5].Platform != "0" {
		t.Errorf("%q, %q", a.Warnings, b.Warnings)
	}
}

// signedAs attaches a signature of an image of repo that names it by a tag.
func signedAs(f *fixture, d layout.Descriptor, key crypto.Signer, tags ...string) {
	for _, tag := range tags {
		f.attach(must(signing.CosignSignatureReferrer(d, signing.Claim{Reference: repo + ":" + tag}, key)))
	}
}

// A rule that asks under which reference an image was signed is judged for each reference by
// itself. The signatures are verified once.
func TestReferencesOfOneImage(t *testing.T) {
	const references = 40
	key, other := signing.InsecureKey("key"), signing.InsecureKey("other")
	f := newFixture(t)
	b := layouttest.New(repo)
	d := b.Image("x")
	tags := tagged(b, d, references)
	f.content(b.Content())
	signedAs(f, d, key, "v3", "v7")
	signedAs(f, d, other, "v4", "v5")
	g := f.Graph(tags...)
	tr := pinned(t, nil, map[string]crypto.Signer{"release": key})
	for require, passes := range map[string]string{
		"cosign: {key: release, reference: matchExact}":                                          "v3 v7",
		"anyOf: [{cosign: {key: release, reference: matchExact}}, {reject: true}]":               "v3 v7",
		"atLeast: {count: 1, of: [{cosign: {key: release, reference: matchRepoDigestOrExact}}]}": "v3 v7",
		"cosign: {key: release, reference: reg.example/team/app:v7}":                             "*",
		"cosign: {key: release}": "*",
		"allOf: [{cosign: {key: release}}, {cosign: {key: release, reference: matchRepository}}]": "*",
	} {
		count, stop := verify.CountVerifications()
		r, err := (&verify.Judge{Policy: ruled(t, require), Trust: tr}).Graph(t.Context(), f.Source, g)
		stop()
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range r.Verdicts {
			want := verify.Refused
			if passes == "*" || strings.Contains(" "+passes+" ", " "+g.Roots[i].Reference.Tag+" ") {
				want = verify.Passed
			}
			if v.State != want {
				t.Errorf("%s: %s is %s, want %s", require, v.Reference, v.State, want)
			}
		}
		if n := count.Load(); n != 4 {
			t.Errorf("%s: %d verifications of 4 signatures", require, n)
		}
	}
}

// Whose signature is wanted is part of what was found out: one signer's signature does not
// pass for another's.
func TestVerificationsAreOfOneSigner(t *testing.T) {
	key, other := signing.InsecureKey("key"), signing.InsecureKey("other")
	f := newFixture(t)
	b := layouttest.New(repo)
	d := b.Image("x")
	tags := tagged(b, d, 3)
	f.content(b.Content())
	signedAs(f, d, key, "v0")
	tr := pinned(t, nil, map[string]crypto.Signer{"release": key, "other": other})
	for require, want := range map[string]verify.State{
		"allOf: [{cosign: {key: release, reference: matchRepository}}, {cosign: {key: release}}]":                                    verify.Passed,
		"allOf: [{cosign: {key: release, reference: matchRepository}}, {cosign: {key: other}}]":                                      verify.Refused,
		"allOf: [{cosign: {key: other, reference: matchRepository}}, {cosign: {key: release}}]":                                      verify.Refused,
		"allOf: [{name: a, cosign: {key: release}}, {cosign: {sameSignerAs: a, reference: matchRepository}}]":                        verify.Passed,
		"allOf: [{cosign: {key: release, reference: matchRepository}}, {cosign: {key: release, transparencyLog: true}}]":             verify.Refused,
		"allOf: [{cosign: {key: release, transparencyLog: true, reference: matchRepository}}, {cosign: {key: release}}]":             verify.Refused,
		"anyOf: [{cosign: {key: release, transparencyLog: true, reference: matchRepository}}, {cosign: {key: release}}]":             verify.Passed,
		"allOf: [{cosign: {key: release, reference: matchRepository}}, {attestation: {predicateType: x, signedBy: {key: release}}}]": verify.Refused,
	} {
		r, err := (&verify.Judge{Policy: ruled(t, require), Trust: tr}).Graph(t.Context(), f.Source, f.Graph(tags...))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range r.Verdicts {
			if v.State != want && !(want == verify.Refused && v.State == verify.Undecided) {
				t.Errorf("%s: %s, want %s", require, v.State, want)
			}
		}
	}
}

// Where the children of an index have to be judged for each reference, their number is
// bounded, and nothing passes beyond that.
func TestChildrenOfManyReferences(t *testing.T) {
	key := signing.InsecureKey("key")
	p := ruled(t, "cosign: {key: release, reference: matchExact}")
	p.Rules[0].Index = policy.IndexChildren
	j := &verify.Judge{Policy: p, Trust: pinned(t, nil, map[string]crypto.Signer{"release": key})}
	f, g := largeIndex(t, 100, 20)
	if r, err := j.Graph(t.Context(), f.Source, g); err != nil || r.State != verify.Refused {
		t.Errorf("20 references of 100 children: %v", err)
	}
	f, g = largeIndex(t, 100, 1000)
	r, err := j.Graph(t.Context(), f.Source, g)
	if !errors.Is(err, layout.ErrLimit) || !strings.Contains(err.Error(), "fewer references") || r != nil {
		t.Errorf("1000 references of 100 children: %v, want %v", err, layout.ErrLimit)
	}
}

// Of very many reasons only some are told.
func TestWhyNotIsShort(t *testing.T) {
	v := verify.Verdict{Outcome: &verify.Outcome{State: verify.Refused}}
	for i := range 1000 {
		v.Outcome.Tried = append(v.Outcome.Tried, verify.Attempt{Reason: fmt.Sprint("reason ", i/2)})
	}
	if why := v.WhyNot(); !strings.HasSuffix(why, "reason 99; and 400 more reasons") || strings.Count(why, ";") != 100 {
		t.Error(why)
	}
}
