package trust_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/disk/disktest"
	"airgap/verify/trust"
)

// tree lists what is in a folder, but for the lock.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); err == nil && rel != "." && rel != ".airgap.lock" {
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	}))
	return out
}

func TestInit(t *testing.T) {
	dir := filepath.Join(tempDir(t), "a", "b")
	must(t, trust.Init(dir))
	want := []string{"README", "confirmed.json", "crl", "keys", "truststore", "truststore/x509", "truststore/x509/ca", "truststore/x509/signingAuthority", "truststore/x509/tsa"}
	if got := tree(t, dir); !slices.Equal(got, want) {
		t.Errorf("made %v", got)
	}
	empty := mustOpen(t, dir)
	if len(empty.Items()) != 0 {
		t.Errorf("items %+v", empty.Items())
	}
	_, err := trust.AddKey(dir, "k", keyPEM(t, "k"))
	must(t, err)
	must(t, trust.Init(dir))
	if n := len(mustOpen(t, dir).Items()); n != 1 {
		t.Errorf("made again, it has %d items", n)
	}
	// What somebody wrote about it stays, and an existing one is completed.
	other := tempDir(t)
	write(t, other, map[string][]byte{"truststore/x509/ca/acme/x.pem": caPEM(t, "acme"), "README.md": []byte("mine"), ".git/config": nil})
	must(t, trust.Init(other))
	if got := tree(t, other); slices.Contains(got, "README") || !slices.Contains(got, "keys") || len(mustOpen(t, other).Items()) != 1 {
		t.Errorf("completed to %v", got)
	}
}

// Folders that hold other things stay as they are, whatever is done to them.
func TestOtherFolders(t *testing.T) {
	for what, files := range map[string]map[string][]byte{
		"a home":               {"notes.txt": nil, ".profile": nil},
		"a folder with a part": {"keys/x": nil, "notes.txt": nil},
		"a layout":             {"oci-layout": nil, "index.json": nil, "blobs/sha256/x": nil},
	} {
		dir := tempDir(t)
		write(t, dir, files)
		before := tree(t, dir)
		wantErr(t, what, trust.Init(dir), trust.ErrNotTrust)
		if _, ok := files["keys/x"]; !ok {
			_, err := trust.AddKey(dir, "k", keyPEM(t, "k"))
			wantErr(t, what, err, trust.ErrNotTrust)
			wantErr(t, what, trust.Remove(dir, "keys/k.pub"), trust.ErrNotTrust)
			if _, err := os.Lstat(filepath.Join(dir, ".airgap.lock")); err == nil {
				t.Errorf("%s: a lock was left", what)
			}
		}
		if got := tree(t, dir); !slices.Equal(got, before) {
			t.Errorf("%s: it has become %v", what, got)
		}
	}
	_, err := trust.AddKey(filepath.Join(tempDir(t), "missing"), "k", keyPEM(t, "k"))
	wantErr(t, "a missing folder", err, trust.ErrNotTrust)
}

// adds are one of each kind; n makes other content under the same name.
func adds(t *testing.T, dir string) map[string]func(n string) (trust.Added, error) {
	return map[string]func(n string) (trust.Added, error){
		"truststore/x509/ca/acme/a.pem": func(n string) (trust.Added, error) {
			return trust.AddCertificate(dir, trust.TypeCA, "acme", caPEM(t, n), "a.pem")
		},
		"truststore/x509/signingAuthority/acme/a.pem": func(n string) (trust.Added, error) {
			return trust.AddCertificate(dir, trust.TypeSigningAuthority, "acme", caPEM(t, n), "a.pem")
		},
		"truststore/x509/tsa/acme/a.pem": func(n string) (trust.Added, error) {
			return trust.AddCertificate(dir, trust.TypeTSA, "acme", caPEM(t, n), "a.pem")
		},
		"keys/k.pub":          func(n string) (trust.Added, error) { return trust.AddKey(dir, "k", keyPEM(t, n)) },
		"trusted_root.json":   func(n string) (trust.Added, error) { return trust.AddRoot(dir, "", rootNamed(t, n)) },
		"trusted_root-x.json": func(n string) (trust.Added, error) { return trust.AddRoot(dir, "x", rootNamed(t, n)) },
		"crl/c.crl": func(n string) (trust.Added, error) {
			return trust.AddCRL(dir, newCRL(t, newCA(t, n), 1, ends), "c.pem")
		},
	}
}

func rootNamed(t *testing.T, n string) []byte {
	t.Helper()
	end := ends
	if n != "one" {
		end = ends.AddDate(0, 1, 0)
	}
	return newRoot(t, end)
}

func TestAdd(t *testing.T) {
	dir := tempDir(t)
	must(t, trust.Init(dir))
	items := 0
	for file, add := range adds(t, dir) {
		a, err := add("one")
		must(t, err)
		if a.File != file || a.Already || len(a.Items) == 0 {
			t.Errorf("%s: added %+v", file, a)
		}
		items += len(a.Items)
		tr := mustOpen(t, dir)
		for _, i := range a.Items {
			if !slices.Contains(tr.Items(), i) {
				t.Errorf("%s: %+v is not there", file, i)
			}
		}
		if len(tr.Items()) != items {
			t.Errorf("%s: %d items, want %d", file, len(tr.Items()), items)
		}
		again, err := add("one")
		if err != nil || !again.Already || again.File != file || !slices.Equal(again.Items, a.Items) {
			t.Errorf("%s, again: %+v, %v", file, again, err)
		}
		_, err = add("two")
		wantErr(t, file+", something else", err, trust.ErrExists)
		if !strings.Contains(layout.Hint(err), "airgap trust remove "+file) {
			t.Errorf("%s: hint %q", file, layout.Hint(err))
		}
		if mustOpen(t, dir).Digest() != tr.Digest() {
			t.Errorf("%s: what was refused changed the trust", file)
		}
	}
	for file, add := range adds(t, dir) {
		must(t, trust.Remove(dir, file))
		wantErr(t, file+", removed twice", trust.Remove(dir, file), trust.ErrNotFound)
		if _, err := add("two"); err != nil {
			t.Errorf("%s: after it was removed: %v", file, err)
		}
		must(t, trust.Remove(dir, file))
	}
	if got := tree(t, dir); len(got) != 9 {
		t.Errorf("all is removed, and there is %v", got)
	}
}

// A key that is there under its other suffix is the same key, or in the way.
func TestAddKeyOtherSuffix(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, map[string][]byte{"keys/k.pem": append([]byte("\n"), keyPEM(t, "one")...)})
	a, err := trust.AddKey(dir, "k", keyPEM(t, "one"))
	if err != nil || !a.Already || a.File != "keys/k.pem" || a.Items[0].File != "keys/k.pem" {
		t.Errorf("the same key: %+v, %v", a, err)
	}
	_, err = trust.AddKey(dir, "k", keyPEM(t, "two"))
	wantErr(t, "another key", err, trust.ErrExists)
	if !strings.Contains(layout.Hint(err), "airgap trust remove keys/k.pem") {
		t.Errorf("hint %q", layout.Hint(err))
	}
}

func TestAddRefusesNames(t *testing.T) {
	around := tempDir(t) // nobody else writes there
	dir := filepath.Join(around, "trust")
	must(t, trust.Init(dir))
	before := tree(t, around)
	for _, name := range []string{
		"", ".", "..", "../x", "a/b", "/x", `a\b`, ".x", "-x", "README", "README.pem", "a b", "a\x00", "a\n", "a\x1b", "ü",
		strings.Repeat("a", trust.MaxNameBytes+1), "CON:", "a*",
	} {
		_, err := trust.AddCertificate(dir, trust.TypeCA, name, caPEM(t, "a"), "x.pem")
		wantErr(t, fmt.Sprintf("store %q", name), err, trust.ErrInvalid)
		_, err = trust.AddCertificate(dir, trust.TypeCA, "acme", caPEM(t, "a"), name)
		wantErr(t, fmt.Sprintf("file %q", name), err, trust.ErrInvalid)
		_, err = trust.AddKey(dir, name, keyPEM(t, "a"))
		wantErr(t, fmt.Sprintf("key %q", name), err, trust.ErrInvalid)
		_, err = trust.AddCRL(dir, newCRL(t, newCA(t, "a"), 1, ends), name+".crl")
		wantErr(t, fmt.Sprintf("CRL %q", name), err, trust.ErrInvalid)
		if name != "" {
			_, err = trust.AddRoot(dir, name, newRoot(t, ends))
			wantErr(t, fmt.Sprintf("root %q", name), err, trust.ErrInvalid)
		}
	}
	_, err := trust.AddCertificate(dir, "pgp", "acme", caPEM(t, "a"), "x.pem")
	wantErr(t, "an unknown type", err, trust.ErrInvalid)
	if got := tree(t, around); !slices.Equal(got, before) {
		t.Errorf("it has become %v", got)
	}
	long := strings.Repeat("a", trust.MaxNameBytes)
	if _, err = trust.AddKey(dir, long, keyPEM(t, "a")); err != nil {
		t.Error(err)
	}
	mustOpen(t, dir)
}

// Nothing hostile can be added, and nothing is left of the attempt.
func TestAddRefusesHostileFiles(t *testing.T) {
	dir := tempDir(t)
	must(t, trust.Init(dir))
	before := tree(t, dir)
	for _, h := range hostileFiles(t) {
		if !errors.Is(h.want, trust.ErrInvalid) && !errors.Is(h.want, trust.ErrLimit) || strings.Contains(h.what, "name") || strings.Contains(h.file, "a b") {
			continue
		}
		var err error
		switch {
		case strings.Contains(h.file, "/tsa/"):
			_, err = trust.AddCertificate(dir, trust.TypeTSA, "x", h.data, "x.pem")
		case strings.HasPrefix(h.file, "truststore"):
			_, err = trust.AddCertificate(dir, trust.TypeCA, "x", h.data, "x.pem")
		case strings.HasPrefix(h.file, "keys"):
			_, err = trust.AddKey(dir, "x", h.data)
		case strings.HasPrefix(h.file, "crl"):
			_, err = trust.AddCRL(dir, h.data, "x.crl")
		default:
			_, err = trust.AddRoot(dir, "", h.data)
		}
		wantErr(t, h.what, err, h.want)
	}
	if got := tree(t, dir); !slices.Equal(got, before) {
		t.Errorf("it has become %v", got)
	}
}

// What is damaged is not built upon; it can be removed, links and all, and
// nothing outside can.
func TestRemoveMends(t *testing.T) {
	base := tempDir(t)
	dir, outside := filepath.Join(base, "trust"), filepath.Join(base, "outside")
	must(t, trust.Init(dir))
	must(t, os.WriteFile(outside, []byte("outside"), 0o644))
	bad := map[string]func(path string) error{
		"keys/bad.pub":                    func(path string) error { return os.WriteFile(path, nil, 0o644) },
		"keys/secret.key":                 func(path string) error { return os.WriteFile(path, []byte("BEGIN PRIVATE KEY"), 0o600) },
		"crl/link.crl":                    func(path string) error { return os.Symlink(outside, path) },
		"trusted_root.json":               func(path string) error { return os.Symlink("nothing", path) },
		"truststore/x509/ca/acme/bad.pem": func(path string) error { return os.WriteFile(path, []byte("bad"), 0o644) },
	}
	for file, put := range bad {
		must(t, os.MkdirAll(filepath.Join(dir, "truststore/x509/ca/acme"), 0o755))
		must(t, put(filepath.Join(dir, filepath.FromSlash(file))))
		if _, err := trust.AddKey(dir, "k", keyPEM(t, "k")); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: something was added beside it: %v", file, err)
		}
		must(t, trust.Remove(dir, file))
		mustOpen(t, dir)
	}
	for _, file := range []string{
		"", ".", "..", "../outside", outside, "keys", "keys/", "keys/../../outside", "./keys/x.pub", "README", ".airgap.lock", "crl/..",
		"truststore/x509/ca", "truststore/x509/ca/acme", "truststore/x509/pgp/acme/x", "keys/a/b", "keys//x", "localkeys/x.key", "a\x00b",
	} {
		if err := trust.Remove(dir, file); err == nil {
			t.Errorf("%q was removed", file)
		}
	}
	must(t, os.Mkdir(filepath.Join(dir, "keys", "folder.pub"), 0o755))
	wantErr(t, "a folder", trust.Remove(dir, "keys/folder.pub"), disk.ErrNotRegular)
	if data, err := os.ReadFile(outside); err != nil || string(data) != "outside" {
		t.Errorf("outside is %q, %v", data, err)
	}
}

// Many add at once: all of what differs is there, and of what has the same name
// one, which every other one is told.
func TestConcurrentAdd(t *testing.T) {
	dir := tempDir(t)
	must(t, trust.Init(dir))
	const n = 8
	same, exists := make([]bool, n), make([]bool, n)
	var wg sync.WaitGroup
	for i := range n {
		own, shared, disputed := keyPEM(t, fmt.Sprint("own", i)), keyPEM(t, "shared"), keyPEM(t, fmt.Sprint("disputed", i))
		wg.Go(func() {
			if _, err := trust.AddKey(dir, fmt.Sprint("own", i), own); err != nil {
				t.Errorf("%d: %v", i, err)
			}
			a, err := trust.AddKey(dir, "shared", shared)
			if same[i] = a.Already; err != nil {
				t.Errorf("%d, shared: %v", i, err)
			}
			_, err = trust.AddKey(dir, "disputed", disputed)
			if exists[i] = errors.Is(err, trust.ErrExists); err != nil && !exists[i] {
				t.Errorf("%d, disputed: %v", i, err)
			}
			if _, err := trust.Open(dir); err != nil {
				t.Errorf("%d: opened in between: %v", i, err)
			}
		})
	}
	wg.Wait()
	count := func(list []bool) (n int) {
		for _, yes := range list {
			if yes {
				n++
			}
		}
		return n
	}
	if count(same) != n-1 || count(exists) != n-1 || len(mustOpen(t, dir).Keys()) != n+2 {
		t.Errorf("%d found the same key, %d another, %d keys are there", count(same), count(exists), len(mustOpen(t, dir).Keys()))
	}
}

// A writer that does not end is not waited for without end.
func TestLocked(t *testing.T) {
	synctest.Test(t, testLocked) // where waiting takes no time
}

func testLocked(t *testing.T) {
	dir := tempDir(t)
	must(t, trust.Init(dir))
	d, err := disk.Open(dir)
	must(t, err)
	defer d.Close()
	f, err := d.Open(".airgap.lock", os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	must(t, disk.Lock(f))
	_, err = trust.AddKey(dir, "k", keyPEM(t, "k"))
	wantErr(t, "adding", err, disk.ErrBusy)
	mustOpen(t, dir) // readers need no lock
}

// What a writer left that was killed gives no trust, and the next one takes it
// away.
func TestHalfWritten(t *testing.T) {
	dir := tempDir(t)
	must(t, trust.Init(dir))
	digest := mustOpen(t, dir).Digest()
	left := filepath.Join(dir, ".airgap-add-x")
	must(t, os.WriteFile(left, keyPEM(t, "k")[:50], 0o644))
	if tr := mustOpen(t, dir); tr.Digest() != digest {
		t.Error("half a file changes the trust")
	}
	_, err := trust.AddKey(dir, "k", keyPEM(t, "k"))
	must(t, err)
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// Any fault while something is added or removed, and then a loss of power: the
// trust is what it was or what it becomes, and what was acknowledged stays.
func TestFaults(t *testing.T) {
	one, two := keyPEM(t, "one"), caPEM(t, "two")
	actions := map[string]func(d disk.FS, dir string) error{
		"add": func(d disk.FS, dir string) error {
			_, err := trust.AddTo(d, dir, "truststore/x509/ca/acme/x.pem", two)
			return err
		},
		"remove": func(d disk.FS, dir string) error { return trust.RemoveFrom(d, dir, "keys/one.pub") },
	}
	for name, act := range actions {
		place := func() (string, *disktest.FS) {
			dir := tempDir(t)
			must(t, trust.Init(dir))
			write(t, dir, map[string][]byte{"keys/one.pub": one})
			d, err := disk.Open(dir)
			must(t, err)
			t.Cleanup(func() { d.Close() })
			return dir, disktest.Wrap(d)
		}
		dir, fsys := place()
		old := mustOpen(t, dir).Digest()
		must(t, act(fsys, dir))
		done := mustOpen(t, dir).Digest()
		ops := fsys.Ops()
		if !slices.ContainsFunc(ops, func(c disktest.Call) bool { return c.Op == disktest.OpFlush }) {
			t.Errorf("%s: it may not outlast a loss of power", name)
		}
		faults := 0
		for n, call := range ops {
			for _, mode := range disktest.Modes {
				if !mode.Applies(call.Op) {
					continue
				}
				for _, loss := range append([]disktest.Loss{""}, disktest.Losses...) {
					dir, fsys := place()
					fsys.Inject(n+1, mode)
					err := act(fsys, dir)
					what := fmt.Sprintf("%s: %s at %s, then %q", name, mode, call, loss)
					if !fsys.Fired() {
						t.Fatalf("%s: did not happen", what)
					}
					if loss != "" {
						must(t, fsys.PowerCut(loss))
					}
					got := mustOpen(t, dir).Digest()
					if got != old && got != done || err == nil && got != done {
						t.Errorf("%s (%v): the trust is neither the old nor the new", what, err)
					}
					d, oerr := disk.Open(dir)
					must(t, oerr)
					if err := act(d, dir); err != nil && !errors.Is(err, trust.ErrNotFound) {
						t.Errorf("%s: again: %v", what, err)
					}
					must(t, d.Close())
					if got := mustOpen(t, dir).Digest(); got != done || strings.Contains(strings.Join(tree(t, dir), " "), ".airgap-add-") {
						t.Errorf("%s: again, and it is not done: %v", what, tree(t, dir))
					}
					faults++
				}
			}
		}
		if faults < 50 {
			t.Errorf("%s: %d faults only", name, faults)
		}
	}
}

// A file that grows while it is read is bounded all the same.
func TestGrowingFile(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, map[string][]byte{"keys/k.pub": keyPEM(t, "k")})
	d, err := disk.Open(dir)
	must(t, err)
	defer d.Close()
	_, err = trust.Load(endless{d}, dir)
	wantErr(t, "an endless file", err, trust.ErrLimit)
}

// endless makes every file end never, whatever its size says.
type endless struct{ disk.FS }

func (e endless) Open(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := e.FS.Open(name, flag, perm)
	return endlessFile{f}, err
}

type endlessFile struct{ disk.File }

func (endlessFile) Read(p []byte) (int, error) {
	return copy(p, bytes.Repeat([]byte{'\n'}, len(p))), nil
}
