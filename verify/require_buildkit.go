package verify

import (
	"context"
	"fmt"

	"airgap/layout"
	"airgap/verify/policy"
	"airgap/verify/predicate"
	"airgap/verify/sigstore"

	"github.com/opencontainers/go-digest"
)

// typeInToto is the media type of BuildKit's statements (moby/buildkit,
// docs/attestations/attestation-storage.md).
const typeInToto = "application/vnd.in-toto+json"

// buildkit looks for the attestations that an index lists beside its images. The
// index is judged first: without a signature on it they are anybody's word.
func (s *scene) buildkit(ctx context.Context, o *Outcome, r *policy.Requirement) error {
	index, images, reason, err := s.listed(ctx)
	if err != nil {
		return err
	}
	if reason != "" {
		o.Reason = reason
		return nil
	}
	inner := s.inside(index)
	signature, err := inner.judge(ctx, r.BuildKit.SignedBy)
	if err != nil {
		return err
	}
	o.Parts = append(o.Parts, signature)
	if signature.State != Passed {
		o.State, o.Reason = signature.State, "the index that lists them: "+signature.why()
		return nil
	}
	states := make([]State, len(images))
	for i, image := range images {
		if states[i], err = s.listedFor(ctx, o, r, index, image, signature.by()); err != nil {
			return err
		}
	}
	o.signers = signature.signers
	if o.State = all(states); o.State != Passed {
		o.Evidence = nil
	}
	return nil
}

// listed returns the index in question, and those of its images that have to have an
// attestation: all that are here or, where children are judged, the one.
func (s *scene) listed(ctx context.Context) (index digest.Digest, images []digest.Digest, reason string, err error) {
	if s.parent != "" {
		return s.parent, []digest.Digest{s.digest}, "", nil
	}
	n := s.g.Nodes[s.digest]
	if !layout.IsIndex(n.Descriptor.MediaType) {
		return "", nil, "it is no index, and BuildKit's attestations stand beside the images of one", nil
	}
	for _, c := range n.Children {
		if _, here := s.g.Place(s.repo, c.Digest); !here {
			continue
		}
		is := false
		if c.BuildKit {
			if is, err = s.isAttestation(ctx, c.Digest); err != nil {
				return "", nil, "", err
			}
		}
		if !is {
			images = append(images, c.Digest)
		}
	}
	if len(images) == 0 {
		return "", nil, "no image of the index is here", nil
	}
	return s.digest, images, "", nil
}

// listedFor looks among the attestations that index lists about image for one that
// will do, and notes it as evidence.
func (s *scene) listedFor(ctx context.Context, o *Outcome, r *policy.Requirement, index, image digest.Digest, by string) (State, error) {
	state, tried := Refused, 0
	for _, c := range s.g.Nodes[index].Children {
		if !c.BuildKit || c.About != image { // first what costs least: it is asked for each image
			continue
		}
		if _, here := s.g.Place(s.repo, c.Digest); !here {
			continue
		}
		if is, err := s.isAttestation(ctx, c.Digest); err != nil {
			return "", err
		} else if !is {
			continue
		}
		m, err := s.manifest(ctx, c.Digest)
		if err != nil {
			return "", err
		}
		for _, l := range m.Layers {
			if l.MediaType != typeInToto {
				continue
			}
			tried++
			says, why, err := s.statement(ctx, r, l, image)
			switch {
			case err != nil:
				return "", err
			case why == nil:
				o.Evidence = append(o.Evidence, Evidence{Manifest: c.Digest, Kind: "BuildKit attestation", Signer: by, Says: r.BuildKit.PredicateType, Summary: says})
				return Passed, nil
			}
			a := Attempt{Manifest: c.Digest, Kind: "BuildKit attestation", State: decide(why), Reason: why.Error()}
			o.Tried = append(o.Tried, a)
			if a.State == Undecided {
				state = Undecided
			}
		}
	}
	if tried == 0 {
		o.Tried = append(o.Tried, Attempt{Manifest: index, Kind: "BuildKit attestation", State: Refused, Reason: fmt.Sprintf("the index lists none about %s", image)})
	}
	return state, nil
}

// statement holds one statement against what is wanted of image; why says what is
// not as it should be.
func (s *scene) statement(ctx context.Context, r *policy.Requirement, l layout.Descriptor, image digest.Digest) (says string, why, err error) {
	free, err := s.room.take(ctx, l.Size)
	if err != nil {
		return "", nil, err
	}
	defer free()
	data, bad, fatal := s.read(ctx, s.repo, l, false)
	if bad != nil || fatal != nil {
		return "", bad, fatal
	}
	st, why := sigstore.ParseStatement(data)
	switch {
	case why != nil:
		return "", why, nil
	case st.PredicateType != r.BuildKit.PredicateType:
		return "", fmt.Errorf("it is of type %s", st.PredicateType), nil
	case !st.About(image):
		return "", fmt.Errorf("it does not speak of %s", image), nil
	}
	return predicate.Describe(st.PredicateType, st.Predicate), r.Holds(st.Predicate), nil
}
