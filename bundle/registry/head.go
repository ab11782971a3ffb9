package registry

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"airgap/layout"
)

// A registry may count GETs of manifests against a quota, and not HEADs (Docker Hub
// does). Whether a tag is there is asked by HEAD, where those can be trusted: in a
// repository in which the head of a manifest that is there was found.

// heads is whether HEAD requests can be trusted in one repository.
type heads struct {
	once  sync.Once
	works bool
}

func (c *Client) headsOf(repo string) *heads {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.heads[repo]
	if h == nil {
		h = &heads{}
		c.heads[repo] = h
	}
	return h
}

// head asks for the head of a manifest by tag or digest, and returns the status and
// the digest that the registry names; 0 if there was no answer.
func (t target) head(ctx context.Context, part string) (status int, digest string) {
	resp, err := t.ask(ctx, question{
		method: http.MethodHead, url: t.url("manifests/" + part),
		header: http.Header{"Accept": {strings.Join(layout.ManifestTypes, ", ")}},
	})
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	return resp.StatusCode, resp.Header.Get(digestHeader)
}

// trustsHeads says whether HEAD works in the repository: known is a manifest that is
// there.
func (t target) trustsHeads(ctx context.Context, repo string, known layout.Descriptor) bool {
	h := t.client.headsOf(repo)
	h.once.Do(func() {
		status, _ := t.head(ctx, string(known.Digest))
		h.works = status == http.StatusOK
	})
	return h.works
}

// headMissing says whether ref is certainly not there. If it is false, a GET has to
// tell.
func (t target) headMissing(ctx context.Context, ref layout.Reference, known layout.Descriptor) bool {
	if checkPart(ref) != nil || !t.trustsHeads(ctx, ref.Repository, known) {
		return false
	}
	status, _ := t.head(ctx, ref.Tag)
	return status == http.StatusNotFound
}
