//go:build interop && linux

package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// repository is one in a registry that speaks plain http. What is here asks it
// directly, so that airgap is not the judge of its own work.
type repository struct{ host, name string }

// below splits HOST[/PREFIX] and adds a name to it.
func below(to, name string) repository {
	host, prefix, ok := strings.Cut(to, "/")
	if ok {
		name = prefix + "/" + name
	}
	return repository{host, name}
}

func (r repository) String() string                 { return r.host + "/" + r.name }
func (r repository) at(d ocispec.Descriptor) string { return r.String() + "@" + string(d.Digest) }

var errAbsent = errors.New("not found")

// get fetches a manifest, a blob or a list of referrers.
func (r repository) get(what, ref string) ([]byte, error) {
	url := "http://" + r.host + "/v2/" + r.name + "/" + what + "/" + ref
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	for _, t := range []string{
		ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest,
		"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
	} {
		req.Header.Add("Accept", t)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", url, errAbsent)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s: %.200s", url, res.Status, data)
	}
	return data, nil
}

// content fetches by digest, and checks it.
func (r repository) content(what string, d digest.Digest) ([]byte, error) {
	data, err := r.get(what, string(d))
	if err == nil && digest.FromBytes(data) != d {
		err = fmt.Errorf("%s@%s has digest %s", r, d, digest.FromBytes(data))
	}
	return data, err
}

// digestOf returns what a tag stands for.
func (r repository) digestOf(t *testing.T, tag string) digest.Digest {
	t.Helper()
	data, err := r.get("manifests", tag)
	if err != nil {
		t.Fatal(err)
	}
	return digest.FromBytes(data)
}

// document is a manifest or an index.
type document struct {
	MediaType string               `json:"mediaType"`
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
	Subject   *ocispec.Descriptor  `json:"subject"`
}

// inventory is everything that can be reached in a repository from a tag or a
// digest. All of it was fetched, and had the digest it should have.
type inventory struct {
	manifests map[digest.Digest]document
	blobs     map[digest.Digest]int
	// attached has "SUBJECT <- DIGEST" for each referrer, and "SUBJECT.sig <-
	// DIGEST" and so on for cosign's tags.
	attached map[string]bool
	// absent are children of indexes that are not there.
	absent map[digest.Digest]bool
}

// scope says what belongs to an inventory beside the image. The zero value is
// for the image alone.
type scope struct {
	referrers, cosignTags bool
	platform              string // only this architecture; empty means all
}

var everything = scope{referrers: true, cosignTags: true}

// take makes an inventory of what ref, a tag or a digest, leads to.
func take(t *testing.T, r repository, ref string, s scope) *inventory {
	t.Helper()
	inv := &inventory{map[digest.Digest]document{}, map[digest.Digest]int{}, map[string]bool{}, map[digest.Digest]bool{}}
	data, err := r.get("manifests", ref)
	if err == nil {
		err = inv.walk(r, digest.FromBytes(data), s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func (inv *inventory) walk(r repository, first digest.Digest, s scope) error {
	for todo := []digest.Digest{first}; len(todo) > 0; todo = todo[1:] {
		d := todo[0]
		if _, seen := inv.manifests[d]; seen || inv.absent[d] {
			continue
		}
		next, err := inv.visit(r, d, s)
		if errors.Is(err, errAbsent) && d != first {
			inv.absent[d] = true
			continue
		}
		if err != nil {
			return err
		}
		todo = append(todo, next...)
	}
	return nil
}

// visit takes one manifest, and returns what it leads to.
func (inv *inventory) visit(r repository, d digest.Digest, s scope) ([]digest.Digest, error) {
	data, err := r.content("manifests", d)
	if err != nil {
		return nil, err
	}
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s@%s: %w", r, d, err)
	}
	inv.manifests[d] = doc
	var next []digest.Digest
	for _, c := range doc.Manifests {
		if s.platform == "" || c.Platform == nil || c.Platform.Architecture == s.platform {
			next = append(next, c.Digest)
		}
	}
	blobs := doc.Layers
	if doc.Config != nil {
		blobs = append(blobs, *doc.Config)
	}
	for _, b := range blobs {
		if err := inv.blob(r, b); err != nil {
			return nil, err
		}
	}
	attached, err := inv.attachments(r, d, s)
	return append(next, attached...), err
}

func (inv *inventory) blob(r repository, b ocispec.Descriptor) error {
	if _, seen := inv.blobs[b.Digest]; seen {
		return nil
	}
	data, err := r.content("blobs", b.Digest)
	if errors.Is(err, errAbsent) {
		return fmt.Errorf("blob %s is missing in %s", b.Digest, r) // never to be taken for a sparse index
	}
	inv.blobs[b.Digest] = len(data)
	return err
}

func (inv *inventory) attachments(r repository, d digest.Digest, s scope) ([]digest.Digest, error) {
	var out []digest.Digest
	if s.referrers {
		list, err := r.referrers(d)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			inv.attached[string(d)+" <- "+string(c.Digest)] = true
			out = append(out, c.Digest)
		}
	}
	for _, suffix := range []string{".sig", ".att", ".sbom"} {
		if !s.cosignTags {
			break
		}
		data, err := r.get("manifests", fallbackTag(d)+suffix)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c := digest.FromBytes(data)
		inv.attached[string(d)+suffix+" <- "+string(c)] = true
		out = append(out, c)
	}
	return out, nil
}

func fallbackTag(d digest.Digest) string { return strings.Replace(string(d), ":", "-", 1) }

// referrers asks by the API and, where there is none, by the tag.
func (r repository) referrers(d digest.Digest) ([]ocispec.Descriptor, error) {
	data, err := r.get("referrers", string(d))
	if errors.Is(err, errAbsent) {
		data, err = r.get("manifests", fallbackTag(d))
	}
	if errors.Is(err, errAbsent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	err = json.Unmarshal(data, &index)
	return index.Manifests, err
}

// digests returns everything that is in the inventory.
func (inv *inventory) digests() map[digest.Digest]bool {
	out := map[digest.Digest]bool{}
	for d := range inv.manifests {
		out[d] = true
	}
	for d := range inv.blobs {
		out[d] = true
	}
	return out
}

// equal compares inventories digest by digest.
func equal(t *testing.T, got, want *inventory) {
	t.Helper()
	same(t, "manifest", keysOf(got.manifests), keysOf(want.manifests))
	same(t, "blob", keysOf(got.blobs), keysOf(want.blobs))
	same(t, "attachment", keysOf(got.attached), keysOf(want.attached))
	same(t, "absent child", keysOf(got.absent), keysOf(want.absent))
}

func keysOf[K comparable, V any](m map[K]V) []K { return slices.Collect(maps.Keys(m)) }

// same reports what is missing and what is too much.
func same[T ~string](t *testing.T, what string, got, want []T) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("%s %s is missing", what, w)
		}
	}
	for _, g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("%s %s should not be there", what, g)
		}
	}
}
