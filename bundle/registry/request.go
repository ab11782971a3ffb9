package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"

	"airgap/layout"
)

// about returns the target for repo. name is what errors call it; repo if empty.
func (c *Client) about(side layout.Side, repo, name string, dgst digest.Digest) (target, error) {
	if c.opts.Side != "" {
		side = c.opts.Side
	}
	t := target{client: c, side: side, name: name, digest: dgst}
	if name == "" {
		t.name = repo
	}
	var err error
	if t.endpoint, err = c.endpoint(repo); err != nil {
		return t, t.fail(err, ambiguousHint(err))
	}
	return t, nil
}

func ambiguousHint(err error) string {
	if errors.Is(err, errAmbiguous) {
		return "give one registry at a time, or use docker login or --registry-config for all of them"
	}
	return ""
}

// question is a request to be sent.
type question struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte    // a body that can be sent again
	stream io.Reader // or one that can not, of length bytes
	length int64
	write  bool   // ask for a token that allows writing
	from   string // and for reading this other repository
	once   bool   // do not repeat it
}

// errStalled matches the cause of giving up on a body that moves too slowly.
var errStalled = errors.New("too slow")

// stalledError says how slowly a body moved.
type stalledError struct{ n int64 }

func (e *stalledError) Error() string {
	if e.n == 0 {
		return "nothing moved for " + stallTimeout.String()
	}
	return fmt.Sprintf("%d bytes in %s, at least %d are expected", e.n, stallTimeout, minProgress)
}

func (e *stalledError) Is(target error) bool { return target == errStalled }

// ask sends q and returns the answer, whatever its status. The body of the
// answer ends in an error if it moves too slowly.
func (t target) ask(ctx context.Context, q question) (*http.Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, t.fail(err, "")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := t.request(ctx, cancel, q)
	if err != nil {
		cancel(nil)
		return nil, t.fail(err, "")
	}
	client := t.auth
	if q.once {
		client = t.once
	}
	resp, err := client.Do(req)
	if err != nil {
		err = t.lost(req, err)
		cancel(nil)
		return nil, err
	}
	resp.Body = newWatched(resp.Body, cancel)
	return resp, nil
}

func (t target) request(ctx context.Context, cancel context.CancelCauseFunc, q question) (*http.Request, error) {
	actions := []string{auth.ActionPull}
	if q.write {
		actions = append(actions, auth.ActionPush)
	}
	ref := registry.Reference{Registry: t.host, Repository: t.path}
	ctx = auth.AppendRepositoryScope(ctx, ref, actions...)
	if q.from != "" {
		ref.Repository = q.from
		ctx = auth.AppendRepositoryScope(ctx, ref, auth.ActionPull)
	}
	var body io.Reader
	if q.stream != nil {
		body = newWatchedUpload(q.stream, cancel)
	} else if q.body != nil {
		body = bytes.NewReader(q.body)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, q.url.String(), body)
	if err != nil {
		return nil, err
	}
	if q.stream != nil {
		req.ContentLength = q.length
	}
	for k, v := range q.header {
		req.Header[k] = v
	}
	// Said aloud, for else net/http asks for gzip and hides that it did.
	req.Header.Set("Accept-Encoding", "identity")
	return req, nil
}

// pace gives up a request whose body moves too slowly. Its clock runs from wait to
// moved; each minProgress bytes get stallTimeout.
type pace struct {
	mu    sync.Mutex
	timer *time.Timer
	since time.Time     // when wait was called
	spent time.Duration // of stallTimeout, before that
	n     int64         // of minProgress
}

func newPace(cancel context.CancelCauseFunc) *pace {
	p := &pace{}
	p.timer = time.AfterFunc(stallTimeout, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		cancel(&stalledError{p.n})
	})
	p.timer.Stop()
	return p
}

// wait starts the clock.
func (p *pace) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Now()
	p.timer.Reset(stallTimeout - p.spent)
}

// moved stops the clock, if it runs, and counts n bytes.
func (p *pace) moved(n int) {
	p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.since.IsZero() {
		p.spent += time.Since(p.since)
		p.since = time.Time{}
	}
	if p.n += int64(n); p.n >= minProgress {
		p.n, p.spent = 0, 0
	}
}

// watched is the body of an answer, with an eye on its pace.
type watched struct {
	rc     io.ReadCloser
	cancel context.CancelCauseFunc
	pace   *pace
}

func newWatched(rc io.ReadCloser, cancel context.CancelCauseFunc) *watched {
	return &watched{rc: rc, cancel: cancel, pace: newPace(cancel)}
}

// Read counts only the time in which bytes are wanted: a slow reader is not the
// registry's fault.
func (w *watched) Read(p []byte) (int, error) {
	w.pace.wait()
	n, err := w.rc.Read(p)
	w.pace.moved(n)
	return n, err
}

func (w *watched) Close() error {
	w.pace.moved(0)
	err := w.rc.Close()
	w.cancel(nil)
	return err
}

// watchedUpload is the body of a request. Its clock runs while the registry
// does not take what it was given. Close waits for a Read under way, for
// net/http may go on reading after it has answered, and the reader beneath
// belongs to somebody else again by then.
type watchedUpload struct {
	mu     sync.Mutex
	r      io.Reader
	pace   *pace
	given  int // by the last Read; taken when the next one comes
	closed bool
}

func newWatchedUpload(r io.Reader, cancel context.CancelCauseFunc) *watchedUpload {
	return &watchedUpload{r: r, pace: newPace(cancel)}
}

func (u *watchedUpload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return 0, errors.New("upload closed")
	}
	u.pace.moved(u.given)
	n, err := u.r.Read(p)
	if u.given = n; err == nil {
		u.pace.wait()
	}
	return n, err
}

func (u *watchedUpload) Close() error {
	u.pace.timer.Stop()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	u.pace.moved(0)
	return nil
}
