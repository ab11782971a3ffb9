package verify

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// maxPinnedBytes is how large a file with a key or a trusted root may be.
const maxPinnedBytes = 4 << 20

// ReadKey reads a public key in PEM form, as cosign writes cosign.pub.
func ReadKey(path string) (crypto.PublicKey, error) {
	data, err := readPinned(path)
	if err != nil {
		return nil, err
	}
	key, err := cryptoutils.UnmarshalPEMToPublicKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: no public key in PEM form", path)
	}
	return key, nil
}

// ReadRoot reads a Sigstore trusted root.
func ReadRoot(path string) (*root.TrustedRoot, error) {
	data, err := readPinned(path)
	if err != nil {
		return nil, err
	}
	r, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		return nil, fmt.Errorf("%s: no Sigstore trusted root: %w", path, err)
	}
	return r, nil
}

func readPinned(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPinnedBytes+1))
	if err == nil && len(data) > maxPinnedBytes {
		err = errors.New("too large")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}
