package serve

import (
	"crypto/tls"
	"fmt"

	"airgap/store/serve/reload"
)

// maxPEMBytes is how long a file with a certificate, and those above it, or a key may
// be.
const maxPEMBytes = 1 << 20

// LoadTLS reads a certificate and its private key (PEM), and reads them again when
// they change: whoever connects from then on gets the new one. Of a change that makes
// no pair o.Failed is told, and the pair before goes on to be used.
func LoadTLS(certFile, keyFile string, o reload.Options) (*tls.Config, error) {
	pair, err := reload.Open(o, func() (*tls.Certificate, error) { return readPair(certFile, keyFile) }, certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Get(), nil },
	}, nil
}

func readPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := reload.ReadFile(certFile, maxPEMBytes)
	if err != nil {
		return nil, err
	}
	key, err := reload.ReadFile(keyFile, maxPEMBytes)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
	}
	return &pair, nil
}
