package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"airgap/layout"
)

// Commit implements layout.Sink: first every manifest that was put and has a
// subject is made to be found from it, then cosign's tags are written, then all
// others. A registry can not do this at once; in this order, an image that has
// its name has its signatures.
func (c *Client) Commit(ctx context.Context, names []layout.Name) error {
	written, err := c.commitReferrers(ctx)
	if err != nil {
		return err
	}
	var cosign, roots []layout.Name
	for _, n := range names {
		_, _, isCosign := layout.ParseCosignTag(n.Reference.Tag)
		switch {
		case n.Reference.Tag == "":
			// put by digest, and found by it
		case isCosign:
			cosign = append(cosign, n)
		case layout.IsIndex(n.Descriptor.MediaType) && layout.IsReferrersTag(n.Reference.Tag):
			// What it lists has a subject and was seen to above. Written
			// as it is, it would undo what others attached here.
		default:
			roots = append(roots, n)
		}
	}
	for _, some := range [][]layout.Name{cosign, roots} {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(c.opts.Jobs)
		for _, n := range some {
			g.Go(func() error { return c.tag(ctx, n) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	// By now another writer, who had read a fallback index before we wrote it,
	// has most likely written his: look once more.
	return c.settle(ctx, written)
}

func (c *Client) tag(ctx context.Context, n layout.Name) error {
	ref := layout.Reference{Repository: n.Reference.Repository, Tag: n.Reference.Tag}
	t, err := c.about(layout.SideDestination, ref.Repository, ref.String(), n.Descriptor.Digest)
	if err != nil {
		return err
	}
	if err := checkPart(ref); err != nil {
		return t.fail(err, "")
	}
	if err := layout.CheckDescriptor(n.Descriptor); err != nil {
		return t.fail(err, "")
	}
	if !layout.IsManifest(n.Descriptor.MediaType) {
		return t.fail(errors.New("only a manifest can have a name"), "")
	}
	if err := c.present(ctx, t, ref.Repository, n.Descriptor); err != nil {
		return err
	}
	data := n.Manifest
	switch {
	case data != nil:
	case n.Read != nil:
		data, err = n.Read(ctx)
	default:
		data, err = c.readBack(ctx, ref.Repository, n.Descriptor)
	}
	if err != nil {
		return err
	}
	if err := layout.CheckBytes(data, n.Descriptor); err != nil {
		return t.fail(err, "")
	}
	if _, same := t.standsFor(ctx, ref, n.Descriptor); same {
		return nil
	}
	err = t.write(ctx, n.Descriptor, data, ref.Tag)
	if err == nil || !refusesChange(err) {
		return err
	}
	// It may have been written meanwhile, or be a tag that cannot change.
	was, same := t.standsFor(ctx, ref, n.Descriptor)
	if same {
		return nil
	}
	return t.immutable(err, was, n.Descriptor.Digest)
}

// standsFor reads the manifest that a tag gives, and says whether it is d: then
// writing the tag would change nothing. If it cannot be read, the tag is written.
func (t target) standsFor(ctx context.Context, ref layout.Reference, d layout.Descriptor) (was digest.Digest, same bool) {
	m, err := t.fetch(ctx, ref, true)
	if err != nil {
		return "", false
	}
	return m.desc.Digest, m.desc.MediaType == d.MediaType && layout.CheckBytes(m.data, d) == nil
}

// refusesChange says whether a registry may have refused to write a tag because that
// cannot change: 400 (ECR), 409 and 412 (Harbor) are said, 403 and 405 by others.
func refusesChange(err error) bool {
	var re *RequestError
	if !errors.As(err, &re) || re.Method != http.MethodPut {
		return false
	}
	switch re.Status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusPreconditionFailed:
		return true
	}
	return false
}

// immutable explains a tag that stands for something else and was not written.
func (t target) immutable(err error, was, will digest.Digest) error {
	var re *RequestError
	if was == "" || !errors.As(err, &re) {
		return err
	}
	return t.fail(fmt.Errorf("the tag is %s and would become %s, and the registry refuses that: %w", was, will, re),
		"tags are immutable there, or may not be moved by this user: import under another name with --map SRC=DST, or have the tag deleted or the rule changed at the registry")
}

// present checks that a manifest was put. A name brings its manifest along;
// without this it would bring in one whose content nobody put.
func (c *Client) present(ctx context.Context, t target, repo string, d layout.Descriptor) error {
	c.mu.Lock()
	stored := c.stored[manifestKey{repo, d.Digest}]
	c.mu.Unlock()
	if stored {
		return nil
	}
	has, err := t.hasManifest(ctx, repo, d)
	if err == nil && !has {
		err = t.fail(fmt.Errorf("the manifest was not put before its name: %w", layout.ErrNotFound), "")
	}
	return err
}

// readBack gets the bytes of a manifest that was put, for a caller that did not
// keep them.
func (c *Client) readBack(ctx context.Context, repo string, d layout.Descriptor) ([]byte, error) {
	rc, err := c.Open(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}
