package bundle_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"
	"airgap/verify/sigstore"
	"airgap/verify/trust"

	"github.com/opencontainers/go-digest"
)

// importTime is when the judges here look at their clock first.
var importTime = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// keyJudge accepts what key "release" signed; more is put behind the policy, so that
// it has another digest.
func keyJudge(t *testing.T, more string) *verify.Judge {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	text := "version: airgap.policy/v1\nrules:\n- {name: all, match: ['**'], require: {cosign: {key: release}}}\n" + more
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(path, "")
	if err != nil {
		t.Fatal(err)
	}
	now := importTime
	return &verify.Judge{
		Policy: p, Trust: &trust.Trust{}, Keys: map[string]crypto.PublicKey{"release": signing.InsecureKey("release").Public()},
		Now: func() time.Time { now = now.Add(time.Hour); return now }, // no two judgements at one time
	}
}

func approver(seed string) *bundle.Approver {
	return &bundle.Approver{Key: signing.InsecureKey(seed), Verifier: signing.Verifier{ID: "https://corp.example/" + seed, Version: map[string]string{"airgap": "test"}}}
}

// released is a bundle of two images, of which the key signed both or one.
func released(t *testing.T, both bool) (path string, one, two layout.Descriptor) {
	t.Helper()
	b := layouttest.New(repo)
	one, two = b.Image("one"), b.Image("two")
	b.Tag("v1", one)
	b.Tag("v2", two)
	path = export(t, b.Content(), bundle.ExportOptions{})
	adds := []bundle.Addition{sign(t, repo, one, "release"), sign(t, repo, one, "somebody else")}
	if both {
		adds = append(adds, sign(t, repo, two, "release"))
	}
	mustAttach(t, path, adds...)
	return path, one, two
}

// approvals reads what key has approved of a manifest, which has to verify.
func approvals(t *testing.T, src layout.Source, in string, d layout.Descriptor, key string) []signing.VerificationSummary {
	t.Helper()
	var out []signing.VerificationSummary
	for _, m := range slices.Sorted(maps.Keys(attached(t, src, in, d))) {
		data := layerOf(t, src, in, m)
		env, err := sigstore.ParseBundle(data)
		if err != nil {
			continue
		}
		signed, err := env.Verify(d.Digest, sigstore.Material{}, sigstore.Want{Key: signing.InsecureKey(key).Public()})
		if err != nil || signed.PredicateType != signing.PredicateVerificationSummary {
			continue
		}
		s, err := signing.ParseVerificationSummary(signed.Predicate)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// layerOf reads the one layer of an attached manifest.
func layerOf(t *testing.T, src layout.Source, in string, m digest.Digest) []byte {
	t.Helper()
	d, err := src.Resolve(t.Context(), layout.Reference{Repository: in, Digest: m})
	if err != nil {
		t.Fatal(err)
	}
	get := func(d layout.Descriptor) []byte {
		rc, err := src.Open(t.Context(), in, layout.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
		if err != nil {
			t.Fatal(err)
		}
		data, err := layout.ReadAll(rc, d)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	parsed, err := layout.ParseManifest(d, get(d))
	if err != nil || len(parsed.Layers) != 1 {
		t.Fatalf("%d layers, %v", len(parsed.Layers), err)
	}
	return get(parsed.Layers[0])
}

func mustImport(t *testing.T, path string, dst layout.Sink, o bundle.ImportOptions) *bundle.ImportResult {
	t.Helper()
	res, err := bundle.Import(t.Context(), open(t, path), dst, o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// An approval says what was verified, by whom, by which policy, on which evidence,
// where it came from and where it went.
func TestApprovalSays(t *testing.T) {
	path, one, _ := released(t, true)
	j, dst := keyJudge(t, ""), layout.NewMemory()
	res := mustImport(t, path, dst, bundle.ImportOptions{Judge: j, Approver: approver("import"), Mapping: bundle.Mapping{To: "reg.corp:5000/in"}})
	const to = "reg.corp:5000/in/team/app"
	all := approvals(t, dst, to, one, "import")
	if len(all) != 1 || len(res.Approvals) != 2 {
		t.Fatalf("%d approvals, of %d that are reported", len(all), len(res.Approvals))
	}
	evidence := sign(t, repo, one, "release").Artifact.Manifest.Digest
	want := signing.NewVerificationSummary(true)
	want.Verifier = approver("import").Verifier
	want.TimeVerified = res.Report.Time
	want.ResourceURI = "oci://" + to + ":v1"
	want.Policy = signing.PolicyResource("policy.yaml", digest.Digest(j.Policy.Digest), "", res.Report.Trust)
	want.InputAttestations = []signing.Resource{signing.NewResource("oci://"+repo+"@"+string(evidence), evidence)}
	got, _ := json.Marshal(all[0])
	if wanted, _ := json.Marshal(want); string(got) != string(wanted) {
		t.Errorf("it says\n%s\nwant\n%s", got, wanted)
	}
	for _, must := range []string{`"verificationResult":"PASSED"`, `"verifiedLevels":["SLSA_BUILD_LEVEL_UNEVALUATED"]`} {
		if !strings.Contains(string(got), must) {
			t.Errorf("%s is not in %s", must, got)
		}
	}
	a := res.Approvals[0]
	if a.Destination != to+":v1" || a.Digest != one.Digest || a.Present || a.Verifier != want.Verifier.ID || !attached(t, dst, to, one)[a.Manifest] {
		t.Errorf("reported as %+v", a)
	}
	// The statement names what was judged, by the name it had then.
	var env struct {
		DSSE struct{ Payload []byte } `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(layerOf(t, dst, to, a.Manifest), &env); err != nil || !strings.Contains(string(env.DSSE.Payload), `"name":"`+repo+`:v1"`) {
		t.Errorf("statement %s, %v", env.DSSE.Payload, err)
	}
	// Whoever signed before is where he was, and nothing else came.
	for _, key := range []string{"release", "somebody else"} {
		if !attached(t, dst, to, one)[sign(t, repo, one, key).Artifact.Manifest.Digest] {
			t.Errorf("the signature of %s is gone", key)
		}
	}
	if n := len(attached(t, dst, to, one)); n != 3 {
		t.Errorf("%d are attached, want 3", n)
	}
}

// The same verdict once more adds nothing; anything else that was verified does.
func TestApprovalsDoNotPileUp(t *testing.T) {
	path, one, _ := released(t, true)
	dst := layout.NewMemory()
	first, other := keyJudge(t, ""), keyJudge(t, "# another\n")
	count := func() int { return len(approvals(t, dst, repo, one, "import")) }
	for i, c := range []struct {
		what string
		o    bundle.ImportOptions
		want int
	}{
		{"the first", bundle.ImportOptions{Judge: first, Approver: approver("import")}, 1},
		{"the same, later", bundle.ImportOptions{Judge: first, Approver: approver("import")}, 1},
		{"another signer", bundle.ImportOptions{Judge: first, Approver: approver("second")}, 1},
		{"another policy", bundle.ImportOptions{Judge: other, Approver: approver("import")}, 2},
		{"the first policy again", bundle.ImportOptions{Judge: first, Approver: approver("import")}, 2},
		{"another name of the verifier", bundle.ImportOptions{Judge: first, Approver: &bundle.Approver{Key: signing.InsecureKey("import"), Verifier: signing.Verifier{ID: "urn:example:other"}}}, 3},
		{"another version of the tool", bundle.ImportOptions{Judge: first, Approver: &bundle.Approver{Key: signing.InsecureKey("import"), Verifier: signing.Verifier{ID: "urn:example:other", Version: map[string]string{"airgap": "2"}}}}, 3},
	} {
		res := mustImport(t, path, dst, c.o)
		if got := count(); got != c.want {
			t.Errorf("%s: %d approvals, want %d", c.what, got, c.want)
		}
		if present := res.Approvals[0].Present; present != (i == 1 || i == 4 || i == 6) {
			t.Errorf("%s: present %v", c.what, present)
		}
	}
	if n := len(approvals(t, dst, repo, one, "second")); n != 1 {
		t.Errorf("%d approvals by the second signer", n)
	}
	// More evidence is another verdict.
	b := open(t, path)
	attest, err := signing.CosignSignatureReferrer(one, signing.Claim{Reference: repo}, signing.InsecureKey("release"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Attach(t.Context(), []bundle.Addition{{Repository: repo, Subject: one.Digest, Artifact: attest}}, bundle.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	mustImport(t, path, dst, bundle.ImportOptions{Judge: first, Approver: approver("import")})
	if got := count(); got != 4 {
		t.Errorf("with more evidence: %d approvals, want 4", got)
	}
}

// An Ed25519 key countersigns as well, and its approvals are known again.
func TestApprovalByEd25519(t *testing.T) {
	path, _, _ := released(t, true)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	dst, j := layout.NewMemory(), keyJudge(t, "")
	for i := range 2 {
		res := mustImport(t, path, dst, bundle.ImportOptions{Judge: j, Approver: &bundle.Approver{Key: key, Verifier: approver("import").Verifier}})
		if res.Approvals[0].Present != (i == 1) {
			t.Errorf("import %d: %+v", i, res.Approvals[0])
		}
	}
}

// What only looks like an equal approval is none: by another key in the same words,
// of another type, or damaged. It does not stand in the way either.
func TestForgedApprovalIsNotEqual(t *testing.T) {
	path, one, _ := released(t, true)
	dst := layout.NewMemory()
	j := keyJudge(t, "")
	forger := approver("import")
	forger.Key = signing.InsecureKey("forger")
	mustImport(t, path, dst, bundle.ImportOptions{Judge: j, Approver: forger})
	junk := []bundle.Addition{}
	for _, data := range []string{"", "{}", `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`, strings.Repeat("x", 2<<20)} {
		a, err := signing.Referrer(one, signing.Document{MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json", Data: []byte(data)})
		if err != nil {
			t.Fatal(err)
		}
		junk = append(junk, bundle.Addition{Repository: repo, Subject: one.Digest, Artifact: a})
	}
	if _, err := bundle.Attach(t.Context(), dst, junk); err != nil {
		t.Fatal(err)
	}
	res := mustImport(t, path, dst, bundle.ImportOptions{Judge: j, Approver: approver("import")})
	if res.Approvals[0].Present || len(approvals(t, dst, repo, one, "import")) != 1 || len(approvals(t, dst, repo, one, "forger")) != 1 {
		t.Errorf("%+v: %d approvals", res.Approvals[0], len(approvals(t, dst, repo, one, "import")))
	}
}

// An approval that travels in the bundle is not made again.
func TestApprovalComesAlong(t *testing.T) {
	path, one, _ := released(t, true)
	j, first := keyJudge(t, ""), layout.NewMemory()
	was := mustImport(t, path, first, bundle.ImportOptions{Judge: j, Approver: approver("import")})
	out := filepath.Join(t.TempDir(), "again.tar")
	refs := []layout.Reference{{Repository: repo, Tag: "v1"}, {Repository: repo, Tag: "v2"}}
	if _, err := bundle.Export(t.Context(), []bundle.Selection{{Source: first, References: refs}}, bundle.ExportOptions{Output: out}); err != nil {
		t.Fatal(err)
	}
	second := layout.NewMemory()
	res := mustImport(t, out, second, bundle.ImportOptions{Judge: j, Approver: approver("import")})
	if len(approvals(t, second, repo, one, "import")) != 1 || !slices.ContainsFunc(res.Approvals, func(a bundle.Approval) bool {
		return a.Present && a.Manifest == was.Approvals[0].Manifest
	}) {
		t.Errorf("%+v: %d approvals", res.Approvals, len(approvals(t, second, repo, one, "import")))
	}
}

// What did not pass gets no approval, and neither does what nobody judged; a key
// that cannot sign is found before anything is written.
func TestNoApproval(t *testing.T) {
	path, one, two := released(t, false)
	j := keyJudge(t, "")
	dst := layout.NewMemory()
	res := mustImport(t, path, dst, bundle.ImportOptions{Judge: j, Approver: approver("import"), Partial: true})
	if len(res.Approvals) != 1 || res.Approvals[0].Digest != one.Digest || res.Report.State != verify.Refused {
		t.Errorf("%+v", res.Approvals)
	}
	if has, err := dst.Has(t.Context(), repo, two); has || err != nil {
		t.Errorf("what was refused is there: %v, %v", has, err)
	}
	rsa, err := signing.NewTestCA("rsa", signing.TestOptions{RSA: true})
	if err != nil {
		t.Fatal(err)
	}
	noName := approver("import")
	noName.Verifier.ID = "import"
	noDigest := keyJudge(t, "")
	noDigest.Policy.Digest = ""
	for what, c := range map[string]struct {
		o    bundle.ImportOptions
		want error
	}{
		"refused":                {bundle.ImportOptions{Judge: j, Approver: approver("import")}, bundle.ErrRefused},
		"not judged":             {bundle.ImportOptions{InsecureSkipVerify: true, Approver: approver("import")}, bundle.ErrUsage},
		"a key of another kind":  {bundle.ImportOptions{Judge: j, Partial: true, Approver: &bundle.Approver{Key: rsa.Key, Verifier: approver("x").Verifier}}, signing.ErrKey},
		"no key":                 {bundle.ImportOptions{Judge: j, Partial: true, Approver: &bundle.Approver{Verifier: approver("x").Verifier}}, signing.ErrKey},
		"a verifier without URI": {bundle.ImportOptions{Judge: j, Partial: true, Approver: noName}, signing.ErrContent},
		"a policy without name":  {bundle.ImportOptions{Judge: noDigest, Partial: true, Approver: approver("import")}, bundle.ErrUsage},
	} {
		dst := &counted{Memory: layout.NewMemory()}
		if _, err := bundle.Import(t.Context(), open(t, path), dst, c.o); !errors.Is(err, c.want) || dst.puts > 0 {
			t.Errorf("%s: %v, %d puts", what, err, dst.puts)
		}
	}
}

// ordered notes what is done in which order, and fails what it is told to.
type ordered struct {
	*counted
	fail   func(d layout.Descriptor) bool
	events []string
}

var errPut = errors.New("no room")

func (o *ordered) Put(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	if o.fail != nil && o.fail(d) {
		return errPut
	}
	err := o.counted.Put(ctx, repo, d, r)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, "put "+d.ArtifactType)
	return err
}

func (o *ordered) Commit(ctx context.Context, names []layout.Name) error {
	o.events = append(o.events, fmt.Sprintf("commit %d", len(names)))
	return o.counted.Commit(ctx, names)
}

// Approvals are there before the names, by the one commit that publishes those; one
// that cannot be put leaves no name behind.
func TestApprovalsComeBeforeNames(t *testing.T) {
	path, one, _ := released(t, true)
	for _, overwrite := range []bool{false, true} {
		dst := &ordered{counted: &counted{Memory: layout.NewMemory()}}
		mustImport(t, path, dst, bundle.ImportOptions{Judge: keyJudge(t, ""), Approver: approver("import"), Overwrite: overwrite})
		n := len(dst.events)
		commits := 0
		for _, e := range dst.events {
			if strings.HasPrefix(e, "commit") {
				commits++
			}
		}
		if commits != 1 || dst.events[n-1] != "commit 2" || !strings.HasPrefix(dst.events[n-2], "put application/vnd.dev.sigstore.bundle") {
			t.Errorf("%d commits, the last events are %q", commits, dst.events[max(0, n-3):])
		}
	}
	var attached atomic.Int32
	dst := &ordered{counted: &counted{Memory: layout.NewMemory()}}
	dst.fail = func(d layout.Descriptor) bool {
		// Three signatures come first, then the two approvals.
		return d.ArtifactType != "" && attached.Add(1) == 5
	}
	_, err := bundle.Import(t.Context(), open(t, path), dst, bundle.ImportOptions{Judge: keyJudge(t, ""), Approver: approver("import")})
	if !errors.Is(err, errPut) {
		t.Fatalf("Import = %v", err)
	}
	for _, tag := range []string{"v1", "v2"} {
		if _, err := dst.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: tag}); !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("%s has its name without its approval: %v", tag, err)
		}
	}
	dst.fail = nil
	mustImport(t, path, dst, bundle.ImportOptions{Judge: keyJudge(t, ""), Approver: approver("import")})
	if n := len(approvals(t, dst, repo, one, "import")); n != 1 {
		t.Errorf("once more, there are %d approvals", n)
	}
}

// In a store all of it is one transaction: before it there is neither image nor
// approval, after it both.
func TestApprovalIsInTheTransaction(t *testing.T) {
	path, one, _ := released(t, true)
	st, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	session, err := st.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	stopped, stop := context.WithCancel(t.Context())
	dst := &stopping{Session: session, stop: stop}
	if _, err := bundle.Import(stopped, open(t, path), dst, bundle.ImportOptions{Judge: keyJudge(t, ""), Approver: approver("import")}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Import = %v", err)
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	if names, err := st.Names(t.Context()); err != nil || len(names) > 0 || len(attached(t, st, repo, one)) > 0 {
		t.Errorf("stopped before its end, it left %v, %v", names, err)
	}
	again, err := st.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	mustImport(t, path, again, bundle.ImportOptions{Judge: keyJudge(t, ""), Approver: approver("import")})
	if n := len(approvals(t, st, repo, one, "import")); n != 1 {
		t.Errorf("%d approvals", n)
	}
}

// stopping is stopped when its approvals have been put, and names would be next.
type stopping struct {
	*store.Session
	stop func()
}

func (s *stopping) Commit(ctx context.Context, names []layout.Name) error {
	s.stop()
	return s.Session.Commit(ctx, names)
}

// A verdict that is not "passed" makes a summary that says so, for records.
func TestSummaryOfARefusal(t *testing.T) {
	path, _, _ := released(t, false)
	r, err := judged(t, open(t, path), keyJudge(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Verdicts {
		s, err := bundle.Summary(r, &r.Verdicts[i], approver("x").Verifier, layout.Reference{Repository: "reg.corp/app", Tag: "v1"})
		if err != nil {
			t.Fatal(err)
		}
		passed := r.Verdicts[i].State == verify.Passed
		if (s.VerificationResult == signing.SummaryPassed) != passed || slices.Contains(s.VerifiedLevels, signing.SummaryFailed) == passed || (len(s.InputAttestations) > 0) != passed {
			t.Errorf("%s: %+v", r.Verdicts[i].State, s)
		}
	}
}
