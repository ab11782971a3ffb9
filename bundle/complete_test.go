package bundle_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"
	"airgap/verify/verifytest"

	"github.com/opencontainers/go-digest"
)

// exportSparse is export of content that lacks some of what its indexes list.
func exportSparse(t *testing.T, contents ...layouttest.Content) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "bundle.tar")
	var all []bundle.Selection
	for _, c := range contents {
		mayMiss := func(string, digest.Digest, layout.Descriptor) bool { return true }
		all = append(all, bundle.Selection{Source: memory(t, c), References: c.Roots(), MayMiss: mayMiss})
	}
	if _, err := bundle.Export(context.Background(), all, bundle.ExportOptions{Output: out}); err != nil {
		t.Fatal(err)
	}
	return out
}

// childrenJudge judges the children of indexes by a requirement.
func childrenJudge(t *testing.T, require string) *verify.Judge {
	t.Helper()
	p := verifytest.Policy(t, require)
	p.Rules[0].Index = policy.IndexChildren
	return &verify.Judge{Policy: p, Trust: verifytest.Trust(t, verifytest.Pins{Keys: map[string]crypto.Signer{"release": signing.InsecureKey("release")}})}
}

// attachTo puts a cosign signature that names references beside d.
func attachTo(b *layouttest.Builder, d layout.Descriptor, references ...string) {
	for _, ref := range references {
		a, err := signing.CosignSignatureReferrer(d, signing.Claim{Reference: ref}, signing.InsecureKey("release"))
		if err != nil {
			panic(err)
		}
		for _, blob := range a.Blobs {
			b.Blob(blob.Desc.MediaType, blob.Data)
		}
		b.Blob(a.Manifest.MediaType, a.Raw)
	}
}

// asked is a destination that counts what it is asked about.
type asked struct {
	*layout.Memory
	admitted, listed int
}

func (a *asked) Serves(context.Context, string, digest.Digest) (bool, error) { return false, nil }

func (a *asked) Admitted(context.Context, string, digest.Digest) (bool, error) {
	a.admitted++
	return false, nil
}

func (a *asked) Listed(context.Context, string, digest.Digest) ([][]layout.Name, error) {
	a.listed++
	return nil, nil
}

// What an index with many names came without is asked for and remembered once, and not once
// for each name; not even where each name is judged by itself.
func TestSparseIndexOfManyNames(t *testing.T) {
	for _, require := range []string{"cosign: {key: release}", "cosign: {key: release, reference: matchRepository}"} {
		t.Run(require, func(t *testing.T) { sparseIndexOfManyNames(t, require) })
	}
}

func sparseIndexOfManyNames(t *testing.T, require string) {
	const references, children = 60, 50
	b, other := layouttest.New(repo), layouttest.New(repo)
	here := b.Image("here")
	attachTo(b, here, repo)
	list := []layout.Descriptor{layouttest.ForPlatform(here, "linux", "amd64")}
	for i := range children {
		list = append(list, other.Image(fmt.Sprint(i)))
	}
	index := b.Index(list...)
	for i := range references {
		b.Tag(fmt.Sprint("v", i), index)
	}
	path := exportSparse(t, b.Content())
	m := newMemory()
	dst := &asked{Memory: layout.NewMemory()}
	if _, err := bundle.Import(t.Context(), open(t, path), dst, bundle.ImportOptions{Judge: childrenJudge(t, require), Memory: m}); err != nil {
		t.Fatal(err)
	}
	if dst.admitted > 2*children { // for the decision, and for the ledger
		t.Errorf("the destination was asked %d times about %d absent children", dst.admitted, children)
	}
	if dst.listed > 10 {
		t.Errorf("the destination was asked %d times what lists something", dst.listed)
	}
	marks, size := 0, 0
	for name, value := range m.marks {
		if strings.HasPrefix(name, "child ") {
			marks++
			size += len(value)
		}
	}
	if marks != children || size > 100*children {
		t.Errorf("%d marks of %d absent children, %d bytes", marks, children, size)
	}

	// All of it is remembered: the child has to pass for each name of the index.
	for i := range children {
		without, err := bundle.CameWithout(m, repo, index.Digest, list[1+i].Digest)
		if err != nil || !without {
			t.Errorf("child %d: %v, %v", i, without, err)
		}
	}
	late := layouttest.New(repo)
	late.Tag("late", late.Image("7"))
	res, err := bundle.Import(t.Context(), open(t, export(t, late.Content(), bundle.ExportOptions{})), &asked{Memory: layout.NewMemory()}, bundle.ImportOptions{Judge: laterJudge(t), Memory: m})
	if err == nil || !strings.Contains(res.Report.Verdicts[0].Reason, repo+":v0 lists") {
		t.Errorf("an absent child that comes later: %v", err)
	}
}

// laterJudge accepts images with the tag "late", and judges the children of indexes.
func laterJudge(t *testing.T) *verify.Judge {
	j := childrenJudge(t, "cosign: {key: release}")
	late := j.Policy.Rules[0]
	late.Name, late.Match, late.Index, late.Require = "late", []string{"**:late"}, policy.IndexItself, policy.Requirement{InsecureAnything: true}
	j.Policy.Rules = append(j.Policy.Rules, late)
	return j
}

// Where a rule asks under which reference a child was signed, a child that meets an index is
// judged for each reference of the index: that it passes for one says nothing of another.
func TestCompletingIsByReference(t *testing.T) {
	b, from := layouttest.New(repo), layouttest.New("mirror.example/app")
	here, late := b.Image("here"), from.Image("late")
	attachTo(b, here, repo+":v1", repo+":v2")
	attachTo(from, late, repo+":v1", "mirror.example/app:late")
	index := b.Index(layouttest.ForPlatform(here, "linux", "amd64"), layouttest.ForPlatform(late, "linux", "arm64"))
	b.Tag("v1", index)
	b.Tag("v2", index)
	from.Tag("late", late)
	path := exportSparse(t, b.Content(), from.Content())
	o := bundle.ImportOptions{
		Judge: childrenJudge(t, "cosign: {key: release, reference: matchExact}"), Partial: true,
		Mapping: bundle.Mapping{Rules: []bundle.Rule{{From: repo, To: "corp.example/app"}, {From: "mirror.example/app", To: "corp.example/app"}}},
	}
	res, err := bundle.Import(t.Context(), open(t, path), layout.NewMemory(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range res.Report.Verdicts {
		want := verify.Passed
		if v.Reference == repo+":v2" {
			want = verify.Refused
		}
		if v.State != want || want == verify.Refused && !strings.Contains(v.Reason, "the index "+repo+":v2 lists "+late.Digest.String()) {
			t.Errorf("%s is %s (%s), want %s", v.Reference, v.State, v.Reason, want)
		}
	}
}

// pendingMarks are marks that are read as they were, as those of a session.
type pendingMarks struct{ set map[string][]byte }

func (p *pendingMarks) Marked(string) ([]byte, error) { return nil, nil }

func (p *pendingMarks) Mark(name string, _, now []byte) error {
	p.set[name] = now
	return nil
}

// All references of an index are remembered.
func TestRememberAbsent(t *testing.T) {
	child, index := digest.FromString("child"), digest.FromString("index")
	m := &pendingMarks{map[string][]byte{}}
	var all []bundle.SparseIndex
	for _, tag := range []string{"v1", "v2"} {
		all = append(all, bundle.SparseIndex{Repository: repo, Digest: index, References: []string{repo + ":" + tag}, Absent: []digest.Digest{child}})
	}
	news, err := bundle.RememberAbsent(m, all)
	if err != nil || !news {
		t.Fatalf("%v, %v", news, err)
	}
	text := ""
	for name, value := range m.set {
		text += name + " " + string(value) + "\n"
	}
	for _, want := range []string{"child " + repo + " " + child.String(), index.String(), repo + ":v1", repo + ":v2"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not remembered:\n%s", want, text)
		}
	}
}

// Of an index without a remembered reference no rule would be asked: the memory is damaged,
// and nothing passes by it.
func TestAbsentMarkWithoutReferences(t *testing.T) {
	child, index := digest.FromString("child"), digest.FromString("index")
	m := &pendingMarks{map[string][]byte{}}
	if _, err := bundle.RememberAbsent(m, []bundle.SparseIndex{{Repository: repo, Digest: index, References: []string{repo + ":v1"}, Absent: []digest.Digest{child}}}); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []string{"", "[]", "null"} {
		marks := keptMarks{}
		for name, value := range m.set {
			if !strings.HasPrefix(name, "index ") {
				marks[name] = value
			} else if lost != "" {
				marks[name] = []byte(lost)
			}
		}
		check := bundle.NewChildCheck(marks, &verify.Judge{}, layout.NewMemory(), func(string, digest.Digest) bool { return true })
		if why, err := check.Refuses(t.Context(), repo, child); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%q: %q, %v", lost, why, err)
		}
	}
}

// keptMarks are marks that can be read.
type keptMarks map[string][]byte

func (k keptMarks) Marked(name string) ([]byte, error) { return k[name], nil }
