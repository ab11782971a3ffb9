package serve

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"airgap/store/push"
)

// Limits on uploads; options change them.
const (
	// defaultUploads is how many blobs may be on their way at once.
	defaultUploads = 256
	// defaultIdle is how long an upload may go without a request.
	defaultIdle = time.Hour
	// crowdedIdle is how long, while others wait for room: what clients that broke off
	// have left must not keep everybody out.
	crowdedIdle = time.Minute
	// activeTime is for how long after its last request an upload counts as one
	// that goes on.
	activeTime = 30 * time.Second
)

// pending is an upload that has not ended.
type pending struct {
	push.Upload
	id, repo, by string
	used         time.Time // when its last request ended
	busy         bool      // one is under way
}

// uploads are those that have not ended. Each is known by its id in its repository, and
// to whoever began it, alone.
type uploads struct {
	max  int
	idle time.Duration
	now  func() time.Time

	mu  sync.Mutex
	all map[string]*pending
}

func newUploads(o *Options) *uploads {
	u := &uploads{max: cmp.Or(o.MaxUploads, defaultUploads), idle: cmp.Or(o.UploadIdle, defaultIdle), now: o.Now, all: map[string]*pending{}}
	if n := descriptors(); n > 0 { // each keeps a file open
		u.max = min(u.max, max(n/4, 1))
	}
	if u.now == nil {
		u.now = time.Now
	}
	return u
}

// begin makes room for an upload, which is busy.
func (u *uploads) begin(repo, by string, start func() (push.Upload, error)) (*pending, *failure, error) {
	u.expire(u.idle)
	if u.full() {
		u.expire(min(u.idle, crowdedIdle))
	}
	p := &pending{id: rand.Text(), repo: repo, by: by, busy: true}
	u.mu.Lock()
	if len(u.all) >= u.max {
		u.mu.Unlock()
		return nil, &failure{http.StatusTooManyRequests, codeTooMany, "too many uploads at once"}, nil
	}
	u.all[p.id] = p
	u.mu.Unlock()
	up, err := start()
	if err != nil {
		u.remove(p)
		return nil, nil, err
	}
	p.Upload = up
	return p, nil, nil
}

// take finds an upload for a request, and keeps others off it.
func (u *uploads) take(id, repo, by string) (*pending, *failure) {
	u.expire(u.idle)
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.all[id]
	switch {
	case p == nil || p.repo != repo || p.by != by:
		return nil, &failure{http.StatusNotFound, codeUploadUnknown, "no such upload, or it has expired"}
	case p.busy:
		return nil, &failure{http.StatusConflict, codeUploadInvalid, "another request about this upload is under way"}
	}
	p.busy = true
	return p, nil
}

// give puts an upload back.
func (u *uploads) give(p *pending) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p.busy, p.used = false, u.now()
}

// drop ends an upload that was taken.
func (u *uploads) drop(p *pending) error {
	u.remove(p)
	return p.Close()
}

func (u *uploads) remove(p *pending) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.all, p.id)
}

func (u *uploads) full() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.all) >= u.max
}

// expire discards what nobody came back for in that time.
func (u *uploads) expire(idle time.Duration) {
	now := u.now()
	for _, p := range u.takeIf(func(p *pending) bool { return now.Sub(p.used) > idle }) {
		_ = p.Close() // else the next writer of the store removes its file
	}
}

// takeIf takes out those that are not busy and fit.
func (u *uploads) takeIf(fits func(*pending) bool) (out []*pending) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, p := range u.all {
		if !p.busy && fits(p) {
			delete(u.all, id)
			out = append(out, p)
		}
	}
	return out
}

// active counts those that go on.
func (u *uploads) active() (n int) {
	now := u.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.all {
		if p.busy || now.Sub(p.used) < activeTime {
			n++
		}
	}
	return n
}
