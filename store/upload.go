package store

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/store/push"

	"github.com/opencontainers/go-digest"
)

// upload is a blob that is being written to ingest/, and hashed as it comes.
type upload struct {
	p    *Pusher
	repo string
	temp string
	file disk.File
	w    disk.SparseWriter
	alg  digest.Algorithm
	hash hash.Hash
	err  error // why nothing more is taken
}

// Upload implements [push.Pusher].
func (p *Pusher) Upload(ctx context.Context, repo string, alg digest.Algorithm) (push.Upload, error) {
	s := p.store
	if err := errors.Join(ctx.Err(), checkName(repo, maxRepositoryBytes), s.usable()); err != nil {
		return nil, s.wrap("", err)
	}
	if s.readOnly {
		return nil, s.wrap("", ErrReadOnly)
	}
	temp, err := s.ingest.file(ctx, "")
	if err != nil {
		return nil, s.wrap("", err)
	}
	u := &upload{p: p, repo: repo, temp: temp, alg: alg, hash: alg.Hash()}
	f, err := s.fs.Open(u.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, s.wrap("", err)
	}
	u.file, u.w = f, disk.SparseWriter{File: f}
	return u, nil
}

// Ready fails once nothing can be pushed any more, until the store is opened again.
func (p *Pusher) Ready() error { return p.store.wrap("", p.store.usable()) }

// Size implements [push.Upload].
func (u *upload) Size() int64 { return u.w.Off }

// Write implements [push.Upload]. After an error nothing more is taken: a part may
// have been written.
func (u *upload) Write(data []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	if int64(len(data)) > layout.MaxBlobBytes-u.w.Off {
		return 0, u.p.store.wrap("", fmt.Errorf("a blob of more than %d bytes: %w", int64(layout.MaxBlobBytes), layout.ErrLimit))
	}
	n, err := u.w.Write(data)
	u.hash.Write(data[:n])
	if err != nil {
		u.err = u.p.store.wrap("", err)
	}
	return n, u.err
}

// Commit implements [push.Upload].
func (u *upload) Commit(ctx context.Context, dgst digest.Digest) error {
	err := errors.Join(u.err, ctx.Err())
	if err == nil {
		err = u.w.Finish()
	}
	if err == nil {
		err = u.compare(ctx, dgst)
	}
	if err != nil {
		return u.p.store.wrap(dgst, errors.Join(err, u.Close()))
	}
	u.err = ErrClosed
	if err := u.file.Close(); err != nil {
		return u.p.store.wrap(dgst, errors.Join(err, u.p.store.fs.Remove(u.temp)))
	}
	return u.p.store.wrap(dgst, u.publish(ctx, layout.Descriptor{Digest: dgst, Size: u.w.Off}))
}

// compare holds what was written against its digest. It is read again if that is of
// another algorithm than was told before.
func (u *upload) compare(ctx context.Context, dgst digest.Digest) error {
	got := digest.NewDigest(u.alg, u.hash)
	if alg := dgst.Algorithm(); alg != u.alg {
		h := alg.Hash()
		if err := copyAll(h, withContext(ctx, io.NewSectionReader(u.file, 0, u.w.Off))); err != nil {
			return err
		}
		got = digest.NewDigest(alg, h)
	}
	if got != dgst {
		return fmt.Errorf("%w: %s", push.ErrDigest, got)
	}
	return nil
}

// publish makes the file a blob of the repository.
func (u *upload) publish(ctx context.Context, d layout.Descriptor) error {
	session, err := u.p.begin(ctx)
	if err != nil {
		return errors.Join(err, u.p.store.fs.Remove(u.temp))
	}
	defer session.Close()
	session.staged[d.Digest] = &stagedBlob{temp: u.temp}
	// What is there is replaced if it is damaged.
	err = session.look(ctx, d.Digest, func() error {
		_, err := session.intact(ctx, d)
		return err
	})
	if err != nil {
		return err
	}
	if err := session.gain(u.repo, func(g *gain) { g.blobs[d.Digest] = d.Size }); err != nil {
		return err
	}
	if err := session.Commit(ctx, nil); err != nil {
		return err
	}
	u.p.tellRepaired(session)
	return nil
}

// Close implements [push.Upload].
func (u *upload) Close() error {
	if errors.Is(u.err, ErrClosed) {
		return nil
	}
	u.err = ErrClosed
	return u.p.store.wrap("", errors.Join(u.file.Close(), u.p.store.fs.Remove(u.temp)))
}
