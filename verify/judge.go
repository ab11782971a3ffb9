package verify

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"runtime"
	"slices"
	"time"

	"airgap/layout"
	"airgap/verify/notary"
	"airgap/verify/policy"
	"airgap/verify/trust"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/root"
	"golang.org/x/sync/errgroup"
)

// Judge decides by one policy, with what is pinned.
type Judge struct {
	Policy *policy.Policy
	Trust  *trust.Trust
	// Keys are pinned beside those of Trust, by name.
	Keys map[string]crypto.PublicKey
	// Roots are Sigstore trusted roots beside those of Trust.
	Roots []*root.TrustedRoot
	// CRLs that travelled. Each counts only if an issuer under a pinned
	// certificate signed it.
	CRLs []*x509.RevocationList
	// Now replaces time.Now for the ages of attestations, for tests.
	Now func() time.Time
}

// Graph judges every root of g, whose bytes src has. An error means that there is
// no verdict at all: the source failed, or ctx is done.
func (j *Judge) Graph(ctx context.Context, src layout.Source, g *layout.Graph) (*Report, error) {
	now := time.Now
	if j.Now != nil {
		now = j.Now
	}
	pins := pins{crls: slices.Concat(j.Trust.CRLs(), j.CRLs), roots: slices.Concat(j.Trust.Roots(), j.Roots)}
	r := &Report{
		State: Refused, Policy: Origin{j.Policy.File, j.Policy.Digest, j.Policy.Environment}, Trust: j.Trust.Digest(),
		Time: now().UTC(), Verdicts: make([]Verdict, len(g.Roots)),
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	stale := j.stale(r.Time)
	budget := newWork(g)
	for _, same := range byManifest(g.Roots) {
		group.Go(func() error {
			// What is read for one manifest is let go of with it.
			c := &collector{src: src, g: g, work: budget, known: map[key]*pieces{}}
			for _, i := range same {
				root := g.Roots[i]
				b := &bench{judge: j, collector: c, repo: root.Reference.Repository, now: r.Time, pins: pins, stale: stale}
				v, err := b.root(gctx, root)
				if err != nil {
					return err
				}
				r.Verdicts[i] = v
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	states := make([]State, len(r.Verdicts))
	for i, v := range r.Verdicts {
		states[i] = v.State
	}
	if len(states) > 0 {
		r.State = all(states)
	}
	for _, v := range r.Verdicts {
		if v.State == Passed {
			r.Lists = v.lists(r.Lists)
		}
	}
	return r, nil
}

// stale says why what is pinned is too old for the policy, if it is: keys and roots
// that nobody has looked at for long may have been given up by those they stand for.
func (j *Judge) stale(now time.Time) string {
	limit := j.Policy.MaxTrustAge.Age()
	if limit == 0 {
		return ""
	}
	const advice = "after a review, run airgap trust confirm"
	confirmed, ok := j.Trust.Confirmed()
	switch age := now.Sub(confirmed); {
	case !ok:
		return fmt.Sprintf("the policy has maxTrustAge, and nobody has confirmed what is pinned; %s", advice)
	case age < -clockSkew:
		return fmt.Sprintf("what is pinned was confirmed at %s: the clock of this machine is behind", confirmed.Format(time.RFC3339))
	case age > limit:
		return fmt.Sprintf("what is pinned was last confirmed at %s, longer ago than the policy's maxTrustAge; %s", confirmed.Format(time.RFC3339), advice)
	}
	return ""
}

// byManifest puts the roots together that are the same manifest in the same
// repository, under several tags; in the order of the first of each.
func byManifest(roots []layout.Name) [][]int {
	var out [][]int
	at := map[key]int{}
	for i, root := range roots {
		k := key{root.Reference.Repository, root.Descriptor.Digest}
		n, ok := at[k]
		if !ok {
			n, at[k] = len(out), len(out)
			out = append(out, nil)
		}
		out[n] = append(out[n], i)
	}
	return out
}

// bench is one root being judged.
type bench struct {
	judge *Judge
	*collector
	repo string
	now  time.Time
	pins
	stale string // why nothing passes by what is pinned; usually empty
}

// pins is what is pinned, put together once.
type pins struct {
	crls  []*x509.RevocationList
	roots []*root.TrustedRoot
}

func (b *bench) root(ctx context.Context, root layout.Name) (Verdict, error) {
	v := Verdict{Reference: root.Reference.String(), Digest: root.Descriptor.Digest, State: Refused}
	rule := b.judge.Policy.For(root.Reference)
	if rule == nil {
		v.Reason = "no rule of the policy is for it"
		return v, nil
	}
	v.Rule = rule.Name
	if b.stale != "" {
		v.State, v.Reason = Undecided, b.stale
		return v, nil
	}
	v.Warnings = b.riders(root.Descriptor.Digest)
	n := b.g.Nodes[root.Descriptor.Digest]
	if rule.Index == policy.IndexChildren && layout.IsIndex(n.Descriptor.MediaType) {
		return b.children(ctx, v, rule, n)
	}
	o, err := b.judgeOne(ctx, rule, root)
	if err != nil {
		return v, err
	}
	v.Outcome, v.State = o, o.State
	v.Warnings = o.warnings(v.Warnings)
	return v, nil
}

// riders tells of images that come in as attachments of this one, and that nobody
// judged: they travel with it, and can be started.
func (b *bench) riders(d digest.Digest) []string {
	var out []string
	if p, ok := b.g.Place(b.repo, d); ok {
		for _, e := range p.Attached {
			if n := b.g.Nodes[e.Digest]; n.Runnable || layout.IsIndex(n.Descriptor.MediaType) {
				out = append(out, fmt.Sprintf("%s is attached to it and is an image or an index, which nobody judged", e.Digest))
			}
		}
	}
	return out
}

func (b *bench) judgeOne(ctx context.Context, rule *policy.Rule, root layout.Name) (*Outcome, error) {
	s := &scene{bench: b, digest: root.Descriptor.Digest, named: map[string]*Outcome{}}
	return s.judge(ctx, &rule.Require)
}

// inert says whether nothing can be started from a manifest, however it is listed:
// the mark of a BuildKit attestation is only the index's word, and under a rule
// about children nobody vouches for that.
func (b *bench) inert(d digest.Digest) bool {
	n := b.g.Nodes[d]
	return !layout.IsIndex(n.Descriptor.MediaType) && !n.Runnable
}

// children judges each child of an index that is here, but for BuildKit's
// attestations.
func (b *bench) children(ctx context.Context, v Verdict, rule *policy.Rule, n *layout.Node) (Verdict, error) {
	var states []State
	posing, err := b.posing(ctx, n)
	if err != nil {
		return v, err
	}
	if posing != "" {
		v.Reason = posing
		return v, nil
	}
	for _, c := range b.images(n) {
		s := &scene{bench: b, digest: c.Digest, parent: c.parent, named: map[string]*Outcome{}}
		o, err := s.judge(ctx, &rule.Require)
		if err != nil {
			return v, err
		}
		child := Child{Digest: c.Digest, Outcome: o}
		if c.Platform != nil {
			child.Platform = layout.FormatPlatform(*c.Platform)
		}
		v.Children = append(v.Children, child)
		v.Warnings = o.warnings(v.Warnings)
		states = append(states, o.State)
	}
	if len(states) == 0 {
		v.Reason = "none of the index's children is here, and the rule judges those"
		return v, nil
	}
	v.State = all(states)
	return v, nil
}

// posing says why an index that nobody signed may not come in: it lists, under a type
// that is no manifest's, what an engine could read as one and start. It is "" if there
// is nothing of the kind in it or in indexes below.
func (b *bench) posing(ctx context.Context, n *layout.Node) (string, error) {
	seen := map[digest.Digest]bool{}
	for below := []*layout.Node{n}; len(below) > 0; below = below[1:] {
		at := below[0]
		if _, here := b.g.Place(b.repo, at.Descriptor.Digest); !here || seen[at.Descriptor.Digest] || !layout.IsIndex(at.Descriptor.MediaType) {
			continue
		}
		seen[at.Descriptor.Digest] = true
		for _, o := range at.Blobs {
			manifest, err := layout.ReadsAsManifest(ctx, b.src, b.repo, o.Descriptor())
			if err != nil {
				return "", err
			}
			if manifest {
				return fmt.Sprintf("the index lists %s as %q, which is no manifest; engines could read it as one, and nobody judges it", o.Digest, o.MediaType), nil
			}
		}
		for _, c := range at.Children {
			below = append(below, b.g.Nodes[c.Digest])
		}
	}
	return "", nil
}

// listedChild is a child, and the index that lists it.
type listedChild struct {
	layout.Child
	parent digest.Digest
}

// images lists what stands below an index and is here, but for BuildKit's
// attestations. An index among it stands for what it lists in turn: a signature on
// it is none on an image.
func (b *bench) images(n *layout.Node) []listedChild {
	var out []listedChild
	below, seen := []digest.Digest{n.Descriptor.Digest}, map[digest.Digest]bool{n.Descriptor.Digest: true}
	for next := 0; next < len(below); next++ {
		for _, c := range b.g.Nodes[below[next]].Children {
			if _, here := b.g.Place(b.repo, c.Digest); !here || seen[c.Digest] || c.BuildKit && b.inert(c.Digest) {
				continue
			}
			seen[c.Digest] = true
			if layout.IsIndex(b.g.Nodes[c.Digest].Descriptor.MediaType) {
				below = append(below, c.Digest)
				continue
			}
			out = append(out, listedChild{c, below[next]})
		}
	}
	return out
}

// lists adds the revocation lists that a verdict rests on.
func (v *Verdict) lists(to []notary.List) []notary.List {
	to = v.Outcome.restsOn(to)
	for _, c := range v.Children {
		to = c.Outcome.restsOn(to)
	}
	return to
}

// restsOn adds those of the whole tree.
func (o *Outcome) restsOn(to []notary.List) []notary.List {
	if o == nil {
		return to
	}
	to = append(to, o.lists...)
	for _, p := range o.Parts {
		to = p.restsOn(to)
	}
	return to
}

// warnings adds those of the whole tree, as far as it counted.
func (o *Outcome) warnings(to []string) []string {
	if o.State != Passed {
		return to
	}
	to = append(to, o.Warnings...)
	for _, p := range o.Parts {
		to = p.warnings(to)
	}
	return to
}

// key finds a pinned key by name.
func (j *Judge) key(name string) (crypto.PublicKey, error) {
	if k, ok := j.Keys[name]; ok {
		return k, nil
	}
	if k, ok := j.Trust.Key(name); ok {
		return k, nil
	}
	return nil, fmt.Errorf("no key named %q is pinned", name)
}
