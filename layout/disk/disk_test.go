//go:build unix

package disk_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"airgap/layout/disk"

	"golang.org/x/sys/unix"
)

// trap is a folder with everything in it that must not be opened, beside one
// that must not be reached.
func trap(t *testing.T) (dir *disk.Dir, inside, outside string) {
	t.Helper()
	base := t.TempDir()
	inside, outside = filepath.Join(base, "inside"), filepath.Join(base, "outside")
	must(t, os.MkdirAll(filepath.Join(inside, "sub"), 0o755))
	must(t, os.Mkdir(outside, 0o755))
	must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o644))
	must(t, os.WriteFile(filepath.Join(inside, "file"), []byte("content"), 0o644))
	must(t, os.WriteFile(filepath.Join(inside, "sub", "file"), []byte("content"), 0o644))
	for link, target := range map[string]string{
		"to-file": "file", "to-itself": "to-itself", "to-nothing": "nothing", "to-outside": "../outside/secret",
		"to-absolute": filepath.Join(outside, "secret"), "to-outside-folder": "../outside", "to-folder": "sub",
		"to-new": "../outside/new", "sub/to-above": "../file", "to-root": "/",
	} {
		must(t, os.Symlink(target, filepath.Join(inside, link)))
	}
	must(t, unix.Mkfifo(filepath.Join(inside, "pipe"), 0o644))
	d, err := disk.Open(inside)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d, inside, outside
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var flags = map[string]int{
	"read": os.O_RDONLY, "write": os.O_WRONLY, "both": os.O_RDWR, "create": os.O_RDWR | os.O_CREATE,
	"replace": os.O_WRONLY | os.O_CREATE | os.O_TRUNC, "append": os.O_WRONLY | os.O_APPEND,
}

func TestOpenFollowsNoLink(t *testing.T) {
	d, inside, outside := trap(t)
	for _, name := range []string{
		"to-file", "to-itself", "to-nothing", "to-outside", "to-absolute", "to-outside-folder", "to-folder", "to-new",
		"sub/to-above", "to-folder/to-above", "to-root", "pipe", "./pipe", "sub/../to-file",
	} {
		for how, flag := range flags {
			f, err := d.Open(name, flag, 0o644)
			if err == nil {
				t.Errorf("%s of %s gives a file", how, name)
				f.Close()
			} else if !errors.Is(err, disk.ErrNotRegular) {
				t.Errorf("%s of %s: %v, want ErrNotRegular", how, name, err)
			}
		}
		if _, err := d.Open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err == nil {
			t.Errorf("%s was created", name)
		}
	}
	unchanged(t, inside, outside)
}

func TestOpenStaysInside(t *testing.T) {
	d, inside, outside := trap(t)
	for _, name := range []string{
		"..", "../outside/secret", "sub/../../outside/secret", "/etc/passwd", filepath.Join(outside, "secret"), "to-outside-folder/secret",
		"to-root/etc/passwd", "../inside/file", "", "file/secret", "pipe/secret", "sub/..//../outside/secret", "a\x00b", strings.Repeat("a", 5000),
	} {
		for how, flag := range flags {
			if f, err := d.Open(name, flag, 0o644); err == nil {
				if name != "" {
					t.Errorf("%s of %.100q gives a file", how, name)
				}
				f.Close()
			}
		}
		if name != "" && name != "../inside/file" {
			if err := d.Rename("file", name); err == nil {
				t.Errorf("file was renamed to %.100q", name)
			}
		}
	}
	unchanged(t, inside, outside)
}

// unchanged checks that no attempt wrote anything.
func unchanged(t *testing.T, inside, outside string) {
	t.Helper()
	for path, want := range map[string]string{
		filepath.Join(inside, "file"): "content", filepath.Join(inside, "sub", "file"): "content", filepath.Join(outside, "secret"): "secret",
	} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s has become %q, %v", path, got, err)
		}
	}
	for dir, want := range map[string]int{inside: 12, outside: 1} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != want {
			t.Errorf("%s has %d entries, want %d (%v)", dir, len(entries), want, err)
		}
	}
}

func TestOpenRegular(t *testing.T) {
	d, _, _ := trap(t)
	for _, name := range []string{"file", "sub/file", "./file", "sub/../file", "to-folder/file"} {
		if data, err := disk.ReadFile(d, name, 100); err != nil || string(data) != "content" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if _, err := d.Open("nothing", os.O_RDONLY, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v, want ErrNotExist", err)
	}
	if _, err := d.Open("file", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); !errors.Is(err, fs.ErrExist) {
		t.Errorf("file, anew: %v, want ErrExist", err)
	}
	if _, err := disk.ReadFile(d, "file", 6); err == nil {
		t.Error("a limit of 6 lets 7 bytes pass")
	}
	for _, dir := range []string{".", "sub"} {
		f, err := d.Open(dir, os.O_RDONLY, 0)
		must(t, err)
		if list, err := f.ReadDir(-1); err != nil || len(list) == 0 {
			t.Errorf("%s lists %d, %v", dir, len(list), err)
		}
		must(t, f.Close())
	}
	f, err := d.Open("sub/new", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	must(t, err)
	info, err := f.Stat()
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	must(t, f.Close())
}

// Somebody swaps a file for a link, over and over, while it is opened: what is
// read is the file or nothing.
func TestOpenRacingSwap(t *testing.T) {
	d, inside, outside := trap(t)
	must(t, os.WriteFile(filepath.Join(inside, "sub", "hidden"), []byte("hidden"), 0o644))
	must(t, os.WriteFile(filepath.Join(inside, "good"), []byte("content"), 0o644))
	must(t, os.Link(filepath.Join(inside, "good"), filepath.Join(inside, "victim")))
	stop, swapped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(swapped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			tmp := filepath.Join(inside, "swap")
			switch i % 4 {
			case 0:
				_ = os.Symlink("sub/hidden", tmp)
			case 1:
				_ = os.Symlink(filepath.Join(outside, "secret"), tmp)
			case 2:
				_ = unix.Mkfifo(tmp, 0o644)
			default:
				_ = os.Link(filepath.Join(inside, "good"), tmp)
			}
			_ = os.Rename(tmp, filepath.Join(inside, "victim"))
		}
	}()
	read, refused := 0, 0
	for i := 0; i < 200_000 && (read < 200 || refused < 200); i++ {
		f, err := d.Open("victim", []int{os.O_RDONLY, os.O_RDWR}[i%2], 0)
		if err != nil {
			refused++
			runtime.Gosched()
			continue
		}
		got, err := io.ReadAll(f)
		f.Close()
		if read++; err != nil || string(got) != "content" {
			t.Fatalf("read %q, %v", got, err)
		}
	}
	close(stop)
	<-swapped
	if read == 0 || refused == 0 {
		t.Errorf("%d reads and %d refusals: the race was not run", read, refused)
	}
}

func TestWriteFile(t *testing.T) {
	d, inside, outside := trap(t)
	must(t, disk.WriteFile(d, "new", []byte("one")))
	must(t, disk.WriteFile(d, "new", []byte("two")))
	if got, _ := os.ReadFile(filepath.Join(inside, "new")); string(got) != "two" {
		t.Errorf("new is %q", got)
	}
	must(t, os.Remove(filepath.Join(inside, "new")))
	// A link where the temporary file would be.
	must(t, os.Symlink("../outside/secret", filepath.Join(inside, "a.tmp")))
	must(t, os.Symlink("file", filepath.Join(inside, "b.tmp")))
	for _, name := range []string{"a", "b"} {
		if err := disk.WriteFile(d, name, []byte("bad")); !errors.Is(err, disk.ErrNotRegular) {
			t.Errorf("%s: %v, want ErrNotRegular", name, err)
		}
		must(t, os.Remove(filepath.Join(inside, name+".tmp")))
	}
	// A link where the file goes is replaced, not followed.
	must(t, disk.WriteFile(d, "to-outside", []byte("new")))
	unchanged(t, inside, outside)
}

func TestOpenFileRefusesPipes(t *testing.T) {
	_, inside, _ := trap(t)
	if _, err := disk.OpenFile(filepath.Join(inside, "to-file")); err != nil {
		t.Errorf("a link that the user named: %v", err)
	}
	if _, err := disk.OpenFile(filepath.Join(inside, "pipe")); !errors.Is(err, disk.ErrNotRegular) {
		t.Errorf("a pipe: %v, want ErrNotRegular", err)
	}
	if f, err := disk.OpenFile(filepath.Join(inside, "sub")); err == nil {
		if info, _ := f.Stat(); !info.IsDir() {
			t.Error("sub is no folder")
		}
		f.Close()
	}
}

func TestLock(t *testing.T) {
	d, _, _ := trap(t)
	one, err := d.Open("file", os.O_RDWR, 0)
	must(t, err)
	two, err := d.Open("file", os.O_RDWR, 0)
	must(t, err)
	defer two.Close()
	must(t, disk.Lock(one))
	if err := disk.Lock(two); !errors.Is(err, disk.ErrBusy) {
		t.Errorf("a second lock: %v, want ErrBusy", err)
	}
	must(t, one.Close())
	must(t, disk.Lock(two))
}
