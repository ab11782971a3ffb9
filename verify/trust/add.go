package trust

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"airgap/layout/disk"
)

// skeleton is what Init makes.
var skeleton = []string{x509Dir + "/ca", x509Dir + "/signingAuthority", x509Dir + "/tsa", keysDir, crlDir}

const readme = `This is a trust directory: what is in it is trusted, and nothing else.

truststore/x509/ca/STORE/FILE                certificates of CAs, PEM or DER
truststore/x509/signingAuthority/STORE/FILE  certificates of signing authorities
truststore/x509/tsa/STORE/FILE               roots of timestamping authorities
keys/NAME.pub                                a public key, PEM
trusted_root*.json                           Sigstore trusted roots
crl/NAME.crl                                 revocation lists, PEM or DER
confirmed.json                               when somebody last looked it over

"airgap trust add" puts things here, "airgap trust check" says what has expired.
Files in the wrong place, and private keys, are refused.
`

// Editor changes a trust directory.
type Editor struct {
	Dir string
	// Now replaces time.Now, for tests. It is by that clock that what is
	// changed counts as confirmed.
	Now func() time.Time
}

func (e Editor) now() time.Time {
	if e.Now == nil {
		return time.Now()
	}
	return e.Now()
}

// The functions of the package are those of an [Editor] by this machine's clock.

// Init is [Editor.Init].
func Init(dir string) error { return Editor{Dir: dir}.Init() }

// AddCertificate is [Editor.AddCertificate].
func AddCertificate(dir string, typ StoreType, store string, file []byte, name string) (Added, error) {
	return Editor{Dir: dir}.AddCertificate(typ, store, file, name)
}

// AddKey is [Editor.AddKey].
func AddKey(dir, name string, file []byte) (Added, error) {
	return Editor{Dir: dir}.AddKey(name, file)
}

// AddRoot is [Editor.AddRoot].
func AddRoot(dir, name string, file []byte) (Added, error) {
	return Editor{Dir: dir}.AddRoot(name, file)
}

// AddCRL is [Editor.AddCRL].
func AddCRL(dir string, file []byte, name string) (Added, error) {
	return Editor{Dir: dir}.AddCRL(file, name)
}

// Remove is [Editor.Remove].
func Remove(dir, file string) error { return Editor{Dir: dir}.Remove(file) }

// Init makes the skeleton of a trust directory in the folder, which is made if it
// is missing. In a trust directory it makes what is missing; any other folder with
// something in it is refused and left alone.
func (e Editor) Init() error {
	d, err := disk.Create(e.Dir)
	if err != nil {
		return inDir(e.Dir, "", err)
	}
	defer d.Close()
	entries, err := readDir(d, ".")
	if err != nil {
		return inDir(e.Dir, "", err)
	}
	return e.initIn(d, entries)
}

func (e Editor) initIn(d disk.FS, entries []fs.DirEntry) error {
	for _, entry := range entries {
		if !isPart(entry.Name()) && !isPassedOver(entry.Name()) {
			return inDir(e.Dir, "", hint(fmt.Errorf("%w: it holds %s", ErrNotTrust, entry.Name()), "name an empty or a new folder"))
		}
	}
	for _, sub := range skeleton {
		if err := d.Mkdir(sub); err != nil {
			return inDir(e.Dir, sub, err)
		}
	}
	w, err := openWriter(d, e.Dir)
	if err != nil {
		return err
	}
	defer w.close()
	if !slices.ContainsFunc(entries, func(entry fs.DirEntry) bool { return isRemark(entry.Name()) && entry.Name() != ".gitignore" }) {
		if err := w.put("README", []byte(readme)); err != nil {
			return err
		}
	}
	return w.keep(w.before(), e.now())
}

// before is what there was, or nil if it cannot be read, and so cannot have been
// confirmed.
func (w *writer) before() *Trust {
	t, err := load(w.fsys, w.dir)
	if err != nil {
		return nil
	}
	return t
}

// Added is what adding a file came to.
type Added struct {
	// File is where it is now: slash-separated, in the trust directory.
	File string `json:"file"`
	// Already says that it was there before.
	Already bool `json:"already"`
	// Replaced are the files of older CRLs whose place it took.
	Replaced []string `json:"replaced,omitempty"`
	// Items are what is in it.
	Items []Item `json:"items"`
}

// AddCertificate puts a file of certificates, PEM or DER, into a store, under
// name.
func (e Editor) AddCertificate(typ StoreType, store string, file []byte, name string) (Added, error) {
	if !isStoreType(string(typ)) {
		return Added{}, fmt.Errorf("%w: there is no type of store %q; want ca, signingAuthority or tsa", ErrInvalid, typ)
	}
	if err := errors.Join(checkName("store", store), checkName("file", name)); err != nil {
		return Added{}, err
	}
	if err := checkSize(file, MaxCertificateBytes); err != nil {
		return Added{}, err
	}
	certs, err := parseCertificates(typ, file)
	if err != nil {
		return Added{}, err
	}
	s := Store{Type: typ, Name: store}
	out := Added{File: path.Join(x509Dir, string(typ), store, name)}
	for _, c := range certs {
		out.Items = append(out.Items, certificateItem(s, Certificate{out.File, c}))
	}
	return e.add(out, file, nil)
}

// AddKey puts a public key, PEM, under name, which has no suffix.
func (e Editor) AddKey(name string, file []byte) (Added, error) {
	if err := checkName("key", name); err != nil {
		return Added{}, err
	}
	if err := checkSize(file, MaxKeyBytes); err != nil {
		return Added{}, err
	}
	public, err := parseKey(file)
	if err != nil {
		return Added{}, err
	}
	k := Key{Name: name, File: keysDir + "/" + name + ".pub", Public: public, Fingerprint: keyFingerprint(public)}
	// The same name may be taken with the other suffix, or another spelling of
	// the same key.
	find := func(t *Trust) (found, error) {
		for _, have := range t.keys {
			if have.Name == name {
				return found{there: have.File, same: have.Fingerprint == k.Fingerprint}, nil
			}
		}
		return found{}, nil
	}
	return e.add(Added{File: k.File, Items: []Item{keyItem(k)}}, file, find)
}

// AddRoot puts a Sigstore trusted root: as trusted_root.json, or if name is not
// empty, as trusted_root-<name>.json.
func (e Editor) AddRoot(name string, file []byte) (Added, error) {
	base := "trusted_root"
	if name != "" {
		if err := checkName("trusted root", name); err != nil {
			return Added{}, err
		}
		base += "-" + name
	}
	if err := checkSize(file, MaxRootBytes); err != nil {
		return Added{}, err
	}
	tr, err := parseRoot(file)
	if err != nil {
		return Added{}, err
	}
	r := rootFile{base + ".json", base, tr}
	return e.add(Added{File: r.file, Items: r.items()}, file, nil)
}

// AddCRL puts a revocation list, PEM or DER, under name, whose suffix becomes
// ".crl". It takes the place of older ones of the same issuer, by their number;
// an older one than is there is refused with ErrOlder, and so is a delta. Who
// signed it is for Check to say.
func (e Editor) AddCRL(file []byte, name string) (Added, error) {
	name = strings.TrimSuffix(name, path.Ext(name))
	if err := checkName("CRL", name); err != nil {
		return Added{}, err
	}
	if err := checkSize(file, MaxCRLBytes); err != nil {
		return Added{}, err
	}
	crl, err := parseCRL(file)
	if err != nil {
		return Added{}, err
	}
	c := crlFile{crlDir + "/" + name + ".crl", name, crl}
	find := func(t *Trust) (found, error) {
		older, already, err := t.replaces(c, e.now())
		return found{there: already, same: already != "", older: older}, err
	}
	return e.add(Added{File: c.file, Items: []Item{c.item()}}, file, find)
}

func checkName(what, name string) error {
	if isAddable(name) {
		return nil
	}
	return hint(fmt.Errorf("%w: a %s cannot be called %.200q", ErrInvalid, what, name),
		fmt.Sprintf("a name is at most %d letters, digits, '_', '.' and '-', and begins with neither '.', '-' nor README", MaxNameBytes))
}

func checkSize(file []byte, limit int) error {
	if len(file) > limit {
		return fmt.Errorf("more than %d bytes: %w", limit, ErrLimit)
	}
	return nil
}

// found is what there is already that has to do with what is to be added.
type found struct {
	there string   // a file that has its name, or is it
	same  bool     // it says the same
	older []string // files whose place it takes
}

// add writes a file that has been found good. Find, if there is one, looks for what
// it has to do with.
func (e Editor) add(a Added, file []byte, find func(*Trust) (found, error)) (Added, error) {
	d, err := openDir(e.Dir)
	if err != nil {
		return Added{}, err
	}
	defer d.Close()
	return e.addTo(d, a, file, find)
}

func (e Editor) addTo(d disk.FS, a Added, file []byte, find func(*Trust) (found, error)) (Added, error) {
	w, err := openWriter(d, e.Dir)
	if err != nil {
		return Added{}, err
	}
	defer w.close()
	// One that is damaged has to be mended first, and one that would be too
	// large is not made so.
	t, err := load(d, e.Dir)
	if err != nil {
		return Added{}, err
	}
	there, same, err := w.find(a.File, file)
	if err == nil && !same && find != nil {
		var f found
		if f, err = find(t); err != nil {
			err = inDir(e.Dir, a.File, err)
		}
		a.Replaced = f.older
		switch {
		case f.there != "":
			there, same, a = true, f.same, a.at(f.there)
		case slices.Contains(f.older, a.File):
			there = false // it is meant to go
		}
	}
	switch {
	case err != nil:
		return Added{}, err
	case there && !same:
		return Added{}, inDir(e.Dir, a.File, hint(ErrExists, "give it another name, or take the old one away with airgap trust remove "+a.File))
	case there:
		a.Already, a.Replaced = true, nil
		return a, w.keep(t, e.now())
	}
	if err := checkTotal(t.files+1, t.bytes+int64(len(file))); err != nil {
		return Added{}, inDir(e.Dir, a.File, err)
	}
	if err := w.put(a.File, file); err != nil {
		return Added{}, err
	}
	if err := w.takeAway(a.Replaced, a.File); err != nil {
		return Added{}, err
	}
	return a, w.keep(t, e.now())
}

// takeAway removes files that another has replaced, which has been put.
func (w *writer) takeAway(files []string, but string) error {
	gone := false
	for _, file := range files {
		if file == but {
			continue
		}
		if err := w.fsys.Remove(file); err != nil {
			return inDir(w.dir, file, err)
		}
		gone = true
	}
	if !gone {
		return nil
	}
	if err := w.fsys.Flush(); err != nil {
		return inDir(w.dir, "", err)
	}
	return nil
}

// at is a, lying elsewhere.
func (a Added) at(file string) Added {
	a.File, a.Items = file, slices.Clone(a.Items)
	for i := range a.Items {
		a.Items[i].File = file
	}
	return a
}

// Remove takes a file away, named as [Item.File] does. It works where Open does
// not, so that what Open refuses can be removed.
func (e Editor) Remove(file string) error {
	d, err := openDir(e.Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return e.removeFrom(d, file)
}

func (e Editor) removeFrom(d disk.FS, file string) error {
	dir := e.Dir
	if !isTrusted(file) {
		return inDir(dir, "", hint(fmt.Errorf("%w: %.200q is no name of a file there", ErrNotFound, file), "airgap trust list shows the files"))
	}
	w, err := openWriter(d, dir)
	if err != nil {
		return err
	}
	defer w.close()
	was := w.before()
	// Whatever it is, a link too, but no folder.
	_, err = readDir(d, file)
	switch {
	case err == nil:
		return inDir(dir, file, fmt.Errorf("it is a folder: %w", disk.ErrNotRegular))
	case errors.Is(err, fs.ErrNotExist):
		return inDir(dir, file, hint(ErrNotFound, "airgap trust list shows the files"))
	}
	if err := d.Remove(file); err != nil {
		return inDir(dir, file, err)
	}
	if strings.HasPrefix(file, x509Dir) {
		_ = d.Remove(path.Dir(file)) // a store with nothing in it, else it stays
	}
	if err := d.Flush(); err != nil {
		return inDir(dir, "", err)
	}
	return w.keep(was, e.now())
}

// find says whether there is a file, and whether it holds just this.
func (w *writer) find(file string, data []byte) (there, same bool, err error) {
	have, err := readFile(w.fsys, file, int64(len(data)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, false, nil
	case errors.Is(err, ErrLimit):
		return true, false, nil
	case err != nil:
		return false, false, inDir(w.dir, file, err)
	}
	return true, bytes.Equal(have, data), nil
}
