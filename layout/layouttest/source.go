package layouttest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Traits are the ways in which a source or sink may differ from the rest. The
// zero value is the strictest.
type Traits struct {
	// OneNamespace: repositories are not told apart, as in a layout. What
	// one has, every one has.
	OneNamespace bool
	// Partial: a Commit that fails may have published some names, as in a
	// registry.
	Partial bool
	// OwnFallback: the sink writes fallback tags itself, so that they lead
	// elsewhere than they did.
	OwnFallback bool
}

// CheckSource checks that src holds content, all of it and, as far as a source
// can be asked, nothing else.
func CheckSource(t *testing.T, src layout.Source, content Content, traits Traits) {
	t.Helper()
	checkNames(t, src, content, traits)
	checkItems(t, src, content)
	checkUnknown(t, src, content)
	checkAttached(t, src, content, traits)
	checkHostileDescriptors(t, src)
	if !traits.OneNamespace {
		checkApart(t, src, content)
	}
}

func checkNames(t *testing.T, src layout.Source, content Content, traits Traits) {
	t.Helper()
	for _, n := range content.Names {
		if traits.OwnFallback && layout.IsReferrersTag(n.Reference.Tag) {
			continue
		}
		d, err := src.Resolve(t.Context(), n.Reference)
		if err != nil {
			t.Errorf("Resolve(%s): %v", n.Reference, err)
			continue
		}
		if got, want := plain(d), n.Descriptor; got.MediaType != want.MediaType || got.Digest != want.Digest || got.Size != want.Size {
			t.Errorf("Resolve(%s) = %v, want %v", n.Reference, got, want)
		}
	}
}

func checkItems(t *testing.T, src layout.Source, content Content) {
	t.Helper()
	for repo, items := range content.Repositories {
		for _, item := range items {
			data, err := read(t, src, repo, item.Descriptor)
			if err != nil || !bytes.Equal(data, item.Bytes) {
				t.Errorf("Open(%s, %s): %d bytes, %v; want %d bytes", repo, item.Descriptor.Digest, len(data), err, len(item.Bytes))
			}
			// The wrong size is the wrong descriptor.
			for _, size := range []int64{item.Descriptor.Size - 1, item.Descriptor.Size + 1} {
				d := item.Descriptor
				d.Size = size
				if _, err := read(t, src, repo, d); err == nil {
					t.Errorf("Open(%s, %s) with size %d, really %d, ends in EOF", repo, d.Digest, size, item.Descriptor.Size)
				}
			}
		}
	}
}

// read opens and reads all, and fails the test for a reader that goes on after
// an error or after EOF.
func read(t *testing.T, src layout.Source, repo string, d layout.Descriptor) ([]byte, error) {
	t.Helper()
	rc, err := src.Open(t.Context(), repo, d)
	if err != nil {
		if rc != nil {
			t.Errorf("Open(%s) gives a reader and an error", d.Digest)
		}
		return nil, err
	}
	defer func() {
		if err := rc.Close(); err != nil {
			t.Errorf("close %s: %v", d.Digest, err)
		}
	}()
	data, err := io.ReadAll(rc)
	if n, again := rc.Read(make([]byte, 1)); n != 0 || again == nil || err != nil && again == io.EOF {
		t.Errorf("%s: after the end (%v), Read = %d, %v", d.Digest, err, n, again)
	}
	return data, err
}

func checkUnknown(t *testing.T, src layout.Source, content Content) {
	t.Helper()
	absent := []byte("nobody has this")
	d := layout.Descriptor{MediaType: layerType, Digest: digest.FromBytes(absent), Size: int64(len(absent))}
	repos := append(content.Sorted(), "reg.example/nobody/here")
	for _, repo := range repos {
		for _, ref := range []layout.Reference{
			{Repository: repo, Tag: "no-such-tag"},
			{Repository: repo, Digest: d.Digest},
		} {
			if _, err := src.Resolve(t.Context(), ref); !errors.Is(err, layout.ErrNotFound) {
				t.Errorf("Resolve(%s) = %v, want ErrNotFound", ref, err)
			}
		}
		for _, mediaType := range []string{layerType, layout.MediaTypeManifest} {
			d.MediaType = mediaType
			if _, err := read(t, src, repo, d); !errors.Is(err, layout.ErrNotFound) {
				t.Errorf("Open(%s, unknown %s) = %v, want ErrNotFound", repo, mediaType, err)
			}
		}
		checkAnswers(t, src, repo, d, nil, nil)
	}
}

func checkAttached(t *testing.T, src layout.Source, content Content, traits Traits) {
	t.Helper()
	for repo, items := range content.Repositories {
		for _, item := range items {
			if !layout.IsManifest(item.Descriptor.MediaType) {
				continue
			}
			want := content.Attached(repo, item.Descriptor.Digest)
			also := want
			if traits.OneNamespace {
				for other := range content.Repositories {
					also = append(slices.Clone(also), content.Attached(other, item.Descriptor.Digest)...)
				}
			}
			checkAnswers(t, src, repo, item.Descriptor, want, also)
		}
	}
}

// checkAnswers asks what is attached to subject: all of want, and nothing that is
// not in also.
func checkAnswers(t *testing.T, src layout.Source, repo string, subject layout.Descriptor, want, also []digest.Digest) {
	t.Helper()
	answers, err := src.Attached(t.Context(), repo, subject)
	if err != nil {
		t.Errorf("Attached(%s, %s): %v", repo, subject.Digest, err)
		return
	}
	if len(answers) == 0 {
		t.Errorf("Attached(%s, %s) asked nothing", repo, subject.Digest)
	}
	found := map[digest.Digest]bool{}
	for _, q := range answers {
		if q.Form == "" || q.Answer == "" || (q.Answer == layout.AnswerFound) != (len(q.Found) > 0) {
			t.Errorf("Attached(%s, %s): form %q answers %q with %d", repo, subject.Digest, q.Form, q.Answer, len(q.Found))
		}
		listed := map[digest.Digest]bool{}
		for _, d := range q.Found {
			if listed[d.Digest] {
				t.Errorf("Attached(%s, %s): %s lists %s twice", repo, subject.Digest, q.Form, d.Digest)
			}
			if !slices.Contains(also, d.Digest) {
				t.Errorf("Attached(%s, %s): %s lists %s, which is not attached", repo, subject.Digest, q.Form, d.Digest)
			}
			if err := layout.CheckDescriptor(d); err != nil || !layout.IsManifest(d.MediaType) {
				t.Errorf("Attached(%s, %s): %s lists %v: %v", repo, subject.Digest, q.Form, d, err)
			}
			listed[d.Digest], found[d.Digest] = true, true
		}
	}
	for _, dgst := range want {
		if !found[dgst] {
			t.Errorf("Attached(%s, %s) does not list %s", repo, subject.Digest, dgst)
		}
	}
}

// checkApart checks that no repository gives what only another has.
func checkApart(t *testing.T, src layout.Source, content Content) {
	t.Helper()
	for repo, items := range content.Repositories {
		for other := range content.Repositories {
			for _, item := range items {
				if _, ok := content.Find(other, item.Descriptor.Digest); ok {
					continue
				}
				if _, err := read(t, src, other, item.Descriptor); !errors.Is(err, layout.ErrNotFound) {
					t.Errorf("Open(%s, %s) = %v, want ErrNotFound: only %s has it", other, item.Descriptor.Digest, err, repo)
				}
			}
		}
	}
}

// hostile are descriptors outside the grammar or the limits.
var hostile = []layout.Descriptor{
	{},
	{MediaType: layerType, Digest: "sha256"},
	{MediaType: layerType, Digest: "sha256:"},
	{MediaType: layerType, Digest: "sha256:../../../../etc/passwd"},
	{MediaType: layerType, Digest: "md5:d41d8cd98f00b204e9800998ecf8427e"},
	{MediaType: layerType, Digest: "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"},
	{MediaType: layerType, Digest: "sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	{MediaType: layerType, Digest: digest.FromString(""), Size: -1},
	{MediaType: layerType, Digest: digest.FromString(""), Size: 1<<63 - 1},
	{MediaType: layout.MediaTypeManifest, Digest: digest.FromString(""), Size: layout.MaxManifestBytes + 1},
}

func checkHostileDescriptors(t *testing.T, src layout.Source) {
	t.Helper()
	for _, d := range hostile {
		if _, err := read(t, src, "reg.example/hostile", d); err == nil {
			t.Errorf("Open(%v) gives content", d)
		}
		// An error or "none" will do, a panic or a find will not.
		answers, _ := src.Attached(t.Context(), "reg.example/hostile", d)
		for _, q := range answers {
			if len(q.Found) > 0 {
				t.Errorf("Attached(%v) finds %v", d, q.Found)
			}
		}
	}
}
