package serve_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/serve"

	"github.com/opencontainers/go-digest"
)

// How much happens at once, and how often.
const (
	pullers = 64
	rounds  = 12
)

// labelled is an image of its own, with a layer that all share, and a signature.
func labelled(label string) layouttest.Content {
	b := layouttest.New(ghcr)
	img := b.Image(label, b.Layer("application/vnd.oci.image.layer.v1.tar", "shared"))
	b.Notary(img, "signature of "+label)
	b.Tag(label, img)
	return b.Content()
}

// Clients pull while images are imported, lose their names, and are collected, each by a
// process of its own: each has the store open by itself, as processes have. What has a
// name all the time can be pulled all the time, whole; what is in quarantine never; what
// comes and goes is whole for as long as it has a name.
func TestPullsBesideImportsAndCollections(t *testing.T) {
	s, dir := newStore(t, labelled("kept"))
	load(t, s, labelled("bad"))
	hold(t, s, labelled("bad"))
	reading := another(t, dir, store.Options{ReadOnly: true})
	srv := httptest.NewServer(serve.New(reading.View(), serve.Options{Failed: func(err error) { t.Error(err) }}))
	defer srv.Close()
	c := &crowd{t: t, base: srv.URL + "/v2/" + ghcr}
	c.round.Store(-1)
	ctx, done := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		defer done()
		comeAndGo(t, another(t, dir, store.Options{}), &c.round)
	})
	collections := 0
	all.Go(func() {
		garbage := another(t, dir, store.Options{})
		for ; ctx.Err() == nil; collections++ {
			if _, err := garbage.Collect(t.Context(), store.CollectOptions{}); err != nil {
				t.Error(err)
			}
		}
	})
	for range pullers {
		all.Go(func() {
			for ctx.Err() == nil {
				c.pull()
			}
		})
	}
	all.Wait()
	c.pull() // what is there in the end
	if c.whole.Load() == 0 || c.passing.Load() == 0 || collections < 2 {
		t.Errorf("%d pulls of what stays, %d of what goes, %d collections: that shows nothing", c.whole.Load(), c.passing.Load(), collections)
	}
	t.Logf("%d pulls of what stays, %d of what goes, %d collections", c.whole.Load(), c.passing.Load(), collections)
}

func another(t *testing.T, dir string, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func load(t *testing.T, s *store.Store, content layouttest.Content) {
	t.Helper()
	session, err := s.Begin(t.Context())
	if err == nil {
		err = content.Load(t.Context(), session)
	}
	if err == nil {
		err = session.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func hold(t *testing.T, s *store.Store, content layouttest.Content) {
	t.Helper()
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if err := session.Quarantine(ghcr, content.Names[0].Descriptor.Digest, "not admitted"); err != nil {
		t.Fatal(err)
	}
	if err := session.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// comeAndGo imports one image after the other, and takes the name of the one before.
func comeAndGo(t *testing.T, s *store.Store, round *atomic.Int64) {
	for i := range rounds {
		session, err := s.Begin(t.Context())
		if err == nil && i > 0 {
			err = session.Remove(layout.Reference{Repository: ghcr, Tag: fmt.Sprint("round-", i-1)})
		}
		if err == nil {
			err = labelled(fmt.Sprint("round-", i)).Load(t.Context(), session)
		}
		if err != nil {
			t.Error(err)
			return
		}
		round.Store(int64(i))
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	}
}

// crowd is the clients.
type crowd struct {
	t              *testing.T
	base           string
	round          atomic.Int64
	whole, passing atomic.Int64
}

func (c *crowd) pull() {
	if !c.image(labelled("kept")) {
		c.t.Error("an image that has a name all the time was not there, or not whole")
	}
	c.whole.Add(1)
	bad := labelled("bad")
	for _, ref := range []string{"bad", string(bad.Names[0].Descriptor.Digest)} {
		if status, _ := c.get("/manifests/" + ref); status != http.StatusNotFound {
			c.t.Errorf("%s is in quarantine, and was answered with %d", ref, status)
		}
	}
	round := c.round.Load()
	if round < 0 {
		return // the first is still coming
	}
	tag := fmt.Sprint("round-", round)
	if c.image(labelled(tag)) {
		c.passing.Add(1)
	} else if status, _ := c.get("/manifests/" + tag); status != http.StatusNotFound {
		c.t.Errorf("%s has its name, and was not whole", tag)
	}
}

// image pulls an image by its tag, with all that is attached, and says whether all of
// it was there.
func (c *crowd) image(content layouttest.Content) bool {
	status, body := c.get("/manifests/" + content.Names[0].Reference.Tag)
	if status != http.StatusOK {
		return false
	}
	if got := digest.FromBytes(body); got != content.Names[0].Descriptor.Digest {
		c.t.Errorf("%s is %s", content.Names[0].Reference.Tag, got)
	}
	for _, item := range content.Repositories[ghcr] {
		kind := "/blobs/"
		if layout.IsManifest(item.Descriptor.MediaType) {
			kind = "/manifests/"
		}
		status, body := c.get(kind + string(item.Descriptor.Digest))
		if status != http.StatusOK {
			return false
		}
		if digest.FromBytes(body) != item.Descriptor.Digest {
			c.t.Errorf("%s has %d wrong bytes", item.Descriptor.Digest, len(body))
		}
	}
	return true
}

func (c *crowd) get(path string) (int, []byte) {
	res, err := http.Get(c.base + path)
	if err != nil {
		c.t.Error(err)
		return 0, nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Error(err)
	}
	return res.StatusCode, body
}
