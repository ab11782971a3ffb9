package bundle

import (
	"context"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Indexes may list each other's children, so that the ways from a root to an image are
// many more than the manifests that there are. Each manifest is described once, and
// named where it is listed again.

// describedKey is a manifest in a repository under the verdict of one root; judged is nil
// for where it was described first, whatever the verdict.
type describedKey struct {
	spot
	judged *judged
}

// root describes a root. It is described again if it was among the images of another
// one, as it may have records under its name, but no more than maxRepeated times.
func (s *scene) root(ctx context.Context, root layout.Name) (*Provenance, error) {
	d := root.Descriptor.Digest
	if first := s.described[describedKey{spot{s.repo, d}, nil}]; first != nil {
		if s.repeated >= maxRepeated {
			return s.reference(first), nil
		}
		s.repeated++
	}
	return s.describe(ctx, d, root.Reference.String())
}

// before returns the description of a manifest that stands for it from now on, or nil.
func (s *scene) before(d digest.Digest) *Provenance {
	at := spot{s.repo, d}
	if p := s.described[describedKey{at, s.judged}]; p != nil {
		return p
	}
	first := s.described[describedKey{at, nil}]
	if first == nil || s.repeated >= maxRepeated {
		return first
	}
	s.repeated++
	return nil
}

// reference is what stands for a manifest that is described above.
func (s *scene) reference(p *Provenance) *Provenance {
	return &Provenance{Digest: p.Digest, Kind: p.Kind, Broken: p.Broken, DescribedAbove: true}
}

// describe describes a manifest, and what it lists if it is an index. ref is the name of a
// root, or empty.
func (s *scene) describe(ctx context.Context, d digest.Digest, ref string) (*Provenance, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n := s.g.Nodes[d]
	p := &Provenance{Digest: d, Kind: n.Kind}
	at := spot{s.repo, d}
	s.told[at] = true
	for _, j := range []*judged{nil, s.judged} {
		if key := (describedKey{at, j}); s.described[key] == nil {
			s.described[key] = p
		}
	}
	if err := s.way(ctx, p, ref); err != nil {
		return nil, err
	}
	if err := s.attached(ctx, p); err != nil {
		return nil, err
	}
	if layout.IsIndex(n.Descriptor.MediaType) {
		return p, s.images(ctx, p, n)
	}
	return p, nil
}

// images describes what an index lists.
func (s *scene) images(ctx context.Context, p *Provenance, index *layout.Node) error {
	about, err := s.attestations(ctx, index)
	if err != nil {
		return err
	}
	seen := map[digest.Digest]bool{}
	for _, c := range index.Children {
		if _, here := s.g.Place(s.repo, c.Digest); !here {
			continue
		}
		if is, err := s.isAttestation(ctx, c); err != nil {
			return err
		} else if is {
			continue
		}
		first, one := s.before(c.Digest), (*Provenance)(nil)
		if first != nil {
			one = s.reference(first)
		} else if one, err = s.describe(ctx, c.Digest, ""); err != nil {
			return err
		}
		if !seen[c.Digest] {
			seen[c.Digest] = true
			if err := s.buildkit(ctx, one, p, index, about[c.Digest]); err != nil {
				return err
			}
		}
		if one.says() || first != nil && first.says() {
			one.Platform = platformOf(c.Platform)
			p.Images = append(p.Images, one)
		}
	}
	return ctx.Err()
}

// attestations are the BuildKit attestations that an index lists, each once, by what it
// lists them about.
func (s *scene) attestations(ctx context.Context, index *layout.Node) (map[digest.Digest][]digest.Digest, error) {
	type listed struct{ about, d digest.Digest }
	out, seen := map[digest.Digest][]digest.Digest{}, map[listed]bool{}
	for _, c := range index.Children {
		if _, here := s.g.Place(s.repo, c.Digest); !here || !c.BuildKit || seen[listed{c.About, c.Digest}] {
			continue
		}
		seen[listed{c.About, c.Digest}] = true
		is, err := s.isAttestation(ctx, c)
		if err != nil {
			return nil, err
		}
		if is {
			out[c.About] = append(out[c.About], c.Digest)
		}
	}
	return out, ctx.Err()
}

// isAttestation says whether a child is listed as a BuildKit attestation, and is one.
func (s *scene) isAttestation(ctx context.Context, c layout.Child) (bool, error) {
	if !c.BuildKit {
		return false, nil
	}
	return s.g.IsAttestation(ctx, s.src, &s.starts, s.repo, c.Digest)
}
