package registry

import (
	"bytes"
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
	// doubt is the first answer that is none of the API's and no word that there is
	// no such API either. Each subject is asked about again then.
	doubt string
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

// settled says whether it need not be asked one at a time any more, and whether there
// is no API.
func (s *support) settled() (settled, missing bool, note string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known || s.doubt != "", s.known && !s.has, s.note
}

// learn takes in what came of asking: gone is nil if the API answered. It returns what
// contradicts that, if anything: a repository that has the API for one manifest has it
// for all, and its word about one subject would hide what is attached there.
func (s *support) learn(gone *missingAPI) (contradiction string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case gone == nil && s.doubt != "":
		return s.doubt
	case gone == nil:
		s.known, s.has = true, true
	case s.known && s.has && (gone.lasting || gone.doubtful):
		return gone.note
	case gone.doubtful && s.doubt == "":
		s.doubt = gone.note
	case !s.known && gone.lasting:
		s.known, s.note = true, gone.note
	}
	return ""
}

// apiAnswer is what came of asking the referrers API.
type apiAnswer struct {
	found []layout.Descriptor
	has   bool   // there is such an API
	note  string // if not: what was answered, for people
	doubt string // if not: why that is not certain
}

// notAsked is why NoReferrersAPI is a doubt.
const notAsked = "the referrers API was not asked (--no-referrers-api)"

// referrers asks the referrers API.
func (t target) referrers(ctx context.Context, repo string, subject digest.Digest, write bool) (apiAnswer, error) {
	if t.client.opts.NoReferrersAPI {
		return apiAnswer{note: notAsked, doubt: notAsked}, nil
	}
	s := t.client.supportOf(repo)
	if settled, missing, note := s.settled(); missing {
		return apiAnswer{note: note}, nil
	} else if !settled {
		select {
		case s.gate <- struct{}{}:
			defer func() { <-s.gate }()
		case <-ctx.Done():
			return apiAnswer{}, t.fail(ctx.Err(), "")
		}
		if _, missing, note := s.settled(); missing {
			return apiAnswer{note: note}, nil
		}
	}
	found, err := t.pages(ctx, t.url("referrers/"+string(subject)), write)
	var gone *missingAPI
	if err != nil && !errors.As(err, &gone) {
		return apiAnswer{}, err
	}
	if note := s.learn(gone); note != "" {
		return apiAnswer{}, t.fail(asRegistry(fmt.Errorf("%s, though it answered for other manifests of the repository: %w", note, layout.ErrCorrupt)),
			"run the same command again; if it stays, some of what stands for the registry does not have the API: --no-referrers-api goes by the tags alone, and the export record says so")
	}
	switch {
	case gone == nil:
		return apiAnswer{found: found, has: true}, nil
	case gone.doubtful:
		return apiAnswer{note: gone.note, doubt: gone.note}, nil
	}
	return apiAnswer{note: gone.note}, nil
}

// missingAPI is the answer of a repository without the API.
type missingAPI struct {
	note     string
	lasting  bool // it is so for the whole repository
	doubtful bool // it is no answer to the question at all
}

func (e *missingAPI) Error() string { return e.note }

// pages reads all pages from u on.
func (t target) pages(ctx context.Context, u *url.URL, write bool) ([]layout.Descriptor, error) {
	var all list
	seen := map[string]bool{}
	for n := 0; u != nil; n++ {
		if n == maxPages || seen[u.String()] {
			return nil, t.fail(asRegistry(fmt.Errorf("the list of referrers does not end (page %d): %w", n+1, layout.ErrLimit)), "")
		}
		seen[u.String()] = true
		resp, err := t.ask(ctx, question{
			method: http.MethodGet, url: u, write: write,
			header: http.Header{"Accept": {layout.MediaTypeIndex}},
		})
		if err != nil {
			return nil, err
		}
		u, err = t.page(resp, u, n == 0, &all)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	return all.entries, nil
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
	case mediaType == layout.MediaTypeIndex, vague[mediaType]:
	case !first:
		return nil, t.bad(resp, "referrers as %.100q, want an index: %w", mediaType, layout.ErrCorrupt)
	case mediaType == "text/html":
		// A web front end that answers every path with its page. The API
		// itself can not look like this.
		return nil, &missingAPI{note: "the referrers API answers with a web page", lasting: true}
	default:
		return nil, &missingAPI{note: fmt.Sprintf("the referrers API answers with %.100q, not with an index", mediaType), doubtful: true}
	}
	data, err := t.body(resp, layout.MaxManifestBytes)
	if err != nil {
		return nil, err
	}
	if first && mediaType != layout.MediaTypeIndex && !bytes.Contains(data, []byte(`"manifests"`)) {
		return nil, &missingAPI{note: "the referrers API answers 200 with no index", doubtful: true}
	}
	if err := all.read(data); err != nil {
		return nil, t.bad(resp, "referrers: %w", err)
	}
	return t.next(resp, at)
}

// unsupported tells "there is no such API" from every other refusal: 404 as the
// specification has it, 405 and 501, which are about the method and not about
// who asks, and the code UNSUPPORTED. Any other 4xx but those that a login or time may
// change, and any 2xx but 200, are in doubt. err is the refusal itself.
func unsupported(status int, err error) error {
	var re *RequestError
	if !errors.As(err, &re) {
		return err
	}
	note := fmt.Sprintf("the referrers API answers %d", status)
	switch {
	case status == http.StatusUnauthorized, passing(status):
		return err
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed,
		status == http.StatusNotImplemented, re.Code == errcode.ErrorCodeUnsupported && status != http.StatusForbidden:
		// Who says that it does not know the repository or the subject may
		// have the API all the same, and is asked again for the next one.
		return &missingAPI{note: note, lasting: re.Code != errcode.ErrorCodeNameUnknown && re.Code != errcode.ErrorCodeManifestUnknown}
	case status/100 == 4, status/100 == 2:
		return &missingAPI{note: note, doubtful: true}
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
