package store

import (
	"slices"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// lister is a store that has, in testRepo, an index under v1 with one child; the other one
// is an image of another repository, and so among the blobs.
type lister struct {
	dir                string
	index, here, child layout.Descriptor
	outer, whole       layout.Descriptor // indexes of the index, and of both children; not in a repository
	names              []RebuiltName
}

const otherRepo = "other.example/app"

func newLister(t *testing.T) lister {
	t.Helper()
	l := lister{dir: t.TempDir()}
	s := open(t, l.dir, Options{})
	b, other := layouttest.New(testRepo), layouttest.New(otherRepo)
	l.child = other.Image("child")
	other.Tag("v1", l.child)
	l.here = b.Image("here")
	l.index = b.Index(l.here, l.child)
	l.outer = b.Index(l.index, l.here)
	l.whole = b.Index(l.child)
	b.Tag("v1", l.index)
	add(t, s, b.Content())
	add(t, s, other.Content())
	for _, n := range slices.Concat(b.Content().Names, other.Content().Names) {
		l.names = append(l.names, RebuiltName{Reference: n.Reference, Digest: n.Descriptor.Digest})
	}
	no(t, s.Close())
	return l
}

// acts are what is done to the child, or to what contains it, in testRepo.
func (l lister) admit(d layout.Descriptor, absent ...layout.Descriptor) RebuiltAct {
	a := RebuiltAct{Repository: testRepo, Digest: d.Digest, Absent: []digest.Digest{}}
	for _, d := range absent {
		a.Absent = append(a.Absent, d.Digest)
	}
	return a
}

func (l lister) before(d layout.Descriptor) RebuiltAct { // in an entry of an earlier version
	return RebuiltAct{Repository: testRepo, Digest: d.Digest}
}

func (l lister) act(kind ActKind, d layout.Descriptor, reason string) RebuiltAct {
	return RebuiltAct{Kind: kind, Repository: testRepo, Digest: d.Digest, Reason: reason}
}

// In a repository to which nobody has admitted anything each manifest was pushed: what an
// index lists and nobody pushed there is not there, and no client gets what another
// repository has by pushing an index of it.
func TestRebuildOfPushedIndex(t *testing.T) {
	l := newLister(t)
	index, child := l.act(ActPush, l.index, ""), l.act(ActPush, l.child, "")
	for name, test := range map[string]struct {
		acts []RebuiltAct
		want bool
	}{
		"the index alone":      {[]RebuiltAct{index}, false},
		"the child, too":       {[]RebuiltAct{index, child}, true},
		"the child is deleted": {[]RebuiltAct{child, index, l.act(ActDelete, l.child, "")}, false},
		"its name is removed":  {[]RebuiltAct{child, index, l.act(ActUnname, l.child, "")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := clone(t, l.dir)
			doubted := map[digest.Digest]bool{l.index.Digest: true, l.child.Digest: true}
			_, err := Rebuild(t.Context(), dir, RebuildOptions{Names: l.names, History: test.acts, NotAdmitted: []string{testRepo}, Doubted: doubted})
			no(t, err)
			s := open(t, dir, Options{})
			if marked, err := s.NotAdmitted(t.Context()); err != nil || !slices.Contains(marked, testRepo) {
				t.Errorf("not admitted: %v, %v", marked, err)
			}
			for who, v := range map[string]*View{"who pulls": s.View(), "who pushes": s.PushersView()} {
				if got := sees(t, v, testRepo, l.child.Digest); got != test.want || !sees(t, v, testRepo, l.index.Digest) {
					t.Errorf("%s sees the child: %v, want %v", who, got, test.want)
				}
			}
		})
	}
}

// A rebuild serves a child of an index if the repository did, and where its acts do not say
// whether it was there, it is in quarantine.
func TestRebuildOfAbsentChildren(t *testing.T) {
	const (
		isServed = "served"
		isHeld   = "quarantined"
		isAbsent = "absent"
	)
	l := newLister(t)
	cut := l.admit(l.index)
	cut.Cut = true
	tagged := l.admit(l.whole)
	tagged.Attached = true
	hold, release := l.act(ActHold, l.child, "for a test"), l.act(ActRelease, l.child, "")
	released := func(absent ...layout.Descriptor) RebuiltAct {
		a := l.admit(l.index, absent...)
		a.Kind = ActRelease
		return a
	}
	for name, test := range map[string]struct {
		acts    []RebuiltAct
		doubted bool
		want    string
	}{
		"it came with the index":                  {[]RebuiltAct{l.admit(l.index)}, false, isServed},
		"it was absent":                           {[]RebuiltAct{l.admit(l.index, l.child)}, false, isAbsent},
		"it came later":                           {[]RebuiltAct{l.admit(l.index, l.child), l.admit(l.child)}, false, isServed},
		"the index came again with it":            {[]RebuiltAct{l.admit(l.index, l.child), l.admit(l.index)}, false, isServed},
		"it came with another index":              {[]RebuiltAct{l.admit(l.index, l.child), l.admit(l.whole)}, false, isServed},
		"it was absent from both":                 {[]RebuiltAct{l.admit(l.whole, l.child), l.admit(l.index, l.child)}, false, isAbsent},
		"it was there, and is not any more":       {[]RebuiltAct{l.admit(l.index), l.admit(l.index, l.child)}, false, isHeld},
		"it was absent from a nested index":       {[]RebuiltAct{l.admit(l.index, l.child), l.admit(l.outer, l.child)}, false, isAbsent},
		"it came with an index above":             {[]RebuiltAct{l.admit(l.index, l.child), l.admit(l.outer)}, false, isServed},
		"it was quarantined":                      {[]RebuiltAct{l.admit(l.index), hold}, false, isHeld},
		"it was quarantined and released":         {[]RebuiltAct{l.admit(l.index), hold, release}, false, isServed},
		"it was released with the index":          {[]RebuiltAct{l.admit(l.index), hold, released()}, false, isServed},
		"the index was released without it":       {[]RebuiltAct{l.admit(l.index), hold, released(l.child)}, false, isHeld},
		"released without it, and it was served":  {[]RebuiltAct{l.admit(l.index), released(l.child)}, false, isHeld},
		"released without it, and it was absent":  {[]RebuiltAct{l.admit(l.index, l.child), released(l.child)}, false, isAbsent},
		"released without it, and never there":    {[]RebuiltAct{l.act(ActHold, l.index, "attached"), released(l.child)}, false, isAbsent},
		"released, and nothing says with what":    {[]RebuiltAct{l.admit(l.index), hold, l.act(ActRelease, l.index, "")}, false, isHeld},
		"released, and quarantined with it":       {[]RebuiltAct{l.admit(l.index), {Kind: ActHoldAll, Repository: testRepo, Reason: "x"}, l.act(ActRelease, l.index, "")}, false, isServed},
		"absent is not released with the index":   {[]RebuiltAct{l.admit(l.index, l.child), l.act(ActRelease, l.index, "")}, false, isAbsent},
		"quarantined, and admitted":               {[]RebuiltAct{l.admit(l.index), hold, l.admit(l.child)}, false, isServed},
		"quarantined, and the index came again":   {[]RebuiltAct{l.admit(l.index), hold, l.admit(l.index)}, false, isServed},
		"quarantined, and absent when it did":     {[]RebuiltAct{l.admit(l.index), hold, l.admit(l.index, l.child)}, false, isHeld},
		"quarantined, and attached to something":  {[]RebuiltAct{l.admit(l.index), hold, tagged}, false, isHeld},
		"it lost a name of its own":               {[]RebuiltAct{l.admit(l.index), l.act(ActUnname, l.child, "")}, false, isHeld},
		"it was deleted":                          {[]RebuiltAct{l.admit(l.index), l.act(ActDelete, l.child, "")}, false, isAbsent},
		"quarantined, deleted, and pushed again":  {[]RebuiltAct{l.admit(l.index), hold, l.act(ActDelete, l.child, ""), l.act(ActPush, l.child, "")}, false, isHeld},
		"it was deleted, and came again":          {[]RebuiltAct{l.admit(l.index), l.act(ActDelete, l.child, ""), l.admit(l.child)}, false, isServed},
		"there may be more that were absent":      {[]RebuiltAct{cut}, false, isHeld},
		"a client pushed the index alone":         {[]RebuiltAct{l.act(ActPush, l.index, "")}, false, isAbsent},
		"a judge released the index alone":        {[]RebuiltAct{l.act(ActPush, l.index, "unjudged"), l.act(ActRelease, l.index, "")}, false, isAbsent},
		"a client pushed both":                    {[]RebuiltAct{l.act(ActPush, l.child, ""), l.act(ActPush, l.index, "")}, false, isServed},
		"a client pushed both, unjudged":          {[]RebuiltAct{l.act(ActPush, l.child, "unjudged"), l.act(ActPush, l.index, "")}, false, isHeld},
		"a client deleted it":                     {[]RebuiltAct{l.act(ActPush, l.child, ""), l.act(ActPush, l.index, ""), l.act(ActDelete, l.child, "")}, false, isAbsent},
		"clients had pushed it before":            {[]RebuiltAct{l.act(ActPush, l.child, ""), {Kind: ActHoldAll, Repository: testRepo, Reason: "x"}, l.before(l.index)}, false, isHeld},
		"what was there is gone":                  {[]RebuiltAct{l.admit(l.whole), {Kind: ActReset, Repository: testRepo}, l.act(ActPush, l.index, "")}, false, isAbsent},
		"nothing is known":                        {[]RebuiltAct{l.before(l.index)}, false, isServed},
		"nothing is known, and it was pushed":     {[]RebuiltAct{l.before(l.index)}, true, isHeld},
		"nothing is known, and it was absent":     {[]RebuiltAct{l.admit(l.index, l.child), l.before(l.index)}, false, isAbsent},
		"nothing is known, and it is quarantined": {[]RebuiltAct{l.admit(l.index), hold, l.before(l.index)}, false, isHeld},
		"there are no acts":                       {nil, false, isServed},
	} {
		t.Run(name, func(t *testing.T) {
			dir := clone(t, l.dir)
			o := RebuildOptions{Names: l.names, History: test.acts}
			if test.doubted {
				o.Doubted = map[digest.Digest]bool{l.child.Digest: true}
			}
			_, err := Rebuild(t.Context(), dir, o)
			no(t, err)
			s := open(t, dir, Options{})
			got := isAbsent
			if sees(t, s.View(), testRepo, l.child.Digest) {
				got = isServed
			} else if _, err := s.Judged().Resolve(t.Context(), layout.Reference{Repository: testRepo, Digest: l.child.Digest}); err == nil {
				got = isHeld
			}
			if got != test.want {
				t.Errorf("the child is %s, want %s", got, test.want)
			}
			pushed := func(a RebuiltAct) bool { return a.Kind == ActPush || a.Cut }
			if !slices.ContainsFunc(test.acts, pushed) && !sees(t, s.View(), testRepo, l.here.Digest) {
				t.Error("the other child is not served")
			}
			if !sees(t, s.View(), testRepo, l.index.Digest) || !sees(t, s.View(), otherRepo, l.child.Digest) {
				t.Error("the index, or the other repository's image, is not served")
			}
		})
	}
}

// What an index lists as no manifest, and was absent, is not served either.
func TestRebuildOfAbsentOpaque(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	b, other := layouttest.New(testRepo), layouttest.New(otherRepo)
	odd := other.Blob("application/json", []byte(`{"a":1}`))
	other.Tag("v1", other.Index(other.Image("other"), odd))
	inner := b.Index(b.Image("here"), odd)
	outer := b.Index(inner)
	b.Tag("v1", outer)
	add(t, s, b.Content())
	add(t, s, other.Content())
	o := remembered(t, s)
	no(t, s.Close())
	for _, test := range []struct {
		absent []digest.Digest
		want   bool
	}{{[]digest.Digest{}, true}, {[]digest.Digest{odd.Digest}, false}, {nil, true}} {
		dir := clone(t, dir)
		o.History = []RebuiltAct{{Repository: testRepo, Digest: outer.Digest, Absent: test.absent}}
		_, err := Rebuild(t.Context(), dir, o)
		no(t, err)
		v := open(t, dir, Options{}).View()
		if got := seesBlob(t, v, testRepo, odd.Digest); got != test.want || !seesBlob(t, v, otherRepo, odd.Digest) {
			t.Errorf("absent %v: served: %v, want %v", test.absent, got, test.want)
		}
	}
}

// The list of tags that comes with a ledger is not signed, and admits nothing.
func TestRebuildOfListedTags(t *testing.T) {
	for listed, want := range map[bool]bool{true: false, false: true} {
		l := newLister(t)
		tag, _ := layout.FormCosignAtt.Tag(l.here.Digest)
		admitted := l.admit(l.child)
		admitted.Attached = !listed // else under a name that is gone
		o := RebuildOptions{History: []RebuiltAct{l.admit(l.here), admitted}, Names: []RebuiltName{
			{Reference: layout.Reference{Repository: testRepo, Tag: "v1"}, Digest: l.here.Digest},
			{Reference: layout.Reference{Repository: testRepo, Tag: tag}, Digest: l.child.Digest, Listed: listed},
		}}
		_, err := Rebuild(t.Context(), l.dir, o)
		no(t, err)
		if got := sees(t, open(t, l.dir, Options{}).View(), testRepo, l.child.Digest); got != want {
			t.Errorf("listed only: %v: the image is served: %v, want %v", listed, got, want)
		}
	}
}
