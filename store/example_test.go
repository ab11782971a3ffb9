package store_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
)

// Content is put in a session, in any number of repositories, and becomes visible
// with one Commit.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	s, err := store.Open(dir, store.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	session, err := s.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close() // discards, unless committed

	// Anything that fills a sink will do; layout.Copy is what fills it from
	// a bundle or a registry.
	b := layouttest.New("reg.example/team/app")
	image := b.Image("app")
	b.Notary(image, "signature")
	b.Tag("v1", image)
	if err := b.Content().Load(ctx, session); err != nil {
		log.Fatal(err)
	}

	names, err := s.Names(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, n := range names {
		answers, err := s.Attached(ctx, n.Reference.Repository, n.Descriptor)
		if err != nil {
			log.Fatal(err)
		}
		for _, q := range answers {
			if q.Answer == layout.AnswerFound {
				fmt.Println(n.Reference, q.Form, q.Found[0].ArtifactType)
			}
		}
	}
	// Output:
	// reg.example/team/app:v1 referrers application/vnd.cncf.notary.signature
}
