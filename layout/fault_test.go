package layout_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/disk/disktest"
	"airgap/layout/layouttest"
)

// eachFault runs once without a fault to learn the operations, then once for every
// operation, every fault that can happen to it, and every way in which the power
// can go afterwards.
func eachFault(t *testing.T, run func(fsys disk.FS) error, setup func(dir string), check func(what, dir string, err error)) {
	t.Helper()
	place := func() (string, *disktest.FS) {
		dir := memoryDir(t)
		setup(dir)
		return dir, disktest.Wrap(openDir(t, dir))
	}
	dir, whole := place()
	if err := run(whole); err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	check("no fault", dir, nil)
	ops := whole.Ops()
	for _, loss := range disktest.Losses {
		dir, fsys := place()
		if err := run(fsys); err != nil {
			t.Fatal(err)
		}
		what := "no fault"
		cut(t, fsys, loss, &what)
		check(what, dir, nil)
	}
	faults := 0
	for n, call := range ops {
		for _, mode := range disktest.Modes {
			if !mode.Applies(call.Op) {
				continue
			}
			if raceEnabled && (n+len(mode))%5 > 0 {
				continue
			}
			for k, loss := range append([]disktest.Loss{""}, disktest.Losses...) {
				if os.Getenv("AIRGAP_CAMPAIGN") == "" && k > 0 && (n+len(mode)+k)%2 > 0 {
					continue // each kind of loss in turn
				}
				dir, fsys := place()
				fsys.Inject(n+1, mode)
				err := run(fsys)
				what := fmt.Sprintf("%s at operation %d of %d, %s", mode, n+1, len(ops), call)
				if !fsys.Fired() {
					t.Fatalf("%s: did not happen", what)
				}
				if loss != "" && !fsys.Crashed() {
					break // that the power goes as well is another fault
				}
				cut(t, fsys, loss, &what)
				check(what, dir, err)
				faults++
			}
		}
	}
	t.Logf("%d operations, %d faults", len(ops), faults)
}

// cut takes the power away, if there is something to lose.
func cut(t *testing.T, fsys *disktest.FS, loss disktest.Loss, what *string) {
	t.Helper()
	if loss == "" {
		return
	}
	*what += ", then power lost: " + string(loss)
	if err := fsys.PowerCut(loss); err != nil {
		t.Fatalf("%s: %v", *what, err)
	}
}

// memoryDir is a folder in memory where there is one: a disk takes its time to
// sync, and the faults are made here.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "airgap-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Any fault while a bundle is written: either it is there, all of it, or its name
// is not (or is still the earlier bundle's). Run again, it comes out the same, and
// nothing is left lying about.
func TestTarWriterFaults(t *testing.T) {
	t.Parallel()
	b := layouttest.New(repo)
	b.Tag("v1", b.Image("image", b.Blob(layerType, []byte("a layer")), b.Blob(layerType, make([]byte, 100_000))))
	j := newJob(t, b.Content())
	b.Tag("v0", b.Image("earlier"))
	earlier := newJob(t, b.Content())
	run := func(fsys disk.FS) error {
		w, err := layout.NewTarWriter(fsys, bundleName, j.plan)
		if err != nil {
			return err
		}
		defer w.Close()
		for _, item := range j.items {
			has, err := w.Has(t.Context(), "", item.Descriptor)
			if err == nil && !has {
				err = put(t.Context(), w, item)
			}
			if err != nil {
				return err
			}
		}
		return w.Commit(t.Context(), j.plan.Names)
	}
	for what, before := range map[string]map[string][]byte{
		"fresh":                 {},
		"over an earlier one":   {bundleName: earlier.want},
		"after another attempt": {bundleName + layout.PartialSuffix: earlier.want[:len(earlier.want)-600], bundleName + layout.PartialSuffix + ".old": j.want[:len(j.want)/2]},
	} {
		t.Run(what, func(t *testing.T) {
			setup := func(dir string) {
				for name, data := range before {
					if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			eachFault(t, run, setup, func(what, dir string, err error) {
				got, rerr := os.ReadFile(filepath.Join(dir, bundleName))
				switch {
				case err == nil && !bytes.Equal(got, j.want):
					t.Errorf("%s: no error, and no bundle (%d bytes, %v)", what, len(got), rerr)
				case rerr == nil && !bytes.Equal(got, j.want) && !bytes.Equal(got, before[bundleName]):
					t.Errorf("%s: %v; under the bundle's name are %d bytes of something else", what, err, len(got))
				case errors.Is(err, syscall.ENOSPC) && layout.Hint(err) == "":
					t.Errorf("%s: %v does not say what to do", what, err)
				}
				if err := run(openDir(t, dir)); err != nil {
					t.Errorf("%s: run again: %v", what, err)
				}
				j.written(t, dir)
			})
		})
	}
}

// Any fault while a folder is written: it is what it was, or what it is to be, and
// run again it becomes that.
func TestFolderWriterFaults(t *testing.T) {
	t.Parallel()
	b := layouttest.New(repo)
	image := b.Image("image", b.Blob(layerType, []byte("a layer")))
	b.Tag("v1", image)
	b.Notary(image, "signature")
	content := b.Content()
	old := layouttest.New(repoB)
	old.Tag("v0", old.Image("old", old.Blob(layerType, []byte("old"))))
	before := old.Content()
	run := func(fsys disk.FS) error {
		w, err := layout.NewFolderWriter("folder", fsys)
		if err != nil {
			return err
		}
		for _, item := range content.Repositories[repo] {
			has, err := w.Has(t.Context(), "", item.Descriptor)
			if err == nil && !has {
				err = put(t.Context(), w, item)
			}
			if err != nil {
				return err
			}
		}
		return w.Commit(t.Context(), content.Names)
	}
	for what, setup := range map[string]func(dir string){
		"fresh": func(string) {},
		"beside another image": func(dir string) {
			if err := before.Load(t.Context(), folderWriter(t, dir)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			eachFault(t, run, setup, func(fault, dir string, err error) {
				r, rerr := openFolder(t, dir)
				named := false
				if rerr == nil {
					_, nerr := r.Resolve(t.Context(), tag("v1"))
					named = nerr == nil
				}
				if err == nil && !named {
					t.Errorf("%s: no error, and no name (%v)", fault, rerr)
				}
				if named {
					if err := readReader(t, r); err != nil {
						t.Errorf("%s: %v; the name is there and what it leads to is not: %v", fault, err, err)
					}
				}
				if what != "fresh" {
					if rerr != nil {
						t.Errorf("%s: the folder can no longer be read: %v", fault, rerr)
					} else if _, err := r.Resolve(t.Context(), layout.Reference{Repository: repoB, Tag: "v0"}); err != nil {
						t.Errorf("%s: the image that was there is lost: %v", fault, err)
					}
				}
				if err := run(openDir(t, dir)); err != nil {
					t.Errorf("%s: run again: %v", fault, err)
					return
				}
				again, err := openFolder(t, dir)
				if err != nil {
					t.Fatal(err)
				}
				layouttest.CheckSource(t, again, content, layouttest.Traits{OneNamespace: true})
			})
		})
	}
}
