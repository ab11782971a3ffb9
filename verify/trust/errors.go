package trust

import (
	"errors"

	"airgap/layout"
)

// Side is how errors name the trust directory.
const Side layout.Side = "trust directory"

// Sentinel errors, to be matched with [errors.Is].
var (
	// ErrNotTrust: the folder is not there, or is no trust directory.
	ErrNotTrust = errors.New("no trust directory")
	// ErrUnknownFile: it has no place in a trust directory.
	ErrUnknownFile = errors.New("it does not belong in a trust directory")
	// ErrInvalid: it cannot be read as what it should be.
	ErrInvalid = errors.New("invalid")
	// ErrLimit: honest content does not get this large, or this numerous.
	ErrLimit = errors.New("over the limit")
	// ErrPrivateKey: it holds a private key, which is not to be handed round.
	ErrPrivateKey = errors.New("it holds a private key")
	// ErrExists: there is something else under that name.
	ErrExists = errors.New("something else has that name")
	// ErrOlder: there is a newer one of the same kind, and it stays.
	ErrOlder = errors.New("there is a newer one")
	// ErrNotFound: there is no such file in the trust directory.
	ErrNotFound = errors.New("not in it")
)

// Limits on what is read. Each is far beyond what honest content needs.
const (
	// MaxCertificateBytes is the largest file of certificates. A whole
	// browser's roots are about 250 kB.
	MaxCertificateBytes = 1 << 20
	// MaxCertificates is how many certificates one file may hold.
	MaxCertificates = 1000
	// MaxKeyBytes is the largest file with a public key; RSA of 16384 bits
	// takes 3 kB.
	MaxKeyBytes = 64 << 10
	// MaxRootBytes is the largest Sigstore trusted root; the public one has
	// about 10 kB.
	MaxRootBytes = 4 << 20
	// MaxCRLBytes is the largest revocation list. Public ones reach a few
	// tens of megabytes.
	MaxCRLBytes = 64 << 20
	// MaxFiles is how many files, and folders of one level, there may be.
	MaxFiles = 10_000
	// MaxBytes is how much all files may have together, and so what a Trust
	// can take of memory, a few times over.
	MaxBytes = 256 << 20
	// MaxNameBytes is the longest name that something is added under.
	MaxNameBytes = 100
)

// hint adds advice to an error.
func hint(err error, advice string) error {
	return &layout.Error{Err: err, Hint: advice}
}

// inDir says of an error that it lies in the trust directory, and where.
func inDir(dir, file string, err error) error {
	if file != "" {
		dir += "/" + file
	}
	return &layout.Error{Side: Side, Name: dir, Err: err}
}
