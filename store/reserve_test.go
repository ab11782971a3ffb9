package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/layouttest"
)

// fullFor fails as often as n says, as on a full disk; there reports whether the reserve is
// there each time.
func fullFor(s *Store, n int) (there *[]bool) {
	there = &[]bool{}
	s.changeFails = func() error {
		ok, err := disk.Exists(s.fs, reserveName)
		*there = append(*there, ok && err == nil)
		if n--; n >= 0 {
			return fmt.Errorf("write: %w", syscall.ENOSPC)
		}
		return nil
	}
	return there
}

// A collection on a full disk first removes what the database does not list, then gives the
// reserve up, and then goes on in parts; afterwards the reserve is there again.
func TestCollectFullDisk(t *testing.T) {
	for failures := range 7 {
		t.Run(fmt.Sprint(failures), func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{})
			add(t, s, cosigned("kept"))
			add(t, s, many(50))
			add(t, s, cosigned("gone"))
			unname(t, s, "many")
			unname(t, s, "gone")
			orphan := filepath.Join(dir, "blobs", "sha256", strings.Repeat("0", 64))
			write(t, orphan, []byte("left by a crash"))
			want := collect(t, s, CollectOptions{DryRun: true})
			there := fullFor(s, failures)
			got, err := s.Collect(t.Context(), CollectOptions{})
			s.changeFails = nil
			if failures > 3 { // not even a part can be forgotten
				if !errors.Is(err, syscall.ENOSPC) || layout.Hint(err) == "" {
					t.Errorf("Collect = %v (hint %q)", err, layout.Hint(err))
				}
			} else if no(t, err); got.Manifests != want.Manifests || got.Blobs != want.Blobs || got.Bytes != want.Bytes || got.Orphans != 1 {
				t.Errorf("collected %+v, want %+v", got, want)
			}
			for i, ok := range *there {
				if ok != (i < 2) {
					t.Errorf("attempt %d: the reserve is there: %v", i, ok)
				}
			}
			if _, err := os.Stat(orphan); failures > 0 && err == nil {
				t.Error("what nobody lists is still there")
			}
			sound(t, s)
			layouttest.CheckSource(t, s, cosigned("kept"), layouttest.Traits{})
			collect(t, s, CollectOptions{})
			if _, err := os.Stat(filepath.Join(dir, reserveName)); err != nil {
				t.Errorf("the reserve was not made again: %v", err)
			}
		})
	}
}

// A name can be taken away, and content quarantined, on a full disk; nothing can be added.
func TestRemoveFullDisk(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	add(t, s, image("v1"))
	fullFor(s, 1)
	if err := image("v2").Load(t.Context(), begin(t, s)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("import = %v, want ENOSPC", err)
	}
	fullFor(s, 1)
	session := begin(t, s)
	no(t, session.Quarantine(testRepo, image("v1").Names[0].Descriptor.Digest, "its key was revoked"))
	no(t, session.Commit(t.Context(), nil))
	s.changeFails = nil
}

// The reserve has blocks of its own, and a store without one gets it.
func TestReserve(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	path := filepath.Join(dir, reserveName)
	if info, err := os.Stat(path); err != nil || info.Size() != reserveBytes {
		t.Fatalf("reserve: %v, %v", info, err)
	}
	no(t, s.Close())
	no(t, os.Remove(path))
	no(t, open(t, dir, Options{ReadOnly: true}).Close())
	if _, err := os.Stat(path); err == nil {
		t.Error("who only reads has made it")
	}
	open(t, dir, Options{})
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
