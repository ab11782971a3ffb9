package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"airgap/layout"
)

// Resolve implements layout.Source and layout.Sink. It takes one request, a GET,
// and keeps the manifest for the Open that follows. A reference with a digest is
// asked for by digest.
func (c *Client) Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	t, err := c.about(layout.SideSource, ref.Repository, ref.String(), ref.Digest)
	if err != nil {
		return layout.Descriptor{}, err
	}
	m, err := t.fetch(ctx, ref, false)
	if err != nil {
		return layout.Descriptor{}, err
	}
	c.manifests.keep(ref.Repository, m.desc.Digest, m.data)
	return m.desc, nil
}

// Open implements layout.Source.
func (c *Client) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	t, err := c.about(layout.SideSource, repo, "", d.Digest)
	if err != nil {
		return nil, err
	}
	if err := layout.CheckDescriptor(d); err != nil {
		return nil, t.fail(err, "")
	}
	if !layout.IsManifest(d.MediaType) {
		return t.openContent(ctx, d)
	}
	data, ok := c.manifests.take(repo, d.Digest)
	if !ok {
		m, err := t.fetch(ctx, layout.Reference{Repository: repo, Digest: d.Digest}, false)
		if err != nil {
			return nil, err
		}
		if !m.mayBe(d.MediaType) {
			return nil, t.fail(asRegistry(fmt.Errorf("the registry says it is %q, its descriptor %q: %w", m.desc.MediaType, d.MediaType, layout.ErrCorrupt)), "")
		}
		data = m.data
	}
	if err := layout.CheckBytes(data, d); err != nil {
		return nil, t.fail(asRegistry(err), "")
	}
	return io.NopCloser(strings.NewReader(string(data))), nil
}

// fetched is a manifest as the registry gave it.
type fetched struct {
	desc layout.Descriptor
	data []byte
	etag string // a strong one, or ""
	// guessed: nobody says which media type it has; desc has one of its shape.
	guessed bool
}

// mayBe says whether m has a media type. One that was guessed gives way to any other
// of the same shape.
func (m *fetched) mayBe(mediaType string) bool {
	return m.desc.MediaType == mediaType ||
		m.guessed && layout.IsManifest(mediaType) && layout.IsIndex(mediaType) == layout.IsIndex(m.desc.MediaType)
}

// fetch gets a manifest by digest or, if ref has none, by tag. For reading, one that an
// earlier run kept will do.
func (t target) fetch(ctx context.Context, ref layout.Reference, write bool) (fetched, error) {
	part := string(ref.Digest)
	if part == "" {
		part = ref.Tag
	}
	if err := checkPart(ref); err != nil {
		return fetched{}, t.fail(err, "")
	}
	if !write {
		if m, ok := t.kept(ctx, ref.Repository, part); ok {
			return m, nil
		}
	}
	resp, err := t.ask(ctx, question{
		method: http.MethodGet, url: t.url("manifests/" + part), write: write,
		header: http.Header{"Accept": {strings.Join(layout.ManifestTypes, ", ")}},
	})
	if err != nil {
		return fetched{}, err
	}
	defer resp.Body.Close()
	m, err := t.manifest(resp, ref)
	if err == nil && !write {
		tag := ""
		if ref.Digest == "" {
			tag = ref.Tag
		}
		t.client.keeper.put(ref.Repository, tag, m)
	}
	return m, err
}

// manifest reads the answer to a GET of ref.
func (t target) manifest(resp *http.Response, ref layout.Reference) (m fetched, err error) {
	if resp.StatusCode != http.StatusOK {
		return fetched{}, t.refused(resp)
	}
	if m.data, err = t.body(resp, layout.MaxManifestBytes); err != nil {
		return fetched{}, err
	}
	if m.desc.Digest, err = t.checkDigest(resp, m.data, ref.Digest); err != nil {
		return fetched{}, err
	}
	if m.desc.MediaType, m.guessed, err = t.mediaType(resp, m.data); err != nil {
		return fetched{}, err
	}
	m.desc.Size = int64(len(m.data))
	if e := resp.Header.Get("ETag"); strings.HasPrefix(e, `"`) {
		m.etag = e
	}
	return m, nil
}

// checkPart holds what goes into a URL against the grammar.
func checkPart(ref layout.Reference) error {
	if ref.Digest != "" {
		_, err := layout.ParseDigest(string(ref.Digest))
		return err
	}
	named, err := reference.WithName(ref.Repository)
	if err == nil {
		_, err = reference.WithTag(named, ref.Tag)
	}
	return err
}

// body reads an answer of at most limit bytes.
func (t target) body(resp *http.Response, limit int64) ([]byte, error) {
	if err := t.checkPlain(resp); err != nil {
		return nil, err
	}
	if resp.ContentLength > limit {
		return nil, t.bad(resp, "%d bytes, at most %d are read: %w", resp.ContentLength, limit, layout.ErrLimit)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, t.broken(resp, err)
	case int64(len(data)) > limit:
		return nil, t.bad(resp, "more than %d bytes: %w", limit, layout.ErrLimit)
	}
	return data, nil
}

// checkPlain refuses a content encoding. None was asked for, and a digest is
// that of the bytes as they are.
func (t target) checkPlain(resp *http.Response) error {
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return t.bad(resp, "encoded as %.40q, which was not asked for: %w", e, layout.ErrCorrupt)
	}
	return nil
}

const digestHeader = "Docker-Content-Digest"

// checkDigest computes the digest of a manifest, by the algorithm of the digest
// asked for, else of the one the registry names, else sha256.
func (t target) checkDigest(resp *http.Response, data []byte, want digest.Digest) (digest.Digest, error) {
	said := resp.Header.Get(digestHeader)
	alg := digest.Canonical
	if want != "" {
		alg = want.Algorithm()
	}
	if said != "" {
		d, err := layout.ParseDigest(said)
		if err != nil {
			return "", t.bad(resp, "%s: %w", digestHeader, err)
		}
		if want == "" {
			alg = d.Algorithm()
		}
		if got := d.Algorithm().FromBytes(data); got != d {
			return "", t.bad(resp, "%s says %s, the bytes have %s: %w", digestHeader, d, got, layout.ErrCorrupt)
		}
	}
	got := alg.FromBytes(data)
	if want != "" && got != want {
		return "", t.bad(resp, "asked for %s, the bytes have %s: %w", want, got, layout.ErrCorrupt)
	}
	return got, nil
}

// vague are content types that say nothing about a manifest.
var vague = map[string]bool{"": true, "application/json": true, "application/octet-stream": true, "text/plain": true}

// document is what tells the type of a manifest.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Config        json.RawMessage `json:"config"`
	Layers        json.RawMessage `json:"layers"`
	Manifests     json.RawMessage `json:"manifests"`
}

// mediaType is what header and document agree on. Both may say nothing, for the
// image-spec lets a manifest do without "mediaType", and static servers know no better
// than application/json: then the document's shape tells, and guessed is true.
func (t target) mediaType(resp *http.Response, data []byte) (is string, guessed bool, err error) {
	said, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		return "", false, t.bad(resp, "no JSON (%.80s): %w", said, layout.ErrCorrupt)
	}
	if layout.IsSchema1(said) || doc.SchemaVersion == 1 {
		return "", false, t.fail(&RequestError{
			Method: resp.Request.Method, URL: bareURL(resp.Request.URL), Err: fmt.Errorf("a docker schema 1 manifest: %w", layout.ErrUnsupported),
		}, "push the image again with a current tool (skopeo copy, crane copy, docker push): that makes it schema 2")
	}
	switch {
	case vague[said] && doc.MediaType == "":
		said, guessed = doc.shape(), true
	case vague[said]:
		said = doc.MediaType
	case doc.MediaType != "" && doc.MediaType != said:
		return "", false, t.bad(resp, "Content-Type is %.100q, the document says %.100q: %w", said, doc.MediaType, layout.ErrCorrupt)
	}
	if !layout.IsManifest(said) {
		return "", false, t.bad(resp, "media type %.100q is no manifest: %w", said, layout.ErrUnsupported)
	}
	return said, guessed, nil
}

// shape is the OCI type that a document without a media type has (image-spec, "OCI
// Image Manifest" and "OCI Image Index"), or "" if it could be neither or both. The
// other types demand "mediaType".
func (d *document) shape() string {
	object := func(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '{' }
	list := func(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '[' }
	switch {
	case d.SchemaVersion != 2:
	case object(d.Config) && list(d.Layers) && d.Manifests == nil:
		return layout.MediaTypeManifest
	case list(d.Manifests) && d.Config == nil && d.Layers == nil:
		return layout.MediaTypeIndex
	}
	return ""
}
