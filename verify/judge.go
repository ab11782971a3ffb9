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
	// Starts remembers, from one graph to the next, what can be started; nil forgets.
	Starts *layout.Inspector
	// Now replaces time.Now for the ages of attestations, for tests.
	Now func() time.Time
}

// Graph judges every root of g, whose bytes src has. An error means that there is
// no verdict at all: the source failed, or ctx is done.
func (j *Judge) Graph(ctx context.Context, src layout.Source, g *layout.Graph) (*Report, error) {
	jm := j.begin(src, g)
	r := &Report{
		State: Refused, Policy: Origin{j.Policy.File, j.Policy.Digest, j.Policy.Environment}, Trust: j.Trust.Digest(),
		Time: jm.now, Verdicts: make([]Verdict, len(g.Roots)),
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, same := range byManifest(g.Roots) {
		group.Go(func() error {
			// What is read for one manifest is let go of with it.
			c := jm.collector()
			defer c.close()
			b := jm.bench(c, g.Roots[same[0]].Reference.Repository)
			for _, i := range same {
				v, err := b.root(gctx, g.Roots[i])
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
	r.Decide()
	r.Lists = r.lists()
	return r, nil
}

// GraphJudge judges manifests of one graph, each by itself. One goroutine uses it at a time.
type GraphJudge struct{ jm *judgement }

// Of returns a judge of manifests of g, whose bytes src has. It costs time in proportion to g,
// and each judgement in proportion to what it is about.
func (j *Judge) Of(src layout.Source, g *layout.Graph) *GraphJudge {
	return &GraphJudge{j.begin(src, g)}
}

// Under judges a manifest of the graph as if rule were the one for it in its repository.
// Errors are those of [Judge.Graph].
func (j *GraphJudge) Under(ctx context.Context, rule *policy.Rule, n layout.Name) (Verdict, error) {
	jm := *j.jm
	jm.work, jm.room = jm.work.again(), newRoom()
	return jm.bench(jm.collector(), n.Reference.Repository).under(ctx, rule, n)
}

// judgement is a judge at work on one graph.
type judgement struct {
	judge  *Judge
	src    layout.Source
	g      *layout.Graph
	now    time.Time
	pins   pins
	stale  string
	work   *work
	room   *room
	starts *layout.Inspector
	absent map[key][]int // of g.Omitted, by the repository and the manifest that lists them
}

func (j *Judge) begin(src layout.Source, g *layout.Graph) *judgement {
	now := time.Now
	if j.Now != nil {
		now = j.Now
	}
	starts := j.Starts
	if starts == nil {
		starts = &layout.Inspector{}
	}
	jm := &judgement{judge: j, src: src, g: g, now: now().UTC(), work: newWork(g), room: newRoom(), starts: starts, absent: map[key][]int{}}
	for i, o := range g.Omitted {
		k := key{o.Repository, o.Parent}
		jm.absent[k] = append(jm.absent[k], i)
	}
	jm.pins = pins{crls: slices.Concat(j.Trust.CRLs(), j.CRLs), roots: slices.Concat(j.Trust.Roots(), j.Roots)}
	jm.stale = j.stale(jm.now)
	return jm
}

func (jm *judgement) collector() *collector {
	return &collector{src: jm.src, g: jm.g, work: jm.work, room: jm.room, starts: jm.starts, known: map[key]*pieces{}, attests: map[digest.Digest]bool{}, warned: map[digest.Digest][]string{}}
}

func (jm *judgement) bench(c *collector, repo string) *bench {
	return &bench{
		judge: jm.judge, collector: c, repo: repo, now: jm.now, pins: jm.pins, stale: jm.stale, absent: jm.absent,
		rules: policy.NewLookup(jm.judge.Policy), decided: map[*policy.Rule]Verdict{},
	}
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

// bench is one manifest of a repository being judged, under all of its references.
type bench struct {
	judge *Judge
	*collector
	repo string
	now  time.Time
	pins
	stale   string // why nothing passes by what is pinned; usually empty
	absent  map[key][]int
	rules   *policy.Lookup
	decided map[*policy.Rule]Verdict // on the manifest, by what rules returned
	listed  *childrenOf              // of the manifest, once it was asked for
}

// pins is what is pinned, put together once.
type pins struct {
	crls  []*x509.RevocationList
	roots []*root.TrustedRoot
}

func (b *bench) root(ctx context.Context, root layout.Name) (Verdict, error) {
	rule := b.rules.For(root.Reference)
	if rule == nil {
		return Verdict{Reference: root.Reference.String(), Digest: root.Descriptor.Digest, State: Refused, Reason: "no rule of the policy is for it"}, nil
	}
	v, known := b.decided[rule]
	if !known {
		var err error
		if v, err = b.under(ctx, rule, root); err != nil {
			return v, err
		}
		v.share()
		b.decided[rule] = v
	}
	// Nothing else of a verdict depends on the reference, but by the rule.
	v.Reference = root.Reference.String()
	return v, nil
}

func (b *bench) under(ctx context.Context, rule *policy.Rule, root layout.Name) (Verdict, error) {
	v := Verdict{Reference: root.Reference.String(), Digest: root.Descriptor.Digest, State: Refused, Rule: rule.Name}
	if b.stale != "" {
		v.State, v.Reason = Undecided, b.stale
		return v, nil
	}
	var err error
	if v.Warnings, err = b.unjudged(ctx, root.Descriptor.Digest); err != nil {
		return v, err
	}
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

func (b *bench) judgeOne(ctx context.Context, rule *policy.Rule, root layout.Name) (*Outcome, error) {
	s := &scene{bench: b, digest: root.Descriptor.Digest, named: map[string]*Outcome{}}
	return s.judge(ctx, &rule.Require)
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
