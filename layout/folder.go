package layout

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"airgap/layout/disk"

	"github.com/opencontainers/go-digest"
)

// folder is a layout in a folder of the file system.
type folder struct {
	name string
	fsys disk.FS
}

func (f folder) side() (Side, string) { return SideFolder, f.name }

func (f folder) file(name string, limit int64) ([]byte, error) {
	data, err := disk.ReadFile(f.fsys, name, limit)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func (f folder) blob(d digest.Digest) (io.ReadCloser, int64, error) {
	file, err := f.fsys.Open(BlobPath(d), os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, ErrNotFound
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = disk.ErrNotRegular
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// matches says whether the folder holds what plan lists and no more.
func (f folder) matches(plan *Plan) error {
	want := 0
	for i := range plan.Entries {
		e := &plan.Entries[i]
		if e.name != "" {
			data, err := f.file(e.name, e.Descriptor.Size)
			if err != nil {
				return err
			}
			if !bytes.Equal(data, e.Data) {
				return fmt.Errorf("%s is not what it has to be: %w", e.name, ErrCorrupt)
			}
			continue
		}
		want++
		rc, size, err := f.blob(e.Descriptor.Digest)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Descriptor.Digest, err)
		}
		rc.Close()
		if size != e.Descriptor.Size {
			return fmt.Errorf("%s has %d bytes, want %d: %w", e.Descriptor.Digest, size, e.Descriptor.Size, ErrCorrupt)
		}
	}
	have := 0
	err := f.blobs(func(digest.Digest, int64) error { have++; return nil })
	if err == nil && have != want {
		err = fmt.Errorf("%d blobs in it, %d belong: %w", have, want, ErrCorrupt)
	}
	return err
}

func (f folder) blobs(fn func(digest.Digest, int64) error) error {
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		dir, err := f.fsys.Open("blobs/"+alg.String(), os.O_RDONLY, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		entries, err := dir.ReadDir(-1)
		dir.Close()
		if err != nil {
			return err
		}
		for _, e := range entries {
			d, perr := ParseDigest(alg.String() + ":" + e.Name())
			info, ierr := e.Info()
			if perr != nil || ierr != nil || !info.Mode().IsRegular() {
				continue // temporary files of other tools; what is needed is opened with checks
			}
			if err := fn(d, info.Size()); err != nil {
				return err
			}
		}
	}
	return nil
}
