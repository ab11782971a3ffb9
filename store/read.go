package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// Resolve implements [layout.Source]. A digest in ref decides; a tag beside it is
// not looked at. For what is in quarantine it fails with ErrQuarantined.
func (s *Store) Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	return s.resolve(ctx, ref, false)
}

func (s *Store) resolve(ctx context.Context, ref layout.Reference, all bool) (layout.Descriptor, error) {
	if err := ctx.Err(); err != nil {
		return layout.Descriptor{}, err
	}
	var d layout.Descriptor
	err := s.view(func(tx *bbolt.Tx) (err error) {
		if d, err = resolve(tx, ref); err == nil && !all {
			err = cmp.Or(nameHidden(tx, ref), hidden(tx, ref.Repository, d.Digest))
		}
		return err
	})
	if errors.Is(err, layout.ErrNotFound) {
		return d, s.missing(ref.String(), "")
	}
	return d, s.wrap(ref.Digest, err)
}

func resolve(tx *bbolt.Tx, ref layout.Reference) (layout.Descriptor, error) {
	dgst := ref.Digest
	if dgst == "" {
		b := repoBucket(tx, ref.Repository, repoTags)
		if b == nil || ref.Tag == "" {
			return layout.Descriptor{}, layout.ErrNotFound
		}
		dgst = digest.Digest(b.Get([]byte(ref.Tag)))
		if dgst == "" {
			return layout.Descriptor{}, layout.ErrNotFound
		}
	}
	if _, err := layout.ParseDigest(string(dgst)); err != nil {
		return layout.Descriptor{}, err
	}
	r, ok, err := manifest(tx, ref.Repository, dgst)
	switch {
	case err != nil:
		return layout.Descriptor{}, err
	case !ok && ref.Digest == "":
		return layout.Descriptor{}, fmt.Errorf("tag %q leads to %s, which is not there: %w", ref.Tag, dgst, errDatabase)
	case !ok:
		return layout.Descriptor{}, layout.ErrNotFound
	}
	return r.descriptor(dgst), nil
}

// Open implements [layout.Source]. For a manifest in quarantine it fails with
// ErrQuarantined, and layout.ErrNotFound too.
func (s *Store) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	return s.openContent(ctx, repo, d, false)
}

func (s *Store) openContent(ctx context.Context, repo string, d layout.Descriptor, all bool) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), layout.CheckDescriptor(d)); err != nil {
		return nil, s.wrap(d.Digest, err)
	}
	var size int64
	var ok bool
	err := s.view(func(tx *bbolt.Tx) error {
		if ok = member(tx, repo, d); ok {
			size, ok = blobSize(tx, d.Digest)
		}
		if ok && !all && layout.IsManifest(d.MediaType) {
			if err := hidden(tx, repo, d.Digest); err != nil {
				return fmt.Errorf("%w (%w)", err, layout.ErrNotFound) // an index that lists it is sparse
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, s.wrap(d.Digest, err)
	case !ok:
		return nil, s.missing(repo, d.Digest)
	case size != d.Size:
		return nil, s.wrap(d.Digest, fmt.Errorf("%d bytes, its descriptor says %d: %w", size, d.Size, layout.ErrCorrupt))
	}
	return s.openFile(ctx, repo, d)
}

// openFile opens the file of what the database lists. Its content is hashed as it is read.
func (s *Store) openFile(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	f, err := s.fs.Open(layout.BlobPath(d.Digest), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.fileGone(repo, d.Digest)
	}
	if err != nil {
		return nil, s.wrap(d.Digest, err)
	}
	return &reader{rc: layout.Verify(f, d), ctx: ctx.Err, wrap: func(err error) error { return s.damaged(d.Digest, err) }}, nil
}

// fileGone says why a blob that was listed has no file: it was collected meanwhile, or
// the disk lost it.
func (s *Store) fileGone(repo string, dgst digest.Digest) error {
	listed := false
	err := s.view(func(tx *bbolt.Tx) error {
		_, listed = blobSize(tx, dgst)
		return nil
	})
	switch {
	case err != nil:
		return s.wrap(dgst, err)
	case !listed:
		return s.missing(repo, dgst)
	}
	return s.damaged(dgst, fmt.Errorf("its file is gone: %w", layout.ErrCorrupt))
}

// reader says of whatever goes wrong that it went wrong in the store.
type reader struct {
	rc   io.ReadCloser
	ctx  func() error
	wrap func(error) error
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx(); err != nil {
		return 0, err
	}
	n, err := r.rc.Read(p)
	if err != nil && err != io.EOF {
		err = r.wrap(err)
	}
	return n, err
}

func (r *reader) Close() error { return r.rc.Close() }

// Attached implements [layout.Source]. It asks for subject fields, as a registry
// with the referrers API would, and for cosign tags. Fallback tags are not asked
// for: the subject fields behind them are known. For a manifest in quarantine it fails
// with ErrQuarantined; what is in quarantine itself is left out.
func (s *Store) Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error) {
	return s.attached(ctx, repo, subject, false)
}

func (s *Store) attached(ctx context.Context, repo string, subject layout.Descriptor, all bool) (layout.Attachments, error) {
	if err := errors.Join(ctx.Err(), layout.CheckDescriptor(subject)); err != nil {
		return nil, s.wrap(subject.Digest, err)
	}
	var out layout.Attachments
	err := s.view(func(tx *bbolt.Tx) error {
		if !all {
			if err := hidden(tx, repo, subject.Digest); err != nil {
				return err
			}
		}
		found, err := referrers(tx, repo, subject.Digest)
		if err != nil {
			return err
		}
		if !all {
			found = slices.DeleteFunc(found, func(d layout.Descriptor) bool { return hidden(tx, repo, d.Digest) != nil })
		}
		out = append(out, inquiry(layout.FormReferrers, found))
		for _, form := range layout.CosignForms {
			tag, ok := form.Tag(subject.Digest)
			if !ok {
				continue
			}
			d, err := resolve(tx, layout.Reference{Repository: repo, Tag: tag})
			if err == nil && !all && hidden(tx, repo, d.Digest) != nil {
				err = layout.ErrNotFound
			}
			switch {
			case err == nil:
				out = append(out, inquiry(form, []layout.Descriptor{d}))
			case errors.Is(err, layout.ErrNotFound):
				out = append(out, inquiry(form, nil))
			default:
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, s.wrap(subject.Digest, err)
	}
	return out, nil
}

// referrers lists the manifests of repo whose subject is dgst, by digest.
func referrers(tx *bbolt.Tx, repo string, subject digest.Digest) ([]layout.Descriptor, error) {
	b := repoBucket(tx, repo, repoAttached)
	if b == nil {
		return nil, nil
	}
	var out []layout.Descriptor
	prefix := key(subject)
	c := b.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		dgst, _, err := parseKey(k[len(prefix):])
		if err != nil {
			return nil, err
		}
		r, ok, err := manifest(tx, repo, dgst)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("%s, attached to %s, is not there: %w", dgst, subject, errDatabase)
		}
		d := r.descriptor(dgst)
		d.ArtifactType = r.ArtifactType
		out = append(out, d)
	}
	return out, nil
}

func inquiry(form layout.Form, found []layout.Descriptor) layout.Inquiry {
	if len(found) == 0 {
		return layout.Inquiry{Form: form, Answer: layout.AnswerNone}
	}
	return layout.Inquiry{Form: form, Answer: layout.AnswerFound, Found: found}
}

// Repositories lists the repositories, sorted.
func (s *Store) Repositories(ctx context.Context) ([]string, error) {
	var out []string
	err := s.view(func(tx *bbolt.Tx) error {
		return eachRepository(ctx, tx, func(repo string, _ *bbolt.Bucket) error {
			out = append(out, repo)
			return nil
		})
	})
	return out, s.wrap("", err)
}

// eachRepository goes through the repositories in order.
func eachRepository(ctx context.Context, tx *bbolt.Tx, fn func(string, *bbolt.Bucket) error) error {
	all := tx.Bucket(reposBucket)
	return all.ForEachBucket(func(k []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := all.Bucket(k)
		for _, name := range repoBuckets {
			if b.Bucket(name) == nil {
				return fmt.Errorf("repository %q has no %s: %w", k, name, errDatabase)
			}
		}
		return fn(string(k), b)
	})
}

// Names lists every name, sorted by repository, tags first; not those of what is in
// quarantine.
func (s *Store) Names(ctx context.Context) ([]layout.Name, error) { return s.names(ctx, false) }

func (s *Store) names(ctx context.Context, all bool) ([]layout.Name, error) {
	var out []layout.Name
	err := s.view(func(tx *bbolt.Tx) error {
		return eachRepository(ctx, tx, func(repo string, b *bbolt.Bucket) error {
			names, err := namesIn(tx, repo, b, all)
			out = append(out, names...)
			return err
		})
	})
	if err != nil {
		return nil, s.wrap("", err)
	}
	return out, nil
}

// namesIn lists the names in one repository; all of them, or those that are given
// out.
func namesIn(tx *bbolt.Tx, repo string, b *bbolt.Bucket, all bool) ([]layout.Name, error) {
	var out []layout.Name
	add := func(ref layout.Reference) error {
		d, err := resolve(tx, ref)
		if err == nil && (all || cmp.Or(heldBack(tx, repo, holdKey(ref)), hidden(tx, repo, d.Digest)) == nil) {
			out = append(out, layout.Name{Reference: ref, Descriptor: d})
		}
		return err
	}
	err := b.Bucket(repoTags).ForEach(func(k, _ []byte) error {
		return add(layout.Reference{Repository: repo, Tag: string(k)})
	})
	if err != nil {
		return nil, err
	}
	err = b.Bucket(repoPins).ForEach(func(k, _ []byte) error {
		dgst, _, err := parseKey(k)
		if err != nil {
			return err
		}
		return add(layout.Reference{Repository: repo, Digest: dgst})
	})
	return out, err
}

// Stats counts what a store holds.
type Stats struct {
	Repositories, Names int
	Manifests           int   // each as often as repositories have it
	Blobs               int   // manifests included, each once
	Bytes               int64 // of all Blobs
}

// Stats reads the whole database.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	var st Stats
	err := s.view(func(tx *bbolt.Tx) error {
		err := tx.Bucket(blobsBucket).ForEach(func(_, v []byte) error {
			size, _ := parseSize(v)
			st.Blobs, st.Bytes = st.Blobs+1, st.Bytes+size
			return nil
		})
		if err != nil {
			return err
		}
		return eachRepository(ctx, tx, func(_ string, b *bbolt.Bucket) error {
			st.Repositories++
			st.Manifests += b.Bucket(repoManifests).Stats().KeyN
			st.Names += b.Bucket(repoTags).Stats().KeyN + b.Bucket(repoPins).Stats().KeyN
			return nil
		})
	})
	return st, s.wrap("", err)
}
