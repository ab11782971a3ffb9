package store

import (
	"context"
	"errors"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// twoTags is an index under v1, of which the first child is v1-amd64 too.
func twoTags() (c layouttest.Content, index, child, signature layout.Descriptor) {
	b := layouttest.New(testRepo)
	child = b.Image("amd64")
	index = b.Index(layouttest.ForPlatform(child, "linux", "amd64"), layouttest.ForPlatform(b.Image("arm64"), "linux", "arm64"))
	signature = b.Notary(child, "signature")
	b.Tag("v1", index)
	b.Tag("v1-amd64", child)
	return b.Content(), index, child, signature
}

func tagged(tag string) layout.Reference { return layout.Reference{Repository: testRepo, Tag: tag} }

// closed says which ways to read something are closed.
func closed(t *testing.T, s layout.Source, ref layout.Reference, d layout.Descriptor) (out []string) {
	t.Helper()
	_, byName := s.Resolve(t.Context(), ref)
	_, byDigest := s.Resolve(t.Context(), layout.Reference{Repository: testRepo, Digest: d.Digest})
	rc, opened := s.Open(t.Context(), testRepo, d)
	if opened == nil {
		no(t, rc.Close())
	}
	_, attached := s.Attached(t.Context(), testRepo, d)
	for _, way := range []struct {
		name string
		err  error
	}{{"name", byName}, {"digest", byDigest}, {"bytes", opened}, {"attachments", attached}} {
		if errors.Is(way.err, ErrQuarantined) {
			out = append(out, way.name)
		} else if way.err != nil {
			t.Errorf("%s by %s: %v", ref, way.name, way.err)
		}
	}
	return out
}

// A manifest in quarantine can not be read in any way; a judge can, and so can a
// session, which may be about to admit it.
func TestQuarantineIsClosed(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content, index, _, _ := twoTags()
	add(t, s, content)
	session := begin(t, s)
	no(t, session.Quarantine(testRepo, index.Digest, "revoked"))
	commit(t, session)
	if got := closed(t, s, tagged("v1"), index); len(got) != 4 {
		t.Errorf("closed are only %v", got)
	}
	if got := closed(t, s.Judged(), tagged("v1"), index); len(got) > 0 {
		t.Errorf("for a judge, closed are %v", got)
	}
	session = begin(t, s)
	if rc, err := session.Open(t.Context(), testRepo, index); err != nil {
		t.Errorf("for a session: %v", err)
	} else {
		no(t, rc.Close())
	}
}

// A name can be held while its manifest, as part of something else, is given out.
func TestHeldName(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content, _, child, _ := twoTags()
	add(t, s, content)
	session := begin(t, s)
	no(t, session.Hold(tagged("v1-amd64"), "no rule is for it"))
	no(t, session.Commit(t.Context(), []layout.Name{{Reference: tagged("z"), Descriptor: child}})) // another name of the same
	if got := closed(t, s, tagged("v1-amd64"), child); len(got) != 1 || got[0] != "name" {
		t.Errorf("closed are %v, want its name", got)
	}
	if names, err := s.Names(t.Context()); err != nil || len(names) != 2 {
		t.Errorf("names: %v, %v", names, err)
	}
	held, err := s.Quarantined(t.Context())
	if err != nil || len(held) != 1 || !held[0].NamesOnly || len(held[0].Names) != 1 || held[0].Reason != "no rule is for it" {
		t.Errorf("held: %+v, %v", held, err)
	}
	sound(t, s)
	session = begin(t, s)
	no(t, session.LetGo(tagged("v1-amd64")))
	commit(t, session)
	if got := closed(t, s, tagged("v1-amd64"), child); len(got) > 0 {
		t.Errorf("let go, closed are %v", got)
	}
	session = begin(t, s)
	no(t, session.Hold(tagged("never"), "x"))
	if err := session.Commit(t.Context(), nil); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("a name that is not there: %v", err)
	}
}

// A name without a tag is held apart from its manifest, too, and ends with it.
func TestHeldPin(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	img := b.Image("pinned")
	b.Pin(img)
	add(t, s, b.Content())
	pin := layout.Reference{Repository: testRepo, Digest: img.Digest}
	session := begin(t, s)
	no(t, session.Hold(pin, "x"))
	commit(t, session)
	if names, err := s.Names(t.Context()); err != nil || len(names) > 0 {
		t.Errorf("names: %v, %v", names, err)
	}
	if _, err := s.Resolve(t.Context(), pin); err != nil {
		t.Errorf("by its digest: %v", err)
	}
	session = begin(t, s)
	no(t, session.Remove(pin))
	commit(t, session)
	if held, err := s.Quarantined(t.Context()); err != nil || len(held) > 0 {
		t.Errorf("removed, and held: %+v, %v", held, err)
	}
}

// What is admitted again comes back whole: an index with its children, and what is
// attached to them.
func TestAdmittedComesBackWhole(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content, index, child, signature := twoTags()
	add(t, s, content)
	session := begin(t, s)
	for _, d := range []layout.Descriptor{index, child, signature} {
		no(t, session.Quarantine(testRepo, d.Digest, "revoked"))
	}
	no(t, session.Hold(tagged("v1"), "revoked"))
	no(t, session.Hold(tagged("v1-amd64"), "revoked"))
	commit(t, session)
	again := content
	again.Names = content.Names[:1] // v1 alone
	add(t, s, again)
	for _, d := range []layout.Descriptor{index, child, signature} {
		if got := closed(t, s, tagged("v1"), d); len(got) > 0 {
			t.Errorf("%s: closed are %v", d.Digest, got)
		}
	}
	if got := closed(t, s, tagged("v1-amd64"), child); len(got) != 1 {
		t.Errorf("the name that was not admitted: closed are %v", got)
	}
	all, err := s.Judged().Manifests(t.Context(), testRepo)
	if err != nil || len(all) != 4 {
		t.Errorf("%d manifests, %v", len(all), err)
	}
}

// Something in quarantine does not come back by being attached to what is admitted, nor
// by being listed in an index that is: whoever imports may have made both, and nobody
// judged them.
func TestRiderFreesNothing(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content, index, child, signature := twoTags()
	add(t, s, content)
	session := begin(t, s)
	for _, d := range []layout.Descriptor{index, child, signature} {
		no(t, session.Quarantine(testRepo, d.Digest, "revoked"))
	}
	commit(t, session)
	still := func(after string) {
		t.Helper()
		for tag, d := range map[string]layout.Descriptor{"v1": index, "v1-amd64": child} {
			if got := closed(t, s, tagged(tag), d); len(got) != 4 {
				t.Errorf("%s: of %s closed are only %v", after, tag, got)
			}
		}
		if _, err := s.Open(t.Context(), testRepo, signature); !errors.Is(err, ErrQuarantined) || !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("%s: the signature: %v", after, err)
		}
		v := s.View()
		rec, err := s.Judged().Resolve(t.Context(), tagged("v1-amd64"))
		no(t, err)
		m, err := s.parse(rec)
		no(t, err)
		for _, b := range m.Blobs() {
			if rc, err := v.Blob(t.Context(), testRepo, b.Digest); !errors.Is(err, layout.ErrNotFound) {
				t.Errorf("%s: a blob of it: %v", after, err)
				if err == nil {
					no(t, rc.Close())
				}
			}
		}
	}
	for what, ride := range map[string]func(b *layouttest.Builder, good layout.Descriptor) layout.Descriptor{
		"an index that lists it": func(b *layouttest.Builder, good layout.Descriptor) layout.Descriptor {
			return b.ReferrerIndex(good, index)
		},
		"an index that lists its part": func(b *layouttest.Builder, good layout.Descriptor) layout.Descriptor {
			return b.ReferrerIndex(good, child)
		},
		"two steps": func(b *layouttest.Builder, good layout.Descriptor) layout.Descriptor {
			return b.ReferrerIndex(b.Notary(good, "signature"), b.Index(index))
		},
		"a cosign tag of it": func(b *layouttest.Builder, good layout.Descriptor) layout.Descriptor {
			tag, _ := layout.FormCosignSig.Tag(good.Digest)
			b.Tag(tag, b.Index(index))
			return good
		},
		"an index that is admitted without it": func(b *layouttest.Builder, good layout.Descriptor) layout.Descriptor {
			return b.Index(good, index, child)
		},
	} {
		b := layouttest.New(testRepo)
		good := b.Image("good for " + what)
		top := good
		if d := ride(b, good); what == "an index that is admitted without it" {
			top = d
		}
		b.Tag("good", top)
		c := b.Content()
		if top.Digest == good.Digest { // it makes no difference that it is brought, too
			c.Repositories[testRepo] = append(c.Repositories[testRepo], content.Repositories[testRepo]...)
		}
		add(t, s, c)
		still(what)
		// What was admitted is whole, but for that.
		g, err := layout.Walk(t.Context(), s, []layout.Reference{tagged("good")}, layout.WalkOptions{
			MayMiss: func(string, digest.Digest, layout.Descriptor) bool { return true },
		})
		no(t, err)
		for _, d := range []layout.Descriptor{index, child} {
			if _, ok := g.Place(testRepo, d.Digest); ok {
				t.Errorf("%s: %s is part of it", what, d.Digest)
			}
		}
	}
	add(t, s, content) // by itself it comes back
	for tag, d := range map[string]layout.Descriptor{"v1": index, "v1-amd64": child} {
		if got := closed(t, s, tagged(tag), d); len(got) > 0 {
			t.Errorf("admitted: of %s closed are %v", tag, got)
		}
	}
}

// What is attached and in quarantine is not told of to those who pull.
func TestAttachedInQuarantine(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	img := b.Image("good")
	rider := b.ReferrerIndex(img, b.Image("rider"))
	sig := b.Cosign(layout.FormCosignSig, img, "signature")
	b.Tag("v1", img)
	add(t, s, b.Content())
	session := begin(t, s)
	no(t, session.Quarantine(testRepo, rider.Digest, "not signed"))
	no(t, session.Quarantine(testRepo, sig.Digest, "x"))
	commit(t, session)
	for what, src := range map[string]layout.Source{"pulled": s, "judged": s.Judged()} {
		g, err := layout.Walk(t.Context(), src, []layout.Reference{tagged("v1")}, layout.WalkOptions{})
		if want := map[string]int{"pulled": 1, "judged": 4}[what]; err != nil || len(g.Nodes) != want {
			t.Errorf("%s: %v, %+v", what, err, g)
		}
	}
}

// An attachment that only an image in quarantine leads to is not served, and would be by the
// image that it is attached to: it is quarantined when an import brings that. What a judge
// has released stays served.
func TestHoldBackOfWhatIsNotServed(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b, x := layouttest.New(testRepo), layouttest.New(testRepo)
	img := x.Image("image")
	rider := x.ReferrerIndex(img, x.Image("child"))
	x.Tag("v1", img)
	b.ReferrerIndex(img, b.Image("child"))
	above := b.Index(rider)
	b.Tag("above", above)
	add(t, s, b.Content())
	session := begin(t, s)
	no(t, session.Quarantine(testRepo, above.Digest, "for a test"))
	no(t, session.Commit(t.Context(), nil))
	if sees(t, s.View(), testRepo, rider.Digest) {
		t.Fatal("it is served, and the test says nothing")
	}
	session = begin(t, s)
	no(t, x.Content().Put(t.Context(), session))
	held, err := session.HoldBack(testRepo, rider.Digest, "nobody judged it")
	no(t, err)
	no(t, session.Commit(t.Context(), x.Content().Names))
	if v := s.View(); !held || sees(t, v, testRepo, rider.Digest) || !sees(t, v, testRepo, img.Digest) {
		t.Errorf("held: %v; served: %v", held, sees(t, v, testRepo, rider.Digest))
	}

	session = begin(t, s)
	no(t, session.Release(testRepo, rider.Digest))
	no(t, session.Commit(t.Context(), nil))
	session = begin(t, s)
	no(t, x.Content().Put(t.Context(), session))
	held, err = session.HoldBack(testRepo, rider.Digest, "nobody judged it")
	no(t, err)
	no(t, session.Commit(t.Context(), x.Content().Names))
	if held || !sees(t, s.View(), testRepo, rider.Digest) {
		t.Errorf("after it was released: held: %v", held)
	}
}

// What clients have pushed and a judge has released is served, and stays so.
func TestHoldBackOfWhatWasReleased(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	img := b.Image("image")
	rider := b.ReferrerIndex(img, b.Image("child"))
	b.Tag("v1", img)
	pushAll(t, s.Pusher(PushOptions{Admit: func(ctx context.Context, repo string, dgst digest.Digest) error {
		session := begin(t, s)
		return errors.Join(session.Release(repo, dgst), session.Commit(ctx, nil))
	}}), b.Content())
	session := begin(t, s)
	no(t, b.Content().Put(t.Context(), session))
	held, err := session.HoldBack(testRepo, rider.Digest, "nobody judged it")
	no(t, err)
	no(t, session.Commit(t.Context(), b.Content().Names))
	if held || !sees(t, s.View(), testRepo, rider.Digest) {
		t.Errorf("held: %v", held)
	}
}
