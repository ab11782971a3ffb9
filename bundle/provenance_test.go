package bundle_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/predicate"
	"airgap/verify/signing"
	"airgap/verify/sigstore/sigstoretest"
	"airgap/verify/verifytest"

	"github.com/opencontainers/go-digest"
)

// traced is a place with images, of which provenance is to tell.
type traced struct {
	*layout.Memory
	t *testing.T
}

func newTraced(t *testing.T) *traced { return &traced{layout.NewMemory(), t} }

// image adds an image under the tag v1 of a repository.
func (p *traced) image(repo, label string) layout.Descriptor {
	p.t.Helper()
	b := layouttest.New(repo)
	d := b.Image(label)
	b.Tag("v1", d)
	p.load(b)
	return d
}

func (p *traced) load(b *layouttest.Builder) {
	p.t.Helper()
	if err := b.Content().Load(p.t.Context(), p.Memory); err != nil {
		p.t.Fatal(err)
	}
}

// attach puts an artifact into a repository, and returns its digest.
func (p *traced) attach(repo string, a signing.Artifact, err error) digest.Digest {
	p.t.Helper()
	for _, b := range a.Blobs {
		err = errors.Join(err, p.Put(p.t.Context(), repo, layout.Descriptor{MediaType: b.Desc.MediaType, Digest: b.Desc.Digest, Size: b.Desc.Size}, bytes.NewReader(b.Data)))
	}
	d := layout.Descriptor{MediaType: a.Manifest.MediaType, Digest: a.Manifest.Digest, Size: a.Manifest.Size}
	err = errors.Join(err, p.Put(p.t.Context(), repo, d, bytes.NewReader(a.Raw)))
	if a.Tag != "" {
		err = errors.Join(err, p.Commit(p.t.Context(), []layout.Name{{Reference: layout.Reference{Repository: repo, Tag: a.Tag}, Descriptor: d, Manifest: a.Raw}}))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return d.Digest
}

// says attaches a statement, signed by key.
func (p *traced) says(repo string, d layout.Descriptor, predicateType, says string, key crypto.Signer) digest.Digest {
	p.t.Helper()
	a, err := signing.BundleAttestation(d, signing.Attestation{PredicateType: predicateType, Predicate: json.RawMessage(says)}, key)
	return p.attach(repo, a, err)
}

// hop attaches a record; key may be nil.
func (p *traced) hop(d layout.Descriptor, act custody.Act, after time.Duration, key crypto.Signer, previous ...digest.Digest) digest.Digest {
	p.t.Helper()
	r := custody.Record{
		At: exportTime.Add(after), Clock: custody.ClockHost, By: "somebody", Tool: custody.Tool{Name: "airgap", Version: "test"}, Reference: repo + ":v1",
		From: &custody.Place{Kind: custody.InRegistry, Name: repo}, To: &custody.Place{Kind: custody.InEnvironment, Name: "prod"}, Reason: "because", Previous: previous,
	}
	a, err := r.Artifact(act, d, repo+":v1", key)
	return p.attach(repo, a, err)
}

// verdict attaches a verification summary that rests on evidence.
func (p *traced) verdict(d layout.Descriptor, key crypto.Signer, evidence ...digest.Digest) digest.Digest {
	p.t.Helper()
	s := signing.NewVerificationSummary(true)
	s.Verifier, s.TimeVerified, s.ResourceURI = signing.Verifier{ID: "https://corp.example/import"}, exportTime.Add(3*time.Hour), "oci://"+repo
	s.Policy = signing.PolicyResource("policy.yaml", digest.FromString("policy"), "", "")
	for _, e := range evidence {
		s.InputAttestations = append(s.InputAttestations, signing.NewResource("", e))
	}
	att, err := s.Attestation(repo)
	if err != nil {
		p.t.Fatal(err)
	}
	a, err := signing.BundleAttestation(d, att, key)
	return p.attach(repo, a, err)
}

// trace tells of v1 of the repository.
func (p *traced) trace(o bundle.ProvenanceOptions) *bundle.Provenance {
	p.t.Helper()
	return p.traceIn(repo, o)
}

func (p *traced) traceIn(repo string, o bundle.ProvenanceOptions) *bundle.Provenance {
	p.t.Helper()
	all, err := bundle.Trace(context.Background(), bundle.Selection{Source: p.Memory, References: []layout.Reference{{Repository: repo, Tag: "v1"}}}, o)
	if err != nil || len(all) != 1 {
		p.t.Fatalf("%v, %v", all, err)
	}
	return all[0]
}

// slsa is provenance of materials: image digests.
func slsa(materials ...digest.Digest) string {
	var deps []predicate.Material
	for i, d := range materials {
		deps = append(deps, predicate.Material{URI: fmt.Sprintf("pkg:docker/base-%d@1", i), Digest: map[string]string{d.Algorithm().String(): d.Encoded()}})
	}
	deps = append(deps, predicate.Material{URI: "git+https://git.example/team/app@refs/tags/v1", Digest: map[string]string{"gitCommit": strings.Repeat("a", 40)}})
	data, err := json.Marshal(map[string]any{
		"buildDefinition": map[string]any{"buildType": "https://build.example/v1", "resolvedDependencies": deps,
			"externalParameters": map[string]any{"workflow": map[string]string{"repository": "https://git.example/team/app", "ref": "refs/tags/v1"}}},
		"runDetails": map[string]any{"builder": map[string]string{"id": "https://builder.example/1"}},
	})
	if err != nil {
		panic(err)
	}
	return string(data)
}

var (
	builder, release, desk, stranger = signing.InsecureKey("builder"), signing.InsecureKey("release"), signing.InsecureKey("desk"), signing.InsecureKey("stranger")
	everybody                        = []custody.Key{{Name: "builder", Public: builder.Public()}, {Name: "release", Public: release.Public()}, {Name: "desk", Public: desk.Public()}}
)

// whole is an image of which everything is known.
func whole(t *testing.T) (p *traced, img layout.Descriptor, hops []digest.Digest) {
	t.Helper()
	p = newTraced(t)
	base := p.image("reg.example/base", "base")
	p.says("reg.example/base", base, predicate.SLSAProvenance1, slsa(), builder)
	img = p.image(repo, "app")
	p.says(repo, img, predicate.SLSAProvenance1, slsa(base.Digest), builder)
	a, err := signing.BundleSignature(img, release)
	sig := p.attach(repo, a, err)
	a, err = signing.CosignSignature(img, signing.Claim{Reference: repo}, release)
	p.attach(repo, a, err)
	p.says(repo, img, predicate.CycloneDX, `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{},{}]}`, release)
	p.says(repo, img, predicate.CosignVuln, `{"scanner":{"uri":"pkg:scan","result":{"Results":[{"Vulnerabilities":[{"Severity":"HIGH"}]}]}}}`, release)
	p.says(repo, img, predicate.OpenVEX, `{"statements":[{"status":"not_affected"}]}`, release)
	hops = append(hops, p.hop(img, custody.Export, time.Hour, desk))
	hops = append(hops, p.hop(img, custody.Receive, 2*time.Hour, desk, hops[0]))
	hops = append(hops, p.verdict(img, desk, sig))
	hops = append(hops, p.hop(img, custody.Promote, 4*time.Hour, desk, hops[1], hops[2]))
	return p, img, hops
}

func TestTraceTellsEverything(t *testing.T) {
	p, _, hops := whole(t)
	got := p.trace(bundle.ProvenanceOptions{Keys: everybody, Repositories: []string{"reg.example/none", "reg.example/base"}})
	if got.Broken || len(got.Gaps) != 0 || got.Today != nil {
		t.Errorf("broken: %+v", got.Gaps)
	}
	var order []digest.Digest
	for _, h := range got.Hops {
		order = append(order, h.Manifest)
		if h.Standing != custody.Verified || h.Key != "desk" {
			t.Errorf("%+v", h.Found)
		}
	}
	if !slices.Equal(order, hops) {
		t.Errorf("order %v, want %v", order, hops)
	}
	for what, list := range map[string][]bundle.Vouched{"signatures": got.Signatures, "approvals": got.Approvals, "documents": got.Documents} {
		want := map[string]int{"signatures": 2, "approvals": 1, "documents": 3}[what]
		if len(list) != want {
			t.Errorf("%s: %+v", what, list)
		}
		for _, v := range list {
			if v.Standing != custody.Verified || v.By == "" || v.Reason != "" || v.Fingerprint == "" {
				t.Errorf("%s: %+v", what, v)
			}
		}
	}
	if got.Documents[0].Summary+got.Documents[1].Summary+got.Documents[2].Summary != "CycloneDX 1.6, 2 components"+"1 not_affected"+"pkg:scan 1 high" {
		t.Errorf("%+v", got.Documents)
	}
	if got.Approvals[0].Summary != "PASSED by https://corp.example/import" || got.Hops[2].Summary.Policy.Digest["sha256"] != digest.FromString("policy").Encoded() {
		t.Errorf("%+v", got.Approvals)
	}
	if len(got.Builds) != 1 || got.Builds[0].Builder != "https://builder.example/1" || got.Builds[0].By != "builder" || got.Builds[0].Source == nil || len(got.Builds[0].Materials) != 2 {
		t.Fatalf("%+v", got.Builds)
	}
	base := got.Builds[0].Materials[0].Held
	if base == nil || base.Reference == "" || len(base.Builds) != 1 || base.Builds[0].By != "builder" || got.Builds[0].Materials[1].Held != nil {
		t.Errorf("%+v", got.Builds[0].Materials)
	}
}

// Without anything pinned everything is told, and nothing is verified.
func TestTraceWithoutTrust(t *testing.T) {
	p, _, hops := whole(t)
	got := p.trace(bundle.ProvenanceOptions{})
	if len(got.Hops) != len(hops) || len(got.Signatures) != 2 || len(got.Approvals) != 1 || len(got.Documents) != 3 || len(got.Builds) != 1 || got.Broken {
		t.Errorf("%+v", got)
	}
	nothingVerified(t, got)
}

// nothingVerified looks at every standing.
func nothingVerified(t *testing.T, p *bundle.Provenance) {
	t.Helper()
	data, err := json.Marshal(p)
	if err != nil || bytes.Contains(data, []byte(`"verified"`)) {
		t.Errorf("%s, %v", data, err)
	}
	if !bytes.Contains(data, []byte(`"standing":"unknown"`)) && !bytes.Contains(data, []byte(`"standing":"claimed"`)) {
		t.Errorf("nothing was looked at: %s", data)
	}
}

// secondImage is one that is beside the first in every place.
func secondImage() layout.Descriptor { return layouttest.New(repo).Image("second") }

// Each way in which something can be missing or worth little shows.
func TestTraceGaps(t *testing.T) {
	lost := digest.FromString("lost")
	only := []custody.Key{{Name: "desk", Public: desk.Public()}}
	for what, c := range map[string]struct {
		make     func(p *traced, img layout.Descriptor)
		standing []custody.Standing // of the hops
		gaps     int
		evidence bool
		broken   bool
	}{
		"a record that is not there":      {func(p *traced, img layout.Descriptor) { p.hop(img, custody.Receive, 0, desk, lost) }, []custody.Standing{custody.Verified}, 1, false, true},
		"evidence that is not there":      {func(p *traced, img layout.Descriptor) { p.verdict(img, desk, lost) }, []custody.Standing{custody.Verified}, 1, true, true},
		"a claim":                         {func(p *traced, img layout.Descriptor) { p.hop(img, custody.Receive, 0, nil) }, []custody.Standing{custody.Claimed}, 0, false, false},
		"a signer that is not pinned":     {func(p *traced, img layout.Descriptor) { p.hop(img, custody.Receive, 0, stranger) }, []custody.Standing{custody.Unknown}, 0, false, false},
		"a stranger's verdict":            {func(p *traced, img layout.Descriptor) { p.verdict(img, stranger) }, []custody.Standing{custody.Unknown}, 0, false, false},
		"a claim that names what is lost": {func(p *traced, img layout.Descriptor) { p.hop(img, custody.Receive, 0, nil, lost) }, []custody.Standing{custody.Claimed}, 1, false, true},
		"the same beside a verified record": {func(p *traced, img layout.Descriptor) {
			p.hop(img, custody.Receive, 0, nil, lost)
			p.hop(img, custody.Export, time.Hour, desk)
		}, []custody.Standing{custody.Claimed, custody.Verified}, 1, false, false},
		"a middle that is not there": {func(p *traced, img layout.Descriptor) {
			first := p.hop(img, custody.Export, 0, desk)
			p.hop(img, custody.Promote, time.Hour, desk, lost)
			_ = first
		}, []custody.Standing{custody.Verified, custody.Verified}, 1, false, true},
		"a record of another image that is named": {func(p *traced, img layout.Descriptor) {
			p.hop(img, custody.Receive, 0, desk, p.hop(secondImage(), custody.Export, 0, desk))
		}, []custody.Standing{custody.Verified}, 1, false, true},
		"evidence of another image": {func(p *traced, img layout.Descriptor) {
			p.verdict(img, desk, p.hop(secondImage(), custody.Export, 0, desk))
		}, []custody.Standing{custody.Verified}, 1, true, true},
	} {
		p := newTraced(t)
		img := p.image(repo, "app")
		c.make(p, img)
		// Another image in the same place is no help.
		second := layouttest.New(repo)
		second.Tag("v2", second.Image("second"))
		p.load(second)
		all, err := bundle.Trace(t.Context(), bundle.Selection{Source: p.Memory, References: []layout.Reference{{Repository: repo, Tag: "v1"}, {Repository: repo, Tag: "v2"}}}, bundle.ProvenanceOptions{Keys: only, Repositories: []string{repo}})
		if err != nil {
			t.Fatal(err)
		}
		got := all[0]
		var standing []custody.Standing
		for _, h := range got.Hops {
			standing = append(standing, h.Standing)
			if (h.Standing == custody.Verified) != (h.Reason == "") {
				t.Errorf("%s: %+v", what, h.Found)
			}
		}
		if !slices.Equal(standing, c.standing) || len(got.Gaps) != c.gaps || got.Broken != c.broken {
			t.Errorf("%s: %v, gaps %+v, broken %v", what, standing, got.Gaps, got.Broken)
		}
		for _, g := range got.Gaps {
			if g.Evidence != c.evidence || g.NamedBy == "" || g.Missing == "" {
				t.Errorf("%s: %+v", what, g)
			}
		}
	}
}

// What a stranger signed, and what was signed for another image, is never verified,
// however it is hung here; not even where a policy was met beside it.
func TestTraceForged(t *testing.T) {
	judge := &verify.Judge{
		Policy: verifytest.Policy(t, "anyOf: [{cosign: {key: release}}, {attestation: {predicateType: "+predicate.SLSAProvenance1+", signedBy: {key: builder}}}, {attestation: {predicateType: \"urn:airgap:custody:promote:v1\", signedBy: {key: desk}}}, {attestation: {predicateType: https://slsa.dev/verification_summary/v1, signedBy: {key: desk}}}]"),
		Trust:  verifytest.Trust(t, verifytest.Pins{Keys: map[string]crypto.Signer{"builder": builder, "release": release, "desk": desk}}),
	}
	att := func(typ, says string) signing.Attestation {
		return signing.Attestation{PredicateType: typ, Predicate: json.RawMessage(says)}
	}
	record := func(d layout.Descriptor, key crypto.Signer) signing.Artifact {
		r := custody.Record{At: exportTime, Clock: "host", Tool: custody.Tool{Name: "x"}, To: &custody.Place{Kind: custody.InEnvironment, Name: "prod"}}
		return got(r.Artifact(custody.Promote, d, "", key))(t)
	}
	summary := func(d layout.Descriptor, key crypto.Signer) signing.Artifact {
		s := signing.NewVerificationSummary(true)
		s.Verifier, s.TimeVerified, s.ResourceURI, s.Policy = signing.Verifier{ID: "https://corp.example"}, exportTime, "x", signing.NewResource("x", d.Digest)
		return got(signing.BundleAttestation(d, got(s.Attestation(""))(t), key))(t)
	}
	forms := map[string]func(d layout.Descriptor, key crypto.Signer) signing.Artifact{
		"signature": func(d layout.Descriptor, key crypto.Signer) signing.Artifact {
			return got(signing.BundleSignature(d, key))(t)
		},
		"tag signature": func(d layout.Descriptor, key crypto.Signer) signing.Artifact {
			return got(signing.CosignSignature(d, signing.Claim{Reference: repo}, key))(t)
		},
		"provenance": func(d layout.Descriptor, key crypto.Signer) signing.Artifact {
			return got(signing.BundleAttestation(d, att(predicate.SLSAProvenance1, slsa()), key))(t)
		},
		"tag provenance": func(d layout.Descriptor, key crypto.Signer) signing.Artifact {
			return got(signing.CosignAttestation(d, key, att(predicate.SLSAProvenance1, slsa())))(t)
		},
		"record":  record,
		"verdict": summary,
	}
	owner := map[string]crypto.Signer{"signature": release, "tag signature": release, "provenance": builder, "tag provenance": builder, "record": desk, "verdict": desk}
	for what, form := range forms {
		for _, how := range []string{"stranger", "moved", "moved beside the good one", "good"} {
			p := newTraced(t)
			img, other := p.image(repo, "app"), p.image("reg.example/elsewhere", "other")
			b := layouttest.New(repo)
			same := b.Image("other")
			b.Tag("v2", same)
			p.load(b)
			if same.Digest != other.Digest {
				t.Fatal("not the same")
			}
			refs := []layout.Reference{{Repository: repo, Tag: "v1"}}
			switch how {
			case "stranger":
				p.attach(repo, form(img, stranger), nil)
			case "moved":
				p.attach(repo, verifytest.Moved(t, form(other, owner[what]), img), nil)
			case "moved beside the good one":
				a := form(other, owner[what])
				p.attach(repo, a, nil)
				if a.Tag != "" { // the very same manifest hangs beside both
					a.Tag = strings.Replace(a.Tag, other.Digest.Encoded(), img.Digest.Encoded(), 1)
					p.attach(repo, a, nil)
				} else {
					p.attach(repo, verifytest.Moved(t, a, img), nil)
				}
				refs = append(refs, layout.Reference{Repository: repo, Tag: "v2"})
			case "good":
				p.attach(repo, form(img, owner[what]), nil)
			}
			for _, o := range []bundle.ProvenanceOptions{{Keys: everybody}, {Keys: everybody, Judge: judge, Trust: judge.Trust}, {Judge: judge, Trust: judge.Trust}} {
				all, err := bundle.Trace(t.Context(), bundle.Selection{Source: p.Memory, References: refs}, o)
				if err != nil {
					t.Fatalf("%s, %s: %v", what, how, err)
				}
				if how != "good" {
					nothingVerified(t, all[0])
					continue
				}
				data, _ := json.Marshal(all[0])
				if !bytes.Contains(data, []byte(`"standing":"verified"`)) {
					t.Errorf("%s: not verified: %s", what, data)
				}
			}
		}
	}
}

// Of several signatures in one manifest each stands for itself.
func TestTraceLayersApart(t *testing.T) {
	judge := &verify.Judge{
		Policy: verifytest.Policy(t, "cosign: {key: release}"),
		Trust:  verifytest.Trust(t, verifytest.Pins{Keys: map[string]crypto.Signer{"release": release}}),
	}
	p := newTraced(t)
	img := p.image(repo, "app")
	p.attach(repo, got(signing.CosignSignature(img, signing.Claim{Reference: repo}, stranger, release))(t), nil)
	for _, o := range []bundle.ProvenanceOptions{{Keys: everybody}, {Keys: everybody, Judge: judge, Trust: judge.Trust}} {
		all := p.trace(o)
		if len(all.Signatures) != 2 || all.Signatures[0].Standing != custody.Verified || all.Signatures[1].Standing != custody.Unknown {
			t.Errorf("%+v", all.Signatures)
		}
	}
	// The policy's evidence alone does not say which of the two it was.
	nothingVerified(t, p.trace(bundle.ProvenanceOptions{Judge: judge, Trust: judge.Trust}))
}

// An identity counts if its signature met the policy: a certificate alone is had by
// anybody.
func TestTraceIdentity(t *testing.T) {
	const identity, issuer = "https://git.example/build.yml@refs/heads/main", "https://issuer.example"
	s, err := sigstoretest.New()
	if err != nil {
		t.Fatal(err)
	}
	tr := verifytest.Trust(t, verifytest.Pins{Roots: map[string][]byte{"": got(s.RootJSON())(t)}})
	judge := &verify.Judge{Policy: verifytest.Policy(t, "attestation: {predicateType: x, signedBy: {identity: "+identity+", issuer: "+issuer+"}}"), Trust: tr}
	p := newTraced(t)
	img := p.image(repo, "app")
	layer := func(identity string) verifytest.Layer {
		st, err := sigstoretest.Statement("x", map[string]any{}, img.Digest)
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.StatementLayer(st, sigstoretest.Signing{Identity: identity, Issuer: issuer, At: time.Now().Add(-time.Minute).Truncate(time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		return verifytest.Layer{MediaType: "application/vnd.dsse.envelope.v1+json", Data: l.Data, Annotations: l.Annotations}
	}
	p.attach(repo, verifytest.FromLayers(t, img, "att", layer(identity), layer(identity), layer("somebody@else.example")), nil)
	nothingVerified(t, p.trace(bundle.ProvenanceOptions{}))
	good := p.trace(bundle.ProvenanceOptions{Trust: tr})
	nothingVerified(t, good)
	if !strings.Contains(good.Documents[0].Reason, "the signature is good") {
		t.Errorf("%+v", good.Documents)
	}
	got := p.trace(bundle.ProvenanceOptions{Trust: tr, Judge: judge})
	var standing []custody.Standing
	for _, v := range got.Documents {
		standing = append(standing, v.Standing)
	}
	if !slices.Equal(standing, []custody.Standing{custody.Verified, custody.Verified, custody.Unknown}) || got.Documents[0].SignedAt == nil || got.Today == nil || got.Today.State != verify.Passed {
		t.Errorf("%+v, %+v", got.Documents, got.Today)
	}
}

// Whose Notary signatures count is for a policy to say, under a pinned authority too.
func TestTraceNotary(t *testing.T) {
	root, other := verifytest.Root(t, "root"), verifytest.Root(t, "root")
	vendor, intern, fake := verifytest.Issue(t, root, "vendor", signing.TestOptions{}), verifytest.Issue(t, root, "intern", signing.TestOptions{}), verifytest.Issue(t, other, "vendor", signing.TestOptions{})
	tr := verifytest.Trust(t, verifytest.Pins{CA: map[string]*x509.Certificate{"vendor": root.Certs[0]}})
	judge := &verify.Judge{Policy: verifytest.Policy(t, "notary: {stores: [\"ca:vendor\"], identities: [\""+verifytest.Identity("vendor")+"\"]}"), Trust: tr}
	for what, c := range map[string]struct {
		by     signing.Chain
		moved  bool
		judge  *verify.Judge
		want   custody.Standing
		reason string
	}{
		"whom the policy names":       {vendor, false, judge, custody.Verified, ""},
		"the same without a policy":   {vendor, false, nil, custody.Unknown, "good under a pinned authority"},
		"somebody else's certificate": {intern, false, judge, custody.Unknown, "good under a pinned authority; it met no requirement"},
		"another authority's":         {fake, false, judge, custody.Unknown, ""},
		"about another image":         {vendor, true, judge, custody.Unknown, ""},
	} {
		p := newTraced(t)
		img := p.image(repo, "app")
		a := got(signing.Notary(img, c.by, signing.NotaryOptions{}))(t)
		if c.moved {
			a = verifytest.Moved(t, got(signing.Notary(verifytest.Subject("other"), c.by, signing.NotaryOptions{}))(t), img)
		}
		p.attach(repo, a, nil)
		all := p.trace(bundle.ProvenanceOptions{Trust: tr, Judge: c.judge}).Signatures
		if len(all) != 1 || all[0].Standing != c.want || (all[0].Reason == "") != (c.want == custody.Verified) || !strings.Contains(all[0].Reason, c.reason) {
			t.Errorf("%s: %+v", what, all)
		}
	}
}

// got is the value, or the end of the test.
func got[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// BuildKit's attestations are worth what the signature on the index is worth.
func TestTraceBuildKit(t *testing.T) {
	for what, c := range map[string]struct {
		key   crypto.Signer
		about string // whom the statement speaks of
		want  custody.Standing
	}{
		"a signed index":               {release, "amd64", custody.Verified},
		"an index that a stranger did": {stranger, "amd64", custody.Unknown},
		"an index that nobody signed":  {nil, "amd64", custody.Claimed},
		"a statement about another":    {release, "arm64", custody.Unknown},
	} {
		p := newTraced(t)
		b := layouttest.New(repo)
		images := map[string]layout.Descriptor{"amd64": b.Image("amd64"), "arm64": b.Image("arm64")}
		st, err := signing.Statement(images[c.about], signing.Attestation{PredicateType: predicate.SLSAProvenance1, Predicate: json.RawMessage(slsa(images["arm64"].Digest))})
		if err != nil {
			t.Fatal(err)
		}
		index := b.Index(layouttest.ForPlatform(images["amd64"], "linux", "amd64"), layouttest.ForPlatform(images["arm64"], "linux", "arm64"), b.Attestation(images["amd64"], string(st)))
		b.Tag("v1", index)
		p.load(b)
		if c.key != nil {
			p.attach(repo, got(signing.BundleSignature(index, c.key))(t), nil)
		}
		all := p.trace(bundle.ProvenanceOptions{Keys: everybody, Repositories: []string{repo}})
		if len(all.Images) != 1 || all.Images[0].Platform != "linux/amd64" || len(all.Images[0].Builds) != 1 {
			t.Fatalf("%s: %+v", what, all.Images)
		}
		step := all.Images[0].Builds[0]
		if step.Standing != c.want || step.Through != index.Digest || step.Builder == "" || (step.By == "release") != (c.want == custody.Verified) {
			t.Errorf("%s: %+v", what, step)
		}
		if step.Materials[0].Held == nil && step.Materials[0].Note == "" {
			t.Errorf("%s: %+v", what, step.Materials)
		}
	}
}

// An SBOM that is attached as it is stands on the signature on it.
func TestTraceSignedDocument(t *testing.T) {
	p := newTraced(t)
	img := p.image(repo, "app")
	sbom := got(signing.Referrer(img, signing.Document{MediaType: "application/spdx+json", Data: []byte("{}")}))(t)
	p.attach(repo, sbom, nil)
	for _, c := range []struct {
		key  crypto.Signer
		want custody.Standing
	}{{nil, custody.Claimed}, {stranger, custody.Unknown}, {release, custody.Verified}} {
		if c.key != nil {
			p.attach(repo, got(signing.BundleSignature(sbom.Manifest, c.key))(t), nil)
		}
		if d := p.trace(bundle.ProvenanceOptions{Keys: everybody}).Documents; len(d) != 1 || d[0].Standing != c.want {
			t.Errorf("%+v", d)
		}
	}
}

// Following materials ends: in circles, in chains, and where there are too many.
func TestTraceMaterialsEnd(t *testing.T) {
	p := newTraced(t)
	var repos []string
	var images []layout.Descriptor
	for i := range 8 {
		repos = append(repos, fmt.Sprintf("reg.example/image-%d", i))
		images = append(images, p.image(repos[i], repos[i]))
	}
	for i := range images { // each of the next, the last of the first, and of itself
		p.says(repos[i], images[i], predicate.SLSAProvenance1, slsa(images[(i+1)%8].Digest, images[i].Digest), builder)
	}
	depth, notes := 0, []string{}
	for at := p.traceIn(repos[0], bundle.ProvenanceOptions{Keys: everybody, Repositories: repos}); at != nil; depth++ {
		m := at.Builds[0].Materials
		notes = append(notes, m[0].Note, m[1].Note)
		at = m[0].Held
	}
	if depth != 5 || !strings.Contains(notes[8], "not followed further") || !strings.Contains(notes[1], "told elsewhere") {
		t.Errorf("depth %d: %q", depth, notes)
	}
	wide := newTraced(t)
	b := layouttest.New("reg.example/many")
	var all []digest.Digest
	for i := range 100 {
		d := b.Image(fmt.Sprint(i))
		b.Pin(d)
		all = append(all, d.Digest)
	}
	wide.load(b)
	for i := range 200 {
		all = append(all, digest.FromString(fmt.Sprint(i)))
	}
	img := wide.image(repo, "app")
	wide.says(repo, img, predicate.SLSAProvenance1, slsa(all...), builder)
	step := wide.trace(bundle.ProvenanceOptions{Repositories: []string{"reg.example/many"}}).Builds[0]
	held, noted := 0, 0
	for _, m := range step.Materials {
		if m.Held != nil {
			held++
		}
		if strings.Contains(m.Note, "no more than 64 images") {
			noted++
		}
	}
	if held != 64 || noted != 36 || len(step.Materials) != 200 || step.More != 101 {
		t.Errorf("%d held, %d noted, %d listed, %d more", held, noted, len(step.Materials), step.More)
	}
}

// asking counts what a registry is asked for.
type asking struct {
	layout.Source
	asked []string
}

func (a *asking) Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	a.asked = append(a.asked, ref.String())
	return a.Source.Resolve(ctx, ref)
}

// A registry is asked for what calls itself an image in that registry, and no other
// registry for anything.
func TestTraceMaterialsInRegistry(t *testing.T) {
	p := newTraced(t)
	img := p.image(repo, "app")
	d := digest.FromString("x").Encoded()
	var deps []string
	for _, uri := range []string{
		"pkg:docker/golang@1.26", "pkg:docker/reg.example/team/base@1?platform=linux%2Famd64", "pkg:oci/base@sha256%3Aabc?repository_url=reg.example%2Fteam%2Fbase",
		"oci://reg.example/team/third:1", "https://reg.example/file.tar", "docker-image://other.example/x:1", "pkg:npm/left-pad", "::::", "pkg:docker/", "pkg:docker/%zz", "oci://reg.example/UPPER",
	} {
		deps = append(deps, fmt.Sprintf(`{"uri":%q,"digest":{"sha256":%q}}`, uri, d))
	}
	p.says(repo, img, predicate.SLSAProvenance1, `{"buildDefinition":{"resolvedDependencies":[`+strings.Join(deps, ",")+`]}}`, builder)
	src := &asking{Source: p.Memory}
	if _, err := bundle.Trace(t.Context(), bundle.Selection{Source: src, References: []layout.Reference{{Repository: repo, Tag: "v1"}}}, bundle.ProvenanceOptions{Remote: true}); err != nil {
		t.Fatal(err)
	}
	at := func(repo string) string { return repo + "@sha256:" + d }
	want := []string{
		repo + ":v1", at(repo), // golang
		at(repo), at("reg.example/team/base"), at(repo), at("reg.example/team/base"),
		at(repo), at("reg.example/team/third"), at(repo), // the other registry's
	}
	if !slices.Equal(src.asked, want) {
		t.Errorf("asked for\n%s", strings.Join(src.asked, "\n"))
	}
}

// The records in the head of a signed bundle are the last step of the way.
func TestTraceCarriedHead(t *testing.T) {
	p := newTraced(t)
	img := p.image(repo, "app")
	first := p.hop(img, custody.Promote, -time.Hour, desk)
	path := t.TempDir() + "/bundle.tar"
	sel := bundle.Selection{Source: p.Memory, References: []layout.Reference{{Repository: repo, Tag: "v1"}}}
	if _, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: path, Recording: recording(desk)}); err != nil {
		t.Fatal(err)
	}
	b := open(t, path)
	for _, keys := range [][]custody.Key{everybody, nil} {
		head, err := b.Head(t.Context(), keys)
		if err != nil {
			t.Fatal(err)
		}
		all, err := bundle.Trace(t.Context(), bundle.Selection{Source: b.Source(), References: b.References()}, bundle.ProvenanceOptions{Keys: keys, Head: head})
		if err != nil {
			t.Fatal(err)
		}
		hops := all[0].Hops
		if len(hops) != 2 || hops[0].Manifest != first || hops[0].Carried || !hops[1].Carried || hops[1].Act != custody.Export || all[0].Broken {
			t.Errorf("%+v", hops)
		}
		if keys == nil {
			nothingVerified(t, all[0])
			continue
		}
		// What the policy wants of a bundle counts for one.
		judge := &verify.Judge{Policy: wantsBundleBy(t, "release"), Trust: verifytest.Trust(t, verifytest.Pins{Keys: map[string]crypto.Signer{"release": release, "desk": desk}})}
		all, err = bundle.Trace(t.Context(), bundle.Selection{Source: b.Source(), References: b.References()},
			bundle.ProvenanceOptions{Keys: keys, Head: head, OfBundle: true, Judge: judge, Trust: judge.Trust})
		if err != nil || all[0].Today.State != verify.Refused || all[0].Today.Reason == "" {
			t.Errorf("%+v, %v", all[0].Today, err)
		}
		// It is what import will attach.
		dst := importAll(t, path, bundle.ImportOptions{})
		g, err := layout.Walk(t.Context(), dst, []layout.Reference{{Repository: repo, Tag: "v1"}}, layout.WalkOptions{})
		if err != nil || g.Nodes[hops[1].Manifest] == nil {
			t.Errorf("%s was not attached (%v)", hops[1].Manifest, err)
		}
	}
}

func wantsBundleBy(t *testing.T, key string) *policy.Policy {
	t.Helper()
	return got(policy.Parse("p", []byte("version: airgap.policy/v1\nbundle: {keys: ["+key+"]}\nrules:\n- {name: all, match: ['**'], require: {insecureAcceptAnything: true}}\n"), ""))(t)
}

// A promotion continues where the image is, as far as that is vouched for.
func TestPromote(t *testing.T) {
	p := newTraced(t)
	img := p.image(repo, "app")
	promote := func(key crypto.Signer, to string, pinned ...custody.Key) *bundle.Promotion {
		t.Helper()
		g, err := layout.Walk(t.Context(), p.Memory, []layout.Reference{{Repository: repo, Tag: "v1", Digest: img.Digest}}, layout.WalkOptions{})
		if err != nil {
			t.Fatal(err)
		}
		by := bundle.Promoter{Recording: *recording(key), To: to, Keys: pinned, In: custody.InStore}
		if key == nil {
			by.Key = nil
		}
		one, err := by.Promote(t.Context(), p.Memory, g, g.Roots[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		if !one.Present {
			p.attach(repo, one.Artifact, nil)
		}
		return one
	}
	from := func(one *bundle.Promotion, kind custody.PlaceKind, name string) {
		t.Helper()
		if f := one.Record.From; f == nil || f.Kind != kind || f.Name != name {
			t.Errorf("from %+v", f)
		}
	}
	from(promote(stranger, "prod"), custody.InStore, repo) // whom nobody knows below
	dev := promote(desk, "dev")
	from(dev, custody.InStore, repo)
	if len(dev.Record.Previous) != 1 {
		t.Errorf("%v", dev.Record.Previous)
	}
	if again := promote(desk, "dev"); !again.Present || again.Artifact.Manifest.Digest != dev.Artifact.Manifest.Digest {
		t.Errorf("%+v", again)
	}
	from(promote(release, "test"), custody.InStore, repo) // desk is not pinned
	from(promote(release, "stage", everybody...), custody.InEnvironment, "test")
	if r := promote(desk, "stage", everybody...); r.Present {
		t.Error("somebody else's promotion passes for one's own")
	}
	claim := promote(nil, "prod")
	from(claim, custody.InEnvironment, "stage")
	if again := promote(nil, "prod"); !again.Present {
		t.Error("a claim is made twice")
	}
	from(promote(desk, "prod", everybody...), custody.InEnvironment, "stage")
	// What did not pass is not promoted, whatever the caller thought.
	g, err := layout.Walk(t.Context(), p.Memory, []layout.Reference{{Repository: repo, Tag: "v1"}}, layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	by := bundle.Promoter{Recording: *recording(desk), To: "prod", In: custody.InStore}
	for what, r := range map[string]*verify.Report{
		"no verdict":        {State: verify.Passed},
		"refused":           {State: verify.Passed, Verdicts: []verify.Verdict{{Reference: g.Roots[0].Reference.String(), Digest: img.Digest, State: verify.Refused}}},
		"undecided":         {State: verify.Passed, Verdicts: []verify.Verdict{{Reference: g.Roots[0].Reference.String(), Digest: img.Digest, State: verify.Undecided}}},
		"another's verdict": {State: verify.Passed, Verdicts: []verify.Verdict{{Reference: g.Roots[0].Reference.String(), Digest: digest.FromString("x"), State: verify.Passed}}},
	} {
		if _, err := by.Promote(t.Context(), p.Memory, g, g.Roots[0], r); !errors.Is(err, bundle.ErrRefused) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
