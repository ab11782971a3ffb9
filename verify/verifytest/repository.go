package verifytest

import (
	"bytes"
	"context"
	"github.com/opencontainers/go-digest"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/signing"
)

// Name is the repository that everything is in.
const Name = "reg.example/team/app"

// Repository is one with images and what is attached to them, in memory.
type Repository struct {
	Source *layout.Memory

	t     testing.TB
	names []layout.Name
}

// NewRepository makes an empty one.
func NewRepository(t testing.TB) *Repository {
	return &Repository{Source: layout.NewMemory(), t: t}
}

// Put loads what a builder made.
func (r *Repository) Put(c layouttest.Content) {
	r.t.Helper()
	if err := c.Put(context.Background(), r.Source); err != nil {
		r.t.Fatal(err)
	}
	r.names = append(r.names, c.Names...)
}

// Image adds an image under a tag.
func (r *Repository) Image(tag string) layout.Descriptor {
	r.t.Helper()
	b := layouttest.New(Name)
	d := b.Image(tag)
	b.Tag(tag, d)
	r.Put(b.Content())
	return d
}

// Attach puts signatures beside their subject.
func (r *Repository) Attach(as ...signing.Artifact) {
	r.t.Helper()
	put := func(d layout.Descriptor, data []byte) layout.Descriptor {
		d = layout.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
		if err := r.Source.Put(context.Background(), Name, d, bytes.NewReader(data)); err != nil {
			r.t.Fatal(err)
		}
		return d
	}
	for _, a := range as {
		for _, b := range a.Blobs {
			put(b.Desc, b.Data)
		}
		d := put(a.Manifest, a.Raw)
		if a.Tag != "" {
			r.names = append(r.names, layout.Name{Reference: layout.Reference{Repository: Name, Tag: a.Tag}, Descriptor: d, Manifest: a.Raw})
		}
	}
}

// Commit publishes all names.
func (r *Repository) Commit() {
	r.t.Helper()
	for i, n := range r.names {
		if n.Manifest == nil {
			rc := got(r.Source.Open(context.Background(), n.Reference.Repository, n.Descriptor))(r.t)
			r.names[i].Manifest = got(layout.ReadAll(rc, n.Descriptor))(r.t)
		}
	}
	if err := r.Source.Commit(context.Background(), r.names); err != nil {
		r.t.Fatal(err)
	}
}

// mayMiss lets an index be sparse, as a bundle's may be.
func mayMiss(string, digest.Digest, layout.Descriptor) bool { return true }

// Graph publishes all names and walks from tags.
func (r *Repository) Graph(tags ...string) *layout.Graph {
	r.t.Helper()
	r.Commit()
	refs := make([]layout.Reference, len(tags))
	for i, tag := range tags {
		refs[i] = layout.Reference{Repository: Name, Tag: tag}
	}
	return got(layout.Walk(context.Background(), r.Source, refs, layout.WalkOptions{MayMiss: mayMiss}))(r.t)
}

// Judge has tags judged, as a user would see it.
func (r *Repository) Judge(j *verify.Judge, tags ...string) *verify.Report {
	r.t.Helper()
	report := got(j.Graph(context.Background(), r.Source, r.Graph(tags...)))(r.t)
	if len(report.Verdicts) != len(tags) {
		r.t.Fatalf("%d verdicts on %d images", len(report.Verdicts), len(tags))
	}
	passed := len(tags) > 0
	for _, v := range report.Verdicts {
		passed = passed && v.State == verify.Passed
	}
	if passed != (report.State == verify.Passed) {
		r.t.Errorf("the report is %s, of all its verdicts passing it is %v", report.State, passed)
	}
	return report
}
