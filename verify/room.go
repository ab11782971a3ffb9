package verify

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// What is attached is held in memory within two limits, for all that is judged at once
// and however many processors there are. Strangers can attach as much as they like.
const (
	// maxLookedAt is how many bytes of evidence are looked at, at once: while it is, each
	// piece takes up to five times its size.
	maxLookedAt = MaxEvidenceBytes
	// maxKept is how many bytes are kept for a second look. What is beyond that is read
	// again.
	maxKept = 64 << 20
)

// room is what is left within the limits.
type room struct {
	lookedAt *semaphore.Weighted
	kept     atomic.Int64
}

func newRoom() *room {
	r := &room{lookedAt: semaphore.NewWeighted(maxLookedAt)}
	r.kept.Store(maxKept)
	return r
}

// take waits until there is room to look at size bytes; free gives it back. Who holds some
// must not wait for more.
func (r *room) take(ctx context.Context, size int64) (free func(), err error) {
	weight := min(max(size, 1), maxLookedAt)
	if err := r.lookedAt.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	return func() { r.lookedAt.Release(weight) }, nil
}

// keep says whether there is room to keep size bytes until close.
func (c *collector) keep(size int64) bool {
	if size = max(size, 0); c.room.kept.Add(-size) < 0 {
		c.room.kept.Add(size)
		return false
	}
	c.kept += size
	return true
}

// close gives back what was kept.
func (c *collector) close() {
	c.room.kept.Add(c.kept)
	c.kept, c.known = 0, nil
}
