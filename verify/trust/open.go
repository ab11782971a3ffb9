package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"airgap/layout/disk"

	"github.com/notaryproject/notation-go/verifier/truststore"
)

const howToInit = "airgap trust init DIR makes a trust directory"

// Open reads the trust directory dir. Whatever is wrong with any file in it is an
// error that names the file.
func Open(dir string) (*Trust, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return load(d, dir)
}

func openDir(dir string) (*disk.Dir, error) {
	d, err := disk.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = hint(fmt.Errorf("%w: there is no such folder", ErrNotTrust), howToInit)
	}
	if err != nil {
		return nil, inDir(dir, "", err)
	}
	return d, nil
}

// load reads what Open promises from an open folder.
func load(fsys disk.FS, dir string) (*Trust, error) {
	return (&loader{fsys: fsys, dir: dir, t: &Trust{}}).load()
}

func (l *loader) load() (*Trust, error) {
	entries, err := l.list(".")
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return isPart(e.Name()) }) {
		return nil, inDir(l.dir, "", hint(fmt.Errorf("%w: neither truststore nor keys, crl or a trusted_root.json is in it", ErrNotTrust), howToInit))
	}
	for _, e := range entries {
		if err := l.top(e); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(l.t.keys, func(a, b Key) int { return strings.Compare(a.Name, b.Name) })
	l.t.digest = digestOf(l.sums)
	return l.t, nil
}

// digestOf is what [Trust.Digest] describes.
func digestOf(sums map[string]string) string {
	names := make([]string, 0, len(sums))
	for name := range sums {
		names = append(names, name)
	}
	slices.Sort(names)
	h := sha256.New()
	for _, name := range names {
		fmt.Fprintf(h, "%s  %s\n", sums[name], name)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// loader fills a Trust.
type loader struct {
	fsys disk.FS
	dir  string // for errors
	t    *Trust
	sums map[string]string // of every file that was read

	unconfirmed bool // the confirmation is not to be read
}

func (l *loader) top(e fs.DirEntry) error {
	name := e.Name()
	switch {
	case name == localKeysDir:
		return l.localKeys()
	case name == confirmedFile && !l.unconfirmed:
		return l.confirmation()
	case isPassedOver(name):
		return nil
	case name == "truststore":
		return l.truststore()
	case name == keysDir:
		return l.each(keysDir, l.key)
	case name == crlDir:
		return l.each(crlDir, l.crl)
	case isRoot(name):
		return l.root(name)
	}
	return l.unknown(name, e)
}

// each calls fn for every file in a folder that has no folders.
func (l *loader) each(dir string, fn func(dir string, e fs.DirEntry) error) error {
	entries, err := l.list(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isRemark(e.Name()) && e.Type().IsRegular() {
			continue
		}
		if err := fn(dir, e); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) truststore() error {
	return l.each("truststore", func(_ string, e fs.DirEntry) error {
		if e.Name() != "x509" {
			return l.unknown("truststore/"+e.Name(), e)
		}
		return l.each(x509Dir, func(_ string, e fs.DirEntry) error {
			if !isStoreType(e.Name()) {
				return l.unknown(x509Dir+"/"+e.Name(), e)
			}
			return l.each(x509Dir+"/"+e.Name(), func(dir string, store fs.DirEntry) error {
				return l.store(StoreType(e.Name()), dir, store)
			})
		})
	})
}

func isStoreType(name string) bool { return slices.Contains(truststore.Types, StoreType(name)) }

// store reads a named store. Every file in it has to be one of certificates, a
// README too: notation would refuse the whole store.
func (l *loader) store(typ StoreType, dir string, e fs.DirEntry) error {
	dir += "/" + e.Name()
	if !simpleName.MatchString(e.Name()) {
		return inDir(l.dir, dir, fmt.Errorf("%w: a store's name is of letters, digits, '_', '.' and '-'", ErrInvalid))
	}
	if e.Type().IsRegular() {
		return inDir(l.dir, dir, hint(fmt.Errorf("%w: want a folder, which is a store", ErrUnknownFile), "certificates are in truststore/x509/TYPE/STORE/"))
	}
	entries, err := l.list(dir)
	if err != nil {
		return err
	}
	s := Store{Type: typ, Name: e.Name()}
	for _, e := range entries {
		file := dir + "/" + e.Name()
		certs, err := readAs(l, file, MaxCertificateBytes, func(data []byte) ([]*x509.Certificate, error) { return parseCertificates(typ, data) })
		if err != nil {
			return err
		}
		for _, c := range certs {
			s.Certificates = append(s.Certificates, Certificate{file, c})
		}
	}
	l.t.stores = append(l.t.stores, s)
	return nil
}

func (l *loader) key(dir string, e fs.DirEntry) error {
	file := dir + "/" + e.Name()
	name, ok := keyName(e.Name())
	if !ok {
		return l.unknown(file, e)
	}
	public, err := readAs(l, file, MaxKeyBytes, parseKey)
	if err != nil {
		return err
	}
	if _, twice := l.t.Key(name); twice {
		return inDir(l.dir, file, fmt.Errorf("%w: there is another file for the key %s", ErrInvalid, name))
	}
	l.t.keys = append(l.t.keys, Key{Name: name, File: file, Public: public, Fingerprint: keyFingerprint(public)})
	return nil
}

func (l *loader) crl(dir string, e fs.DirEntry) error {
	file := dir + "/" + e.Name()
	name, ok := strings.CutSuffix(e.Name(), ".crl")
	if !ok {
		return l.unknown(file, e)
	}
	crl, err := readAs(l, file, MaxCRLBytes, parseCRL)
	if err != nil {
		return err
	}
	l.t.crls = append(l.t.crls, crlFile{file, name, crl})
	return nil
}

func (l *loader) root(file string) error {
	tr, err := readAs(l, file, MaxRootBytes, parseRoot)
	if err != nil {
		return err
	}
	l.t.roots = append(l.t.roots, rootFile{file, strings.TrimSuffix(file, ".json"), tr})
	return nil
}

// localKeys remembers which private keys notation has put beside its trust store.
func (l *loader) localKeys() error {
	entries, err := l.list(localKeysDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".key") {
			l.t.privateKeys = append(l.t.privateKeys, localKeysDir+"/"+e.Name())
		}
	}
	return nil
}

// unknown refuses a file, and a private key as one.
func (l *loader) unknown(file string, e fs.DirEntry) error {
	if e.Type().IsRegular() {
		if _, err := readAs(l, file, MaxKeyBytes, func(data []byte) (any, error) { return nil, refusePrivateKey(data) }); errors.Is(err, ErrPrivateKey) {
			return err
		}
	}
	return inDir(l.dir, file, hint(ErrUnknownFile, "take it away: a file in the wrong place would give no trust and nobody would notice"))
}

// list returns what is in a folder, by name.
func (l *loader) list(dir string) ([]fs.DirEntry, error) {
	shown := strings.TrimPrefix(dir, ".")
	entries, err := readDir(l.fsys, dir)
	if err != nil {
		return nil, inDir(l.dir, shown, err)
	}
	for _, e := range entries {
		if !isPlain(e.Name()) {
			return nil, inDir(l.dir, shown, fmt.Errorf("%w: a file's name holds what cannot be printed: %.100q", ErrInvalid, e.Name()))
		}
	}
	return entries, nil
}

func readDir(fsys disk.FS, dir string) ([]fs.DirEntry, error) {
	f, err := fsys.Open(dir, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%w: want a folder", ErrInvalid)
	}
	var entries []fs.DirEntry
	for {
		more, err := f.ReadDir(1000)
		entries = append(entries, more...)
		if err == io.EOF || err == nil && len(more) == 0 {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(entries) > MaxFiles {
			return nil, fmt.Errorf("more than %d files: %w", MaxFiles, ErrLimit)
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// readAs reads a file and parses it.
func readAs[T any](l *loader, file string, limit int64, parse func([]byte) (T, error)) (T, error) {
	var none T
	data, err := readFile(l.fsys, file, limit)
	if err == nil {
		err = l.count(file, data)
	}
	if err != nil {
		return none, inDir(l.dir, file, err)
	}
	v, err := parse(data)
	if err != nil {
		return none, inDir(l.dir, file, err)
	}
	return v, nil
}

// count keeps account of what was read.
func (l *loader) count(file string, data []byte) error {
	l.t.files++
	l.t.bytes += int64(len(data))
	if l.sums == nil {
		l.sums = map[string]string{}
	}
	l.sums[file] = fingerprint(data)
	return checkTotal(l.t.files, l.t.bytes)
}

func checkTotal(files int, bytes int64) error {
	switch {
	case files > MaxFiles:
		return fmt.Errorf("more than %d files in all: %w", MaxFiles, ErrLimit)
	case bytes > MaxBytes:
		return fmt.Errorf("more than %d bytes in all: %w", MaxBytes, ErrLimit)
	}
	return nil
}

// readFile reads a regular file of at most limit bytes.
func readFile(fsys disk.FS, file string, limit int64) ([]byte, error) {
	f, err := fsys.Open(file, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readOpen(f, limit)
}

func readOpen(f disk.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is a folder: %w", disk.ErrNotRegular)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("more than %d bytes: %w", limit, ErrLimit)
	}
	return data, nil
}
