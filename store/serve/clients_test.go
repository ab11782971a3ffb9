package serve_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store/serve"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	orasremote "oras.land/oras-go/v2/registry/remote"
)

// What go-containerregistry pulls and checks is there: images, indexes, referrers,
// tags and the catalog.
func TestGoContainerRegistry(t *testing.T) {
	all := layouttest.Merge(layouttest.Everything(ghcr), layouttest.Everything(port))
	each(t, all, func(t *testing.T, base string) {
		host := strings.TrimPrefix(base, "http://")
		images, indexes := 0, 0
		for repo, items := range all.Repositories {
			r, err := name.NewRepository(host + "/" + serve.Name(repo))
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range items {
				ref := r.Digest(item.Descriptor.Digest.String())
				switch item.Descriptor.MediaType {
				case layout.MediaTypeManifest, layout.MediaTypeDockerManifest:
					images++
					img, err := remote.Image(ref)
					if err == nil {
						err = layersOf(img)
					}
					if err != nil {
						t.Errorf("%s: %v", ref, err)
					}
				case layout.MediaTypeIndex, layout.MediaTypeDockerList:
					if derivedOnly(all, repo, item) {
						continue
					}
					indexes++
					index, err := remote.Index(ref)
					if err == nil {
						_, err = index.IndexManifest()
					}
					if err != nil {
						t.Errorf("%s: %v", ref, err)
					}
				}
			}
			tags, err := remote.List(r, remote.WithPageSize(2))
			if err != nil || !slices.Contains(tags, "fallback") || !slices.Contains(tags, "v1") {
				t.Errorf("%s: tags %q (%v)", r, tags, err)
			}
			subject := all.Names[0].Descriptor.Digest
			idx, err := remote.Referrers(r.Digest(subject.String()))
			if err != nil {
				t.Fatal(err)
			}
			if m, err := idx.IndexManifest(); err != nil || len(m.Manifests) < 4 {
				t.Errorf("%s: referrers %v (%v)", r, m, err)
			}
		}
		reg, err := name.NewRegistry(host)
		if err != nil {
			t.Fatal(err)
		}
		if repos, err := remote.Catalog(t.Context(), reg); err != nil || len(repos) != 2 {
			t.Errorf("catalog: %q (%v)", repos, err)
		}
		if images < 40 || indexes < 8 {
			t.Errorf("only %d images and %d indexes", images, indexes)
		}
	})
}

// layersOf reads the config and every layer, which checks digests.
func layersOf(img v1.Image) error {
	if _, err := img.RawConfigFile(); err != nil {
		return err
	}
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	for _, l := range m.Layers {
		layer, err := img.LayerByDigest(l.Digest)
		if err != nil {
			return err
		}
		rc, err := layer.Compressed()
		if err != nil {
			return err
		}
		var out bytes.Buffer
		_, err = out.ReadFrom(rc)
		if err := rc.Close(); err != nil {
			return err
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// oras-go resolves, fetches, seeks, and lists referrers with the API and nothing
// else, sha512 too.
func TestORAS(t *testing.T) {
	all := everything()
	each(t, all, func(t *testing.T, base string) {
		host := strings.TrimPrefix(base, "http://")
		for repo, items := range all.Repositories {
			r, err := orasremote.NewRepository(host + "/" + serve.Name(repo))
			if err != nil {
				t.Fatal(err)
			}
			r.PlainHTTP, r.ManifestMediaTypes = true, layout.ManifestTypes
			if err := r.SetReferrersCapability(true); err != nil {
				t.Fatal(err)
			}
			for _, n := range all.Names {
				if n.Reference.Repository != repo || n.Reference.Tag == "" || layout.IsReferrersTag(n.Reference.Tag) {
					continue
				}
				d, err := r.Resolve(t.Context(), n.Reference.Tag)
				if err != nil || d.Digest != n.Descriptor.Digest || d.MediaType != n.Descriptor.MediaType || d.Size != n.Descriptor.Size {
					t.Errorf("%s: %v (%v)", n.Reference, d, err)
				}
			}
			for _, item := range items {
				if derivedOnly(all, repo, item) {
					continue
				}
				got, err := content.FetchAll(t.Context(), r, item.Descriptor)
				if err != nil || !bytes.Equal(got, item.Bytes) {
					t.Errorf("%s of %s: %v", item.Descriptor.Digest, repo, err)
				}
				if layout.IsManifest(item.Descriptor.MediaType) {
					checkORASReferrers(t, r, all, repo, item)
				}
			}
		}
	})
}

func checkORASReferrers(t *testing.T, r *orasremote.Repository, all layouttest.Content, repo string, item layouttest.Item) {
	t.Helper()
	n := 0
	err := r.Referrers(context.Background(), item.Descriptor, "", func(list []ocispec.Descriptor) error {
		for _, d := range list {
			if !slices.Contains(all.Attached(repo, item.Descriptor.Digest), d.Digest) {
				t.Errorf("%s is not attached to %s", d.Digest, item.Descriptor.Digest)
			}
			n++
		}
		return nil
	})
	want := 0
	for _, other := range all.Repositories[repo] {
		m, err := layout.ParseManifest(other.Descriptor, other.Bytes)
		if err == nil && m.Subject != nil && m.Subject.Digest == item.Descriptor.Digest {
			want++
		}
	}
	if err != nil || n != want {
		t.Errorf("%d referrers of %s, want %d (%v)", n, item.Descriptor.Digest, want, err)
	}
}
