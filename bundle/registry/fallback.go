package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"airgap/layout"
)

// subjectKey is a subject in a repository.
type subjectKey struct {
	repo    string
	subject digest.Digest
}

// note remembers that d, with content m, is in repo, and what it is attached to.
func (c *Client) note(repo string, m *layout.Manifest, d layout.Descriptor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stored[manifestKey{repo, d.Digest}] = true
	if m.Subject == nil {
		return
	}
	k := subjectKey{repo, m.Subject.Digest}
	for _, have := range c.pending[k] {
		if have.Digest == d.Digest {
			return
		}
	}
	// The entry as distribution-spec 1.1, "Listing Referrers", has it.
	c.pending[k] = append(c.pending[k], layout.Descriptor{
		MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
		ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	})
}

// commitReferrers sees to it that what was put is found from its subject. All
// fallback indexes are written first and read again after that: the later the
// second look, the more it sees of what other writers did meanwhile.
func (c *Client) commitReferrers(ctx context.Context) (map[subjectKey][]layout.Descriptor, error) {
	c.mu.Lock()
	todo := make(map[subjectKey][]layout.Descriptor, len(c.pending))
	for k, v := range c.pending {
		v = slices.Clone(v)
		slices.SortFunc(v, func(a, b layout.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
		todo[k] = v
	}
	c.mu.Unlock()

	written := map[subjectKey][]layout.Descriptor{}
	err := c.each(ctx, todo, func(ctx context.Context, k subjectKey, ours []layout.Descriptor) error {
		missing, err := c.unlisted(ctx, k, ours)
		if err != nil || len(missing) == 0 {
			return err
		}
		c.mu.Lock()
		written[k] = missing
		c.mu.Unlock()
		return c.merge(ctx, k, missing)
	})
	if err == nil {
		err = c.each(ctx, written, c.confirm)
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range todo {
		delete(c.pending, k)
	}
	return written, nil
}

// settleRounds is how many looks in a row have to find all entries.
const settleRounds = 2

// settle looks at the fallback indexes that were written until nothing is missing
// from them for some rounds, with a pause before each that is far longer than
// another writer's read and write take.
func (c *Client) settle(ctx context.Context, written map[subjectKey][]layout.Descriptor) error {
	for range settleRounds {
		if len(written) == 0 {
			return nil
		}
		if err := pause(ctx, c.opts.Wait(0, 0)); err != nil {
			return err
		}
		if err := c.each(ctx, written, c.confirm); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) each(ctx context.Context, todo map[subjectKey][]layout.Descriptor, do func(context.Context, subjectKey, []layout.Descriptor) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.opts.Jobs)
	for k, ours := range todo {
		g.Go(func() error { return do(ctx, k, ours) })
	}
	return g.Wait()
}

// unlisted asks the referrers API and returns which of ours it does not list:
// all, if the repository has no such API. One that has it may still overlook the
// retired artifact manifests; for those, too, the fallback index is kept.
func (c *Client) unlisted(ctx context.Context, k subjectKey, ours []layout.Descriptor) ([]layout.Descriptor, error) {
	t, err := c.about(layout.SideDestination, k.repo, k.repo+" referrers", k.subject)
	if err != nil {
		return nil, err
	}
	a, err := t.referrers(ctx, k.repo, k.subject, true)
	if err != nil || !a.has {
		return ours, err
	}
	return without(ours, a.found), nil
}

// without returns the descriptors of a that are not in b, by digest.
func without(a, b []layout.Descriptor) []layout.Descriptor {
	have := map[digest.Digest]bool{}
	for _, d := range b {
		have[d.Digest] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(d layout.Descriptor) bool { return have[d.Digest] })
}

// fallback returns the target and the reference of a fallback index.
func (c *Client) fallback(k subjectKey) (target, layout.Reference, error) {
	tag, _ := layout.FormReferrersTag.Tag(k.subject)
	ref := layout.Reference{Repository: k.repo, Tag: tag}
	t, err := c.about(layout.SideDestination, k.repo, ref.String(), k.subject)
	return t, ref, err
}

// maxConflicts is how often a fallback index is written again because others
// changed it meanwhile.
const maxConflicts = 20

// maxRefusals is how often a write without a condition is tried again after 412, with
// which some registries refuse to change an immutable tag.
const maxRefusals = 3

// confirm reads a fallback index again, and repairs it if another writer undid
// our entries.
func (c *Client) confirm(ctx context.Context, k subjectKey, ours []layout.Descriptor) error {
	t, ref, err := c.fallback(k)
	if err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		_, entries, err := t.readFallback(ctx, ref, k.subject)
		if err != nil {
			return err
		}
		missing := without(ours, entries)
		switch {
		case len(missing) == 0:
			return nil
		case attempt == maxConflicts:
			return t.fail(asRegistry(fmt.Errorf("%d of %d entries written to the fallback index are not in it", len(missing), len(ours))),
				"another program may be changing it, or the registry does not serve this tag; try again")
		}
		if err := pause(ctx, c.opts.Wait(min(attempt, 3), 0)); err != nil {
			return t.fail(err, "")
		}
		if err := c.merge(ctx, k, ours); err != nil {
			return err
		}
	}
}

// merge adds ours to a fallback index, one writer of this host at a time.
func (c *Client) merge(ctx context.Context, k subjectKey, ours []layout.Descriptor) error {
	t, ref, err := c.fallback(k)
	if err != nil {
		return err
	}
	unlock, err := c.lock(ctx, k)
	if err != nil {
		return t.fail(err, "")
	}
	defer unlock()
	last, unconditional := "", 0
	for attempt := 0; ; attempt++ {
		old, entries, err := t.readFallback(ctx, ref, k.subject)
		if err != nil {
			return err
		}
		missing := without(ours, entries)
		if len(missing) == 0 {
			return nil
		}
		data, err := addEntries(old.data, missing)
		if err != nil {
			return t.fail(err, "")
		}
		etag := old.etag
		if etag == last {
			etag = "" // refused though nothing changed: no use
		}
		last = old.etag
		err = t.writeFallback(ctx, ref, data, etag)
		if etag == "" {
			unconditional++
		}
		if !errors.Is(err, errConflict) || attempt == maxConflicts || unconditional > maxRefusals {
			return err
		}
		if err := pause(ctx, c.opts.Wait(min(attempt, 3), 0)); err != nil {
			return t.fail(err, "")
		}
	}
}

// readFallback gets a fallback index and its entries. There may be none: then
// old.data is nil.
func (t target) readFallback(ctx context.Context, ref layout.Reference, subject digest.Digest) (old fetched, entries []layout.Descriptor, err error) {
	old, err = t.fetch(ctx, ref, true)
	switch {
	case errors.Is(err, layout.ErrNotFound):
		return fetched{}, nil, nil
	case err != nil:
		return old, nil, err
	case old.desc.Digest == subject:
		return fetched{}, nil, nil // GitLab; whether a write helps, confirm will tell
	case old.desc.MediaType != layout.MediaTypeIndex:
		return old, nil, t.fail(asRegistry(fmt.Errorf("holds %s of type %s, not an index of referrers: %w",
			old.desc.Digest, old.desc.MediaType, layout.ErrUnsupported)), "remove or rename that tag")
	}
	var l list
	if err := l.read(old.data); err != nil {
		return old, nil, t.fail(asRegistry(fmt.Errorf("fallback index: %w", err)), "")
	}
	return old, l.entries, nil
}

// errConflict matches the error of a write that was refused because the tag changed
// meanwhile, or may have.
var errConflict = errors.New("changed meanwhile")

type conflictError struct{ error }

func (e *conflictError) Unwrap() error        { return e.error }
func (e *conflictError) Is(target error) bool { return target == errConflict }

func (t target) explainRefusal(ctx context.Context, err error, ref layout.Reference, d layout.Descriptor) error {
	was, _ := t.standsFor(ctx, ref, d)
	return t.immutable(err, was, d.Digest)
}

func (t target) writeFallback(ctx context.Context, ref layout.Reference, data []byte, etag string) error {
	q := question{
		method: http.MethodPut, url: t.url("manifests/" + ref.Tag), write: true,
		header: http.Header{"Content-Type": {layout.MediaTypeIndex}}, body: data,
	}
	if etag != "" {
		q.header.Set("If-Match", etag)
	}
	d := layout.Descriptor{MediaType: layout.MediaTypeIndex, Digest: digest.FromBytes(data), Size: int64(len(data))}
	err := t.send(ctx, q, d)
	var re *RequestError
	switch {
	case !errors.As(err, &re):
		return err
	case re.Status == http.StatusPreconditionFailed:
		if etag == "" {
			err = t.explainRefusal(ctx, err, ref, d)
		}
		return &conflictError{err}
	case etag != "" && refusesCondition(re.Status):
		return t.writeFallback(ctx, ref, data, "")
	case refusesChange(err):
		return t.explainRefusal(ctx, err, ref, d)
	}
	return err
}

// refusesCondition says whether a registry may have refused a write for its
// condition: it is then made without.
func refusesCondition(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusExpectationFailed:
		return true
	}
	return false
}

// addEntries returns the index old, or a new one if that is nil, with more at
// its end. All else is kept as it is, entries that are not ours to the byte.
func addEntries(old []byte, more []layout.Descriptor) ([]byte, error) {
	doc := struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType,omitempty"`
		Manifests     []json.RawMessage `json:"manifests"`
		Subject       json.RawMessage   `json:"subject,omitempty"`
		Annotations   json.RawMessage   `json:"annotations,omitempty"`
	}{}
	if old != nil {
		if err := json.Unmarshal(old, &doc); err != nil {
			return nil, fmt.Errorf("fallback index: %v: %w", err, layout.ErrCorrupt)
		}
	}
	doc.SchemaVersion, doc.MediaType = 2, layout.MediaTypeIndex
	for _, d := range more {
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		doc.Manifests = append(doc.Manifests, raw)
	}
	doc.Manifests = dedup(doc.Manifests)
	data, err := json.Marshal(doc)
	if err == nil && len(data) > layout.MaxManifestBytes {
		err = fmt.Errorf("fallback index: %d bytes, registries take %d: %w", len(data), layout.MaxManifestBytes, layout.ErrLimit)
	}
	return data, err
}

// dedup keeps the first entry of each digest.
func dedup(entries []json.RawMessage) []json.RawMessage {
	seen := map[digest.Digest]bool{}
	return slices.DeleteFunc(entries, func(raw json.RawMessage) bool {
		var d struct {
			Digest digest.Digest `json:"digest"`
		}
		_ = json.Unmarshal(raw, &d) // read before
		dup := seen[d.Digest]
		seen[d.Digest] = true
		return dup
	})
}
