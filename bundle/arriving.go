package bundle

import (
	"context"
	"errors"
	"io"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// arriving is something that an import makes and attaches to an image where that
// goes, unless something that says the same is there.
type arriving struct {
	Addition
	subject layout.Descriptor
	// equal says whether the one layer of something that is attached says the
	// same.
	equal func(data []byte) bool

	there   digest.Digest // the manifest that says the same, if there is one
	present bool
}

// manifest is what is attached in the end.
func (a *arriving) manifest() digest.Digest {
	if a.there != "" {
		return a.there
	}
	return a.Artifact.Manifest.Digest
}

func (a *arriving) found(d digest.Digest) { a.there, a.present = d, true }

// putArriving puts all of it where the images are, but for that of which there is an
// equal. It comes after everything else is there, and before the names.
func putArriving(ctx context.Context, dst layout.Sink, all []*arriving) error {
	for _, a := range all {
		if a.present {
			continue
		}
		if there, err := a.search(ctx, dst); err != nil {
			return err
		} else if there != "" {
			a.found(there)
			continue
		}
		had, err := putAddition(ctx, dst, a.Addition)
		if err != nil {
			return err
		}
		a.present = had
	}
	return nil
}

// readable is a source or a sink that says what is attached in it.
type readable interface {
	opener
	Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error)
}

// search finds an equal in the destination.
func (a *arriving) search(ctx context.Context, dst layout.Sink) (digest.Digest, error) {
	src, ok := dst.(readable)
	if !ok {
		return "", nil
	}
	all, err := src.Attached(ctx, a.Repository, a.subject)
	if err != nil {
		return "", err
	}
	looked := map[digest.Digest]bool{}
	for _, inq := range all {
		for _, d := range inq.Found {
			if looked[d.Digest] || len(looked) == maxLooked {
				continue
			}
			looked[d.Digest] = true
			if same, err := a.same(ctx, src, a.Repository, d); err != nil || same {
				return d.Digest, err
			}
		}
	}
	return "", nil
}

// comesAlong finds an equal in the bundle, so that nothing has to be added to what is
// imported.
func (a *arriving) comesAlong(ctx context.Context, src opener, g *layout.Graph, repo string) error {
	place, _ := g.Place(repo, a.Subject)
	for _, e := range place.Attached[:min(len(place.Attached), maxLooked)] {
		same, err := a.same(ctx, src, repo, g.Nodes[e.Digest].Descriptor)
		if err != nil {
			return err
		}
		if same {
			a.found(e.Digest)
			return nil
		}
	}
	return nil
}

// Limits of the search for something that says the same. What is not found costs
// nothing but a second one.
const (
	maxLooked     = 1000
	maxEqualBytes = 1 << 20
)

// same says whether what is attached says the same. What cannot be read does not: it
// is not ours to judge.
func (a *arriving) same(ctx context.Context, src opener, repo string, d layout.Descriptor) (bool, error) {
	if t := d.ArtifactType; t != "" && t != a.Artifact.Manifest.ArtifactType || d.MediaType != a.Artifact.Manifest.MediaType {
		return false, nil
	}
	raw, err := readAttached(ctx, src, repo, d)
	if err != nil || raw == nil {
		return false, err
	}
	m, err := layout.ParseManifest(d, raw)
	if err != nil || len(m.Layers) != 1 || m.Subject == nil || m.Subject.Digest != a.Subject || m.Layers[0].Size > maxEqualBytes {
		return false, nil
	}
	data, err := readAttached(ctx, src, repo, bare(m.Layers[0]))
	if err != nil || data == nil {
		return false, err
	}
	return a.equal(data), nil
}

// readAttached reads a small piece; nil if it is not there whole.
func readAttached(ctx context.Context, src opener, repo string, d layout.Descriptor) ([]byte, error) {
	var rc io.ReadCloser
	rc, err := src.Open(ctx, repo, d)
	var data []byte
	if err == nil {
		data, err = layout.ReadAll(rc, d)
	}
	for _, sentinel := range []error{layout.ErrNotFound, layout.ErrCorrupt, layout.ErrLimit, layout.ErrUnsupported} {
		if errors.Is(err, sentinel) {
			return nil, nil
		}
	}
	return data, err
}
