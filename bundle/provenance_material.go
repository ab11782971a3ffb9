package bundle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// material follows a material, if it is an image that is held here.
func (s *scene) material(ctx context.Context, m *Ingredient) error {
	for _, alg := range slices.Sorted(maps.Keys(m.Digest)) {
		d, err := layout.ParseDigest(alg + ":" + m.Digest[alg])
		if err != nil {
			continue // of a commit, or of nothing that could be here
		}
		ref, err := s.find(ctx, m.URI, d)
		switch {
		case errors.Is(err, errNotHere):
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			m.Note = err.Error()
			return nil
		}
		m.Held, m.Note, err = s.held(ctx, ref)
		return err
	}
	return nil
}

// held tells of an image that went into a build.
func (s *scene) held(ctx context.Context, ref layout.Reference) (p *Provenance, note string, err error) {
	switch {
	case s.told[spot{ref.Repository, ref.Digest}]:
		return nil, "held here, as " + ref.String() + "; told elsewhere", nil
	case s.depth >= maxMaterialDepth:
		return nil, fmt.Sprintf("held here, as %s; not followed further than %d builds", ref, maxMaterialDepth), nil
	case s.followed >= maxFollowed:
		return nil, fmt.Sprintf("held here, as %s; no more than %d images are followed", ref, maxFollowed), nil
	}
	s.followed++
	g, err := layout.Walk(ctx, s.src, []layout.Reference{ref}, layout.WalkOptions{MayMiss: s.mayMiss})
	if err != nil {
		return nil, "", err
	}
	all, err := s.graph(ctx, g, s.depth+1)
	if err != nil {
		return nil, "", err
	}
	return all[0], "", nil
}

// find looks for a manifest by its digest. Where it is not, it fails with errNotHere.
func (s *scene) find(ctx context.Context, uri string, d digest.Digest) (layout.Reference, error) {
	repos := s.o.Repositories
	if s.o.Remote {
		repos = sameRegistry(s.repo, uri)
	}
	for _, repo := range repos {
		if s.lookups++; s.lookups > maxLookups {
			return layout.Reference{}, fmt.Errorf("not looked for: %d materials were", maxLookups)
		}
		ref := layout.Reference{Repository: repo, Digest: d}
		got, err := s.src.Resolve(ctx, ref)
		if errors.Is(err, layout.ErrNotFound) {
			continue
		}
		if err != nil {
			return ref, fmt.Errorf("not looked for: %w", err)
		}
		if layout.IsManifest(got.MediaType) {
			return ref, nil
		}
	}
	return layout.Reference{}, errNotHere
}

// sameRegistry are the repositories of one registry in which a material may be that
// calls itself an image: that of the image, and the one that its address names.
func sameRegistry(repo, uri string) []string {
	named := imageRepository(uri)
	if named == "" {
		return nil
	}
	host, _, _ := strings.Cut(repo, "/")
	if named != repo && strings.HasPrefix(named, host+"/") {
		return []string{repo, named}
	}
	return []string{repo}
}

// imageRepository is the repository that the address of a material names; empty for
// what is no image. Addresses are package URLs of type docker and oci
// (package-url/purl-spec), as BuildKit and others write them, and references behind a
// scheme.
func imageRepository(uri string) string {
	name := ""
	for _, scheme := range []string{"oci://", "docker://", "docker-image://"} {
		if rest, ok := strings.CutPrefix(uri, scheme); ok {
			name = rest
		}
	}
	if u, err := url.Parse(uri); err == nil && u.Scheme == "pkg" {
		kind, path, _ := strings.Cut(u.Opaque, "/")
		switch path, _, _ = strings.Cut(path, "@"); kind {
		case "docker":
			name = path
		case "oci":
			name = u.Query().Get("repository_url")
		}
		if unescaped, err := url.PathUnescape(name); err == nil {
			name = unescaped
		}
	}
	if name == "" {
		return ""
	}
	ref, err := layout.ParseReference(name)
	if err != nil {
		return ""
	}
	return ref.Repository
}
