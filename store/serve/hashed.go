package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// hashed remembers which blobs were hashed, and keeps several requests for one blob
// from hashing it side by side.
type hashed struct {
	mu  sync.Mutex
	all map[digest.Digest]*turn
}

// turn is held by whoever hashes a blob.
type turn struct {
	token chan struct{} // holds one while nobody does
	done  bool          // the blob was whole; guarded by token
}

func (h *hashed) of(dgst digest.Digest) *turn {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.all[dgst]
	if t == nil {
		if h.all == nil {
			h.all = map[digest.Digest]*turn{}
		}
		t = &turn{token: make(chan struct{}, 1)}
		t.token <- struct{}{}
		h.all[dgst] = t
	}
	return t
}

// check hashes a blob, as far as that is wanted, and puts f back to its start.
func (h *Handler) check(ctx context.Context, dgst digest.Digest, f io.ReadSeeker) error {
	switch h.o.Verify {
	case VerifySize:
		return nil
	case VerifyAlways:
		return hash(ctx, dgst, f)
	}
	t := h.hashed.of(dgst)
	select {
	case <-t.token:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { t.token <- struct{}{} }()
	if t.done {
		return nil
	}
	err := hash(ctx, dgst, f)
	t.done = err == nil
	return err
}

// hash reads f to its end.
func hash(ctx context.Context, dgst digest.Digest, f io.ReadSeeker) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	d := layout.Descriptor{Digest: dgst, Size: size}
	_, err = io.Copy(io.Discard, layout.Verify(io.NopCloser(&untilDone{ctx, f}), d))
	if errors.Is(err, layout.ErrCorrupt) {
		err = fmt.Errorf("the file of a blob is damaged: %w", err)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return err
}

// untilDone reads until nobody waits for the answer any more.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
