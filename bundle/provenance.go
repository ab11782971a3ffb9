package bundle

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify"
	"airgap/verify/predicate"
	"airgap/verify/trust"

	"github.com/opencontainers/go-digest"
)

// Provenance is what is known of how an image came to be, and how it came to where it
// is: who built it of what, who vouches for it, and each step of its way. Nothing in
// it lets anything in; for that there is [Verify].
type Provenance struct {
	Reference string        `json:"reference,omitempty"` // of a root
	Digest    digest.Digest `json:"digest"`
	Kind      layout.Kind   `json:"kind"`
	Platform  string        `json:"platform,omitempty"` // as the index above says
	// Today is what the policy says now, if one was asked.
	Today *PolicyToday `json:"today,omitempty"`

	Builds     []BuildStep `json:"builds,omitempty"`
	Signatures []Vouched   `json:"signatures,omitempty"`
	// Approvals are verification summaries; those that are records are hops too.
	Approvals []Vouched `json:"approvals,omitempty"`
	// Documents are SBOMs, scan results, VEX and whatever else is attached.
	Documents []Vouched `json:"documents,omitempty"`
	// Hops are the records of its way, in order.
	Hops []Hop `json:"hops,omitempty"`
	Gaps []Gap `json:"gaps,omitempty"`
	// Broken: something is missing from the way. What mere claims name does not
	// count where there are verified records.
	Broken bool `json:"broken"`
	// Images are those that an index lists and of which anything is known.
	Images []*Provenance `json:"images,omitempty"`
	// DescribedAbove: the manifest is described where it stands in the result before,
	// and only what comes through the index that lists it here is added.
	DescribedAbove bool `json:"describedAbove,omitempty"`
}

// PolicyToday is the verdict of the policy that was asked now.
type PolicyToday struct {
	State  verify.State `json:"state"`
	Rule   string       `json:"rule,omitempty"`
	Reason string       `json:"reason,omitempty"`
}

// Vouched is something that is attached, and who stands for it.
type Vouched struct {
	Manifest digest.Digest `json:"manifest"` // that carries it
	Kind     string        `json:"kind"`
	Says     string        `json:"says,omitempty"`    // the predicate type of a statement, the type of an artifact
	Summary  string        `json:"summary,omitempty"` // what it says in a few words, which are its author's
	// Standing is verified if a pinned key signed it, or if it met a
	// requirement of the policy that was asked.
	Standing    custody.Standing `json:"standing"`
	By          string           `json:"by,omitempty"` // who signed; if it is not verified, who it says did
	Fingerprint string           `json:"fingerprint,omitempty"`
	Reason      string           `json:"reason,omitempty"` // why it is not verified
	// SignedAt is known from Clock; without one nothing says when it was.
	SignedAt *time.Time `json:"signedAt,omitempty"`
	Clock    string     `json:"clock,omitempty"`
	// Through is the index whose signature vouches for it.
	Through digest.Digest `json:"through,omitempty"`
	// Signatures are on the document itself, which is attached unsigned.
	Signatures []Vouched `json:"signatures,omitempty"`
}

// BuildStep is one build, as SLSA provenance tells of it.
type BuildStep struct {
	Vouched
	Builder   string              `json:"builder,omitempty"`
	Type      string              `json:"type,omitempty"`
	Source    *predicate.Material `json:"source,omitempty"`
	Materials []Ingredient        `json:"materials,omitempty"`
	More      int                 `json:"moreMaterials,omitempty"` // that are not listed
}

// Ingredient is something that went into a build.
type Ingredient struct {
	predicate.Material
	// Held is what is known of it, if it is an image that is held in the same
	// place; Note says why that is not told.
	Held *Provenance `json:"held,omitempty"`
	Note string      `json:"note,omitempty"`
}

// Hop is a step of the way, as a record tells of it.
type Hop struct {
	custody.Found
	// Carried: it is in the head of the bundle, and will be attached when that is
	// imported.
	Carried bool `json:"carried,omitempty"`
}

// Gap is something that is named and not there.
type Gap struct {
	Missing digest.Digest `json:"missing"`
	// Evidence: a verdict rests on it. Otherwise it is a record.
	Evidence bool             `json:"evidence,omitempty"`
	NamedBy  digest.Digest    `json:"namedBy"` // the record
	Act      custody.Act      `json:"act"`     // of that record
	Standing custody.Standing `json:"standing"`
}

// ProvenanceOptions say what is pinned, and where to look.
type ProvenanceOptions struct {
	// Keys are pinned; what one of them signed is verified.
	Keys []custody.Key
	// Trust has roots, certificates and lists beside them; may be nil.
	Trust *trust.Trust
	// Judge is asked about each image, if there is one. What meets a requirement
	// of its policy is verified too.
	Judge *verify.Judge
	// OfBundle: the selection is of a bundle, of which a policy may demand more than
	// of its images. Head has its records that are not attached yet; may be nil.
	OfBundle bool
	Head     *Head
	// Graph is the selection's, if it was walked already.
	Graph *layout.Graph
	// Repositories are where materials are looked for. In a registry (Remote) that
	// is done for those alone whose address says that they are images.
	Repositories []string
	Remote       bool
}

// Limits of what is followed. Whoever signs provenance decides how much there is.
const (
	// maxMaterialDepth is how far images are followed into what they were built of.
	maxMaterialDepth = 4
	// maxFollowed is how many such images are told of.
	maxFollowed = 64
	// maxLookups is how often a place is asked whether it has one.
	maxLookups = 10_000
	// maxIngredients is how many materials of a build are listed.
	maxIngredients = 200
	// maxRepeated is how often a manifest is described that was described before: as a
	// root of its own, or under another root's verdict.
	maxRepeated = 1000
	// maxProvenanceBytes is how much of what is attached is read.
	maxProvenanceBytes = 512 << 20
)

// Trace tells the provenance of every reference of a selection.
func Trace(ctx context.Context, s Selection, o ProvenanceOptions) ([]*Provenance, error) {
	g, err := o.Graph, error(nil)
	if g == nil {
		g, err = layout.Walk(ctx, s.Source, s.References, layout.WalkOptions{MayMiss: s.MayMiss})
	}
	if err != nil {
		return nil, err
	}
	if o.Judge != nil {
		o.Judge = WithLists(o.Judge, s.Lists)
	}
	t := &tracer{src: s.Source, mayMiss: s.MayMiss, o: o, told: map[spot]bool{}, described: map[describedKey]*Provenance{}}
	return t.graph(ctx, g, 0)
}

// tracer looks at graphs.
type tracer struct {
	src     layout.Source
	mayMiss func(repo string, parent digest.Digest, child layout.Descriptor) bool
	o       ProvenanceOptions

	starts            layout.Inspector
	told              map[spot]bool // images that are told of
	followed, lookups int
	bytes             int64

	described map[describedKey]*Provenance
	repeated  int
}

// scene is one graph that is looked at.
type scene struct {
	*tracer
	g     *layout.Graph
	repo  string
	depth int // of materials
	*judged
}

// graph tells of every root.
func (t *tracer) graph(ctx context.Context, g *layout.Graph, depth int) ([]*Provenance, error) {
	j, err := t.judge(ctx, g)
	if err != nil {
		return nil, err
	}
	out := []*Provenance{}
	for i, root := range g.Roots {
		s := &scene{t, g, root.Reference.Repository, depth, j.of(i)}
		p, err := s.root(ctx, root)
		if err != nil {
			return nil, err
		}
		p.Reference, p.Today = root.Reference.String(), j.today(i)
		if t.o.OfBundle && depth == 0 && p.Today != nil {
			if why := demands(t.o.Judge.Policy.Bundle, t.o.Head); why != "" {
				p.Today.State, p.Today.Reason = verify.Refused, why
			}
		}
		if err := s.follow(ctx, p); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// says says whether there is anything to tell.
func (p *Provenance) says() bool {
	return len(p.Builds)+len(p.Signatures)+len(p.Approvals)+len(p.Documents)+len(p.Hops)+len(p.Images) > 0
}

// way fills in the records.
func (s *scene) way(ctx context.Context, p *Provenance, ref string) error {
	all, err := custody.Of(ctx, s.src, s.g, s.repo, p.Digest, s.o.Keys)
	if err != nil {
		return err
	}
	for i := range all {
		s.upgrade(&all[i], s.g)
	}
	carried := digest.Digest("")
	if s.o.Head != nil && s.depth == 0 {
		if r, ok := s.o.Head.Roots[ref]; ok {
			a, err := r.Artifact(s.g.Nodes[p.Digest].Descriptor)
			if err != nil {
				return err
			}
			f := r.Found
			f.Manifest, carried = a.Manifest.Digest, a.Manifest.Digest
			all = append(all, f)
		}
	}
	for _, f := range custody.Order(all) {
		p.Hops = append(p.Hops, Hop{f, f.Manifest == carried})
		if f.Act == custody.Import {
			p.Approvals = append(p.Approvals, approvedBy(f))
		}
	}
	s.gaps(p)
	return nil
}

// approvedBy is a verdict's record as an approval.
func approvedBy(f custody.Found) Vouched {
	return Vouched{
		Manifest: f.Manifest, Kind: string(predicate.Summary), Says: predicate.SLSAVerificationSummary,
		Summary:  f.Summary.VerificationResult + " by " + f.Summary.Verifier.ID,
		Standing: f.Standing, By: f.Key, Fingerprint: f.Fingerprint, Reason: f.Reason,
	}
}

// gaps finds what the records name and what is not there: a record has to be attached
// to the image itself, and evidence to it or to what belongs to it.
func (s *scene) gaps(p *Provenance) {
	here, verified := map[digest.Digest]bool{}, false
	for _, h := range p.Hops {
		here[h.Manifest] = true
		verified = verified || h.Standing == custody.Verified
	}
	weighty := vouchedFor(p.Hops)
	place, _ := s.g.Place(s.repo, p.Digest)
	for _, e := range place.Attached {
		here[e.Digest] = true
	}
	var belongs map[digest.Digest]reached
	for i := range p.Hops {
		h := &p.Hops[i]
		for _, d := range h.Previous() {
			if h.Summary != nil && !here[d] && belongs == nil {
				belongs = reach(s.g, layout.Name{Reference: layout.Reference{Repository: s.repo}, Descriptor: s.g.Nodes[p.Digest].Descriptor})
			}
			if _, reached := belongs[d]; here[d] || h.Summary != nil && reached {
				continue
			}
			p.Gaps = append(p.Gaps, Gap{d, h.Summary != nil, h.Manifest, h.Act, h.Standing})
			p.Broken = p.Broken || !verified || weighty[h.Manifest]
		}
	}
}

// vouchedFor are the records that are verified, and those that such a one names, itself
// or through others: what one of them misses was there once.
func vouchedFor(hops []Hop) map[digest.Digest]bool {
	at := make(map[digest.Digest]int, len(hops))
	out := map[digest.Digest]bool{}
	var todo []int
	for i := range hops {
		at[hops[i].Manifest] = i
		if hops[i].Standing == custody.Verified {
			out[hops[i].Manifest] = true
			todo = append(todo, i)
		}
	}
	for next := 0; next < len(todo); next++ {
		for _, d := range hops[todo[next]].Previous() {
			if i, here := at[d]; here && !out[d] {
				out[d] = true
				todo = append(todo, i)
			}
		}
	}
	return out
}

// follow looks for the images among what the image was built of, and those that it
// lists.
func (s *scene) follow(ctx context.Context, p *Provenance) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range p.Builds {
		for j := range p.Builds[i].Materials {
			if err := s.material(ctx, &p.Builds[i].Materials[j]); err != nil {
				return err
			}
		}
	}
	for _, child := range p.Images {
		if err := s.follow(ctx, child); err != nil {
			return err
		}
	}
	return nil
}

// addBuild adds what provenance says.
func (p *Provenance) addBuild(v Vouched, b *predicate.Build) {
	step := BuildStep{Vouched: v}
	if b != nil {
		step.Builder, step.Type, step.Source = b.Builder, b.Type, b.Source
		n := min(len(b.Materials), maxIngredients)
		for _, m := range b.Materials[:n] {
			step.Materials = append(step.Materials, Ingredient{Material: m})
		}
		step.More = len(b.Materials) - n
	}
	p.Builds = append(p.Builds, step)
}

// rank puts what is verified first, and then keeps an order that does not change.
func rank(a, b Vouched) int {
	order := map[custody.Standing]int{custody.Verified: 0, custody.Unknown: 1, custody.Claimed: 2}
	return cmp.Or(cmp.Compare(order[a.Standing], order[b.Standing]), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Manifest, b.Manifest), cmp.Compare(a.Says, b.Says))
}

func (p *Provenance) sort() {
	for _, list := range [][]Vouched{p.Signatures, p.Approvals, p.Documents} {
		slices.SortStableFunc(list, rank)
	}
	slices.SortStableFunc(p.Builds, func(a, b BuildStep) int { return rank(a.Vouched, b.Vouched) })
}

// errNotHere marks a material that this place does not hold.
var errNotHere = fmt.Errorf("not held here: %w", layout.ErrNotFound)
