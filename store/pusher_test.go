package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store/push"

	"github.com/opencontainers/go-digest"
)

// events keeps what a pusher enters in the ledger.
type events []PushEvent

func (e *events) entry(one PushEvent) ([]byte, error) {
	*e = append(*e, one)
	return json.Marshal(one)
}

// pushAll pushes content as a client does: blobs, then manifests, by digest and by tag.
func pushAll(t *testing.T, p *Pusher, content layouttest.Content) {
	t.Helper()
	for repo, items := range content.Repositories {
		for _, item := range items {
			if !layout.IsManifest(item.Descriptor.MediaType) {
				no(t, pushBlob(t, p, repo, item.Bytes, item.Descriptor.Digest))
			}
		}
		for _, item := range items {
			if layout.IsManifest(item.Descriptor.MediaType) {
				_, err := pushManifest(t, p, content, repo, item.Descriptor)
				no(t, err)
			}
		}
	}
}

func pushBlob(t *testing.T, p *Pusher, repo string, data []byte, dgst digest.Digest) error {
	t.Helper()
	u, err := p.Upload(t.Context(), repo, digest.SHA256)
	no(t, err)
	for part := range bytes.SplitSeq(data, []byte("\n")) { // in parts of any length
		_, err := u.Write(part)
		no(t, err)
		if u.Size() < int64(len(data)) {
			_, err := u.Write([]byte("\n"))
			no(t, err)
		}
	}
	return u.Commit(t.Context(), dgst)
}

// pushManifest pushes one with the tags that content has for it.
func pushManifest(t *testing.T, p *Pusher, content layouttest.Content, repo string, d layout.Descriptor) (push.Result, error) {
	t.Helper()
	var tags []string
	for _, n := range content.Names {
		if n.Reference.Repository == repo && n.Descriptor.Digest == d.Digest && n.Reference.Tag != "" {
			tags = append(tags, n.Reference.Tag)
		}
	}
	item, _ := content.Find(repo, d.Digest)
	return putManifest(t, p, repo, item, tags...)
}

func putManifest(t *testing.T, p *Pusher, repo string, item layouttest.Item, tags ...string) (push.Result, error) {
	t.Helper()
	d := item.Descriptor
	return p.Put(t.Context(), push.Manifest{
		By: "ann", Repository: repo, Tags: tags, Bytes: item.Bytes,
		Descriptor: layout.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size},
	})
}

// denied is a refusal of one kind, which says why.
func denied(t *testing.T, err, kind error, why string) {
	t.Helper()
	var r *push.Refusal
	if !errors.Is(err, kind) || !errors.As(err, &r) || !strings.Contains(r.Why, why) {
		t.Errorf("%v, want %v because of %q", err, kind, why)
	}
}

// gives says which tags a view gives out, and where they lead.
func given(t *testing.T, v *View, repo string) map[string]digest.Digest {
	t.Helper()
	out := map[string]digest.Digest{}
	tags, err := v.Tags(t.Context(), repo)
	if err != nil && !errors.Is(err, layout.ErrNotFound) {
		t.Fatal(err)
	}
	for _, tag := range tags {
		d, err := v.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: tag})
		no(t, err)
		out[tag] = d.Digest
	}
	return out
}

func sees(t *testing.T, v *View, repo string, dgst digest.Digest) bool {
	t.Helper()
	_, err := v.Resolve(t.Context(), layout.Reference{Repository: repo, Digest: dgst})
	if err != nil && !errors.Is(err, layout.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func seesBlob(t *testing.T, v *View, repo string, dgst digest.Digest) bool {
	t.Helper()
	f, err := v.Blob(t.Context(), repo, dgst)
	if err != nil && !errors.Is(err, layout.ErrNotFound) {
		t.Fatal(err)
	}
	if err == nil {
		f.Close()
	}
	return err == nil
}

// What is pushed to a repository of its own is there, in every form that there is, and
// marked as what nobody has admitted.
func TestPush(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	all := layouttest.Merge(layouttest.Everything(testRepo), layouttest.SHA512("quay.io/acme/sha512"))
	var log events
	p := s.Pusher(PushOptions{Entry: log.entry, Sparse: true})
	pushAll(t, p, all)
	layouttest.CheckSource(t, s, all, layouttest.Traits{})
	for repo := range all.Repositories {
		if ok, err := s.View().Admitted(t.Context(), repo); ok || err != nil {
			t.Errorf("%s passes for admitted (%v)", repo, err)
		}
	}
	if marked, err := s.NotAdmitted(t.Context()); err != nil || len(marked) != len(all.Repositories) {
		t.Errorf("marked are %q (%v)", marked, err)
	}
	if left := leftovers(t, dir); len(left) > 0 {
		t.Errorf("left in ingest: %q", left)
	}
	manifests := 0
	for _, items := range all.Repositories {
		for _, item := range items {
			if layout.IsManifest(item.Descriptor.MediaType) {
				manifests++
			}
		}
	}
	if len(log) < manifests || log[0].By != "ann" || log[0].Deleted || log[0].Digest == "" {
		t.Errorf("%d lines for %d manifests, such as %+v", len(log), manifests, log[0])
	}
}

// Bytes that are not what they are said to be are no blob, and leave nothing.
func TestPushLies(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	p := s.Pusher(PushOptions{})
	data := []byte("some\nbytes\n")
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		for _, told := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
			u, err := p.Upload(t.Context(), testRepo, told)
			no(t, err)
			_, err = u.Write(data)
			no(t, err)
			if err := u.Commit(t.Context(), alg.FromBytes(data[1:])); !errors.Is(err, push.ErrDigest) {
				t.Errorf("%s told, %s given: %v", told, alg, err)
			}
			if _, err := u.Write(data); err == nil {
				t.Error("it goes on after its end")
			}
			if err := u.Commit(t.Context(), alg.FromBytes(data)); err == nil {
				t.Error("it ends twice")
			}
		}
	}
	if all := append(leftovers(t, dir), files(t, dir, "blobs")...); len(all) > 0 {
		t.Errorf("it left %q", all)
	}
	if repos, err := s.Repositories(t.Context()); err != nil || len(repos) > 0 {
		t.Errorf("repositories %q (%v)", repos, err)
	}
}

// A manifest is taken if it is what it is said to be, and its blobs are there.
func TestPushManifests(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	p := s.Pusher(PushOptions{})
	b := layouttest.New(testRepo)
	layer := b.Layer("application/vnd.oci.image.layer.v1.tar", "layer")
	small := layer
	small.Size--
	foreign := layout.Descriptor{MediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar", Digest: digest.FromString("far away"), Size: 9}
	far, lying, img := b.Image("far", layer, foreign), b.Image("lying", small), b.Image("image", layer)
	wrong := img
	wrong.MediaType = layout.MediaTypeDockerManifest
	index, wrongIndex := b.Index(layouttest.ForPlatform(img, "linux", "amd64"), layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString("not there"), Size: 5}), b.Index(wrong)
	c := b.Content()
	_, err := pushManifest(t, p, c, testRepo, img)
	denied(t, err, push.ErrBlobUnknown, "sha256:")
	for _, item := range c.Repositories[testRepo] {
		if !layout.IsManifest(item.Descriptor.MediaType) {
			no(t, pushBlob(t, p, testRepo, item.Bytes, item.Descriptor.Digest))
		}
	}
	for _, d := range []layout.Descriptor{img, far, index} {
		if _, err := pushManifest(t, p, c, testRepo, d); err != nil {
			t.Error(err)
		}
	}
	_, err = pushManifest(t, p, c, testRepo, lying)
	denied(t, err, push.ErrManifest, "the manifest says")
	_, err = pushManifest(t, p, c, testRepo, wrongIndex)
	denied(t, err, push.ErrManifest, "the index says")
	for text, mediaType := range map[string]string{
		`{"schemaVersion":2,"layers":[],"layers":[]}`:                                    layout.MediaTypeManifest,
		`{"schemaVersion":2,"mediaType":"` + layout.MediaTypeIndex + `","manifests":[]}`: layout.MediaTypeManifest,
		`{"schemaVersion":2,"layers":[],"manifests":[]}`:                                 layout.MediaTypeIndex,
		`null`: layout.MediaTypeManifest,
		`{"schemaVersion":2,"layers":[{"digest":"sha256:../../x","size":1,"mediaType":"text/x"}]}`: layout.MediaTypeManifest,
	} {
		_, err := putManifest(t, p, testRepo, layouttest.Item{Bytes: []byte(text), Descriptor: layout.Descriptor{MediaType: mediaType, Digest: digest.FromString(text), Size: int64(len(text))}})
		denied(t, err, push.ErrManifest, "")
	}
}

// A repository with admitted content takes what belongs to that, and from which nothing
// can be started; nothing else, whatever it says of itself.
func TestPushToAdmitted(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	img := b.Image("image")
	b.Tag("v1", img)
	add(t, s, b.Content())
	p := s.Pusher(PushOptions{})
	sigTag, _ := layout.FormCosignSig.Tag(img.Digest)
	strangerTag, _ := layout.FormCosignSig.Tag(digest.FromString("stranger"))

	one := b.Cosign(layout.FormCosignSig, img, "one")
	sbom := b.Referrer(img, "text/spdx+json", "SBOM")
	stranger := b.Referrer(layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString("stranger"), Size: 8}, "text/spdx+json", "lost")
	posing := b.Image("attached to it, and can be started")
	index := b.Index(img)
	c := b.Content()
	for _, item := range c.Repositories[testRepo] {
		if !layout.IsManifest(item.Descriptor.MediaType) {
			no(t, pushBlob(t, p, testRepo, item.Bytes, item.Descriptor.Digest))
		}
	}
	item := func(d layout.Descriptor) layouttest.Item { i, _ := c.Find(testRepo, d.Digest); return i }
	list := b.Fallback(img, sbom)
	riding, lost := b.Fallback(img, sbom, posing), b.Fallback(img, stranger)
	c = b.Content()
	refTag, _ := layout.FormReferrersTag.Tag(img.Digest)
	otherTag, _ := layout.FormReferrersTag.Tag(digest.FromString("stranger"))
	_, err := putManifest(t, p, testRepo, item(list), refTag)
	denied(t, err, push.ErrDenied, "takes only what is attached") // what it lists is not there
	for what, try := range map[string]func() error{
		"images, and takes only what":             func() error { _, err := putManifest(t, p, testRepo, item(riding), refTag); return err },
		"admitted images, and takes only what is": func() error { _, err := putManifest(t, p, testRepo, item(lost), otherTag); return err },
		"holds admitted images, and takes only":   func() error { _, err := putManifest(t, p, testRepo, item(posing)); return err },
		"takes only what is attached to them":     func() error { _, err := putManifest(t, p, testRepo, item(index), "v2"); return err },
		"and takes only what is attached":         func() error { _, err := putManifest(t, p, testRepo, item(posing), sigTag); return err },
		"it has no subject":                       func() error { _, err := putManifest(t, p, testRepo, item(one)); return err },
		"gets no tag":                             func() error { _, err := putManifest(t, p, testRepo, item(sbom), "v1"); return err },
		"to which this belongs, is none of them":  func() error { _, err := putManifest(t, p, testRepo, item(stranger)); return err },
		string(digest.FromString("stranger"))[:9]: func() error { _, err := putManifest(t, p, testRepo, item(one), strangerTag); return err },
	} {
		denied(t, try(), push.ErrDenied, what)
	}
	v := s.View()
	if seesBlob(t, v, testRepo, posingLayer(c, posing)) || !seesBlob(t, s.PushersView(), testRepo, posingLayer(c, posing)) {
		t.Error("a blob that only was pushed is for those who push alone")
	}
	if _, err := putManifest(t, p, testRepo, item(sbom)); err != nil {
		t.Error(err)
	}
	if _, err := putManifest(t, p, testRepo, item(one), sigTag); err != nil {
		t.Error(err)
	}
	// As notation does by default, for registries that have no referrers API.
	if _, err := putManifest(t, p, testRepo, item(list), refTag); err != nil {
		t.Error(err)
	}
	for _, tags := range [][]string{{"v2"}, {refTag, "v2"}, {otherTag}, nil} {
		_, err := putManifest(t, p, testRepo, item(list), tags...)
		denied(t, err, push.ErrDenied, "takes only what is attached")
	}
	if got := given(t, v, testRepo); got[refTag] != list.Digest {
		t.Errorf("it gives %v", got)
	}
	if !sees(t, v, testRepo, sbom.Digest) || given(t, v, testRepo)[sigTag] != one.Digest || given(t, v, testRepo)["v1"] != img.Digest {
		t.Errorf("it gives %v", given(t, v, testRepo))
	}
	for _, blob := range mustParse(t, item(one)).Layers {
		if !seesBlob(t, v, testRepo, blob.Digest) {
			t.Error("the signature is not there")
		}
	}
	if ok, err := v.Admitted(t.Context(), testRepo); !ok || err != nil {
		t.Errorf("not admitted any more (%v)", err)
	}
}

// Clients that keep a list of what is attached, under a tag made from a digest, may do so
// where images were admitted: as long as it lists what is attached, and nothing else. It
// goes with its image.
func TestPushReferrersList(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	img, other := b.Image("image"), b.Image("other")
	b.Tag("v1", img)
	b.Tag("other", other)
	add(t, s, b.Content())
	one, two, others := b.Notary(img, "one"), b.Notary(img, "two"), b.Notary(other, "other's")
	tag, _ := layout.FormReferrersTag.Tag(img.Digest)
	strangers, _ := layout.FormReferrersTag.Tag(digest.FromString("stranger"))
	first, both := b.Index(one), b.Index(one, two)
	foreign, image, absent := b.Index(one, others), b.Index(one, img), b.Index(one, b.Notary(img, "never pushed"))
	c := b.Content()
	item := func(d layout.Descriptor) layouttest.Item { i, _ := c.Find(testRepo, d.Digest); return i }
	p := s.Pusher(PushOptions{})
	for _, i := range c.Repositories[testRepo] {
		if !layout.IsManifest(i.Descriptor.MediaType) {
			no(t, pushBlob(t, p, testRepo, i.Bytes, i.Descriptor.Digest))
		}
	}
	for _, d := range []layout.Descriptor{one, two, others} {
		_, err := putManifest(t, p, testRepo, item(d))
		no(t, err)
	}
	for what, try := range map[string]func() error{
		"another's":            func() error { _, err := putManifest(t, p, testRepo, item(foreign), tag); return err },
		"an image":             func() error { _, err := putManifest(t, p, testRepo, item(image), tag); return err },
		"what is not there":    func() error { _, err := putManifest(t, p, testRepo, item(absent), tag); return err },
		"of nothing here":      func() error { _, err := putManifest(t, p, testRepo, item(first), strangers); return err },
		"under any other name": func() error { _, err := putManifest(t, p, testRepo, item(first), "v2"); return err },
		"and another name":     func() error { _, err := putManifest(t, p, testRepo, item(first), tag, "v2"); return err },
	} {
		if err := try(); !errors.Is(err, push.ErrDenied) {
			t.Errorf("a list of %s: %v", what, err)
		}
	}
	for _, d := range []layout.Descriptor{first, both} {
		_, err := putManifest(t, p, testRepo, item(d), tag)
		no(t, err)
		if got := given(t, s.View(), testRepo)[tag]; got != d.Digest {
			t.Errorf("the tag leads to %s", got)
		}
	}
	_, err := putManifest(t, p, testRepo, item(first), tag)
	denied(t, err, push.ErrDenied, "has not all that this has")
	session := begin(t, s)
	no(t, session.Remove(layout.Reference{Repository: testRepo, Tag: "v1"}))
	no(t, session.Commit(t.Context(), nil))
	collect(t, s, CollectOptions{})
	if got := given(t, s.View(), testRepo); len(got) != 1 || sees(t, s.View(), testRepo, both.Digest) || sees(t, s.View(), testRepo, two.Digest) {
		t.Errorf("it gives %v", got)
	}
}

func posingLayer(c layouttest.Content, d layout.Descriptor) digest.Digest {
	item, _ := c.Find(testRepo, d.Digest)
	m, err := layout.ParseManifest(item.Descriptor, item.Bytes)
	if err != nil {
		panic(err)
	}
	return m.Layers[0].Digest
}

func mustParse(t *testing.T, item layouttest.Item) *layout.Manifest {
	t.Helper()
	m, err := layout.ParseManifest(item.Descriptor, item.Bytes)
	no(t, err)
	return m
}

// cosign adds to the signatures that it finds under its tag; so can whoever pushes, and
// nobody can take one away so.
func TestPushAddsSignatures(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	img := b.Image("image")
	b.Tag("v1", img)
	tag, _ := layout.FormCosignSig.Tag(img.Digest)
	layer := func(label string) layout.Descriptor {
		return b.Blob("application/vnd.dev.cosign.simplesigning.v1+json", []byte(label))
	}
	one := b.Posing("signature", layer("one"))
	b.Tag(tag, one)
	add(t, s, b.Content())
	other, both := b.Posing("signatures", layer("other")), b.Posing("signatures", layer("one"), layer("other"))
	c := b.Content()
	p := s.Pusher(PushOptions{})
	for _, item := range c.Repositories[testRepo] {
		if !layout.IsManifest(item.Descriptor.MediaType) {
			no(t, pushBlob(t, p, testRepo, item.Bytes, item.Descriptor.Digest))
		}
	}
	find := func(d layout.Descriptor) layouttest.Item { i, _ := c.Find(testRepo, d.Digest); return i }
	_, err := putManifest(t, p, testRepo, find(other), tag)
	denied(t, err, push.ErrDenied, "has not all that this has")
	if got := given(t, s.View(), testRepo)[tag]; got != one.Digest {
		t.Errorf("the tag leads to %s", got)
	}
	_, err = putManifest(t, p, testRepo, find(both), tag)
	no(t, err)
	if got := given(t, s.View(), testRepo)[tag]; got != both.Digest {
		t.Errorf("the tag leads to %s", got)
	}
}

// An import that admits something ends the time when everything was given out: of what
// was pushed only that stays which the import admits.
func TestImportTakesTheMarkOff(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	pushed, both := b.Image("pushed"), b.Image("both")
	b.Tag("pushed", pushed)
	b.Tag("other-name", both)
	b.Pin(pushed)
	pushAll(t, s.Pusher(PushOptions{}), b.Content())
	v := s.View()
	if got := given(t, v, testRepo); len(got) != 2 {
		t.Fatalf("it gives %v", got)
	}
	in := layouttest.New(testRepo)
	if d := in.Image("both"); d.Digest != both.Digest {
		t.Fatal("not the same image")
	}
	in.Tag("v1", both)
	add(t, s, in.Content())
	if got := given(t, v, testRepo); len(got) != 1 || got["v1"] != both.Digest {
		t.Errorf("it gives %v", got)
	}
	if sees(t, v, testRepo, pushed.Digest) || !sees(t, s.PushersView(), testRepo, pushed.Digest) {
		t.Error("what was only pushed is for those who push alone")
	}
	if ok, err := v.Admitted(t.Context(), testRepo); !ok || err != nil {
		t.Errorf("not admitted (%v)", err)
	}
	held, err := s.Quarantined(t.Context())
	no(t, err)
	if len(held) != 2 || !strings.Contains(held[0].Reason, "nobody has admitted it") {
		t.Errorf("in quarantine: %+v", held)
	}
}

// A client that sets a tag first does not keep an import out.
func TestNamesOfClientsAreInNobodysWay(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	p := s.Pusher(PushOptions{})
	named := func(label string) layouttest.Content {
		b := layouttest.New(testRepo)
		b.Tag("v1", b.Image(label))
		return b.Content()
	}
	pushAll(t, p, named("squatted"))
	ref := layout.Reference{Repository: testRepo, Tag: "v1"}
	stale := begin(t, s)
	for _, session := range []*Session{stale, begin(t, s)} {
		if _, err := session.ResolveAdmitted(t.Context(), ref); !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("a tag that a client set: %v", err)
		}
		if session != stale {
			no(t, named("admitted").Load(t.Context(), session))
		}
	}
	if got := given(t, s.View(), testRepo)["v1"]; got != named("admitted").Names[0].Descriptor.Digest {
		t.Errorf("the tag leads to %s", got)
	}
	if err := named("another").Load(t.Context(), stale); !errors.Is(err, ErrChanged) {
		t.Errorf("who was told before: %v, want ErrChanged", err)
	}
	if _, err := begin(t, s).ResolveAdmitted(t.Context(), ref); err != nil {
		t.Errorf("once it is admitted: %v", err)
	}
}

// A rider that a client has pushed before is not let in by the import that brings it.
func TestHoldBackOfWhatWasPushed(t *testing.T) {
	for _, pushed := range []bool{false, true} {
		s := open(t, t.TempDir(), Options{})
		b := layouttest.New(testRepo)
		img := b.Image("image")
		rider := b.ReferrerIndex(img, b.Image("child"))
		b.Tag("v1", img)
		content := b.Content()
		if pushed {
			pushAll(t, s.Pusher(PushOptions{}), content)
		}
		for again := range 2 {
			session := begin(t, s)
			no(t, content.Put(t.Context(), session))
			held, err := session.HoldBack(testRepo, rider.Digest, "nobody judged it")
			if err != nil || held != (again == 0) {
				t.Errorf("pushed: %v; time %d: held: %v, %v", pushed, again, held, err)
			}
			no(t, session.Commit(t.Context(), content.Names))
			if v := s.View(); sees(t, v, testRepo, rider.Digest) || !sees(t, v, testRepo, img.Digest) {
				t.Errorf("pushed: %v; time %d: it gives %v", pushed, again, given(t, v, testRepo))
			}
		}
	}
}

// An import of what is there already, name and all, admits it.
func TestImportAdmitsWhatWasPushed(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := image("v1")
	pushAll(t, s.Pusher(PushOptions{}), content)
	session := begin(t, s)
	for _, item := range content.Repositories[testRepo] {
		if ok, err := session.Has(t.Context(), testRepo, item.Descriptor); !ok || err != nil {
			t.Fatalf("it does not have %s (%v)", item.Descriptor.Digest, err)
		}
	}
	no(t, session.Commit(t.Context(), content.Names))
	if ok, err := s.View().Admitted(t.Context(), testRepo); !ok || err != nil || len(given(t, s.View(), testRepo)) != 1 {
		t.Errorf("not admitted (%v)", err)
	}
	if _, err := s.View().Manifest(t.Context(), testRepo, content.Names[0].Descriptor); err != nil {
		t.Error(err)
	}
}

// judged is a store where a judge decides, who lets nothing out by itself.
func judged(t *testing.T, s *Store, admit func(context.Context, string, digest.Digest) error) *Pusher {
	t.Helper()
	if admit == nil {
		admit = func(context.Context, string, digest.Digest) error { return nil }
	}
	return s.Pusher(PushOptions{Admit: admit})
}

// Where a judge decides, what is pushed is there for those who push, until it is
// released: by its digest, by its tag, its blobs, and what is attached to it.
func TestPushJudged(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := image("v1")
	img := content.Names[0].Descriptor
	pushAll(t, judged(t, s, nil), content)
	v, w := s.View(), s.PushersView()
	if repos, err := v.Repositories(t.Context()); err != nil || len(repos) > 0 {
		t.Errorf("it gives out %q (%v)", repos, err)
	}
	for _, item := range content.Repositories[testRepo] {
		see := sees
		if !layout.IsManifest(item.Descriptor.MediaType) {
			see = seesBlob
		}
		if see(t, v, testRepo, item.Descriptor.Digest) || !see(t, w, testRepo, item.Descriptor.Digest) {
			t.Errorf("%s: want it seen by those who push alone", item.Descriptor.Digest)
		}
	}
	if found, err := v.Referrers(t.Context(), testRepo, img.Digest); err != nil || len(found) > 0 {
		t.Errorf("referrers %v (%v)", found, err)
	}
	if found, err := w.Referrers(t.Context(), testRepo, img.Digest); err != nil || len(found) != 1 {
		t.Errorf("referrers %v (%v)", found, err)
	}
	if got := given(t, w, testRepo); got["v1"] != img.Digest {
		t.Errorf("those who push are given %v", got)
	}
	no(t, s.Pusher(PushOptions{}).Delete(t.Context(), push.Removal{Reference: layout.Reference{Repository: testRepo, Tag: "v1"}}))
	if ok, err := v.Admitted(t.Context(), testRepo); !ok || err != nil {
		t.Errorf("it is marked (%v)", err)
	}
	if err := s.Pusher(PushOptions{}).Mount(t.Context(), "quay.io/a/b", posingLayer(content, img), "", func(string) bool { return true }); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("a blob of it was mounted: %v", err)
	}
}

// What the judge released is given out, and what it did not is not; a push never moves
// a name to what is in quarantine, nor gives a new name to something without asking.
func TestPushJudgedNames(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	good := b.Image("good")
	b.Tag("v1", good)
	add(t, s, b.Content())
	bad := b.Image("bad")
	c := b.Content()
	p := judged(t, s, nil)
	pushAll(t, p, layouttest.Content{Repositories: c.Repositories})
	find := func(d layout.Descriptor) layouttest.Item { i, _ := c.Find(testRepo, d.Digest); return i }
	_, err := putManifest(t, p, testRepo, find(bad), "v1")
	denied(t, err, push.ErrDenied, "does not move")
	res, err := putManifest(t, p, testRepo, find(good), "v2")
	if err != nil || res.Held == "" {
		t.Errorf("a new name was given: %+v (%v)", res, err)
	}
	res, err = putManifest(t, p, testRepo, find(good), "v1")
	if err != nil || res.Held != "" {
		t.Errorf("it had that name: %+v (%v)", res, err)
	}
	if got := given(t, s.View(), testRepo); len(got) != 1 || got["v1"] != good.Digest {
		t.Errorf("it gives %v", got)
	}
	if !sees(t, s.View(), testRepo, good.Digest) || sees(t, s.View(), testRepo, bad.Digest) {
		t.Error("by their digests")
	}
	p = judged(t, s, func(ctx context.Context, repo string, dgst digest.Digest) error {
		session := begin(t, s)
		return errors.Join(session.Release(repo, dgst), session.LetGo(layout.Reference{Repository: repo, Tag: "v3"}), session.Commit(ctx, nil))
	})
	if res, err := putManifest(t, p, testRepo, find(bad), "v3"); err != nil || res.Held != "" {
		t.Errorf("%+v (%v)", res, err)
	}
	if got := given(t, s.View(), testRepo); len(got) != 2 || got["v3"] != bad.Digest {
		t.Errorf("it gives %v", got)
	}
}

// A judge that fails lets nothing out.
func TestPushJudgeFails(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := image("v1")
	p := judged(t, s, func(context.Context, string, digest.Digest) error { return errors.New("the judge is ill") })
	for _, item := range content.Repositories[testRepo] {
		if layout.IsManifest(item.Descriptor.MediaType) {
			if _, err := pushManifest(t, p, content, testRepo, item.Descriptor); err == nil {
				t.Error("it was taken")
			}
		} else {
			no(t, pushBlob(t, p, testRepo, item.Bytes, item.Descriptor.Digest))
		}
	}
	if got := given(t, s.View(), testRepo); len(got) > 0 || sees(t, s.View(), testRepo, content.Names[0].Descriptor.Digest) {
		t.Errorf("it gives %v", got)
	}
}

// With a judge, what was given out from a marked repository is so no more with the
// first push to it.
func TestJudgeTakesTheMarkOff(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	pushAll(t, s.Pusher(PushOptions{}), image("v1"))
	pushAll(t, judged(t, s, nil), image("v2"))
	if got := given(t, s.View(), testRepo); len(got) > 0 {
		t.Errorf("it gives %v", got)
	}
}

// What is pushed without a name stays as long as nothing else keeps it.
func TestPushPins(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	now := time.Now()
	p := s.Pusher(PushOptions{Now: func() time.Time { return now }})
	b := layouttest.New(testRepo)
	child, lone := b.Image("child"), b.Image("lone")
	index := b.Index(child)
	sbom := b.Referrer(lone, "text/spdx+json", "SBOM")
	c := b.Content()
	pushAll(t, p, c)
	pins := func() (out []digest.Digest) {
		names, err := s.Names(t.Context())
		no(t, err)
		for _, n := range names {
			if n.Reference.Tag == "" {
				out = append(out, n.Descriptor.Digest)
			}
		}
		return out
	}
	if got := pins(); len(got) != 2 || !(got[0] == lone.Digest && got[1] == index.Digest || got[1] == lone.Digest && got[0] == index.Digest) {
		t.Errorf("names without tags: %v", got)
	}
	find := func(d layout.Descriptor) layouttest.Item { i, _ := c.Find(testRepo, d.Digest); return i }
	_, err := putManifest(t, p, testRepo, find(child)) // as clients do that ask for nothing
	no(t, err)
	_, err = putManifest(t, p, testRepo, find(index), "v1")
	no(t, err)
	if got := pins(); len(got) != 1 || got[0] != lone.Digest {
		t.Errorf("names without tags: %v", got)
	}
	later := CollectOptions{Now: now.Add(48 * time.Hour), Grace: 24 * time.Hour}
	if got := collect(t, s, later); got != (Collected{}) {
		t.Errorf("collected: %+v", got)
	}
	if !sees(t, s.View(), testRepo, sbom.Digest) {
		t.Error("what is attached is gone")
	}
}

// What nobody has named yet is not collected at once.
func TestCollectSparesWhatWasJustPushed(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	now := time.Now()
	p := s.Pusher(PushOptions{Now: func() time.Time { return now }})
	blob := []byte("a layer")
	no(t, pushBlob(t, p, testRepo, blob, digest.FromBytes(blob)))
	b := layouttest.New(testRepo)
	b.Referrer(layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString("comes later"), Size: 8}, "text/spdx+json", "early")
	pushAll(t, p, b.Content())
	if got := collect(t, s, CollectOptions{Now: now.Add(time.Minute), Grace: time.Hour}); got.Manifests+got.Blobs > 0 {
		t.Errorf("collected: %+v", got)
	}
	if got := collect(t, s, CollectOptions{Now: now.Add(2 * time.Hour), Grace: time.Hour}); got.Manifests != 1 || seesBlob(t, s.View(), testRepo, digest.FromBytes(blob)) {
		t.Errorf("not collected: %+v", got)
	}
}

// Deleting takes away a tag, a manifest with all its names, or a blob that nobody lists.
func TestDelete(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	var log events
	p := s.Pusher(PushOptions{Entry: log.entry})
	content := image("v1")
	img := content.Names[0].Descriptor
	pushAll(t, p, content)
	item, _ := content.Find(testRepo, img.Digest)
	_, err := putManifest(t, p, testRepo, item, "v2")
	no(t, err)
	layer := posingLayer(content, img)
	remove := func(ref layout.Reference, blob bool) error {
		ref.Repository = testRepo
		return p.Delete(t.Context(), push.Removal{By: "ann", Reference: ref, Blob: blob})
	}
	denied(t, remove(layout.Reference{Digest: layer}, true), push.ErrInUse, string(img.Digest))
	no(t, remove(layout.Reference{Tag: "v2"}, false))
	if got := given(t, s.View(), testRepo); len(got) != 1 || !sees(t, s.View(), testRepo, img.Digest) {
		t.Errorf("it gives %v", got)
	}
	lines := len(log)
	no(t, remove(layout.Reference{Digest: img.Digest}, false))
	if got := given(t, s.View(), testRepo); len(got) > 0 || sees(t, s.View(), testRepo, img.Digest) {
		t.Errorf("it gives %v", got)
	}
	if len(log) != lines+2 || log[lines].Reference.Tag != "v1" || log[lines+1].Reference.Digest != img.Digest {
		t.Errorf("lines %+v", log[lines:]) // one for the tag, one for the manifest
	}
	for _, line := range log[lines:] {
		if !line.Deleted || line.By != "ann" || line.Digest != img.Digest {
			t.Errorf("line %+v", line)
		}
	}
	no(t, remove(layout.Reference{Digest: layer}, true))
	if seesBlob(t, s.View(), testRepo, layer) {
		t.Error("the blob is there")
	}
	for _, again := range []error{remove(layout.Reference{Digest: layer}, true), remove(layout.Reference{Digest: img.Digest}, false), remove(layout.Reference{Tag: "v1"}, false)} {
		if !errors.Is(again, layout.ErrNotFound) {
			t.Errorf("deleted twice: %v", again)
		}
	}
}

// What is in quarantine does not get out by being deleted and pushed again.
func TestDeleteDoesNotRelease(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	p := s.Pusher(PushOptions{})
	content := image("v1")
	img := content.Names[0].Descriptor
	pushAll(t, p, content)
	session := begin(t, s)
	no(t, session.Quarantine(testRepo, img.Digest, "its key was stolen"))
	no(t, session.Commit(t.Context(), nil))
	no(t, p.Delete(t.Context(), push.Removal{Reference: layout.Reference{Repository: testRepo, Digest: img.Digest}}))
	pushAll(t, p, content)
	if sees(t, s.View(), testRepo, img.Digest) || len(given(t, s.View(), testRepo)) > 0 {
		t.Error("it is given out")
	}
}

// A blob is mounted from where the client may read, and from nowhere else.
func TestMount(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	add(t, s, image("v1"))
	p := s.Pusher(PushOptions{})
	layer := posingLayer(image("v1"), image("v1").Names[0].Descriptor)
	const to = "quay.io/acme/mine"
	all, none := func(string) bool { return true }, func(repo string) bool { return repo != testRepo }
	for _, from := range []string{testRepo, "", "quay.io/acme/other"} {
		if err := p.Mount(t.Context(), to, layer, from, none); !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("from %q: %v", from, err)
		}
	}
	if err := p.Mount(t.Context(), to, digest.FromString("none"), "", all); !errors.Is(err, layout.ErrNotFound) {
		t.Error(err)
	}
	if repos, err := s.Repositories(t.Context()); err != nil || len(repos) != 1 {
		t.Errorf("repositories %q (%v)", repos, err)
	}
	no(t, p.Mount(t.Context(), to, layer, "", all))
	if !seesBlob(t, s.View(), to, layer) {
		t.Error("it is not there")
	}
	if ok, err := s.View().Admitted(t.Context(), to); ok || err != nil {
		t.Errorf("it passes for admitted (%v)", err)
	}
}
