package registry

import (
	"bytes"
	"context"
	"errors"
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

// errStalled is the cause of giving up on a body that stands still.
var errStalled = errors.New("nothing moved for " + stallTimeout.String())

// ask sends q and returns the answer, whatever its status. The body of the
// answer ends in an error if it stands still.
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

// watched is the body of an answer, with an eye on its progress.
type watched struct {
	rc     io.ReadCloser
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func newWatched(rc io.ReadCloser, cancel context.CancelCauseFunc) *watched {
	w := &watched{rc: rc, cancel: cancel}
	w.timer = time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	w.timer.Stop()
	return w
}

// Read counts only the time in which bytes are wanted: a slow reader is not the
// registry's fault.
func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(stallTimeout)
	n, err := w.rc.Read(p)
	w.timer.Stop()
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
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
	timer  *time.Timer
	closed bool
}

func newWatchedUpload(r io.Reader, cancel context.CancelCauseFunc) *watchedUpload {
	u := &watchedUpload{r: r}
	u.timer = time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	u.timer.Stop()
	return u
}

func (u *watchedUpload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return 0, errors.New("upload closed")
	}
	u.timer.Stop()
	n, err := u.r.Read(p)
	if err == nil {
		u.timer.Reset(stallTimeout)
	}
	return n, err
}

func (u *watchedUpload) Close() error {
	u.timer.Stop()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	u.timer.Stop()
	return nil
}
