package store

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// CollectOptions tune [Store.Collect].
type CollectOptions struct {
	// Grace spares what was pushed less than this ago, and has no name yet: somebody
	// may be about to give it one.
	Grace time.Duration
	// Now is the time; the zero value means that of the clock.
	Now time.Time
	// DryRun tells what would be removed, and removes nothing.
	DryRun bool
}

// Collected says what a collection of garbage removed, or would.
type Collected struct {
	Manifests int   // from repositories, each as often as repositories had it
	Tags      int   // made from digests, of which the manifest is gone
	Blobs     int   // files, manifests included
	Bytes     int64 // of Blobs
	Orphans   int   // files that the database never listed, left by a crash
	Spared    int   // manifests and blobs that nothing leads to, but that somebody may be about to use
}

// Collect removes what no name leads to: not by what an index lists, and not by what is
// attached. It may run beside anything else that uses the store, in this process and in
// others. What a session counts on stays; what somebody is reading is read to its end.
//
// A tag that is made from a digest is a name only as long as its repository does not
// have that manifest: it goes with it. What is in quarantine stays if a name leads to it,
// in quarantine or not.
//
// If it fails or is interrupted, nothing that a name leads to is lost, and it can be run
// again.
func (s *Store) Collect(ctx context.Context, o CollectOptions) (Collected, error) {
	if s.readOnly && !o.DryRun {
		return Collected{}, s.wrap("", ErrReadOnly)
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	c := &collection{store: s, o: o, repos: map[string]*garbage{}}
	if !s.readOnly {
		if err := s.publishing.lock(ctx); err != nil {
			return c.Collected, s.wrap("", err)
		}
		c.publishes = true
		defer c.leave()
	}
	err := errors.Join(s.usable(), s.view(func(tx *bbolt.Tx) error { return c.mark(ctx, tx) }))
	if err == nil && o.DryRun {
		err = s.view(func(tx *bbolt.Tx) error { return c.count(tx) })
	} else if err == nil {
		err = c.sweep(ctx)
	}
	return c.Collected, s.wrap("", err)
}

// collection is one run. The publication is held: no session commits meanwhile, but
// where it pauses.
type collection struct {
	store     *Store
	o         CollectOptions
	publishes bool
	removed   int // files, since it paused
	repos     map[string]*garbage
	blobs     map[digest.Digest]int64 // that no repository has any more, with sizes
	// claimed is what sessions count on: be it of no repository, too.
	claimed map[digest.Digest]bool
	Collected
}

// garbage is what a repository loses.
type garbage struct {
	manifests, blobs map[digest.Digest]bool
	tags             map[string]digest.Digest // made from digests, and what they stand for
}
