//go:build unix

package layout_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Each file of a layout replaced by each thing that is no file. None may hang,
// and none may be read through.
func TestFolderFilesThatAreNone(t *testing.T) {
	good := simple(t)
	if err := readFolder(t, unpack(t, good...)); err != nil {
		t.Fatalf("without an attack: %v", err)
	}
	aside := t.TempDir()
	for _, m := range good {
		for what, replace := range map[string]func(path string) error{
			"a link to the same bytes, inside": func(p string) error {
				return errors.Join(os.Rename(p, p+".real"), os.Symlink(filepath.Base(p)+".real", p))
			},
			"a link to the same bytes, outside": func(p string) error {
				return errors.Join(os.Rename(p, filepath.Join(aside, "real")), os.Symlink(filepath.Join(aside, "real"), p))
			},
			"a link to itself":  func(p string) error { return errors.Join(os.Remove(p), os.Symlink(filepath.Base(p), p)) },
			"a link to nothing": func(p string) error { return errors.Join(os.Remove(p), os.Symlink("nothing", p)) },
			"a pipe":            func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o644)) },
			"a socket":          socket,
			"a folder":          func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) },
		} {
			dir := unpack(t, good...)
			if err := replace(filepath.Join(dir, m.name)); err != nil {
				t.Fatal(err)
			}
			if err := readFolder(t, dir); !errors.Is(err, disk.ErrNotRegular) {
				t.Errorf("%s is %s: %v, want ErrNotRegular", m.name, what, err)
			}
		}
	}
}

func socket(path string) error {
	dir, err := os.MkdirTemp("", "s") // a socket's path is short
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s")})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	return errors.Join(l.Close(), os.Rename(filepath.Join(dir, "s"), path))
}

// A folder of the layout that is a link: inside it is only another name, outside
// it is refused.
func TestFolderLinkedFolders(t *testing.T) {
	for _, name := range []string{"blobs", "blobs/sha256"} {
		dir := unpack(t, simple(t)...)
		outside := filepath.Join(t.TempDir(), "moved")
		if err := errors.Join(os.Rename(filepath.Join(dir, name), outside), os.Symlink(outside, filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
		if err := readFolder(t, dir); err == nil {
			t.Errorf("%s is a link to the outside, and is read", name)
		}
		dir = unpack(t, simple(t)...)
		if err := errors.Join(os.Remove(filepath.Join(dir, "index.json")), os.RemoveAll(filepath.Join(dir, name)), unix.Mkfifo(filepath.Join(dir, name), 0o644)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "index.json"), simple(t)[1].data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := readFolder(t, dir); err == nil {
			t.Errorf("%s is a pipe, and is read", name)
		}
	}
}

// Somebody swaps a blob for a link to other content, again and again, while it is
// read: what is read is right, or it is an error.
func TestFolderRacingSwap(t *testing.T) {
	good := simple(t)
	dir := unpack(t, good...)
	victim := filepath.Join(dir, good[len(good)-1].name)
	other, real := filepath.Join(dir, "other"), filepath.Join(dir, "real")
	if err := errors.Join(os.WriteFile(other, []byte("wrong"), 0o644), os.Link(victim, real)); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tmp := filepath.Join(dir, "tmp")
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			switch i % 3 {
			case 0:
				_ = os.Symlink("../../other", tmp)
			case 1:
				_ = os.Link(other, tmp)
			default:
				_ = os.Link(real, tmp)
			}
			_ = os.Rename(tmp, victim)
		}
	})
	r, err := openFolder(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	want := good[len(good)-1].data
	right, refused := 0, 0
	for i := 0; i < 100_000 && (right < 100 || refused < 100); i++ {
		rc, err := r.Open(t.Context(), "", describe(want))
		var got []byte
		if err == nil {
			got, err = io.ReadAll(rc)
			rc.Close()
		}
		if err != nil {
			refused++
			runtime.Gosched()
		} else if right++; !bytes.Equal(got, want) {
			t.Fatalf("read %q", got)
		}
	}
	close(stop)
	wg.Wait()
	if right == 0 || refused == 0 {
		t.Errorf("%d right and %d refused: there was no race", right, refused)
	}
}

func TestFolderDamage(t *testing.T) {
	b := layouttest.New("reg.example/app")
	image := b.Image("image", b.Blob(layerType, []byte("layer")))
	good := append([]member{{name: "oci-layout", data: []byte(layoutJSON)}, {name: "index.json", data: indexJSON(t, named(image, "v1"))}}, blobs(b.Content())...)
	for i, m := range good {
		for what, data := range map[string][]byte{
			"empty": {}, "cut short": m.data[:len(m.data)-1], "longer": append(bytes.Clone(m.data), 'x'),
			"flipped": append([]byte{m.data[0] ^ 1}, m.data[1:]...), "gone": nil,
		} {
			bad := append([]member{}, good...)
			bad[i].data = data
			if what == "gone" {
				bad = append(bad[:i], bad[i+1:]...)
			}
			err := readFolder(t, unpack(t, bad...))
			if err == nil || !classified(err) {
				t.Errorf("%s %s: %v", m.name, what, err)
			}
		}
	}
	for name, want := range map[string]error{
		`{"imageLayoutVersion":"1.0.0"`: layout.ErrCorrupt, `{"imageLayoutVersion":"1.1.0"}`: layout.ErrUnsupported, `{}`: layout.ErrUnsupported,
		`{"ImageLayoutVersion":"1.0.0"}`: layout.ErrCorrupt, `{"imageLayoutVersion":"2","imageLayoutVersion":"1.0.0"}`: layout.ErrCorrupt,
		strings.Repeat(" ", 5000) + layoutJSON: layout.ErrLimit,
	} {
		if err := readFolder(t, unpack(t, append([]member{{name: "oci-layout", data: []byte(name)}}, good[1:]...)...)); !errors.Is(err, want) {
			t.Errorf("oci-layout %.50q: %v, want %v", name, err, want)
		}
	}
}

func TestIndexJSON(t *testing.T) {
	b := layouttest.New("reg.example/app")
	image := b.Image("image")
	desc := func(edit func(d *layout.Descriptor)) string {
		d := image
		edit(&d)
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return `{"schemaVersion":2,"manifests":[` + string(data) + `]}`
	}
	for raw, want := range map[string]error{
		`{"schemaVersion":2,"manifests":[]}`:   nil,
		`{"schemaVersion":2,"manifests":null}`: nil,
		`{"schemaVersion":2}`:                  nil,
		`{"schemaVersion":1,"manifests":[]}`:   layout.ErrCorrupt,
		`{"manifests":[]}`:                     layout.ErrCorrupt,
		`null`:                                 layout.ErrCorrupt,
		`[]`:                                   layout.ErrCorrupt,
		``:                                     layout.ErrCorrupt,
		`{"schemaVersion":2,"manifests":[],"manifests":[]}`:                                   layout.ErrCorrupt,
		`{"schemaVersion":2,"Manifests":[]}`:                                                  layout.ErrCorrupt,
		`{"schemaVersion":2,"mediaType":"` + layout.MediaTypeManifest + `","manifests":[]}`:   layout.ErrCorrupt,
		`{"schemaVersion":2,"mediaType":"` + layout.MediaTypeDockerList + `","manifests":[]}`: layout.ErrCorrupt,
		`{"schemaVersion":2,"manifests":[null]}`:                                              layout.ErrCorrupt,
		desc(func(d *layout.Descriptor) { d.Size = -1 }):                                      layout.ErrCorrupt,
		desc(func(d *layout.Descriptor) { d.Size = 1<<63 - 1 }):                               layout.ErrLimit,
		desc(func(d *layout.Descriptor) { d.Size++ }):                                         layout.ErrCorrupt,
		desc(func(d *layout.Descriptor) { d.Digest = "sha256:../../x" }):                      layout.ErrCorrupt,
		desc(func(d *layout.Descriptor) { d.Digest = digest.FromString("absent") }):           layout.ErrNotFound,
		desc(func(d *layout.Descriptor) { d.MediaType = layerType }):                          nil, // passed over
		desc(func(d *layout.Descriptor) { d.MediaType = "" }):                                 nil,
		desc(func(d *layout.Descriptor) { d.MediaType = layout.MediaTypeDockerSchema1 }):      nil,
		desc(func(d *layout.Descriptor) { d.MediaType = layout.MediaTypeIndex }):              layout.ErrCorrupt,
		desc(func(d *layout.Descriptor) { d.MediaType = layout.MediaTypeDockerManifest }):     layout.ErrCorrupt,
	} {
		members := append([]member{{name: "oci-layout", data: []byte(layoutJSON)}, {name: "index.json", data: []byte(raw)}}, blobs(b.Content())...)
		for what, err := range map[string]error{"folder": readFolder(t, unpack(t, members...)), "tar": readAll(t, pack(t, members...))} {
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("index.json of a %s, %.150s: %v, want %v", what, raw, err, want)
			}
		}
	}
}

// A bad sector under a blob, an unreadable folder: no answer, rather than "none".
func TestFolderUnreadableIsNoAnswer(t *testing.T) {
	b := layouttest.New("reg.example/app")
	image := b.Image("image")
	signature := b.Notary(image, "orphan")
	members := append([]member{{name: "oci-layout", data: []byte(layoutJSON)}, {name: "index.json", data: indexJSON(t, named(image, "v1"))}}, blobs(b.Content())...)
	for what, spoil := range map[string]func(path string) error{
		"a link":  func(p string) error { return errors.Join(os.Rename(p, p+".x"), os.Symlink(filepath.Base(p)+".x", p)) },
		"damaged": func(p string) error { return os.WriteFile(p, []byte("{damaged}"), 0o644) },
	} {
		dir := unpack(t, members...)
		if err := spoil(filepath.Join(dir, layout.BlobPath(signature.Digest))); err != nil {
			t.Fatal(err)
		}
		r, err := openFolder(t, dir)
		if err != nil {
			t.Fatal(err)
		}
		if answers, err := r.Attached(t.Context(), "", image); err == nil {
			t.Errorf("an unlisted signature is %s: Attached = %v, want an error", what, answers)
		} else if !strings.Contains(err.Error(), string(signature.Digest)) && !strings.Contains(err.Error(), signature.Digest.Encoded()) {
			t.Errorf("an unlisted signature is %s: %v does not name it", what, err)
		}
	}
}

// What a cancelled context stops.
func TestFolderWriterCancelled(t *testing.T) {
	content := layouttest.Large("reg.example/app", 1<<20)
	w, err := layout.NewFolderWriter("folder", openDir(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if err := content.Put(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, item := range content.Repositories["reg.example/app"] {
		if _, err := w.Has(ctx, "", item.Descriptor); !errors.Is(err, context.Canceled) {
			t.Errorf("Has = %v, want context.Canceled", err)
		}
	}
}
