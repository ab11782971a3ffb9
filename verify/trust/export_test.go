package trust

import "airgap/layout/disk"

// What the exported functions do to a folder once it is open.

func AddTo(d disk.FS, dir, file string, data []byte) (Added, error) {
	return Editor{Dir: dir}.addTo(d, Added{File: file}, data, nil)
}

func RemoveFrom(d disk.FS, dir, file string) error { return Editor{Dir: dir}.removeFrom(d, file) }

func InitIn(d disk.FS, dir string) error {
	entries, err := readDir(d, ".")
	if err != nil {
		return err
	}
	return Editor{Dir: dir}.initIn(d, entries)
}

func Load(d disk.FS, dir string) (*Trust, error) { return load(d, dir) }

// Parse meets data with each parser, which are all that a file's content meets.
func Parse(data []byte) (accepted []string) {
	for _, typ := range []StoreType{TypeCA, TypeSigningAuthority, TypeTSA} {
		if certs, err := parseCertificates(typ, data); err == nil && len(certs) > 0 {
			accepted = append(accepted, string(typ))
		}
	}
	if key, err := parseKey(data); err == nil && key != nil {
		accepted = append(accepted, "key")
	}
	if crl, err := parseCRL(data); err == nil && crl != nil {
		accepted = append(accepted, "crl")
	}
	if tr, err := parseRoot(data); err == nil && tr != nil {
		accepted = append(accepted, "root")
	}
	return accepted
}
