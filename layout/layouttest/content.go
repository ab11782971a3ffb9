// Package layouttest holds what tests of sources and sinks share: made-up
// content of every form that airgap carries, and one suite of checks that every
// [layout.Source] and [layout.Sink] passes.
//
// Content is built with a [Builder], or taken ready-made from [Everything]. It is
// the same bytes every time. It has the structure of images, signatures and
// attestations and nothing more: no signature in it verifies.
//
// A new sink is tested by handing [TestSink] a function that makes one; a source
// that something else writes, by loading it with Content and calling
// [CheckSource].
package layouttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Item is one blob or manifest.
type Item struct {
	Descriptor layout.Descriptor // media type, digest, size
	Bytes      []byte
}

// Content is what a sink is filled with.
type Content struct {
	// Repositories holds the items of each repository, each once, in an
	// order in which they can be put: what a manifest lists, and its
	// subject, come before it.
	Repositories map[string][]Item
	// Names holds tags, cosign and fallback tags among them, and names by
	// digest.
	Names []layout.Name
}

// Merge puts contents together. Repositories must differ.
func Merge(contents ...Content) Content {
	out := Content{Repositories: map[string][]Item{}}
	for _, c := range contents {
		for repo, items := range c.Repositories {
			if _, ok := out.Repositories[repo]; ok {
				panic("layouttest: repository " + repo + " twice")
			}
			out.Repositories[repo] = items
		}
		out.Names = append(out.Names, c.Names...)
	}
	return out
}

// Sorted returns the repositories' names.
func (c Content) Sorted() []string {
	return slices.Sorted(maps.Keys(c.Repositories))
}

// Put puts everything, and commits nothing.
func (c Content) Put(ctx context.Context, sink layout.Sink) error {
	for _, repo := range c.Sorted() {
		for _, item := range c.Repositories[repo] {
			if err := sink.Put(ctx, repo, item.Descriptor, bytes.NewReader(item.Bytes)); err != nil {
				return fmt.Errorf("put %s in %s: %w", item.Descriptor.Digest, repo, err)
			}
		}
	}
	return nil
}

// Load puts everything and commits all names.
func (c Content) Load(ctx context.Context, sink layout.Sink) error {
	if err := c.Put(ctx, sink); err != nil {
		return err
	}
	return sink.Commit(ctx, c.Names)
}

// Roots returns the references that a user would ask for: all names but those
// that only lead to attachments.
func (c Content) Roots() []layout.Reference {
	var out []layout.Reference
	for _, n := range c.Names {
		if !layout.IsDerivedTag(n.Reference.Tag) {
			out = append(out, n.Reference)
		}
	}
	return out
}

// Find returns an item of repo.
func (c Content) Find(repo string, dgst digest.Digest) (Item, bool) {
	for _, item := range c.Repositories[repo] {
		if item.Descriptor.Digest == dgst {
			return item, true
		}
	}
	return Item{}, false
}

// Uses says whether any digest is of the given algorithm. Some registries know
// only sha256.
func (c Content) Uses(alg digest.Algorithm) bool {
	for _, items := range c.Repositories {
		for _, item := range items {
			if item.Descriptor.Digest.Algorithm() == alg {
				return true
			}
		}
	}
	return false
}

// Attached returns the digests of all that is attached to subject in repo, by a
// subject field, a cosign tag or a fallback tag, sorted.
func (c Content) Attached(repo string, subject digest.Digest) []digest.Digest {
	found := map[digest.Digest]bool{}
	for _, item := range c.Repositories[repo] {
		if doc, ok := item.document(); ok && doc.Subject != nil && doc.Subject.Digest == subject {
			found[item.Descriptor.Digest] = true
		}
	}
	for _, n := range c.Names {
		if n.Reference.Repository != repo {
			continue
		}
		if s, _, ok := layout.ParseCosignTag(n.Reference.Tag); ok && s == subject {
			found[n.Descriptor.Digest] = true
		}
		if tag, ok := layout.FormReferrersTag.Tag(subject); ok && tag == n.Reference.Tag {
			item, _ := c.Find(repo, n.Descriptor.Digest)
			doc, _ := item.document()
			for _, d := range doc.Manifests {
				found[d.Digest] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// document reads an item if it is a manifest.
func (i Item) document() (doc Document, ok bool) {
	if !layout.IsManifest(i.Descriptor.MediaType) {
		return Document{}, false
	}
	err := json.Unmarshal(i.Bytes, &doc)
	return doc, err == nil
}
