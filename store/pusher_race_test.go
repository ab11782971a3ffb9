package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// Clients push and pull beside an import and collections of garbage: everything good is
// there in the end, whole, and nobody has ever seen anything bad.
func TestPushBesideOthers(t *testing.T) {
	const images, pushers, pullers = 12, 4, 4
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	shared := b.Layer("application/vnd.oci.image.layer.v1.tar", "shared")
	good, bad := map[digest.Digest]string{}, map[digest.Digest]bool{}
	for i := range images {
		d := b.Image(fmt.Sprint("good", i), shared, b.Layer("application/vnd.oci.image.layer.v1.tar", fmt.Sprint(i)))
		good[d.Digest] = fmt.Sprint("good", i)
		b.Tag(good[d.Digest], d)
		d = b.Image(fmt.Sprint("bad", i), shared)
		bad[d.Digest] = true
		b.Tag(fmt.Sprint("bad", i), d)
	}
	content := b.Content()
	p := judged(t, s, func(ctx context.Context, repo string, dgst digest.Digest) error {
		tag, ok := good[dgst]
		if !ok {
			return nil
		}
		session, err := s.Begin(ctx)
		if err != nil {
			return err
		}
		defer session.Close()
		return errors.Join(session.Release(repo, dgst), session.LetGo(layout.Reference{Repository: repo, Tag: tag}), session.Commit(ctx, nil))
	})

	var work, watch sync.WaitGroup
	var over atomic.Bool
	items := make(chan layouttest.Item, len(content.Repositories[testRepo]))
	for _, item := range content.Repositories[testRepo] {
		if !layout.IsManifest(item.Descriptor.MediaType) {
			no(t, pushBlob(t, p, testRepo, item.Bytes, item.Descriptor.Digest))
		} else {
			items <- item
		}
	}
	close(items)
	for range pushers {
		work.Go(func() {
			for item := range items {
				for _, blob := range mustParse(t, item).Blobs() { // again, beside others
					i, _ := content.Find(testRepo, blob.Digest)
					no(t, pushBlob(t, p, testRepo, i.Bytes, blob.Digest))
				}
				if _, err := pushManifest(t, p, content, testRepo, item.Descriptor); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Go(func() { add(t, s, image("imported")) })
	for range pullers {
		watch.Go(func() {
			for v := s.View(); !over.Load(); {
				for _, dgst := range given(t, v, testRepo) {
					if bad[dgst] {
						t.Errorf("%s is given out", dgst)
					}
				}
				for dgst := range bad {
					if sees(t, v, testRepo, dgst) {
						t.Errorf("%s is given out", dgst)
					}
				}
			}
		})
	}
	watch.Go(func() {
		for !over.Load() {
			if _, err := s.Collect(t.Context(), CollectOptions{Grace: time.Hour}); err != nil {
				t.Error(err)
			}
		}
	})
	work.Wait()
	over.Store(true)
	watch.Wait()
	got := given(t, s.View(), testRepo)
	for dgst, tag := range good {
		if got[tag] != dgst {
			t.Errorf("%s is %q", tag, got[tag])
		}
		item, _ := content.Find(testRepo, dgst)
		for _, blob := range mustParse(t, item).Blobs() {
			if !seesBlob(t, s.View(), testRepo, blob.Digest) {
				t.Errorf("%s of %s is not there", blob.Digest, tag)
			}
		}
	}
	if len(got) != images+1 {
		t.Errorf("it gives %d tags", len(got))
	}
}
