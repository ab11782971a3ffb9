package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"airgap/layout"
)

// maxPages is how many pages of referrers one answer may have.
const maxPages = 1000

// support is whether a repository has the referrers API. Until that is known
// only one caller at a time asks, so that a registry without it is asked once.
type support struct {
	gate  chan struct{}
	mu    sync.Mutex
	known bool
	has   bool
	note  string
}

func (c *Client) supportOf(repo string) *support {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.support[repo]
	if s == nil {
		s = &support{gate: make(chan struct{}, 1)}
		c.support[repo] = s
	}
	return s
}

func (s *support) state() (known, has bool, note string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known, s.has, s.note
}

func (s *support) learn(has bool, note string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known, s.has, s.note = true, has, note
}

// referrers asks the referrers API. has is false, with a note for people, where
// the repository has none.
func (t target) referrers(ctx context.Context, repo string, subject digest.Digest, write bool) (found []layout.Descriptor, has bool, note string, err error) {
	s := t.client.supportOf(repo)
	if known, has, note := s.state(); known && !has {
		return nil, false, note, nil
	} else if !known {
		select {
		case s.gate <- struct{}{}:
			defer func() { <-s.gate }()
		case <-ctx.Done():
			return nil, false, "", t.fail(ctx.Err(), "")
		}
		if known, has, note := s.state(); known && !has {
			return nil, false, note, nil
		}
	}
	found, note, err = t.pages(ctx, t.url("referrers/"+string(subject)), write)
	var gone *missingAPI
	switch {
	case errors.As(err, &gone):
		known, has, _ := s.state()
		if known && has && gone.lasting {
			// Its word about this one subject would hide what is attached.
			return nil, false, "", t.fail(asRegistry(fmt.Errorf("%s, though it answered for other manifests of the repository: %w", gone.note, layout.ErrCorrupt)),
				"run the same command again; if it stays, some of what stands for the registry does not have the API")
		}
		if !known && gone.lasting {
			s.learn(false, gone.note)
		}
		return nil, false, gone.note, nil
	case err != nil:
		return nil, false, "", err
	}
	s.learn(true, "")
	return found, true, note, nil
}

// missingAPI is the answer of a repository without the API.
type missingAPI struct {
	note    string
	lasting bool
}

func (e *missingAPI) Error() string { return e.note }

// pages reads all pages from u on.
func (t target) pages(ctx context.Context, u *url.URL, write bool) ([]layout.Descriptor, string, error) {
	var all list
	seen := map[string]bool{}
	for n := 0; u != nil; n++ {
		if n == maxPages || seen[u.String()] {
			return nil, "", t.fail(asRegistry(fmt.Errorf("the list of referrers does not end (page %d): %w", n+1, layout.ErrLimit)), "")
		}
		seen[u.String()] = true
		resp, err := t.ask(ctx, question{
			method: http.MethodGet, url: u, write: write,
			header: http.Header{"Accept": {layout.MediaTypeIndex}},
		})
		if err != nil {
			return nil, "", err
		}
		u, err = t.page(resp, u, n == 0, &all)
		resp.Body.Close()
		if err != nil {
			return nil, "", err
		}
	}
	return all.entries, "", nil
}

// page adds the entries of one page, and returns where the next is, if any.
func (t target) page(resp *http.Response, at *url.URL, first bool, all *list) (*url.URL, error) {
	if resp.StatusCode != http.StatusOK {
		err := t.refused(resp)
		if first {
			return nil, unsupported(resp.StatusCode, err)
		}
		return nil, err
	}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case mediaType == "text/html" && first:
		// A web front end that answers every path with its page. The API
		// itself can not look like this.
		return nil, &missingAPI{"the referrers API answers with a web page", true}
	case mediaType != layout.MediaTypeIndex && !vague[mediaType]:
		return nil, t.bad(resp, "referrers as %.100q, want an index: %w", mediaType, layout.ErrCorrupt)
	}
	data, err := t.body(resp, layout.MaxManifestBytes)
	if err != nil {
		return nil, err
	}
	if err := all.read(data); err != nil {
		return nil, t.bad(resp, "referrers: %w", err)
	}
	return t.next(resp, at)
}

// unsupported tells "there is no such API" from every other refusal: 404 as the
// specification has it, 405 and 501, which are about the method and not about
// who asks, and the code UNSUPPORTED. err is the refusal itself.
func unsupported(status int, err error) error {
	var re *RequestError
	if !errors.As(err, &re) {
		return err
	}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed,
		status == http.StatusNotImplemented, re.Code == errcode.ErrorCodeUnsupported:
		// Who says that it does not know the repository or the subject may
		// have the API all the same, and is asked again for the next one.
		return &missingAPI{
			fmt.Sprintf("the referrers API answers %d", status),
			re.Code != errcode.ErrorCodeNameUnknown && re.Code != errcode.ErrorCodeManifestUnknown,
		}
	}
	return err
}

// next returns the URL of the page after the one at, if any (distribution-spec
// 1.1, "Listing Referrers"; RFC 8288). It has to be at the same registry.
func (t target) next(resp *http.Response, at *url.URL) (*url.URL, error) {
	ref, ok := nextLink(resp.Header.Values("Link"))
	if !ok {
		return nil, nil
	}
	u, err := at.Parse(ref)
	if err != nil {
		return nil, t.bad(resp, "Link to the next page can not be read: %w", layout.ErrCorrupt)
	}
	if u.User != nil || !sameOrigin(u, t.base) || !strings.HasPrefix(u.Path, "/v2/") {
		return nil, t.bad(resp, "Link leads away from the registry, to %.100q: %w", u.Host, layout.ErrCorrupt)
	}
	u.Fragment = ""
	return u, nil
}

// nextLink finds the target of rel="next" among the links of headers.
func nextLink(headers []string) (string, bool) {
	for _, h := range headers {
		for {
			_, after, ok := strings.Cut(h, "<")
			if !ok {
				break
			}
			ref, rest, ok := strings.Cut(after, ">")
			if !ok {
				break
			}
			params, _, _ := strings.Cut(rest, "<")
			if isNext(params) {
				return strings.TrimSpace(ref), true
			}
			h = rest
		}
	}
	return "", false
}

func isNext(params string) bool {
	for _, p := range strings.FieldsFunc(params, func(r rune) bool { return r == ';' || r == ',' }) {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(strings.TrimSpace(k), "rel") && strings.EqualFold(strings.Trim(v, `" `), "next") {
			return true
		}
	}
	return false
}

// list collects the entries of indexes of referrers, each digest once.
type list struct {
	entries []layout.Descriptor
	seen    map[digest.Digest]bool
}

// read adds the entries of data, which must be an index. It is less strict than
// layout.ParseManifest, since an entry may be of a type that is not known here;
// whoever fetches it will say so.
func (l *list) read(data []byte) error {
	if err := layout.CheckJSON(data); err != nil {
		return err
	}
	var doc struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"` // null, for none, is what some servers write
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("no index: %w", layout.ErrCorrupt)
	}
	var entries []layout.Descriptor
	if doc.SchemaVersion != 2 || doc.MediaType != "" && !layout.IsIndex(doc.MediaType) ||
		doc.Manifests == nil || json.Unmarshal(doc.Manifests, &entries) != nil {
		return fmt.Errorf("no index (schemaVersion %d, mediaType %.100q): %w", doc.SchemaVersion, doc.MediaType, layout.ErrCorrupt)
	}
	for _, d := range entries {
		if err := layout.CheckDescriptor(d); err != nil {
			return err
		}
		if l.seen[d.Digest] {
			continue
		}
		if len(l.entries) == layout.MaxAttached {
			return fmt.Errorf("more than %d attached manifests: %w", layout.MaxAttached, layout.ErrLimit)
		}
		if l.seen == nil {
			l.seen = map[digest.Digest]bool{}
		}
		l.seen[d.Digest] = true
		d.URLs, d.Data = nil, nil // neither is ever used
		l.entries = append(l.entries, d)
	}
	return nil
}
