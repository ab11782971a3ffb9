package store

import (
	"errors"
	"fmt"
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

// What an index with many names lists shares those names, and the names of another index are
// apart from them.
func TestListedShares(t *testing.T) {
	const names, children = 30, 20
	s := open(t, t.TempDir(), Options{})
	b, other := layouttest.New(testRepo), layouttest.New(testRepo)
	var list []layout.Descriptor
	for i := range children {
		list = append(list, other.Image(fmt.Sprint(i)))
	}
	first, second := b.Index(list...), b.Index(list[0])
	for i := range names {
		b.Tag(fmt.Sprint("v", i), first)
	}
	b.Tag("w", second)
	add(t, s, b.Content())
	session := begin(t, s)
	defer session.Close()
	shared, err := session.Listed(t.Context(), testRepo, list[1].Digest)
	no(t, err)
	if len(shared) != 1 || len(shared[0]) != names {
		t.Fatalf("listed by %d indexes, %v", len(shared), shared)
	}
	for i, d := range list {
		got, err := session.Listed(t.Context(), testRepo, d.Digest)
		no(t, err)
		if want := 1 + 1/(i+1); len(got) != want || &got[0][0] != &shared[0][0] {
			t.Errorf("child %d is listed by %d indexes, want %d, or has names of its own", i, len(got), want)
		}
	}
	no(t, session.Commit(t.Context(), nil))

	session = begin(t, s)
	defer session.Close()
	for _, d := range list {
		if _, err := session.Listed(t.Context(), testRepo, d.Digest); err != nil {
			t.Fatal(err)
		}
	}
	more := layouttest.New(testRepo)
	more.Tag("x", more.Index(list...))
	add(t, s, more.Content())
	if err := session.Commit(t.Context(), nil); !errors.Is(err, ErrChanged) {
		t.Errorf("an index got another name meanwhile: %v, want %v", err, ErrChanged)
	}
}
