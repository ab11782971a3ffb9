package store

import (
	"errors"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
)

// Serves and Listed tell what is served, and a commit that counted on it fails if it has
// changed meanwhile.
func TestListed(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	here := b.Image("here")
	absent := layouttest.New(testRepo).Image("absent")
	inner := b.Index(layouttest.ForPlatform(here, "linux", "amd64"), layouttest.ForPlatform(absent, "linux", "arm64"))
	outer := b.Index(inner)
	b.Tag("v1", outer)
	session := begin(t, s)
	for _, d := range []layout.Descriptor{here, inner, absent} {
		names, err := session.Listed(t.Context(), testRepo, d.Digest)
		no(t, err)
		if len(names) != 0 {
			t.Errorf("listed by %v before anything is there", names)
		}
		serves, err := session.Serves(t.Context(), testRepo, d.Digest)
		no(t, err)
		if serves {
			t.Error("served before it is there")
		}
	}
	add(t, s, b.Content())
	if err := session.Commit(t.Context(), nil); !errors.Is(err, ErrChanged) {
		t.Errorf("an index came meanwhile: %v, want %v", err, ErrChanged)
	}

	session = begin(t, s)
	defer session.Close()
	for _, d := range []layout.Descriptor{here, inner, absent} {
		names, err := session.Listed(t.Context(), testRepo, d.Digest)
		no(t, err)
		if len(names) != 1 || len(names[0]) != 1 || names[0][0].Reference.Tag != "v1" {
			t.Errorf("listed by %v, want v1", names)
		}
		serves, err := session.Serves(t.Context(), testRepo, d.Digest)
		no(t, err)
		if serves != (d.Digest != absent.Digest) {
			t.Errorf("%s is served: %v", d.Digest, serves)
		}
	}
	no(t, session.Commit(t.Context(), nil))

	// What is in quarantine is not served, and an index in quarantine lists nothing.
	session = begin(t, s)
	no(t, session.Quarantine(testRepo, outer.Digest, "for a test"))
	no(t, session.Commit(t.Context(), nil))
	session = begin(t, s)
	defer session.Close()
	names, err := session.Listed(t.Context(), testRepo, absent.Digest)
	no(t, err)
	serves, serr := session.Serves(t.Context(), testRepo, here.Digest)
	no(t, serr)
	if len(names) != 0 || serves {
		t.Errorf("in quarantine: listed by %v, served: %v", names, serves)
	}
}
