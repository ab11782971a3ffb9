package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// manifestKeys are the members by which engines tell a manifest (docker, containerd,
// containers/image). A document without any of them is none. Their JSON decoders
// ignore case.
var manifestKeys = []string{"config", "manifests", "fsLayers", "schemaVersion", "mediaType", "history"}

// ReadsAsManifest says why an engine could read content as a manifest, whatever media
// type an index lists it under; it is empty if none could. docker and podman start a
// child of an index whose type they do not know. All of the content is read and checked
// against d. What is known to be no manifest is content that does not begin with a JSON
// object, and an object with none of the members of a manifest; anything else is taken
// for one, and so is what is not here, is damaged, or is listed as docker's schema 1,
// which docker and podman know for a manifest. open is as for [Inspector.Startable].
func ReadsAsManifest(d Descriptor, open func(Descriptor) (io.ReadCloser, error)) (why string, err error) {
	if IsSchema1(d.MediaType) {
		return fmt.Sprintf("%s is listed as a docker schema 1 manifest", d.Digest), nil
	}
	rc, err := open(d)
	if err != nil {
		return unreadable(d.Digest, err), readable(err)
	}
	defer rc.Close()
	r := Verify(rc, d)
	head, err := io.ReadAll(io.LimitReader(r, MaxManifestBytes+1))
	if err == nil {
		_, err = copyBuffer(io.Discard, r)
	}
	if err != nil {
		return unreadable(d.Digest, err), readable(err)
	}
	if mayBeManifest(head) {
		return fmt.Sprintf("%s is listed as %.100q, and could be read as a manifest", d.Digest, d.MediaType), nil
	}
	return "", nil
}

// readable drops an error that unreadable has explained.
func readable(err error) error {
	if unreadable("", err) != "" {
		return nil
	}
	return err
}

// opaqueListing is what an index lists that is no manifest.
type opaqueListing struct {
	Blob
	elsewhere bool // see [isElsewhere]
}

// absentOpaque lists what an index lists that is no manifest, and that one repository
// does not have and may lack, as its other children.
//
// The value says whether the repository has it after all, as a manifest: engines that do
// not know the type get it as one.
func (w *walker) absentOpaque(ctx context.Context, t task, l *load) (map[digest.Digest]bool, error) {
	if w.opt.MayMiss == nil || len(l.opaque) == 0 {
		return nil, nil
	}
	absent := map[digest.Digest]bool{}
	for _, o := range l.opaque {
		d := o.Descriptor()
		if !w.opt.MayMiss(t.repo, t.desc.Digest, d) {
			continue
		}
		rc, err := w.src.Open(ctx, t.repo, d)
		switch {
		case errors.Is(err, ErrNotFound):
			_, err := w.src.Resolve(ctx, Reference{Repository: t.repo, Digest: d.Digest})
			if err != nil && !errors.Is(err, ErrNotFound) {
				return nil, err
			}
			absent[d.Digest] = err == nil
		case err != nil:
			return nil, err
		default:
			rc.Close()
		}
	}
	return absent, nil
}

// absence is content that a manifest lists and that one repository does not have.
type absence struct {
	repo         string
	parent, blob digest.Digest
}

// absences says what is in none, or not in all, of the repositories that list it.
func (g *Graph) absences() map[absence]bool {
	out := map[absence]bool{}
	for _, o := range g.Omitted {
		if o.Reason == ReasonAbsent {
			out[absence{o.Repository, o.Parent, o.Descriptor.Digest}] = true
		}
	}
	return out
}

// holder returns a repository that has a blob of n: the one n was found in, unless that
// lacks it.
func (g *Graph) holder(n *Node, b digest.Digest, absent map[absence]bool) string {
	if !absent[absence{n.Repository, n.Descriptor.Digest, b}] {
		return n.Repository
	}
	for _, p := range g.Places {
		if p.Digest == n.Descriptor.Digest && !absent[absence{p.Repository, p.Digest, b}] {
			return p.Repository
		}
	}
	return n.Repository
}

// heldOpaque drops from the blobs of an index what none of the repositories has.
func (w *walker) heldOpaque(g *Graph) {
	held := map[digest.Digest]map[digest.Digest]bool{} // by index
	for _, p := range g.Places {
		absent := w.spots[placeKey{p.Repository, p.Digest}].absent
		for _, o := range w.loads[p.Digest].opaque {
			if _, gone := absent[o.Digest]; !gone {
				if held[p.Digest] == nil {
					held[p.Digest] = map[digest.Digest]bool{}
				}
				held[p.Digest][o.Digest] = true
			}
		}
	}
	for d, n := range g.Nodes {
		if len(w.loads[d].opaque) > 0 {
			n.Blobs = slices.DeleteFunc(n.Blobs, func(b Blob) bool { return !held[d][b.Digest] })
		}
	}
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
