package trust_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"airgap/verify/signing"
	"airgap/verify/trust"
)

// exampleDir makes a trust directory that trusts one CA.
func exampleDir() string {
	tmp, err := os.MkdirTemp("", "airgap-trust-example")
	if err != nil {
		panic(err)
	}
	dir := filepath.Join(tmp, "trust")
	ca, err := signing.NewTestCA("acme", signing.TestOptions{InsecureSeed: "example"})
	if err == nil {
		err = trust.Init(dir)
	}
	if err == nil {
		_, err = trust.AddCertificate(dir, trust.TypeCA, "acme", signing.CertificatesPEM(ca.Certs...), "root.pem")
	}
	if err != nil {
		panic(err)
	}
	return dir
}

// Read a trust directory, and look up who is trusted in the store ca:acme.
func ExampleOpen() {
	dir := exampleDir()
	defer os.RemoveAll(filepath.Dir(dir))
	t, err := trust.Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	certs, err := t.GetCertificates(context.Background(), trust.TypeCA, "acme")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range certs {
		fmt.Println(c.Subject.CommonName)
	}
	// Output: acme
}
