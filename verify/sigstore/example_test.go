package sigstore_test

import (
	"errors"
	"fmt"

	"airgap/verify/sigstore"
	"airgap/verify/sigstore/sigstoretest"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// A signature that arrived with an image is judged with what is pinned.
func Example() {
	deployment, err := sigstoretest.New() // stands for the public Sigstore
	if err != nil {
		panic(err)
	}
	image := digest.FromString("the image's manifest")
	data, err := deployment.SignBundle(image, sigstoretest.Signing{
		Identity: "build@example.com", Issuer: "https://issuer.example.com",
	})
	if err != nil {
		panic(err)
	}
	pinned, err := deployment.Root() // root.NewTrustedRootFromJSON, from a file
	if err != nil {
		panic(err)
	}

	envelope, err := sigstore.ParseBundle(data)
	if err != nil {
		panic(err)
	}
	material := sigstore.Material{Roots: []*root.TrustedRoot{pinned}}
	signed, err := envelope.Verify(image, material, sigstore.Want{
		Identity: "build@example.com", Issuer: "https://issuer.example.com",
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(signed.Signer)
	fmt.Println(signed.IsSignature, signed.Time.Format("2006-01-02"), signed.TimeSource)

	_, err = envelope.Verify(image, material, sigstore.Want{
		Identity: "release@example.com", Issuer: "https://issuer.example.com",
	})
	var failure *sigstore.Failure
	if errors.As(err, &failure) {
		fmt.Println(failure.Reason, "by", failure.Claimed, "undecided:", failure.Undecided())
	}
	// Output:
	// build@example.com (vouched for by https://issuer.example.com)
	// true 2026-01-02 transparency log
	// wrong identity by build@example.com (vouched for by https://issuer.example.com) undecided: false
}
