package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// manifestKeys are the members by which engines tell a manifest (docker, containerd,
// containers/image). A document without any of them is none. Their JSON decoders
// ignore case.
var manifestKeys = []string{"config", "manifests", "fsLayers", "schemaVersion", "mediaType", "history"}

// ReadsAsManifest reports whether an engine could read content as a manifest,
// whatever media type it is listed under: docker and podman start a child of an index
// whose type they do not know. All of the content is read and checked against d. What
// is known to be no manifest is content that does not begin with a JSON object, and an
// object with none of the members of a manifest; anything else is taken for one.
func ReadsAsManifest(ctx context.Context, src Source, repo string, d Descriptor) (bool, error) {
	rc, err := src.Open(ctx, repo, d)
	if err != nil {
		return false, err
	}
	defer rc.Close()
	r := Verify(rc, d)
	head, err := io.ReadAll(io.LimitReader(r, MaxManifestBytes+1))
	if err != nil {
		return false, err
	}
	if _, err := copyBuffer(io.Discard, &ctxReader{ctx, r}); err != nil {
		return false, err
	}
	return mayBeManifest(head), nil
}

// absentOpaque lists what an index lists that is no manifest, and that the source does
// not have and may lack, as its other children.
func (w *walker) absentOpaque(ctx context.Context, t task, m *Manifest) (map[digest.Digest]bool, error) {
	if w.opt.MayMiss == nil {
		return nil, nil
	}
	absent := map[digest.Digest]bool{}
	for _, d := range m.Opaque {
		if !w.opt.MayMiss(t.repo, t.desc.Digest, d) {
			continue
		}
		rc, err := w.src.Open(ctx, t.repo, trim(d))
		switch {
		case errors.Is(err, ErrNotFound):
			absent[d.Digest] = true
		case err != nil:
			return nil, err
		default:
			rc.Close()
		}
	}
	return absent, nil
}

// mayBeManifest judges content by its first bytes, all of them up to MaxManifestBytes.
func mayBeManifest(head []byte) bool {
	start := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	if len(start) == 0 || start[0] != '{' {
		return false
	}
	if len(head) > MaxManifestBytes {
		return true // too large to be told
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(start, &members) != nil {
		return true // other decoders may stop at the end of the object
	}
	for key := range members {
		if slices.ContainsFunc(manifestKeys, func(k string) bool { return strings.EqualFold(k, key) }) {
			return true
		}
	}
	return false
}
