package layout

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	file, size, err := f.open(name)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if size > limit {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are accepted: %w", name, size, limit, ErrLimit)
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: it grew beyond %d bytes: %w", name, limit, ErrLimit)
	}
	return data, err
}

// open opens a regular file.
func (f folder) open(name string) (disk.File, int64, error) {
	file, err := f.fsys.Open(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, ErrNotFound
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", name, disk.ErrNotRegular)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

func (f folder) blob(d digest.Digest) (io.ReadCloser, int64, error) {
	file, size, err := f.open(BlobPath(d))
	if err != nil {
		return nil, 0, err
	}
	return file, size, nil
}

// matches says whether the folder holds what plan lists and no more.
func (f folder) matches(plan *Plan) error {
	want := 0
	for i := range plan.Entries {
		e := &plan.Entries[i]
		if e.name != "" {
			data, err := f.file(e.name, e.Size)
			if err != nil {
				return err
			}
			if !bytes.Equal(data, e.Data) {
				return fmt.Errorf("%s is not what it has to be: %w", e.name, ErrCorrupt)
			}
			continue
		}
		want++
		rc, size, err := f.blob(e.Digest)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Digest, err)
		}
		rc.Close()
		if size != e.Size {
			return fmt.Errorf("%s has %d bytes, want %d: %w", e.Digest, size, e.Size, ErrCorrupt)
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
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = eachBlob(dir, alg, fn)
		dir.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// passedOver counts what stands beside a layout in its folder.
func (f folder) passedOver() int {
	dir, err := f.fsys.Open(".", os.O_RDONLY, 0)
	if err != nil {
		return 0
	}
	defer dir.Close()
	n := 0
	for {
		entries, err := dir.ReadDir(1000)
		for _, e := range entries {
			if name := e.Name(); !ownName(name) && name != "blobs" && name != "repositories" {
				n++
			}
		}
		if err != nil || len(entries) == 0 {
			return n
		}
	}
}

func eachBlob(dir disk.File, alg digest.Algorithm, fn func(digest.Digest, int64) error) error {
	for {
		entries, rerr := dir.ReadDir(1000)
		for _, e := range entries {
			d, err := ParseDigest(alg.String() + ":" + e.Name())
			if err != nil {
				continue // a temporary file of another tool
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // it went away
			}
			if err == nil && !info.Mode().IsRegular() {
				// It will not be read, so what it may be attached to cannot be known.
				err = fmt.Errorf("%s: %w", BlobPath(d), disk.ErrNotRegular)
			}
			if err == nil {
				err = fn(d, info.Size())
			}
			if err != nil {
				return err
			}
		}
		if rerr == io.EOF || rerr == nil && len(entries) == 0 {
			return nil
		}
		if rerr != nil {
			return rerr
		}
	}
}
