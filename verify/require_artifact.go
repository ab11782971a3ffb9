package verify

import (
	"context"
	"fmt"

	"airgap/verify/policy"
)

// artifact looks for an attached artifact of a type that is signed itself: the
// signature's requirement is judged with the artifact in the image's place.
func (s *scene) artifact(ctx context.Context, o *Outcome, r *policy.Requirement) error {
	p, err := s.of(ctx, s.repo, s.digest)
	if err != nil {
		return err
	}
	for _, a := range p.artifacts {
		if a.typ() != r.Artifact.Type {
			continue
		}
		if a.node.Subject != s.digest {
			// By its tag alone; what was signed does not say what it is about.
			o.missed(Attempt{Manifest: a.node.Descriptor.Digest, Kind: "artifact", State: Refused, Reason: "it does not name this manifest as its subject"})
			continue
		}
		if err := s.oneArtifact(ctx, o, r, a); err != nil {
			return err
		}
	}
	o.nothing("artifact of type " + r.Artifact.Type)
	return nil
}

func (s *scene) oneArtifact(ctx context.Context, o *Outcome, r *policy.Requirement, a *artifact) error {
	dgst := a.node.Descriptor.Digest
	signature, err := s.inside(dgst).judge(ctx, r.Artifact.SignedBy)
	if err != nil {
		return err
	}
	miss := Attempt{Manifest: dgst, Kind: "artifact", State: signature.State, Reason: "its signature: " + signature.why()}
	if signature.State != Passed {
		o.missed(miss)
		return nil
	}
	if reason, err := s.content(ctx, r, a); err != nil {
		return err
	} else if reason != nil {
		miss.State, miss.Reason = decide(reason), reason.Error()
		o.missed(miss)
		return nil
	}
	o.Parts = append(o.Parts, signature)
	o.met(Evidence{Manifest: dgst, Kind: "artifact", Signer: signature.by(), Says: r.Artifact.Type}, signer{})
	o.signers = signature.signers
	return nil
}

// content holds the conditions against the artifact's one layer; reason says why
// they do not hold.
func (s *scene) content(ctx context.Context, r *policy.Requirement, a *artifact) (reason, err error) {
	if len(r.Artifact.Conditions) == 0 {
		return nil, nil
	}
	if len(a.parts) != 1 {
		return fmt.Errorf("it has %d layers; conditions are about one", len(a.parts)), nil
	}
	free, err := s.room.take(ctx, a.parts[0].Size)
	if err != nil {
		return nil, err
	}
	defer free()
	data, bad, fatal := s.read(ctx, s.repo, a.parts[0], false)
	if bad != nil || fatal != nil {
		return bad, fatal
	}
	return r.Holds(data), nil
}

// by is who met an outcome, in words.
func (o *Outcome) by() string {
	for _, e := range o.Evidence {
		return e.Signer
	}
	for _, p := range o.Parts {
		if b := p.by(); b != "" {
			return b
		}
	}
	return ""
}

// why is why an outcome did not pass, in words.
func (o *Outcome) why() string {
	if o.Reason != "" {
		return o.Reason
	}
	for _, a := range o.Tried {
		return a.Reason
	}
	for _, p := range o.Parts {
		if p.State != Passed {
			return p.why()
		}
	}
	return string(o.State)
}
