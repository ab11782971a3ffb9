package bundle

import (
	"context"
	"fmt"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify"

	"github.com/opencontainers/go-digest"
)

// Promoter approves images for an environment.
type Promoter struct {
	// Recording has the key, who and why. Without a key the record is a claim.
	Recording
	// To is the environment.
	To string
	// Keys are pinned: where an image is now is believed of records by these, and
	// by Key.
	Keys []custody.Key
	// In is where the images are.
	In custody.PlaceKind
}

// Promotion is a record that an image was approved for an environment, ready to be
// attached.
type Promotion struct {
	Addition
	Record custody.Record
	// Present: an equal one is the last there is; the Addition is empty but for
	// the manifest's digest.
	Present bool
}

// Promote records the promotion of a root of g. If a policy was asked, of which r
// says what came of it (nil if none was), the root has to have passed.
func (p *Promoter) Promote(ctx context.Context, src layout.Source, g *layout.Graph, root layout.Name, r *verify.Report) (*Promotion, error) {
	rec := p.record()
	rec.Line = nil
	rec.Reference, rec.To = root.Reference.Name(), &custody.Place{Kind: custody.InEnvironment, Name: p.To}
	if r != nil {
		if err := passed(r, root); err != nil {
			return nil, err
		}
		policy, err := digest.Parse(r.Policy.Digest)
		if err != nil {
			return nil, fmt.Errorf("the policy (%s) has no digest that could be named: %w", r.Policy.File, ErrUsage)
		}
		rec.Policy, rec.Result = policy, custody.Passed
	}
	all, err := custody.Of(ctx, src, g, root.Reference.Repository, root.Descriptor.Digest, p.keys())
	if err != nil {
		return nil, err
	}
	out := &Promotion{Addition: Addition{Repository: root.Reference.Repository, Subject: root.Descriptor.Digest}}
	last := p.last(all)
	rec.From = &custody.Place{Kind: p.In, Name: root.Reference.Repository}
	if last != nil {
		if rec.From = last.Record.From; last.Record.Same(&rec) && p.own(last) {
			out.Record, out.Present, out.Artifact.Manifest.Digest = *last.Record, true, last.Manifest
			return out, nil
		}
		rec.From = last.Record.To
	}
	rec.Previous = custody.Heads(all)
	out.Record = rec
	out.Artifact, err = rec.Artifact(custody.Promote, root.Descriptor, root.Reference.Name(), p.Key)
	return out, err
}

// passed fails unless the report says that the root passed.
func passed(r *verify.Report, root layout.Name) error {
	for _, v := range r.Verdicts {
		if v.Reference == root.Reference.String() && v.Digest == root.Descriptor.Digest && v.State == verify.Passed {
			return nil
		}
	}
	return fmt.Errorf("%s: no promotion of what did not pass: %w", root.Reference, ErrRefused)
}

// keys are the pinned ones, and the one that signs.
func (p *Promoter) keys() []custody.Key {
	if p.Key == nil {
		return p.Keys
	}
	return append([]custody.Key{{Public: p.Key.Public()}}, p.Keys...)
}

// own says whether f is by whoever promotes now.
func (p *Promoter) own(f *custody.Found) bool {
	if p.Key == nil {
		return f.Standing == custody.Claimed
	}
	return f.Standing == custody.Verified && f.Key == ""
}

// last is the promotion after which none came, or nil. What nobody vouches for counts
// only for a record that nobody will sign.
func (p *Promoter) last(all []custody.Found) *custody.Found {
	var out *custody.Found
	ordered := custody.Order(all)
	for i := range ordered {
		f := &ordered[i]
		if f.Act == custody.Promote && (f.Standing == custody.Verified || p.Key == nil) {
			out = f
		}
	}
	return out
}
