package store

import (
	"context"
	"errors"
	"io"

	"airgap/layout"

	"go.etcd.io/bbolt"
)

// Judged is the store as a judge has to see it: with what is in quarantine.
func (s *Store) Judged() Judged { return Judged{s} }

// Judged is a store together with what is in quarantine.
type Judged struct{ *Store }

var _ layout.Source = Judged{}

// Resolve implements [layout.Source].
func (j Judged) Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	return j.resolve(ctx, ref, true)
}

// Open implements [layout.Source].
func (j Judged) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	return j.openContent(ctx, repo, d, true)
}

// Attached implements [layout.Source].
func (j Judged) Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error) {
	return j.attached(ctx, repo, subject, true)
}

// Names lists every name, those in quarantine too.
func (j Judged) Names(ctx context.Context) ([]layout.Name, error) { return j.names(ctx, true) }

// Manifests lists the manifests of a repository, named or not, sorted by digest.
func (j Judged) Manifests(ctx context.Context, repo string) ([]layout.Descriptor, error) {
	var out []layout.Descriptor
	err := j.view(func(tx *bbolt.Tx) error {
		b := repoBucket(tx, repo, repoManifests)
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, _ []byte) error {
			dgst, _, err := parseKey(k)
			if err != nil {
				return err
			}
			r, _, err := manifest(tx, repo, dgst)
			out = append(out, r.descriptor(dgst))
			return errors.Join(err, ctx.Err())
		})
	})
	return out, j.wrap("", err)
}
