package trust

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

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

"airgap trust add" puts things here, "airgap trust check" says what has expired.
Files in the wrong place, and private keys, are refused.
`

// Init makes the skeleton of a trust directory in the folder dir, which is made
// if it is missing. In a trust directory it makes what is missing; any other
// folder with something in it is refused and left alone.
func Init(dir string) error {
	d, err := disk.Create(dir)
	if err != nil {
		return inDir(dir, "", err)
	}
	defer d.Close()
	entries, err := readDir(d, ".")
	if err != nil {
		return inDir(dir, "", err)
	}
	return initIn(d, dir, entries)
}

func initIn(d disk.FS, dir string, entries []fs.DirEntry) error {
	for _, e := range entries {
		if !isPart(e.Name()) && !isPassedOver(e.Name()) {
			return inDir(dir, "", hint(fmt.Errorf("%w: it holds %s", ErrNotTrust, e.Name()), "name an empty or a new folder"))
		}
	}
	for _, sub := range skeleton {
		if err := d.Mkdir(sub); err != nil {
			return inDir(dir, sub, err)
		}
	}
	w, err := openWriter(d, dir)
	if err != nil {
		return err
	}
	defer w.close()
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return isRemark(e.Name()) && e.Name() != ".gitignore" }) {
		return nil
	}
	return w.put("README", []byte(readme))
}

// Added is what adding a file came to.
type Added struct {
	// File is where it is now: slash-separated, in the trust directory.
	File string `json:"file"`
	// Already says that it was there before.
	Already bool `json:"already"`
	// Items are what is in it.
	Items []Item `json:"items"`
}

// AddCertificate puts a file of certificates, PEM or DER, into a store, under
// name.
func AddCertificate(dir string, typ StoreType, store string, file []byte, name string) (Added, error) {
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
	return add(dir, out, file, nil)
}

// AddKey puts a public key, PEM, under name, which has no suffix.
func AddKey(dir, name string, file []byte) (Added, error) {
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
	find := func(t *Trust) (string, bool) {
		for _, have := range t.keys {
			if have.Name == name {
				return have.File, have.Fingerprint == k.Fingerprint
			}
		}
		return "", false
	}
	return add(dir, Added{File: k.File, Items: []Item{keyItem(k)}}, file, find)
}

// AddRoot puts a Sigstore trusted root: as trusted_root.json, or if name is not
// empty, as trusted_root-<name>.json.
func AddRoot(dir, name string, file []byte) (Added, error) {
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
	return add(dir, Added{File: r.file, Items: r.items()}, file, nil)
}

// AddCRL puts a revocation list, PEM or DER, under name, whose suffix becomes
// ".crl". Who signed it is for Check to say.
func AddCRL(dir string, file []byte, name string) (Added, error) {
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
	return add(dir, Added{File: c.file, Items: []Item{c.item()}}, file, nil)
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

// add writes a file that has been found good. Find, if there is one, returns the
// file that has its name already, and whether it says the same.
func add(dir string, a Added, file []byte, find func(*Trust) (string, bool)) (Added, error) {
	d, err := openDir(dir)
	if err != nil {
		return Added{}, err
	}
	defer d.Close()
	return addTo(d, dir, a, file, find)
}

func addTo(d disk.FS, dir string, a Added, file []byte, find func(*Trust) (string, bool)) (Added, error) {
	w, err := openWriter(d, dir)
	if err != nil {
		return Added{}, err
	}
	defer w.close()
	// One that is damaged has to be mended first, and one that would be too
	// large is not made so.
	t, err := load(d, dir)
	if err != nil {
		return Added{}, err
	}
	there, same, err := w.find(a.File, file)
	if err == nil && !there && find != nil {
		var other string
		if other, same = find(t); other != "" {
			there, a = true, a.at(other)
		}
	}
	switch {
	case err != nil:
		return Added{}, err
	case there && !same:
		return Added{}, inDir(dir, a.File, hint(ErrExists, "give it another name, or take the old one away with airgap trust remove "+a.File))
	case there:
		a.Already = true
		return a, nil
	}
	if err := checkTotal(t.files+1, t.bytes+int64(len(file))); err != nil {
		return Added{}, inDir(dir, a.File, err)
	}
	return a, w.put(a.File, file)
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
func Remove(dir, file string) error {
	d, err := openDir(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return removeFrom(d, dir, file)
}

func removeFrom(d disk.FS, dir, file string) error {
	if !isTrusted(file) {
		return inDir(dir, "", hint(fmt.Errorf("%w: %.200q is no name of a file there", ErrNotFound, file), "airgap trust list shows the files"))
	}
	w, err := openWriter(d, dir)
	if err != nil {
		return err
	}
	defer w.close()
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
	return nil
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
