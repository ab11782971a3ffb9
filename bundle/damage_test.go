package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
)

// small returns a bundle with one of each: image, referrer, cosign tag.
func small(t *testing.T) string {
	b := layouttest.New(repo)
	img := b.Image("small", b.Blob("application/vnd.oci.image.layer.v1.tar", []byte("layer")))
	b.Tag("v1", img)
	b.Notary(img, "publisher")
	b.Cosign(layout.FormCosignSig, img, "key")
	return export(t, b.Content(), bundle.ExportOptions{})
}

// refused says how an import of path went wrong in refusing it, or nil: it has
// to fail, for damage, and leave no name.
func refused(path string) error {
	dst := layout.NewMemory()
	b, err := bundle.Open(context.Background(), path, bundle.OpenOptions{})
	if err == nil {
		err = putHeld(dst)
	}
	if err == nil {
		_, err = bundle.Import(context.Background(), b, dst, bundle.ImportOptions{InsecureSkipVerify: true})
		b.Close()
	}
	ref := layout.Reference{Repository: repo, Tag: "v1"}
	if _, rerr := dst.Resolve(context.Background(), ref); rerr == nil {
		return errors.New("the image was imported")
	}
	switch {
	case err == nil:
		return errors.New("the import went through")
	case !errors.Is(err, layout.ErrCorrupt) && !errors.Is(err, layout.ErrNotBundle): // without its first block it is no tar
		return fmt.Errorf("refused for another reason: %w", err)
	}
	return nil
}

// each calls fn for 0…n-1 on all processors, each with a copy of the bundle.
func each(t *testing.T, path string, n int, fn func(file *os.File, i int) error) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := refused(path); err == nil || err.Error() != "the image was imported" {
		t.Fatalf("the undamaged bundle: %v", err)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			mine := filepath.Join(t.TempDir(), fmt.Sprint(w))
			if err := os.WriteFile(mine, data, 0o600); err != nil {
				t.Error(err)
				return
			}
			f, err := os.OpenFile(mine, os.O_RDWR, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			for i := int(next.Add(1)) - 1; i < n && !t.Failed(); i = int(next.Add(1)) - 1 {
				if err := fn(f, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// A bundle that is damaged in a blob is refused even where the destination has
// that blob already, and so needs nothing of it.
func TestDamageIsFoundInWhatIsThereAlready(t *testing.T) {
	path := small(t)
	dst := layout.NewMemory()
	o := bundle.ImportOptions{InsecureSkipVerify: true}
	if _, err := bundle.Import(t.Context(), open(t, path), dst, o); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(data, []byte("layer"))
	data[at] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Import(t.Context(), open(t, path), dst, o); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("Import = %v, want ErrCorrupt", err)
	}
}

// Every single bit of a bundle, headers, padding and end included.
func TestEveryFlippedBitIsRefused(t *testing.T) {
	path := small(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	step := 1
	if testing.Short() || raceEnabled {
		step = 61 // the plain run takes them all
	}
	eachBit(t, path, data, step)
}

// eachBit flips one bit after the other, every step of them.
func eachBit(t *testing.T, path string, data []byte, step int) {
	t.Helper()
	t.Logf("%d bytes, %d bits, every %d", len(data), len(data)*8, step)
	each(t, path, len(data)*8/step, func(f *os.File, i int) error {
		at, bit := i*step/8, byte(1)<<(i*step%8)
		if _, err := f.WriteAt([]byte{data[at] ^ bit}, int64(at)); err != nil {
			return err
		}
		err := refused(f.Name())
		if err != nil {
			err = fmt.Errorf("byte %d (%q), bit %#x flipped: %w", at, data[at], bit, err)
		}
		_, werr := f.WriteAt(data[at:at+1], int64(at))
		return errors.Join(err, werr)
	})
}

// What was refused leaves nothing in a store: no name, no blob, no file.
func TestRefusedBundleLeavesNothingInStore(t *testing.T) {
	path := small(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for at := 0; at < len(data); at += 397 {
		bad := bytes.Clone(data)
		bad[at] ^= 0x10
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := intoStore(t, path, s); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("byte %d: %v, want ErrCorrupt", at, err)
		}
		names, err := s.Names(t.Context())
		files, gerr := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
		ingest, ierr := filepath.Glob(filepath.Join(dir, "ingest", "*", "[0-9]*")) // beside the lock of who has it open
		if len(names)+len(files)+len(ingest) > 0 || errors.Join(err, gerr, ierr) != nil {
			t.Fatalf("byte %d: left %v %v %v, %v", at, names, files, ingest, errors.Join(err, gerr, ierr))
		}
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := intoStore(t, path, s); err != nil {
		t.Errorf("the undamaged bundle: %v", err)
	}
}

func intoStore(t *testing.T, path string, s *store.Store) error {
	t.Helper()
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	b, err := bundle.Open(t.Context(), path, bundle.OpenOptions{})
	if err != nil {
		return err
	}
	defer b.Close()
	_, err = bundle.Import(t.Context(), b, session, bundle.ImportOptions{InsecureSkipVerify: true})
	return err
}

func TestEveryTruncationIsRefused(t *testing.T) {
	path := small(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	step := 1
	if testing.Short() || raceEnabled {
		step = 61
	}
	each(t, path, (len(data)-1)/step, func(f *os.File, i int) error {
		size := int64(len(data) - 1 - i*step)
		if err := f.Truncate(size); err != nil {
			return err
		}
		err := refused(f.Name())
		if err != nil {
			err = fmt.Errorf("cut to %d of %d bytes: %w", size, len(data), err)
		}
		_, werr := f.WriteAt(data, 0)
		return errors.Join(err, werr)
	})
}

// Blocks of the tar deleted, doubled, swapped: what a bad copy makes.
func TestMovedBlocksAreRefused(t *testing.T) {
	path := small(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks := len(data) / 512
	block := func(i int) []byte { return data[i*512 : i*512+512] }
	ways := []func(i int) []byte{
		func(i int) []byte { return append(append([]byte{}, data[:i*512]...), data[i*512+512:]...) },
		func(i int) []byte { return append(append([]byte{}, data[:i*512+512]...), data[i*512:]...) },
		func(i int) []byte {
			out := append([]byte{}, data...)
			copy(out[i*512:], block((i+1)%blocks))
			copy(out[(i+1)%blocks*512:], block(i))
			return out
		},
		func(i int) []byte {
			return append(append(append([]byte{}, data[:i*512]...), make([]byte, 512)...), data[i*512:]...)
		},
	}
	each(t, path, blocks*len(ways), func(f *os.File, n int) error {
		i := n / len(ways)
		bad := ways[n%len(ways)](i)
		if string(bad) == string(data) {
			return nil // two equal blocks swapped
		}
		if err := errors.Join(f.Truncate(int64(len(bad))), write(f, bad)); err != nil {
			return err
		}
		err := refused(f.Name())
		if err != nil {
			err = fmt.Errorf("block %d, way %d: %w", i, n%len(ways), err)
		}
		return errors.Join(err, f.Truncate(int64(len(data))), write(f, data))
	})
}

func write(f *os.File, data []byte) error {
	_, err := f.WriteAt(data, 0)
	return err
}
