package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// RecordDelta says which layers of the inventory a bundle does not carry, and why
// they can be expected where it goes. Manifests and metadata are always carried.
type RecordDelta struct {
	// Bases are sorted, what can be relied on most first, then by digest; each has
	// at least one layer, and no layer is with two.
	Bases []RecordBase `json:"bases"`
}

// RecordBase is something that says where layers are.
type RecordBase struct {
	Kind BaseKind `json:"kind"`
	// Digest is that of the receipt's statement, of the bundle's export record (its
	// manifest), or of the list.
	Digest digest.Digest `json:"digest"`
	// Holder and Time are the receipt's word.
	Holder   string          `json:"holder,omitempty"`
	Time     *time.Time      `json:"time,omitempty"`
	Standing BaseStanding    `json:"standing"`
	Blobs    []digest.Digest `json:"blobs"` // sorted
}

// BaseKind is what a base is.
type BaseKind string

// The kinds of base.
const (
	BaseReceipt BaseKind = "receipt" // says what is held
	BaseBundle  BaseKind = "bundle"  // was sent earlier
	BaseList    BaseKind = "list"    // says what is missing; the rest is there
)

// BaseStanding is how far a base can be relied on.
type BaseStanding string

// The standings of bases.
const (
	BaseStated  BaseStanding = "stated"  // by whoever has it, signed with a key that the exporter has pinned
	BaseClaimed BaseStanding = "claimed" // by a receipt or list of which that is not known
	BaseAssumed BaseStanding = "assumed" // nobody said so: it was sent
)

var baseStandings = map[BaseStanding]int{BaseStated: 1, BaseClaimed: 2, BaseAssumed: 3}

// maxBases is how many bases a bundle may have.
const maxBases = 1000

// Base is what an export need not carry.
type Base struct {
	RecordBase
	// Holds says whether the base has a blob.
	Holds func(digest.Digest) bool
	// Checkpoint is the state of the holder's ledger, if it said so.
	Checkpoint string
	// wanted must be among the layers that are exported.
	wanted []digest.Digest
}

// Base leaves out what the receipt lists.
func (r *Receipt) Base() Base {
	at := r.Time
	return Base{RecordBase: RecordBase{Kind: BaseReceipt, Digest: r.Digest, Holder: r.Holder, Time: &at, Standing: r.Standing}, Holds: r.Holds, Checkpoint: r.Checkpoint}
}

// Base leaves out what is in the inventory of b, which is proven first: what b does
// not carry itself had to be there for b to be imported. Only a bundle of ours has an
// inventory.
func (b *Bundle) Base(ctx context.Context) (Base, error) {
	if !b.Own() {
		return Base{}, &layout.Error{Side: layout.SideBundle, Name: b.Path,
			Err: fmt.Errorf("another tool made it, so it does not say what it holds: %w", ErrUsage), Hint: "give a receipt, or a bundle that airgap export wrote"}
	}
	if _, err := b.Graph(ctx); err != nil {
		return Base{}, err
	}
	d, err := b.recordDescriptor()
	if err != nil {
		return Base{}, b.damaged(err)
	}
	have := make(map[digest.Digest]bool, len(b.Record.Blobs))
	for _, blob := range b.Record.Blobs {
		have[blob.Digest] = true
	}
	return Base{RecordBase: RecordBase{Kind: BaseBundle, Digest: d.Digest, Standing: BaseAssumed}, Holds: func(d digest.Digest) bool { return have[d] }}, nil
}

// compareBases orders what can be relied on most first.
func compareBases(a, b RecordBase) int {
	return cmp.Or(cmp.Compare(baseStandings[a.Standing], baseStandings[b.Standing]), cmp.Compare(a.Digest, b.Digest))
}

// leaveOut finds the layers of g that bases have, each with the first that has it; nil
// if there are none.
func leaveOut(g *layout.Graph, bases []Base) (*RecordDelta, error) {
	if len(bases) == 0 {
		return nil, nil
	}
	if len(bases) > maxBases {
		return nil, fmt.Errorf("%d receipts and bundles to leave out, at most %d are accepted: %w", len(bases), maxBases, ErrUsage)
	}
	layers := g.Layers()
	if err := checkWanted(layers, bases); err != nil {
		return nil, err
	}
	bases = slices.SortedStableFunc(slices.Values(bases), func(a, b Base) int { return compareBases(a.RecordBase, b.RecordBase) })
	bases = slices.CompactFunc(bases, func(a, b Base) bool { return a.Digest == b.Digest && a.Standing == b.Standing })
	for _, l := range layers {
		if i := slices.IndexFunc(bases, func(b Base) bool { return b.Holds(l.Digest) }); i >= 0 {
			bases[i].Blobs = append(bases[i].Blobs, l.Digest)
		}
	}
	var d RecordDelta
	for _, b := range bases {
		if len(b.Blobs) > 0 {
			d.Bases = append(d.Bases, b.RecordBase)
		}
	}
	if d.Bases == nil {
		return nil, nil
	}
	return &d, nil
}

// checkWanted refuses a list that asks for what is not there to be given.
func checkWanted(layers []layout.Blob, bases []Base) error {
	for _, b := range bases {
		for _, d := range b.wanted {
			if _, ok := slices.BinarySearchFunc(layers, d, func(l layout.Blob, d digest.Digest) int { return cmp.Compare(l.Digest, d) }); !ok {
				return &layout.Error{Err: fmt.Errorf("the list asks for %s, which is no layer of what is exported: %w", d, ErrUsage),
					Hint: "export the same images as in the bundle that was refused, by digest if their tags have moved"}
			}
		}
	}
	return nil
}

// set is what is not carried; nil is a bundle that carries everything.
func (d *RecordDelta) set() map[digest.Digest]bool {
	if d == nil {
		return nil
	}
	out := map[digest.Digest]bool{}
	for _, b := range d.Bases {
		for _, dgst := range b.Blobs {
			out[dgst] = true
		}
	}
	return out
}

// of is the delta of a bundle that holds g instead: what is no layer there is carried.
func (d *RecordDelta) of(g *layout.Graph) *RecordDelta {
	if d == nil {
		return nil
	}
	layers := map[digest.Digest]bool{}
	for _, l := range g.Layers() {
		layers[l.Digest] = true
	}
	var out RecordDelta
	for _, b := range d.Bases {
		b.Blobs = slices.DeleteFunc(slices.Clone(b.Blobs), func(d digest.Digest) bool { return !layers[d] })
		if len(b.Blobs) > 0 {
			out.Bases = append(out.Bases, b)
		}
	}
	if out.Bases == nil {
		return nil
	}
	return &out
}

// check says whether d is in the one form that leaveOut gives it, and speaks of
// layers of g.
func (d *RecordDelta) check(g *layout.Graph) error {
	if d == nil {
		return nil
	}
	if len(d.Bases) == 0 || len(d.Bases) > maxBases {
		return fmt.Errorf("export record: a delta with %d bases: %w", len(d.Bases), layout.ErrCorrupt)
	}
	layers, seen := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for _, l := range g.Layers() {
		layers[l.Digest] = true
	}
	for i, b := range d.Bases {
		if err := b.check(); err != nil {
			return fmt.Errorf("export record: %w", err)
		}
		if i > 0 && compareBases(d.Bases[i-1], b) >= 0 {
			return fmt.Errorf("export record: base %s is there twice, or not in its place: %w", b.Digest, layout.ErrCorrupt)
		}
		for j, dgst := range b.Blobs {
			switch {
			case !layers[dgst]:
				return fmt.Errorf("export record: it says that %s is not carried, which is no layer: %w", dgst, layout.ErrCorrupt)
			case seen[dgst] || j > 0 && b.Blobs[j-1] >= dgst:
				return fmt.Errorf("export record: it says twice, or not in its place, that %s is not carried: %w", dgst, layout.ErrCorrupt)
			}
			seen[dgst] = true
		}
	}
	return nil
}

// check refuses a base that no export writes.
func (b *RecordBase) check() error {
	_, err := layout.ParseDigest(string(b.Digest))
	known := b.Kind == BaseBundle && b.Standing == BaseAssumed || b.Kind == BaseList && b.Standing == BaseClaimed ||
		b.Kind == BaseReceipt && (b.Standing == BaseStated || b.Standing == BaseClaimed)
	switch {
	case err != nil:
		return fmt.Errorf("base: %w", err)
	case !known || (b.Kind == BaseReceipt) != (b.Time != nil):
		return fmt.Errorf("base %s is a %.50q that is %.50q: %w", b.Digest, b.Kind, b.Standing, layout.ErrCorrupt)
	case len(b.Blobs) == 0:
		return fmt.Errorf("base %s has nothing: %w", b.Digest, layout.ErrCorrupt)
	case len(b.Holder) > maxHolder || !utf8.ValidString(b.Holder) || b.Holder != "" && b.Kind != BaseReceipt:
		return fmt.Errorf("base %s has an odd holder: %w", b.Digest, layout.ErrCorrupt)
	}
	return nil
}

// Delta sums up what a bundle carries and what it does not.
type Delta struct {
	CarriedBlobs    int         `json:"carriedBlobs"`
	CarriedBytes    int64       `json:"carriedBytes"` // manifests included
	NotCarriedBlobs int         `json:"notCarriedBlobs"`
	NotCarriedBytes int64       `json:"notCarriedBytes"`
	Bases           []DeltaBase `json:"bases"`
}

// DeltaBase is a base, and how much it spares.
type DeltaBase struct {
	Kind     BaseKind      `json:"kind"`
	Digest   digest.Digest `json:"digest"`
	Holder   string        `json:"holder,omitempty"`
	Time     *time.Time    `json:"time,omitempty"`
	Standing BaseStanding  `json:"standing"`
	Blobs    int           `json:"blobs"`
	Bytes    int64         `json:"bytes"`
}

// delta sums up what of the record's inventory, which may be a part of the bundle's,
// is not carried; nil if all of it is.
func (r *Record) delta() *Delta {
	if r.Delta == nil {
		return nil
	}
	out := &Delta{CarriedBlobs: len(r.Blobs), Bases: []DeltaBase{}}
	for _, m := range r.Manifests {
		out.CarriedBytes += m.Size
	}
	sizes := make(map[digest.Digest]int64, len(r.Blobs))
	for _, b := range r.Blobs {
		sizes[b.Digest] = b.Size
		out.CarriedBytes += b.Size
	}
	for _, b := range r.Delta.Bases {
		sum := DeltaBase{Kind: b.Kind, Digest: b.Digest, Holder: b.Holder, Time: b.Time, Standing: b.Standing}
		for _, dgst := range b.Blobs {
			if size, ok := sizes[dgst]; ok {
				sum.Blobs, sum.Bytes = sum.Blobs+1, sum.Bytes+size
			}
		}
		if sum.Blobs > 0 {
			out.Bases = append(out.Bases, sum)
			out.NotCarriedBlobs, out.NotCarriedBytes = out.NotCarriedBlobs+sum.Blobs, out.NotCarriedBytes+sum.Bytes
		}
	}
	if out.NotCarriedBlobs == 0 {
		return nil
	}
	out.CarriedBlobs, out.CarriedBytes = out.CarriedBlobs-out.NotCarriedBlobs, out.CarriedBytes-out.NotCarriedBytes
	return out
}

// contents sums up g, which is all of b or a part of it.
func (b *Bundle) contents(g *layout.Graph) Contents {
	rec := newRecord(g)
	if b.Record != nil {
		rec.Delta = b.Record.Delta
	}
	return contents(g, rec)
}

// Delta says what of the graph b does not carry; nil if it carries everything.
func (b *Bundle) Delta(g *layout.Graph) *Delta { return b.contents(g).Delta }

// NotCarried are the layers that b, a delta, leaves to the destination; nil for every
// other bundle.
func (b *Bundle) NotCarried() map[digest.Digest]bool {
	if b.Record == nil {
		return nil
	}
	return b.Record.Delta.set()
}

// ErrNotCarried says that a bundle, a delta, does not carry what was asked of it.
var ErrNotCarried = errors.New("the bundle does not carry it")

// notCarried is the error of a layer that b leaves to the destination.
func notCarried(name string, d digest.Digest) error {
	return &layout.Error{Side: layout.SideBundle, Name: name, Digest: d, Err: ErrNotCarried,
		Hint: "it is a delta: import it where the rest is, and take it from there"}
}

// lacks refuses a plan with layers that no source of their repository carries, before
// anything is written.
func (u *union) lacks(plan *layout.Plan) error {
	for i := range plan.Entries {
		e := &plan.Entries[i]
		sources := u.byRepo[e.Repository]
		if !e.Layer || len(sources) == 0 {
			continue
		}
		if !slices.ContainsFunc(sources, func(src layout.Source) bool {
			s, delta := src.(*recorded)
			return !delta || !s.absent[e.Digest]
		}) {
			return notCarried(sources[0].(*recorded).File(), e.Digest)
		}
	}
	return nil
}
