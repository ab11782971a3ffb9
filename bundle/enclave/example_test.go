package enclave_test

import (
	"context"
	"crypto"
	"fmt"
	"log"
	"os"
	"time"

	"airgap/bundle/enclave"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"
	"airgap/verify/trust"
)

const rules = `version: airgap.policy/v1
rules:
- {name: team, match: ["reg.example/team/*"], require: {cosign: {key: release}}}
`

// A store is judged again: the image that the release key has not signed is quarantined.
func ExampleReverify() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "enclave")
	check(err)
	defer os.RemoveAll(dir)
	st, err := store.Open(dir+"/store", store.Options{})
	check(err)
	defer st.Close()

	b := layouttest.New("reg.example/team/app")
	signed := b.Image("signed")
	signature, err := signing.BundleSignature(signed, signing.InsecureKey("release"))
	check(err)
	for _, blob := range signature.Blobs {
		b.Blob(blob.Desc.MediaType, blob.Data)
	}
	b.Blob(signature.Manifest.MediaType, signature.Raw)
	b.Tag("v1", signed)
	b.Tag("v2", b.Image("unsigned"))
	session, err := st.Begin(ctx)
	check(err)
	check(b.Content().Load(ctx, session))
	check(session.Close())

	p, err := policy.Parse("policy.yaml", []byte(rules), "")
	check(err)
	check(os.MkdirAll(dir+"/trust/keys", 0o755))
	pinned, err := trust.Open(dir + "/trust")
	check(err)
	judge := &verify.Judge{Policy: p, Trust: pinned, Keys: map[string]crypto.PublicKey{"release": signing.InsecureKey("release").Public()}}
	res, err := enclave.Reverify(ctx, st, enclave.ReverifyOptions{Judge: judge, Now: time.Now()})
	check(err)
	fmt.Println(res.State, res.Images, "images")
	for _, q := range res.Quarantined {
		fmt.Println("quarantined:", q.Reference)
	}
	// Output:
	// refused 2 images
	// quarantined: reg.example/team/app:v2
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
