package policy_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"
	"airgap/verify/sigstore/sigstoretest"
	"airgap/verify/trust"
	"airgap/verify/verifytest"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

const (
	testIdentity = "https://git.example/team/app/build.yml@refs/heads/main"
	testIssuer   = "https://issuer.example"
	testEmail    = "release@team.example"
	chainKey     = "dev.sigstore.cosign/chain"
	bundleKey    = "dev.sigstore.cosign/bundle"
)

// sign makes what is attached to an image.
type sign func(t *testing.T, image layout.Descriptor) signing.Artifact

func tagged(reference, seed string) sign {
	return func(t *testing.T, image layout.Descriptor) signing.Artifact {
		a, err := signing.CosignSignature(image, signing.Claim{Reference: reference}, signing.InsecureKey(seed))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

func bundled(seed string) sign {
	return func(t *testing.T, image layout.Descriptor) signing.Artifact {
		a, err := signing.BundleSignature(image, signing.InsecureKey(seed))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

// logged signs with Sigstore's help, changed as wanted.
func logged(s *sigstoretest.Sigstore, reference string, o sigstoretest.Signing, change func(map[string]string)) sign {
	return func(t *testing.T, image layout.Descriptor) signing.Artifact {
		l, err := s.SignLayer(image.Digest, reference, o)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(l.Annotations)
		}
		return verifytest.FromLayers(t, image, "sig", verifytest.Layer{MediaType: "application/vnd.dev.cosign.simplesigning.v1+json", Data: l.Data, Annotations: l.Annotations})
	}
}

// stated signs a statement of a type with Sigstore's help.
func stated(s *sigstoretest.Sigstore, typ string, o sigstoretest.Signing) sign {
	return func(t *testing.T, image layout.Descriptor) signing.Artifact {
		st, err := sigstoretest.Statement(typ, map[string]any{}, image.Digest)
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.StatementLayer(st, o)
		if err != nil {
			t.Fatal(err)
		}
		return verifytest.FromLayers(t, image, "att", verifytest.Layer{MediaType: "application/vnd.dsse.envelope.v1+json", Data: l.Data, Annotations: l.Annotations})
	}
}

func judged(t *testing.T, p *policy.Policy, tr *trust.Trust, signs ...sign) (verify.Verdict, string) {
	t.Helper()
	r := verifytest.NewRepository(t)
	image := r.Image("v1")
	for _, s := range signs {
		r.Attach(s(t, image))
	}
	v := r.Judge(&verify.Judge{Policy: p, Trust: tr}, "v1").Verdicts[0]
	return v, quoted(t, v)
}

type verdictCase struct {
	policy *policy.Policy
	signs  []sign
	state  verify.State
	why    string
}

func checkVerdicts(t *testing.T, tr *trust.Trust, cases map[string]verdictCase) {
	t.Helper()
	for what, c := range cases {
		v, text := judged(t, c.policy, tr, c.signs...)
		if v.State != c.state || !strings.Contains(text, c.why) {
			t.Errorf("%s: %s, want %s because of %q\n%s", what, v.State, c.state, c.why, text)
		}
	}
}

// The name that was signed is held against the image's, and nothing else is.
func TestSignedNames(t *testing.T) {
	const app, unnamed = verifytest.Name, "does not say what the image is called"
	tr := verifytest.Trust(t, verifytest.Pins{Keys: map[string]crypto.Signer{"release": signing.InsecureKey("a")}})
	podman := func(more string) *policy.Policy { return containers(t, `{"default":[`+signedWith(t, "a", more)+`]}`) }
	ours := func(reference string) *policy.Policy {
		return verifytest.Policy(t, "cosign: {key: release, reference: "+reference+"}")
	}
	const repository = `,"signedIdentity":{"type":"matchRepository"}`
	checkVerdicts(t, tr, map[string]verdictCase{
		"default":                 {podman(""), []sign{tagged(app+":v1", "a")}, verify.Passed, ""},
		"default, another tag":    {podman(""), []sign{tagged(app+":v2", "a")}, verify.Refused, "signed as"},
		"default, cosign's":       {podman(""), []sign{tagged(app, "a")}, verify.Refused, "signed as"},
		"repository":              {podman(repository), []sign{tagged(app, "a")}, verify.Passed, ""},
		"another repository":      {podman(repository), []sign{tagged("reg.example/team/other", "a")}, verify.Refused, "signed as"},
		"another key":             {podman(repository), []sign{tagged(app, "b")}, verify.Refused, "key"},
		"no name":                 {podman(repository), []sign{bundled("a")}, verify.Refused, unnamed},
		"no name beside":          {podman(repository), []sign{bundled("a"), tagged(app, "a")}, verify.Passed, ""},
		"unsigned":                {podman(repository), nil, verify.Refused, "no cosign"},
		"all of a list":           {containers(t, `{"default":[`+signedWith(t, "a", repository)+`,`+signedWith(t, "b", repository)+`]}`), []sign{tagged(app, "a")}, verify.Refused, ""},
		"reject beside":           {containers(t, `{"default":[`+signedWith(t, "a", repository)+`,{"type":"reject"}]}`), []sign{tagged(app, "a")}, verify.Refused, "accepts nothing"},
		"anything":                {containers(t, `{"default":[{"type":"insecureAcceptAnything"}]}`), nil, verify.Passed, "unsigned"},
		"another transport's":     {containers(t, `{"default":[{"type":"reject"}],"transports":{"dir":{"":[{"type":"insecureAcceptAnything"}]},"atomic":{"reg.example":[{"type":"insecureAcceptAnything"}]}}}`), nil, verify.Refused, "accepts nothing"},
		"ours":                    {ours("matchRepository"), []sign{tagged(app+":v9", "a")}, verify.Passed, ""},
		"ours, exact":             {ours("matchExact"), []sign{tagged(app+":v9", "a")}, verify.Refused, "signed as"},
		"ours, digest or exact":   {ours("matchRepoDigestOrExact"), []sign{tagged(app+":v1", "a")}, verify.Passed, ""},
		"ours, written out":       {ours("vendor.example/app"), []sign{tagged("vendor.example/app:v3", "a")}, verify.Passed, ""},
		"ours, a tag":             {ours("\"vendor.example/app:v1\""), []sign{tagged("vendor.example/app:v3", "a")}, verify.Refused, "signed as"},
		"ours, no name":           {ours("matchRepository"), []sign{bundled("a")}, verify.Refused, unnamed},
		"ours, deep":              {verifytest.Policy(t, "allOf: [{anyOf: [{cosign: {key: release, reference: matchExact}}]}]"), []sign{tagged(app+":v1", "a")}, verify.Passed, ""},
		"ours, in another's name": {verifytest.Policy(t, "anyOf: [{cosign: {key: release, reference: matchExact}}]"), []sign{tagged("reg.example/team/other:v1", "a")}, verify.Refused, "signed as"},
	})
}

// A payload that containers/image refuses is refused under its policy.
func TestPayloadOfAnotherFormat(t *testing.T) {
	key := signing.InsecureKey("a")
	with := func(more string) sign {
		return func(t *testing.T, image layout.Descriptor) signing.Artifact {
			payload := []byte(`{"critical":{"identity":{"docker-reference":"` + verifytest.Name + `"},"image":{"docker-manifest-digest":"` + string(image.Digest) + `"},"type":"cosign container image signature"` + more + `},"optional":null}`)
			sum := sha256.Sum256(payload)
			sig, err := key.Sign(nil, sum[:], crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			return verifytest.FromLayers(t, image, "sig", verifytest.Layer{MediaType: "application/vnd.dev.cosign.simplesigning.v1+json", Data: payload,
				Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sig)}})
		}
	}
	tr := verifytest.Trust(t, verifytest.Pins{Keys: map[string]crypto.Signer{"release": key}})
	podman := containers(t, `{"default":[`+signedWith(t, "a", `,"signedIdentity":{"type":"matchRepository"}`)+`]}`)
	checkVerdicts(t, tr, map[string]verdictCase{
		"as the format has it": {podman, []sign{with("")}, verify.Passed, ""},
		"one field more":       {podman, []sign{with(`,"expires":"2020-01-01"`)}, verify.Refused, "critical.expires"},
		"ours":                 {verifytest.Policy(t, "cosign: {key: release}"), []sign{with(`,"expires":"2020-01-01"`)}, verify.Passed, ""},
	})
}

// What takes too much work to check is neither yes nor no.
func TestCostlyCondition(t *testing.T) {
	tr := verifytest.Trust(t, verifytest.Pins{Keys: map[string]crypto.Signer{"release": signing.InsecureKey("a")}})
	predicate := `{"n":[` + strings.Repeat("0,", 3000) + `0]}`
	scan := func(t *testing.T, image layout.Descriptor) signing.Artifact {
		a, err := signing.BundleAttestation(image, signing.Attestation{PredicateType: "https://example.com/x", Predicate: []byte(predicate)}, signing.InsecureKey("a"))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	rule := func(condition string) *policy.Policy {
		return verifytest.Policy(t, "attestation: {predicateType: \"https://example.com/x\", signedBy: {key: release}, conditions: ['"+condition+"']}")
	}
	checkVerdicts(t, tr, map[string]verdictCase{
		"too much": {rule("predicate.n.all(a, predicate.n.all(b, predicate.n.all(c, true)))"), []sign{scan}, verify.Undecided, "too much work"},
		"enough":   {rule("predicate.n.all(a, a == 0.0)"), []sign{scan}, verify.Passed, ""},
		"no":       {rule("predicate.n.all(a, a == 1.0)"), []sign{scan}, verify.Refused, "does not hold"},
	})
}

// Of an index, containers/image judges what is for a platform, and policy-controller
// the index.
func TestForeignIndexes(t *testing.T) {
	podman := containers(t, `{"default":[`+signedWith(t, "a", `,"signedIdentity":{"type":"matchRepository"}`)+`]}`)
	controller := clusterPolicies(t, cluster("p", `{images: [{glob: "**"}], authorities: [`+authority(t, "a", "")+`]}`))
	for what, c := range map[string]struct {
		policy *policy.Policy
		signed [3]bool // the index, and its children
		state  verify.State
	}{
		"each child":                {podman, [3]bool{false, true, true}, verify.Passed},
		"all but one":               {podman, [3]bool{true, true, false}, verify.Refused},
		"the index alone":           {podman, [3]bool{true, false, false}, verify.Refused},
		"controller, index":         {controller, [3]bool{true, false, false}, verify.Passed},
		"controller, each but that": {controller, [3]bool{false, true, true}, verify.Refused},
	} {
		b := layouttest.New(verifytest.Name)
		one, two := layouttest.ForPlatform(b.Image("one"), "linux", "amd64"), layouttest.ForPlatform(b.Image("two"), "linux", "arm64")
		index := b.Index(one, two)
		b.Tag("v1", index)
		r := verifytest.NewRepository(t)
		r.Put(b.Content())
		for i, d := range []layout.Descriptor{index, one, two} {
			if c.signed[i] {
				r.Attach(tagged(verifytest.Name, "a")(t, layout.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}))
			}
		}
		v := r.Judge(&verify.Judge{Policy: c.policy, Trust: verifytest.Trust(t, verifytest.Pins{})}, "v1").Verdicts[0]
		if v.State != c.state {
			t.Errorf("%s: %s, want %s\n%s", what, v.State, c.state, quoted(t, v))
		}
	}
}

// A key's log entry, and the certificates of an authority, by what a policy.json
// brings itself.
func TestContainersMaterial(t *testing.T) {
	s, other := newSigstore(t), newSigstore(t)
	key := signing.InsecureKey("a")
	byID, byKey := sigstoretest.Signing{Identity: testEmail, Issuer: testIssuer}, sigstoretest.Signing{Key: key}
	const repository = `,"signedIdentity":{"type":"matchRepository"}`
	rekor := func(s *made) string {
		return `,"rekorPublicKeyData":"` + base64.StdEncoding.EncodeToString(s.rekor) + `"`
	}
	withKey := func(s *made) *policy.Policy {
		return containers(t, `{"default":[`+signedWith(t, "a", rekor(s)+repository)+`]}`)
	}
	withCA := func(s *made, ca []byte, identity string) *policy.Policy {
		return containers(t, fmt.Sprintf(`{"default":[{"type":"sigstoreSigned","fulcio":{"caData":%q,"oidcIssuer":%q,"subjectEmail":%q}%s%s}]}`,
			base64.StdEncoding.EncodeToString(ca), testIssuer, identity, rekor(s), repository))
	}
	carry := func(pem string) func(map[string]string) {
		return func(a map[string]string) { a[chainKey] = pem }
	}
	tr := verifytest.Trust(t, verifytest.Pins{Roots: map[string][]byte{"": s.json}}) // must not be asked
	checkVerdicts(t, tr, map[string]verdictCase{
		"key":              {withKey(s), []sign{logged(s.Sigstore, verifytest.Name, byKey, nil)}, verify.Passed, ""},
		"key, another log": {withKey(other), []sign{logged(s.Sigstore, verifytest.Name, byKey, nil)}, verify.Refused, "no log"},
		"key, not logged":  {withKey(s), []sign{tagged(verifytest.Name, "a")}, verify.Refused, "no log entry"},
		"key, entry of another": {withKey(s), []sign{logged(s.Sigstore, verifytest.Name, byKey, func(a map[string]string) {
			l, err := s.SignLayer(anotherDigest, verifytest.Name, byKey)
			if err != nil {
				t.Fatal(err)
			}
			a[bundleKey] = l.Annotations[bundleKey]
		})}, verify.Refused, "no log entry"},
		"issued by it":               {withCA(s, s.intermediate, testEmail), []sign{logged(s.Sigstore, verifytest.Name, byID, nil)}, verify.Passed, ""},
		"no way to the root":         {withCA(s, s.root, testEmail), []sign{logged(s.Sigstore, verifytest.Name, byID, nil)}, verify.Refused, "no pinned authority"},
		"carried to the root":        {withCA(s, s.root, testEmail), []sign{logged(s.Sigstore, verifytest.Name, byID, carry(string(s.intermediate)+string(s.root)))}, verify.Passed, ""},
		"carried, another's":         {withCA(s, s.root, testEmail), []sign{logged(s.Sigstore, verifytest.Name, byID, carry(string(other.intermediate)+string(s.root)))}, verify.Refused, "no pinned authority"},
		"carried, no root":           {withCA(s, s.root, testEmail), []sign{logged(s.Sigstore, verifytest.Name, byID, carry(string(s.intermediate)))}, verify.Refused, "no pinned authority"},
		"an address of another kind": {withCA(s, s.intermediate, testIdentity), []sign{logged(s.Sigstore, verifytest.Name, sigstoretest.Signing{Identity: testIdentity, Issuer: testIssuer}, nil)}, verify.Refused, "no address of mail"},
		"carried root":               {withCA(other, other.root, testEmail), []sign{logged(s.Sigstore, verifytest.Name, byID, carry(string(s.intermediate)+string(s.root)))}, verify.Refused, "untrusted"},
		"carried junk":               {withCA(s, s.root, testEmail), []sign{logged(s.Sigstore, verifytest.Name, byID, carry("junk"))}, verify.Refused, "malformed"},
		"carried too much":           {withCA(s, s.root, testEmail), []sign{logged(s.Sigstore, verifytest.Name, byID, carry(strings.Repeat(string(s.intermediate), 9)))}, verify.Refused, "malformed"},
		"somebody else":              {withCA(s, s.intermediate, "somebody@example.com"), []sign{logged(s.Sigstore, verifytest.Name, byID, nil)}, verify.Refused, "wrong identity"},
		"authority, other log":       {withCA(other, s.intermediate, testEmail), []sign{logged(s.Sigstore, verifytest.Name, byID, nil)}, verify.Refused, "untrusted"},
		"authority, a key":           {withCA(s, s.intermediate, testEmail), []sign{logged(s.Sigstore, verifytest.Name, byKey, nil)}, verify.Refused, "signed with a key"},
	})
}

// ClusterImagePolicies: any authority of each policy, every policy that is for the
// image.
func TestClusterVerdicts(t *testing.T) {
	s := newSigstore(t)
	tr := verifytest.Trust(t, verifytest.Pins{Roots: map[string][]byte{"": s.json}})
	const app = verifytest.Name
	policies := func(specs ...string) *policy.Policy {
		text := ""
		for i, s := range specs {
			text += cluster(fmt.Sprintf("p%d", i), s)
		}
		return clusterPolicies(t, text)
	}
	spec := func(glob string, authorities ...string) string {
		return `{images: [{glob: "` + glob + `"}], authorities: [` + strings.Join(authorities, ", ") + `]}`
	}
	a, b := authority(t, "a", ""), authority(t, "b", "")
	keyless := func(url, log string) string {
		return `{keyless: {url: "` + url + `", identities: [{issuer: "` + testIssuer + `", subject: nobody}, {issuer: "` + testIssuer + `", subject: "` + testIdentity + `"}]}, ctlog: {url: "` + log + `"}}`
	}
	byID, byKey := sigstoretest.Signing{Identity: testIdentity, Issuer: testIssuer}, sigstoretest.Signing{Key: signing.InsecureKey("a")}
	id, entry := logged(s.Sigstore, app, byID, nil), logged(s.Sigstore, app, byKey, nil)
	scan := func(seed, typ string) sign {
		return func(t *testing.T, image layout.Descriptor) signing.Artifact {
			at, err := signing.BundleAttestation(image, signing.Attestation{PredicateType: typ, Predicate: []byte(`{}`)}, signing.InsecureKey(seed))
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
	}
	const vuln, spdx = "https://cosign.sigstore.dev/attestation/vuln/v1", "https://spdx.dev/Document"
	attested := spec("**", authority(t, "a", ", attestations: [{name: x, predicateType: vuln}, {name: y, predicateType: spdx}]"))
	const fulcio, rekor = "https://fulcio.test", "https://rekor.test/"
	checkVerdicts(t, tr, map[string]verdictCase{
		"one":                   {policies(spec("**", a)), []sign{bundled("a")}, verify.Passed, "p0/authority-0"},
		"by another":            {policies(spec("**", a)), []sign{bundled("b")}, verify.Refused, "wrong key"},
		"for no image":          {policies(spec("other.example/**", a)), []sign{bundled("a")}, verify.Refused, "no rule of the policy"},
		"any authority":         {policies(spec("**", a, b)), []sign{bundled("b")}, verify.Passed, ""},
		"all policies, one":     {policies(spec("**", a), spec("reg.example/*/*", b)), []sign{bundled("a")}, verify.Refused, "p1/authority-0"},
		"all policies":          {policies(spec("**", a), spec("reg.example/*/*", b)), []sign{bundled("a"), bundled("b")}, verify.Passed, "p0 and p1"},
		"one says no":           {policies(spec("**", a), spec("**", "{static: {action: fail}}")), []sign{bundled("a")}, verify.Refused, "accepts nothing"},
		"one takes all":         {policies(spec("**", a), spec("**", "{static: {action: pass}}")), nil, verify.Refused, "no cosign"},
		"names do not mix":      {policies(spec("**", authority(t, "a", ", name: x")), spec("**", authority(t, "b", ", name: x"))), []sign{bundled("a")}, verify.Refused, "p1/x"},
		"keyless":               {policies(spec("**", keyless(fulcio, rekor))), []sign{id}, verify.Passed, ""},
		"keyless, other CA":     {policies(spec("**", keyless("https://fulcio.sigstore.dev", rekor))), []sign{id}, verify.Refused, "no pinned authority"},
		"keyless, other log":    {policies(spec("**", keyless(fulcio, "https://rekor2.test"))), []sign{id}, verify.Refused, "no log"},
		"key, logged":           {policies(spec("**", authority(t, "a", `, ctlog: {url: "`+rekor+`"}`))), []sign{entry}, verify.Passed, ""},
		"key, not logged":       {policies(spec("**", authority(t, "a", `, ctlog: {url: "`+rekor+`"}`))), []sign{bundled("a")}, verify.Refused, "no log entry"},
		"key, logged elsewhere": {policies(spec("**", authority(t, "a", `, ctlog: {url: "https://rekor2.test"}`))), []sign{entry}, verify.Refused, "no log"},
		"attested":              {policies(attested), []sign{scan("a", vuln), scan("a", spdx)}, verify.Passed, ""},
		"attested, one of two":  {policies(attested), []sign{scan("a", vuln)}, verify.Refused, spdx},
		"attested by another":   {policies(attested), []sign{scan("a", vuln), scan("b", spdx)}, verify.Refused, "wrong key"},
		"only signed":           {policies(attested), []sign{bundled("a")}, verify.Refused, "signature and no attestation"},
	})
}

// made is a Sigstore and what of it a policy can bring, in PEM form.
type made struct {
	*sigstoretest.Sigstore
	json, root, intermediate, rekor []byte
}

const anotherDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func newSigstore(t *testing.T) *made {
	t.Helper()
	s, err := sigstoretest.New()
	if err != nil {
		t.Fatal(err)
	}
	m := &made{Sigstore: s}
	if m.json, err = s.RootJSON(); err != nil {
		t.Fatal(err)
	}
	tr, err := s.Root()
	if err != nil {
		t.Fatal(err)
	}
	ca := tr.FulcioCertificateAuthorities()[0].(*root.FulcioCertificateAuthority)
	certificate := func(c *x509.Certificate) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	m.root, m.intermediate = certificate(ca.Root), certificate(ca.Intermediates[0])
	for _, l := range tr.RekorLogs() {
		if l.BaseURL == "https://rekor.test" {
			if m.rekor, err = cryptoutils.MarshalPublicKeyToPEM(l.PublicKey); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

// What is enough beside an identity's signature, the trusted root and the policy say;
// the policies of other tools want a log entry whatever the root.
func TestTimestampsAlone(t *testing.T) {
	s, err := sigstoretest.New()
	if err != nil {
		t.Fatal(err)
	}
	full, err := s.Root()
	if err != nil {
		t.Fatal(err)
	}
	private, err := root.NewTrustedRoot(root.TrustedRootMediaType01, full.FulcioCertificateAuthorities(), nil, full.TimestampingAuthorities(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const typ = "https://example.com/x"
	by := "identity: \"" + testIdentity + "\", issuer: \"" + testIssuer + "\""
	rule := func(more string) *policy.Policy {
		return verifytest.Policy(t, "attestation: {predicateType: \""+typ+"\", signedBy: {"+by+more+"}}")
	}
	stampedBy := func(o sigstoretest.Signing) sign {
		o.Identity, o.Issuer, o.NoLog = testIdentity, testIssuer, true
		return stated(s, typ, o)
	}
	both := verifytest.Policy(t, "allOf:\n- {name: x, attestation: {predicateType: \""+typ+"\", signedBy: {"+by+", logOrTimestamp: true}}}\n- attestation: {predicateType: \""+typ+"\", sameSignerAs: x}")
	controller := clusterPolicies(t, cluster("p", `{images: [{glob: "**"}], authorities: [{keyless: {identities: [{issuer: "`+testIssuer+`", subject: "`+testIdentity+`"}]}, attestations: [{name: a, predicateType: "`+typ+`"}]}]}`))
	for what, c := range map[string]struct {
		root   *root.TrustedRoot
		policy *policy.Policy
		sign   sign
		state  verify.State
		why    string
	}{
		"a root without logs":              {private, rule(""), stampedBy(sigstoretest.Signing{NoSCT: true}), verify.Passed, "timestamp authority"},
		"a root without logs, not stamped": {private, rule(""), stampedBy(sigstoretest.Signing{NoSCT: true, NoTimestamp: true}), verify.Refused, "no timestamp"},
		"a log is demanded":                {private, rule(", transparencyLog: true"), stampedBy(sigstoretest.Signing{NoSCT: true}), verify.Refused, "no log entry"},
		"a root with a log":                {full, rule(""), stampedBy(sigstoretest.Signing{}), verify.Refused, "no log entry"},
		"a root with a log, either":        {full, rule(", logOrTimestamp: true"), stampedBy(sigstoretest.Signing{}), verify.Passed, "timestamp authority"},
		"either, and neither is there":     {full, rule(", logOrTimestamp: true"), stampedBy(sigstoretest.Signing{NoTimestamp: true}), verify.Refused, "no timestamp"},
		"the same signer, either":          {full, both, stampedBy(sigstoretest.Signing{}), verify.Passed, ""},
		"the controller":                   {private, controller, stampedBy(sigstoretest.Signing{NoSCT: true}), verify.Refused, "no log entry"},
	} {
		r := verifytest.NewRepository(t)
		r.Attach(c.sign(t, r.Image("v1")))
		j := &verify.Judge{Policy: c.policy, Trust: verifytest.Trust(t, verifytest.Pins{}), Roots: []*root.TrustedRoot{c.root}}
		v := r.Judge(j, "v1").Verdicts[0]
		if text := quoted(t, v); v.State != c.state || !strings.Contains(text, c.why) {
			t.Errorf("%s: %s\n%s", what, v.State, text)
		}
	}
	for _, bad := range []string{"cosign: {key: a, logOrTimestamp: true}", "cosign: {" + by + ", logOrTimestamp: true, transparencyLog: true}"} {
		if _, err := policy.Parse("p.yaml", []byte("version: airgap.policy/v1\nrules:\n- name: r\n  match: [\"**\"]\n  require: {"+bad+"}\n"), ""); err == nil {
			t.Errorf("%s can be used", bad)
		}
	}
}
