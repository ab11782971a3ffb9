package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"airgap/layout"
)

// smallBlob is up to what size a blob is read before it is sent: it is checked
// before a byte goes out, and can be sent again if the connection is lost.
const smallBlob = 256 << 10

// Has implements layout.Sink.
func (c *Client) Has(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	t, err := c.about(layout.SideDestination, repo, "", d.Digest)
	if err != nil {
		return false, err
	}
	if err := layout.CheckDescriptor(d); err != nil {
		return false, t.fail(err, "")
	}
	if layout.IsManifest(d.MediaType) {
		return t.hasManifest(ctx, repo, d)
	}
	return t.hasBlob(ctx, d)
}

// hasBlob asks for the head of a blob. Any answer but 200 means that the blob is sent:
// the question only saves work. A registry that cannot be reached is an error.
func (t target) hasBlob(ctx context.Context, d layout.Descriptor) (bool, error) {
	resp, err := t.ask(ctx, question{method: http.MethodHead, url: t.url("blobs/" + string(d.Digest)), write: true})
	if err != nil {
		return false, unlessRefused(err)
	}
	defer resp.Body.Close()
	// A length that is wrong (some say 0 to every HEAD) is no proof of
	// anything but a reason to put it once more.
	return resp.StatusCode == http.StatusOK && (resp.ContentLength <= 0 || resp.ContentLength == d.Size), nil
}

// unlessRefused drops an error that is the registry's refusal: what was asked was
// only to save work, and whether the work may be done its own request shows.
func unlessRefused(err error) error {
	var re *RequestError
	if errors.As(err, &re) && re.Status != 0 {
		return nil
	}
	return err
}

// hasManifest reads the manifest instead of asking for its head: if it has a
// subject, Commit has to see to it that it is found from there, even where an
// earlier run put it and was stopped before it came to that. One that cannot be
// read, or is damaged, is sent.
func (t target) hasManifest(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	m, err := t.fetch(ctx, layout.Reference{Repository: repo, Digest: d.Digest}, true)
	switch {
	case errors.Is(err, layout.ErrNotFound), errors.Is(err, layout.ErrCorrupt), errors.Is(err, layout.ErrUnsupported), errors.Is(err, layout.ErrLimit):
		return false, nil
	case err != nil:
		return false, unlessRefused(err)
	case !m.mayBe(d.MediaType) || m.desc.Size != d.Size:
		return false, nil
	}
	doc, err := layout.ParseManifest(d, m.data)
	if err != nil {
		return false, nil
	}
	t.client.note(repo, doc, d)
	return true, nil
}

// Put implements layout.Sink. A blob takes two requests, or one after a Mount
// that left an upload open. A large blob is streamed: if its connection is lost
// the error says Temporary, and the caller may come again with a new reader.
func (c *Client) Put(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	t, err := c.about(layout.SideDestination, repo, "", d.Digest)
	if err != nil {
		return err
	}
	if err := layout.CheckDescriptor(d); err != nil {
		return t.fail(err, "")
	}
	if layout.IsManifest(d.MediaType) {
		return t.putManifest(ctx, repo, d, r)
	}
	q, body, err := upload(ctx, d, r)
	if err != nil {
		return t.fail(err, "")
	}
	if q.url, err = t.session(ctx, repo, d); err != nil {
		return err
	}
	q.url.RawQuery = withDigest(q.url.RawQuery, d.Digest)
	resp, err := t.ask(ctx, q)
	if own := body.failure(); own != nil {
		// What we were given was bad or could not be read: that is the
		// cause, whatever the registry made of it.
		if err == nil {
			resp.Body.Close()
		}
		return t.fail(own, "")
	}
	if err != nil {
		return err
	}
	return t.finished(ctx, resp, repo, d)
}

// finished reads the answer to the end of an upload. The specification wants 201;
// its early drafts had 204, and some registries say 200. After 202 the blob may
// come later, or never: then it counts as stored only if it is served.
func (t target) finished(ctx context.Context, resp *http.Response, repo string, d layout.Descriptor) error {
	switch resp.StatusCode {
	case http.StatusCreated, http.StatusOK, http.StatusNoContent:
	case http.StatusAccepted:
		if served, err := t.client.Prove(ctx, repo, d); err != nil || !served {
			return errors.Join(t.bad(resp, "the upload is accepted (202), and the blob is not served"), err)
		}
	default:
		return t.byAlgorithm(t.refused(resp), d)
	}
	defer resp.Body.Close()
	return t.checkStored(resp, d)
}

// byAlgorithm says of content by a digest other than sha256, which is all that some
// registries have, that its refusal may be for that.
func (t target) byAlgorithm(err error, d layout.Descriptor) error {
	var re *RequestError
	if d.Digest.Algorithm() == digest.Canonical || !errors.As(err, &re) {
		return err
	}
	switch re.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity, http.StatusInternalServerError, http.StatusNotImplemented:
		return t.fail(fmt.Errorf("%w: %w", layout.ErrAlgorithm, re),
			"the registry seems to have no "+string(d.Digest.Algorithm())+": use one that has, or leave out the images that need it (import: --partial)")
	}
	return err
}

// withDigest adds the digest to the query of an upload's Location. That query is the
// registry's, and may be signed: it is sent back byte for byte.
func withDigest(query string, d digest.Digest) string {
	if query != "" {
		query += "&"
	}
	return query + "digest=" + url.QueryEscape(string(d))
}

// upload prepares the PUT of a blob. body is nil for a small one.
func upload(ctx context.Context, d layout.Descriptor, r io.Reader) (q question, body *content, err error) {
	q = question{method: http.MethodPut, write: true, header: http.Header{"Content-Type": {"application/octet-stream"}}}
	src := layout.NopCloser(&origin{ctx: ctx, r: r})
	if d.Size <= smallBlob {
		q.body, err = layout.ReadAll(src, d)
		return q, nil, err
	}
	body = &content{r: layout.Verify(src, d), left: d.Size}
	q.stream, q.length = body, d.Size
	return q, body, nil
}

// origin ends with its context.
type origin struct {
	ctx context.Context
	r   io.Reader
}

// Conduit implements layout.Conduit.
func (o *origin) Conduit() io.Reader { return o.r }

func (o *origin) Read(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	return o.r.Read(p)
}

// content is a large blob on its way out. It holds back the last bytes until
// the whole has been checked, so that a wrong one is never completed, and it
// remembers what was wrong.
type content struct {
	r    io.Reader // ends in EOF only if all is right
	left int64
	mu   sync.Mutex
	err  error
}

func (c *content) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left == 0 && err == nil {
		_, err = c.r.Read(make([]byte, 1))
	}
	if err != nil && err != io.EOF {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.err = err
		return 0, err
	}
	return n, nil
}

func (c *content) failure() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// session returns where the blob is to be sent: what a Mount left behind, or a
// new upload.
func (t target) session(ctx context.Context, repo string, d layout.Descriptor) (*url.URL, error) {
	if u := t.client.takeSession(repo, d); u != nil {
		return u, nil
	}
	resp, err := t.ask(ctx, question{method: http.MethodPost, url: t.url("blobs/uploads/"), write: true})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusAccepted {
		return nil, t.refused(resp)
	}
	defer resp.Body.Close()
	return t.location(resp)
}

// location reads where an upload goes on. It must be at the registry itself:
// our token goes there.
func (t target) location(resp *http.Response) (*url.URL, error) {
	u, err := resp.Location()
	if err != nil {
		return nil, t.bad(resp, "starts an upload without a Location")
	}
	if u.User != nil || !sameOrigin(u, t.base) {
		return nil, t.fail(&RequestError{
			Method: resp.Request.Method, URL: bareURL(resp.Request.URL),
			Err: errors.New("the upload would go on at " + u.Scheme + "://" + u.Host),
		}, "the registry does not know its own address; behind a proxy it needs X-Forwarded-Proto and Host, or relative URLs")
	}
	u.Host = t.base.Host
	return u, nil
}

func (c *Client) takeSession(repo string, d layout.Descriptor) *url.URL {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := repo + " " + string(d.Digest)
	u := c.sessions[key]
	delete(c.sessions, key)
	return u
}

// Mount implements layout.Mounter. Where the registry does not mount but starts
// an upload, that is kept for the Put to come. Any other answer, a refused token
// included, means that the blob is to be sent; it is not asked again for these two
// repositories, unless the answer was that the blob is not there.
func (c *Client) Mount(ctx context.Context, repo string, d layout.Descriptor, from string) (bool, error) {
	t, err := c.about(layout.SideDestination, repo, "", d.Digest)
	if err != nil {
		return false, err
	}
	if err := layout.CheckDescriptor(d); err != nil {
		return false, t.fail(err, "")
	}
	host, path, err := splitRepo(from)
	if err != nil || host != t.host || layout.IsManifest(d.MediaType) || !c.mounts(repo, from) {
		return false, nil
	}
	u := t.url("blobs/uploads/")
	u.RawQuery = url.Values{"mount": {string(d.Digest)}, "from": {path}}.Encode()
	resp, err := t.ask(ctx, question{method: http.MethodPost, url: u, write: true, from: path, once: true})
	if err != nil {
		c.mountsNot(repo, from)
		return false, ctx.Err()
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusCreated:
		return t.checkStored(resp, d) == nil, nil
	case http.StatusAccepted:
		if u, err := t.location(resp); err == nil {
			c.mu.Lock()
			c.sessions[repo+" "+string(d.Digest)] = u
			c.mu.Unlock()
		}
	case http.StatusNotFound:
	default:
		c.mountsNot(repo, from)
	}
	return false, nil
}

// mounts says whether it is still worth asking for a mount.
func (c *Client) mounts(repo, from string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.unmounted[[2]string{repo, from}]
}

func (c *Client) mountsNot(repo, from string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unmounted[[2]string{repo, from}] = true
}

// checkStored holds the digest that the registry says it stored against ours.
func (t target) checkStored(resp *http.Response, d layout.Descriptor) error {
	said := resp.Header.Get(digestHeader)
	if said == "" || said == string(d.Digest) {
		return nil
	}
	if !strings.HasPrefix(said, string(d.Digest.Algorithm())+":") {
		return nil // the registry's favourite algorithm; it took ours in the URL
	}
	return t.bad(resp, "stored %.150q instead: %w", said, layout.ErrCorrupt)
}

func (t target) putManifest(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	data, err := layout.ReadAll(layout.NopCloser(&origin{ctx: ctx, r: r}), d)
	if err != nil {
		return t.fail(err, "")
	}
	m, err := layout.ParseManifest(d, data)
	if err != nil {
		return t.fail(err, "")
	}
	if err := t.write(ctx, d, data, string(d.Digest)); err != nil {
		return t.byAlgorithm(err, d)
	}
	t.client.note(repo, m, d)
	return nil
}

// write puts a manifest under a tag or its digest.
func (t target) write(ctx context.Context, d layout.Descriptor, data []byte, part string) error {
	return t.send(ctx, question{
		method: http.MethodPut, url: t.url("manifests/" + part), write: true,
		header: http.Header{"Content-Type": {d.MediaType}}, body: data,
	}, d)
}

func (t target) send(ctx context.Context, q question, d layout.Descriptor) error {
	resp, err := t.ask(ctx, q)
	if err != nil {
		return err
	}
	switch resp.StatusCode {
	case http.StatusCreated, http.StatusOK, http.StatusAccepted:
		defer resp.Body.Close()
		return t.checkStored(resp, d)
	}
	return t.rejected(t.refused(resp), d)
}

// rejected adds what can be done about a manifest that was not taken.
func (t target) rejected(err error, d layout.Descriptor) error {
	var re *RequestError
	var le *layout.Error
	if !errors.As(err, &re) || !errors.As(err, &le) || le.Hint != "" || re.Status/100 != 4 {
		return err
	}
	switch {
	case layout.IsIndex(d.MediaType) && (re.Code == errcode.ErrorCodeManifestBlobUnknown ||
		re.Code == errcode.ErrorCodeManifestUnknown || re.Status == http.StatusNotFound || re.Code == errcode.ErrorCodeManifestInvalid):
		le.Hint = "the registry wants every image that the index lists, and takes none that lists anything else: export again without --platform, allow sparse indexes in the registry's configuration, or import into a store"
	case d.MediaType != layout.MediaTypeManifest && d.MediaType != layout.MediaTypeIndex:
		le.Hint = "the registry does not take manifests of type " + d.MediaType + "; use one that does, or leave this one out at export"
	}
	return err
}
