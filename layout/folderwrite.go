package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"airgap/layout/disk"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// FolderWriter adds to an OCI image layout in a folder: a [Sink]. A layout knows
// no repositories, so what is put in one is there in all; names are kept in full.
// index.json is replaced at Commit, in one step.
type FolderWriter struct {
	name string
	fsys disk.FS

	mu       sync.Mutex
	seq      int
	attached map[digest.Digest]Descriptor // manifests with a subject, to be listed untagged
}

// NewFolderWriter writes into fsys, which may be empty or hold a layout; name is
// for errors.
func NewFolderWriter(name string, fsys disk.FS) (*FolderWriter, error) {
	w := &FolderWriter{name: name, fsys: fsys, attached: map[digest.Digest]Descriptor{}}
	for _, dir := range []string{"blobs/sha256", "blobs/sha512"} {
		if err := fsys.Mkdir(dir); err != nil {
			return nil, w.fail(Descriptor{}, err)
		}
	}
	return w, nil
}

func (w *FolderWriter) fail(d Descriptor, err error) error {
	if err == nil {
		return nil
	}
	hint := ""
	switch {
	case isNoSpace(err):
		hint = "free some space and run the same command again: what is there is kept"
	case errors.Is(err, disk.ErrBusy):
		hint = "wait for it, then run the same command again"
	}
	return &Error{Side: SideFolder, Name: w.name, Digest: d.Digest, Err: err, Hint: hint}
}

// reader opens what is there now; nil if there is no index yet.
func (w *FolderWriter) reader() (*Reader, error) {
	ok, err := disk.Exists(w.fsys, ocispec.ImageIndexFile)
	if err != nil || !ok {
		return nil, err
	}
	return OpenFolder(w.name, w.fsys)
}

// Resolve implements [Sink].
func (w *FolderWriter) Resolve(ctx context.Context, ref Reference) (Descriptor, error) {
	r, err := w.reader()
	if err != nil {
		return Descriptor{}, err
	}
	if r == nil {
		return Descriptor{}, w.fail(Descriptor{}, fmt.Errorf("%s: %w", ref, ErrNotFound))
	}
	return r.Resolve(ctx, ref)
}

// Has implements [Sink]. A file that does not hash to its name (a power cut can
// leave one) is not taken for content.
func (w *FolderWriter) Has(ctx context.Context, _ string, d Descriptor) (bool, error) {
	if err := CheckDescriptor(d); err != nil {
		return false, w.fail(Descriptor{}, err)
	}
	rc, size, err := folder{w.name, w.fsys}.blob(d.Digest)
	if errors.Is(err, ErrNotFound) || err == nil && size != d.Size {
		if err == nil {
			rc.Close()
		}
		return false, nil
	}
	if err != nil {
		return false, w.fail(d, err)
	}
	defer rc.Close()
	content := NopCloser(&ctxReader{ctx, rc})
	if IsManifest(d.MediaType) {
		// An interrupted run may have left it without listing it.
		_, err = w.manifest(d, content)
	} else {
		_, err = copyBuffer(io.Discard, Verify(content, d))
	}
	if errors.Is(err, ErrCorrupt) {
		return false, nil
	}
	return err == nil, w.fail(d, err)
}

// manifest reads a manifest and keeps in mind that it is attached to something.
func (w *FolderWriter) manifest(d Descriptor, r io.ReadCloser) ([]byte, error) {
	raw, err := ReadAll(r, d)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(d, raw)
	if err != nil {
		return nil, w.fail(Descriptor{}, err)
	}
	if m.Subject != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.attached[d.Digest] = Descriptor{MediaType: d.MediaType, ArtifactType: m.ArtifactType, Digest: d.Digest, Size: d.Size}
	}
	return raw, nil
}

// Put implements [Sink].
func (w *FolderWriter) Put(ctx context.Context, _ string, d Descriptor, r io.Reader) error {
	if err := CheckDescriptor(d); err != nil {
		return w.fail(Descriptor{}, err)
	}
	if IsManifest(d.MediaType) {
		raw, err := w.manifest(d, NopCloser(&ctxReader{ctx, r}))
		if err != nil {
			return err
		}
		r = bytes.NewReader(raw)
	}
	return w.write(ctx, d, r)
}

// temp makes a file that is nobody else's. One of the same name can be there: a
// process with this number may have been killed.
func (w *FolderWriter) temp() (disk.File, string, error) {
	for {
		w.mu.Lock()
		w.seq++
		name := fmt.Sprintf("blobs/.airgap-%d-%d.tmp", os.Getpid(), w.seq)
		w.mu.Unlock()
		f, err := w.fsys.Open(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return f, name, err
		}
	}
}

// write puts content in place. An error of r is returned as it is, for it says
// nothing about this side.
func (w *FolderWriter) write(ctx context.Context, d Descriptor, r io.Reader) error {
	f, tmp, err := w.temp()
	if err != nil {
		return w.fail(d, err)
	}
	_, err = copyBuffer(f, Verify(NopCloser(&ctxReader{ctx, r}), d))
	if we := (*writeError)(nil); errors.As(err, &we) {
		err = w.fail(d, we.err)
	}
	if cerr := f.Close(); err == nil {
		err = w.fail(d, cerr)
	}
	if err == nil {
		err = w.fail(d, w.fsys.Rename(tmp, BlobPath(d.Digest)))
	}
	if err != nil {
		_ = w.fsys.Remove(tmp) // what matters is the first error
	}
	return err
}

// Commit implements [Sink]. Of two processes that commit to one folder at the
// same time, one gets disk.ErrBusy.
func (w *FolderWriter) Commit(ctx context.Context, names []Name) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// The folder is what is locked: index.json is another file each time.
	dir, err := w.fsys.Open("blobs", os.O_RDONLY, 0)
	if err != nil {
		return w.fail(Descriptor{}, err)
	}
	defer dir.Close()
	if err := disk.Lock(dir); err != nil {
		return w.fail(Descriptor{}, err)
	}
	r, err := w.reader()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := w.check(ctx, n); err != nil {
			return err
		}
	}
	list, err := w.entries(r, names)
	if err != nil {
		return err
	}
	return w.publish(r == nil, list)
}

// check says whether a name can be published.
func (w *FolderWriter) check(ctx context.Context, n Name) error {
	if n.Reference.Name() == n.Reference.Repository || n.Reference.Digest != "" && n.Reference.Digest != n.Descriptor.Digest {
		return w.fail(n.Descriptor, fmt.Errorf("%q is no name for it: %w", n.Reference, ErrCorrupt))
	}
	ok, err := w.Has(ctx, "", n.Descriptor)
	if err == nil && !ok {
		err = w.fail(n.Descriptor, fmt.Errorf("%s: its manifest was never put: %w", n.Reference, ErrNotFound))
	}
	return err
}

// entries puts names into what index.json lists already.
func (w *FolderWriter) entries(r *Reader, names []Name) ([]Descriptor, error) {
	var out []Descriptor
	listed, named := map[digest.Digest]bool{}, map[string]digest.Digest{}
	add := func(d Descriptor) {
		out = append(out, d)
		listed[d.Digest] = true
	}
	for _, n := range names {
		name := n.Reference.Name()
		if d, ok := named[name]; ok && d != n.Descriptor.Digest {
			return nil, w.fail(n.Descriptor, fmt.Errorf("%s is to stand for two manifests, the other is %s: %w", name, d, ErrUnsupported))
		} else if ok {
			continue
		}
		named[name] = n.Descriptor.Digest
		d := trim(n.Descriptor)
		d.Annotations = map[string]string{AnnotationRefName: name}
		add(d)
	}
	if r != nil {
		var kept []Descriptor
		for i, d := range r.index {
			if _, moved := named[r.lookup().of[i].Name()]; !moved {
				kept = append(kept, d)
				listed[d.Digest] = true
			}
		}
		out = append(kept, out...)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, dgst := range slices.Sorted(maps.Keys(w.attached)) {
		if !listed[dgst] {
			add(w.attached[dgst])
		}
	}
	return out, nil
}

// publish replaces index.json, after all that it lists is on the disk.
func (w *FolderWriter) publish(fresh bool, list []Descriptor) error {
	raw, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: MediaTypeIndex, Manifests: list})
	if err == nil {
		err = w.fsys.Flush()
	}
	if err == nil && fresh {
		err = disk.WriteFile(w.fsys, ocispec.ImageLayoutFile, []byte(layoutFile))
	}
	if err == nil {
		err = disk.WriteFile(w.fsys, ocispec.ImageIndexFile, raw)
	}
	if err == nil {
		err = w.fsys.Flush()
	}
	return w.fail(Descriptor{}, err)
}
