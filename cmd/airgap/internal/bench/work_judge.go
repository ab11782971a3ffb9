//go:build unix

package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"airgap/layout"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"
	"airgap/verify/trust"
)

// judgeResult is how fast signatures are judged.
type judgeResult struct {
	Images, Signatures int
	Rates              []judgeRate
}

// judgeRate is one kind of signature with so many processors; times are medians.
type judgeRate struct {
	Kind       string
	Processors int
	Signatures int // that were judged
	Wall, CPU  time.Duration
}

// perSecond is how many signatures were judged in a second.
func (r judgeRate) perSecond() float64 { return float64(r.Signatures) / r.Wall.Seconds() }

type judgeOptions struct {
	signatures int
	runs       int
}

// judgePerImage is how many signatures an image of this workload has, half of them
// Notary's.
const judgePerImage = 10

// The kinds of signatures.
const (
	kindMixed = "both, half and half"
	kindBare  = "bare ECDSA P-256, nothing else"
)

type judgeKind struct {
	name, require string
	share         int // of judgePerImage
}

// judgeKinds are the kinds by what asks for them; the one that nothing asks for is
// what the machine can do, with one processor and with more.
var judgeKinds = []judgeKind{
	{kindMixed, requireBoth, judgePerImage},
	{"Notary, JWS", requireNotary, judgePerImage / 2},
	{"Sigstore bundle, by key", requireCosign, judgePerImage / 2},
	{kindBare, "", judgePerImage},
}

// judgeProcessors are how many processors are used, in turn.
var judgeProcessors = []int{1, 2}

// judgeRun is the graph that is judged, in memory.
type judgeRun struct {
	images int
	src    layout.Source
	graph  *layout.Graph
	trust  *trust.Trust
}

// newJudgeRun signs images, each with judgePerImage signatures.
func newJudgeRun(ctx context.Context, images int, dir string) (*judgeRun, error) {
	keys, err := newSigners()
	if err != nil {
		return nil, err
	}
	if err := makeTrust(dir, keys); err != nil {
		return nil, err
	}
	tr, err := trust.Open(dir)
	if err != nil {
		return nil, err
	}
	mem, refs, ps := layout.NewMemory(), make([]layout.Reference, images), make([]*publisher, images)
	total := &counts{}
	err = parallel(ctx, images, func(ctx context.Context, i int) error {
		refs[i] = layout.Reference{Repository: fmt.Sprintf("registry.example/judge/app-%02d", i%scaleRepositories), Tag: "v" + itoa(i)}
		ps[i] = &publisher{sink: mem, repo: refs[i].Repository, signers: keys, counts: total}
		return judgeImage(ctx, ps[i], refs[i].Tag)
	})
	if err == nil {
		err = commit(ctx, mem, ps...)
	}
	if err != nil {
		return nil, err
	}
	g, err := layout.Walk(ctx, mem, refs, layout.WalkOptions{Keep: true})
	return &judgeRun{images, mem, g, tr}, err
}

// judgeImage publishes an image without layers and its signatures, of which no two
// are the same.
func judgeImage(ctx context.Context, p *publisher, tag string) error {
	d, err := p.image(ctx, tag, nil)
	if err != nil {
		return err
	}
	for i := range judgePerImage / 2 {
		bundle := signing.Attestation{PredicateType: signing.PredicateCosignSign, SubjectName: "signature " + itoa(i)}
		for _, sign := range []func() (signing.Artifact, error){
			func() (signing.Artifact, error) {
				return signing.Notary(d, p.signers.chain, signing.NotaryOptions{SigningTime: signingTime.Add(time.Duration(i) * time.Second)})
			},
			func() (signing.Artifact, error) { return signing.BundleAttestation(d, bundle, p.signers.key) },
		} {
			a, err := sign()
			if err == nil {
				err = p.artifact(ctx, a)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// judged is a way to judge everything once, which says how much was found good.
type judged func(context.Context) (good int, err error)

// by judges by a policy.
func (j *judgeRun) by(require string) (judged, error) {
	p, err := policy.Parse("policy.yaml", onePolicy(require), "")
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (good int, err error) {
		report, err := (&verify.Judge{Policy: p, Trust: j.trust}).Graph(ctx, j.src, j.graph)
		if err != nil {
			return 0, err
		}
		if report.State != verify.Passed {
			return 0, fmt.Errorf("the images were %s", report.State)
		}
		for _, v := range report.Verdicts {
			good += evidence(v.Outcome)
		}
		return good, nil
	}, nil
}

func evidence(o *verify.Outcome) int {
	n := len(o.Evidence)
	for _, p := range o.Parts {
		n += evidence(p)
	}
	return n
}

// bare verifies as many signatures by themselves: the part that nobody can save.
func (j *judgeRun) bare() (judged, error) {
	key, sum := signing.InsecureKey(nameBenchmark), sha256.Sum256([]byte(nameBenchmark))
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	return func(ctx context.Context) (int, error) {
		return j.images * judgePerImage, parallel(ctx, j.images, func(context.Context, int) error {
			for range judgePerImage {
				if !ecdsa.VerifyASN1(&key.PublicKey, sum[:], sig) {
					return errors.New("a good signature does not verify")
				}
			}
			return nil
		})
	}, err
}

// runJudge measures each kind with each number of processors, in turn.
func (r *rig) runJudge(ctx context.Context, o judgeOptions) (*judgeResult, error) {
	r.say("judging %d signatures", o.signatures)
	dir := r.path("out", "judge-trust")
	run, err := newJudgeRun(ctx, o.signatures/judgePerImage, dir)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	res := &judgeResult{Images: run.images, Signatures: run.images * judgePerImage, Rates: run.rates()}
	samples := make([][]sample, len(res.Rates))
	for round := range o.runs + 1 {
		for i, rate := range res.Rates {
			s, err := run.measure(ctx, rate)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rate.Kind, err)
			}
			if round > 0 {
				samples[i] = append(samples[i], s)
			}
		}
	}
	for i := range res.Rates {
		m := (&series{Runs: samples[i]}).median()
		res.Rates[i].Wall, res.Rates[i].CPU = m.Wall, m.CPU
		r.say("  %-32s %d processors  %s s  cpu %s s", res.Rates[i].Kind, res.Rates[i].Processors, seconds(m.Wall), seconds(m.CPU))
	}
	return res, nil
}

// rates is everything that is to be measured.
func (j *judgeRun) rates() (out []judgeRate) {
	for _, k := range judgeKinds {
		for _, n := range judgeProcessors {
			out = append(out, judgeRate{Kind: k.name, Processors: n, Signatures: j.images * k.share})
		}
	}
	return out
}

// way is how a kind is judged.
func (j *judgeRun) way(kind string) (judged, error) {
	i := slices.IndexFunc(judgeKinds, func(k judgeKind) bool { return k.name == kind })
	if judgeKinds[i].require == "" {
		return j.bare()
	}
	return j.by(judgeKinds[i].require)
}

// measure judges once. All that was asked for has to be judged: one that gave up
// early would be no result.
func (j *judgeRun) measure(ctx context.Context, r judgeRate) (sample, error) {
	way, err := j.way(r.Kind)
	if err != nil {
		return sample{}, err
	}
	runtime.GOMAXPROCS(r.Processors)
	runtime.GC()
	start, used := time.Now(), cpuTime()
	good, err := way(ctx)
	s := sample{Wall: time.Since(start), CPU: cpuTime() - used}
	if err == nil && good != r.Signatures {
		err = fmt.Errorf("%d signatures were found good, want %d", good, r.Signatures)
	}
	return s, err
}

// find returns the rate of a kind with n processors.
func (j *judgeResult) find(kind string, n int) (judgeRate, bool) {
	for _, r := range j.Rates {
		if r.Kind == kind && r.Processors == n && r.Wall > 0 {
			return r, true
		}
	}
	return judgeRate{}, false
}

// speedUp is how much faster more processors are for a kind.
func (j *judgeResult) speedUp(kind string) (float64, bool) {
	one, ok := j.find(kind, judgeProcessors[0])
	two, ok2 := j.find(kind, judgeProcessors[1])
	if !ok || !ok2 {
		return 0, false
	}
	return two.perSecond() / one.perSecond(), true
}

// goals holds the gain of a second processor against what it is at best: two
// processors of a machine may be one that does two things at a time.
func (j *judgeResult) goals() []goal {
	g := goal{Work: fmt.Sprintf("judging %d signatures with two processors", j.Signatures), Measured: notMeasured,
		Goal: fmt.Sprintf("≥ %.1f × the gain of bare ECDSA", goalParallel)}
	got, ok := j.speedUp(kindMixed)
	best, ok2 := j.speedUp(kindBare)
	if ok && ok2 {
		two, _ := j.find(kindMixed, judgeProcessors[1])
		g.Measured = fmt.Sprintf("%.0f a second; %s as fast as with one, bare ECDSA %s", two.perSecond(), times(got), times(best))
		g.Verdict = atLeast(got/best, goalParallel)
	}
	return []goal{g}
}
