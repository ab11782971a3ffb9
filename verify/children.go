package verify

import (
	"context"
	"fmt"
	"io"
	"slices"

	"airgap/layout"
	"airgap/verify/policy"

	"github.com/opencontainers/go-digest"
)

// childrenOf is what stands below an index that nobody vouches for, in one repository.
// An index among it stands for what it lists in turn: a signature on it is none on an
// image.
type childrenOf struct {
	images []listedChild
	// marked are listed as BuildKit attestations. That is only the index's word.
	marked []listedChild
	// posing says why the index may not come in, whatever its children are.
	posing string
	// absent are not here, each once. All verdicts on the index share it.
	absent []digest.Digest
	// elsewhere is absent, and engines can get it all the same; empty if none is.
	elsewhere digest.Digest
}

// listedChild is a child, and the index that lists it.
type listedChild struct {
	layout.Child
	parent digest.Digest
}

// below finds what stands below the manifest that is judged, which is an index.
func (b *bench) below(ctx context.Context, n *layout.Node) (*childrenOf, error) {
	if b.listed != nil {
		return b.listed, nil
	}
	out := &childrenOf{}
	indexes := []digest.Digest{n.Descriptor.Digest}
	seen := map[digest.Digest]bool{n.Descriptor.Digest: true}
	for next := 0; next < len(indexes); next++ {
		for _, c := range b.g.Nodes[indexes[next]].Children {
			if _, here := b.g.Place(b.repo, c.Digest); !here {
				continue
			}
			switch {
			case layout.IsIndex(b.g.Nodes[c.Digest].Descriptor.MediaType):
				if !seen[c.Digest] {
					indexes = append(indexes, c.Digest)
				}
				seen[c.Digest] = true
			case c.BuildKit:
				out.marked = append(out.marked, listedChild{c, indexes[next]})
			case !seen[c.Digest]:
				seen[c.Digest] = true
				out.images = append(out.images, listedChild{c, indexes[next]})
			}
		}
	}
	if err := b.notHere(ctx, out, indexes); err != nil {
		return nil, err
	}
	b.listed = out
	return out, nil
}

// notHere finds what indexes list and what is not here, or not as a manifest.
func (b *bench) notHere(ctx context.Context, out *childrenOf, indexes []digest.Digest) (err error) {
	var absent []layout.Omission
	omitted := map[listing]bool{}
	for _, index := range slices.Sorted(slices.Values(indexes)) { // as places are
		for _, i := range b.absent[key{b.repo, index}] {
			o := b.g.Omitted[i]
			absent = append(absent, o)
			omitted[listing{index, o.Descriptor.Digest}] = true
		}
	}
	var opaque []layout.Blob // listed, and here, under a type that is no manifest's
	for _, index := range indexes {
		for _, o := range b.g.Nodes[index].Blobs {
			if !omitted[listing{index, o.Digest}] { // another repository may have it
				opaque = append(opaque, o)
				out.absent = append(out.absent, o.Digest) // as a manifest
			}
		}
	}
	known := map[digest.Digest]bool{}
	for _, o := range absent {
		if o.Elsewhere {
			out.elsewhere = o.Descriptor.Digest
			break
		}
		if !known[o.Descriptor.Digest] {
			known[o.Descriptor.Digest] = true
			out.absent = append(out.absent, o.Descriptor.Digest)
		}
	}
	out.absent = slices.Clip(out.absent)
	out.posing, err = b.posing(ctx, opaque)
	return err
}

// children judges each child of an index that is here, for nobody has signed what the
// index says of them. Exempt are attestations of BuildKit's about children that passed.
// A child that is not here did not pass: who has it, or gets it later, has to have it
// judged with the index.
func (b *bench) children(ctx context.Context, v Verdict, rule *policy.Rule, n *layout.Node) (Verdict, error) {
	below, err := b.below(ctx, n)
	if err != nil || below.posing != "" {
		if err == nil {
			v.Reason = below.posing
		}
		return v, err
	}
	passed := map[listing]bool{}
	judged := map[digest.Digest]bool{}
	var states []State
	judge := func(c listedChild) error {
		judged[c.Digest] = true
		child, err := b.child(ctx, rule, c)
		if err != nil {
			return err
		}
		v.Children = append(v.Children, child)
		v.Warnings = child.Outcome.warnings(v.Warnings)
		states = append(states, child.Outcome.State)
		passed[listing{c.parent, c.Digest}] = child.Outcome.State == Passed
		return nil
	}
	for _, c := range below.images {
		if err := judge(c); err != nil {
			return v, err
		}
	}
	for _, c := range below.marked {
		exempt := passed[listing{c.parent, c.About}] && isUnknown(c.Platform)
		if exempt {
			var err error
			if exempt, err = b.isAttestation(ctx, c.Digest); err != nil {
				return v, err
			}
		}
		if exempt || judged[c.Digest] {
			continue
		}
		if err := judge(c); err != nil {
			return v, err
		}
	}
	v.Absent = below.absent
	return v.ofChildren(states, below.elsewhere), nil
}

// posing says why an index that nobody signed may not come in: it lists, under a type
// that is no manifest's, what an engine could read as one and start.
func (b *bench) posing(ctx context.Context, opaque []layout.Blob) (string, error) {
	for _, o := range opaque {
		if why, err := layout.ReadsAsManifest(o.Descriptor(), b.opener(ctx, b.repo)); why != "" || err != nil {
			return why, err
		}
	}
	return "", nil
}

// listing is a child in one index.
type listing struct{ index, child digest.Digest }

// ofChildren decides by the states of the children that were judged.
func (v Verdict) ofChildren(states []State, elsewhere digest.Digest) Verdict {
	if elsewhere != "" {
		v.State = Refused
		v.Reason = fmt.Sprintf("child %s is not here as it is listed, but engines can get it all the same: the index embeds it, says where it is (data, urls), or the repository has it as a manifest", elsewhere)
		return v
	}
	if len(states) == 0 {
		v.Reason = "none of the index's children is here, and the rule judges those"
		return v
	}
	v.State = all(states)
	return v
}

func (b *bench) child(ctx context.Context, rule *policy.Rule, c listedChild) (Child, error) {
	if err := b.work.spend(childWork); err != nil {
		if len(b.decided) > 0 { // for another reference
			err = errChildren
		}
		return Child{}, err
	}
	s := &scene{bench: b, digest: c.Digest, parent: c.parent, named: map[string]*Outcome{}}
	o, err := s.judge(ctx, &rule.Require)
	out := Child{Digest: c.Digest, Outcome: o}
	if c.Platform != nil {
		out.Platform = layout.FormatPlatform(*c.Platform)
	}
	return out, err
}

// isUnknown says whether p is the platform of BuildKit's attestations, which no engine
// looks for (moby/buildkit, docs/attestations/attestation-storage.md).
func isUnknown(p *layout.Platform) bool {
	return p != nil && p.OS == "unknown" && p.Architecture == "unknown" && p.Variant == "" && p.OSVersion == "" && len(p.OSFeatures) == 0
}

// isAttestation says whether a manifest that is here is a BuildKit attestation by its
// bytes, however it is listed.
func (c *collector) isAttestation(ctx context.Context, d digest.Digest) (bool, error) {
	is, known := c.attests[d]
	if known {
		return is, nil
	}
	m, err := c.manifest(ctx, d)
	if err != nil {
		return false, err
	}
	if is, err = c.starts.IsAttestation(m, c.opener(ctx, c.g.Nodes[d].Repository)); err != nil {
		return false, err
	}
	c.attests[d] = is
	return is, nil
}

// opener opens content to find out what can be started, for what that costs.
func (c *collector) opener(ctx context.Context, repo string) func(layout.Descriptor) (io.ReadCloser, error) {
	return func(d layout.Descriptor) (io.ReadCloser, error) {
		if d.Size <= MaxEvidenceBytes { // the rest of it is read once, whoever lists it
			if err := c.work.spend(d.Size); err != nil {
				return nil, err
			}
		}
		return c.src.Open(ctx, repo, layout.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
	}
}

// unjudged warns of attachments that could be started themselves: of the image, of what it
// contains, and of other attachments. Nobody judges them.
func (b *bench) unjudged(ctx context.Context, d digest.Digest) ([]string, error) {
	if out, known := b.warned[d]; known {
		return out, nil
	}
	var out []string
	seen := map[digest.Digest]bool{d: true}
	todo := []digest.Digest{d}
	add := func(d digest.Digest) bool {
		_, here := b.g.Place(b.repo, d)
		if was := seen[d]; was || !here {
			return false
		}
		seen[d] = true
		todo = append(todo, d)
		return true
	}
	for next := 0; next < len(todo); next++ { // first what the image contains
		for _, c := range b.g.Nodes[todo[next]].Children {
			add(c.Digest)
		}
	}
	for next := 0; next < len(todo); next++ {
		place, _ := b.g.Place(b.repo, todo[next])
		for _, e := range place.Attached {
			if !add(e.Digest) {
				continue
			}
			m, err := b.manifest(ctx, e.Digest)
			if err != nil {
				return nil, err
			}
			why, err := b.starts.Startable(m, b.opener(ctx, b.repo))
			if err != nil {
				return nil, err
			}
			if why != "" {
				out = append(out, fmt.Sprintf("%s is attached and was not judged, and could be started: %s", e.Digest, why))
			}
		}
	}
	b.warned[d] = slices.Clip(out)
	return b.warned[d], nil
}

// manifest reads a manifest of the graph.
func (c *collector) manifest(ctx context.Context, d digest.Digest) (*layout.Manifest, error) {
	raw, err := c.g.ReadManifest(ctx, c.src, d)
	if err != nil {
		return nil, err
	}
	return layout.ParseManifest(c.g.Nodes[d].Descriptor, raw)
}
