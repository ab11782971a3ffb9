package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"airgap/layout/disk"
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
	attached []Descriptor // manifests with a subject, to be listed untagged
}

// NewFolderWriter writes into fsys, which may be empty or hold a layout; name is
// for errors.
func NewFolderWriter(name string, fsys disk.FS) (*FolderWriter, error) {
	w := &FolderWriter{name: name, fsys: fsys}
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
	return &Error{Side: SideFolder, Name: w.name, Digest: d.Digest, Err: err}
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
func (w *FolderWriter) Has(_ context.Context, _ string, d Descriptor) (bool, error) {
	if err := CheckDescriptor(d); err != nil {
		return false, w.fail(Descriptor{}, err)
	}
	rc, size, err := folder{w.name, w.fsys}.blob(d.Digest)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, w.fail(d, err)
	}
	defer rc.Close()
	if size != d.Size {
		return false, nil
	}
	_, err = copyBuffer(io.Discard, Verify(rc, d))
	if errors.Is(err, ErrCorrupt) {
		return false, nil
	}
	return err == nil, w.fail(d, err)
}

// Put implements [Sink].
func (w *FolderWriter) Put(ctx context.Context, _ string, d Descriptor, r io.Reader) error {
	if err := CheckDescriptor(d); err != nil {
		return w.fail(Descriptor{}, err)
	}
	if IsManifest(d.MediaType) {
		raw, err := ReadAll(NopCloser(&ctxReader{ctx, r}), d)
		if err != nil {
			return err
		}
		m, err := ParseManifest(d, raw)
		if err != nil {
			return w.fail(Descriptor{}, err)
		}
		if m.Subject != nil {
			w.list(Descriptor{MediaType: d.MediaType, ArtifactType: m.ArtifactType, Digest: d.Digest, Size: d.Size})
		}
		r = bytes.NewReader(raw)
	}
	return w.write(ctx, d, r)
}

func (w *FolderWriter) list(d Descriptor) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attached = append(w.attached, d)
}

func (w *FolderWriter) tempName() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seq++
	return fmt.Sprintf("blobs/.airgap-%d-%d.tmp", os.Getpid(), w.seq)
}

func (w *FolderWriter) write(ctx context.Context, d Descriptor, r io.Reader) error {
	tmp := w.tempName()
	f, err := w.fsys.Open(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return w.fail(d, err)
	}
	_, err = copyBuffer(f, Verify(NopCloser(&ctxReader{ctx, r}), d))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = w.fsys.Rename(tmp, BlobPath(d.Digest))
	}
	if err != nil {
		_ = w.fsys.Remove(tmp) // what matters is the first error
	}
	return err
}

// Commit implements [Sink].
func (w *FolderWriter) Commit(ctx context.Context, names []Name) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: MediaTypeIndex}
	r, err := w.reader()
	if err != nil {
		return err
	}
	if r != nil {
		index.Manifests = r.Index()
	}
	for _, n := range names {
		if ok, err := disk.Exists(w.fsys, BlobPath(n.Descriptor.Digest)); err != nil || !ok {
			return w.fail(n.Descriptor, errors.Join(err, fmt.Errorf("%s: its manifest was never put: %w", n.Reference, ErrNotFound)))
		}
		index.Manifests = slices.DeleteFunc(index.Manifests, func(d Descriptor) bool {
			return d.Annotations[AnnotationRefName] == n.Reference.Name()
		})
		d := trim(n.Descriptor)
		d.Annotations = map[string]string{AnnotationRefName: n.Reference.Name()}
		index.Manifests = append(index.Manifests, d)
	}
	for _, d := range w.attached {
		if !slices.ContainsFunc(index.Manifests, func(o Descriptor) bool { return o.Digest == d.Digest }) {
			index.Manifests = append(index.Manifests, d)
		}
	}
	return w.publish(index)
}

func (w *FolderWriter) publish(index ocispec.Index) error {
	raw, err := json.Marshal(index)
	if err == nil {
		err = w.fsys.Flush()
	}
	if err == nil {
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
