package layout

import (
	"bytes"
	"cmp"
	"context"
	_ "crypto/sha256" // go-digest panics for an algorithm that is not linked in,
	_ "crypto/sha512" // and a hostile descriptor may name either
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Memory holds repositories in memory. It is a [Source], a [Sink] and a
// [Mounter], made for tests and for small graphs. It behaves like a registry:
// content is per repository, what was put can be opened by digest at once, and a
// name appears with Commit. It takes manifests whose parts are missing, and does
// not judge what they say.
//
// The zero value is ready for use.
type Memory struct {
	// NoReferrersAPI makes Attached answer as a registry without the
	// referrers API does. It is set before first use.
	NoReferrersAPI bool

	mu      sync.RWMutex
	content map[digest.Digest][]byte // each once, however many repositories have it
	repos   map[string]*memoryRepo
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory { return &Memory{} }

var (
	_ Source  = (*Memory)(nil)
	_ Sink    = (*Memory)(nil)
	_ Mounter = (*Memory)(nil)
)

// memoryRepo keeps blobs and manifests apart, as registries do: bytes that were
// put as a blob can not be named as a manifest.
type memoryRepo struct {
	blobs     map[digest.Digest]bool
	manifests map[digest.Digest]Descriptor
	tags      map[string]Descriptor
	referrers map[digest.Digest][]Descriptor // by subject, sorted by digest
}

// Resolve implements [Source] and [Sink]. A digest in ref decides; the tag
// beside it is not looked at.
func (m *Memory) Resolve(ctx context.Context, ref Reference) (Descriptor, error) {
	if err := ctx.Err(); err != nil {
		return Descriptor{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if r := m.repos[ref.Repository]; r != nil {
		if d, ok := r.resolve(ref); ok {
			return d, nil
		}
	}
	return Descriptor{}, memoryError(ref.String(), ref.Digest, ErrNotFound)
}

func (r *memoryRepo) resolve(ref Reference) (d Descriptor, ok bool) {
	if ref.Digest != "" {
		d, ok = r.manifests[ref.Digest]
	} else {
		d, ok = r.tags[ref.Tag]
	}
	return d, ok
}

// Open implements [Source].
func (m *Memory) Open(ctx context.Context, repo string, d Descriptor) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), CheckDescriptor(d)); err != nil {
		return nil, memoryError(repo, d.Digest, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !m.repos[repo].has(d) {
		return nil, memoryError(repo, d.Digest, ErrNotFound)
	}
	return Verify(io.NopCloser(memoryRead(ctx, bytes.NewReader(m.content[d.Digest]))), d), nil
}

// Has implements [Sink].
func (m *Memory) Has(ctx context.Context, repo string, d Descriptor) (bool, error) {
	if err := errors.Join(ctx.Err(), CheckDescriptor(d)); err != nil {
		return false, memoryError(repo, d.Digest, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.repos[repo].has(d), nil
}

func (r *memoryRepo) has(d Descriptor) bool {
	if r == nil {
		return false
	}
	if IsManifest(d.MediaType) {
		_, ok := r.manifests[d.Digest]
		return ok
	}
	return r.blobs[d.Digest]
}

// Put implements [Sink].
func (m *Memory) Put(ctx context.Context, repo string, d Descriptor, r io.Reader) error {
	if err := errors.Join(ctx.Err(), CheckDescriptor(d)); err != nil {
		return memoryError(repo, d.Digest, err)
	}
	data, err := io.ReadAll(Verify(io.NopCloser(memoryRead(ctx, r)), d))
	if err != nil {
		return memoryError(repo, d.Digest, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.content == nil {
		m.content = map[digest.Digest][]byte{}
	}
	if _, ok := m.content[d.Digest]; !ok {
		m.content[d.Digest] = data
	}
	m.add(repo, d, data)
	return nil
}

// Mount implements [Mounter]. Manifests are not mounted, as in registries.
func (m *Memory) Mount(ctx context.Context, repo string, d Descriptor, from string) (bool, error) {
	if err := errors.Join(ctx.Err(), CheckDescriptor(d)); err != nil {
		return false, memoryError(repo, d.Digest, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.repos[repo].has(d) {
		return true, nil
	}
	if IsManifest(d.MediaType) || !m.repos[from].has(d) {
		return false, nil
	}
	m.add(repo, d, nil)
	return true, nil
}

// add makes content part of repo. m.mu is held.
func (m *Memory) add(repo string, d Descriptor, data []byte) {
	r := m.repos[repo]
	if r == nil {
		r = &memoryRepo{
			blobs:     map[digest.Digest]bool{},
			manifests: map[digest.Digest]Descriptor{},
			tags:      map[string]Descriptor{},
			referrers: map[digest.Digest][]Descriptor{},
		}
		if m.repos == nil {
			m.repos = map[string]*memoryRepo{}
		}
		m.repos[repo] = r
	}
	if !IsManifest(d.MediaType) {
		r.blobs[d.Digest] = true
		return
	}
	r.manifests[d.Digest] = Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	r.refer(d, data)
}

// refer records what a manifest is attached to.
func (r *memoryRepo) refer(d Descriptor, data []byte) {
	var j memoryManifest
	if err := json.Unmarshal(data, &j); err != nil || j.Subject == nil {
		return // it is no concern of a memory what else is wrong with it
	}
	entry := Descriptor{
		MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
		ArtifactType: cmp.Or(j.ArtifactType, j.Config.MediaType), Annotations: j.Annotations,
	}
	list := r.referrers[j.Subject.Digest]
	i, ok := slices.BinarySearchFunc(list, entry, func(a, b Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	if !ok {
		// Readers may hold the old list.
		r.referrers[j.Subject.Digest] = slices.Insert(slices.Clone(list), i, entry)
	}
}

type memoryManifest struct {
	ArtifactType string            `json:"artifactType"`
	Config       Descriptor        `json:"config"`
	Manifests    []Descriptor      `json:"manifests"`
	Subject      *Descriptor       `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

// Commit implements [Sink]. It is all or nothing.
func (m *Memory) Commit(ctx context.Context, names []Name) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range names {
		ref := n.Reference
		if ref.Tag == "" && ref.Digest == "" || ref.Digest != "" && ref.Digest != n.Descriptor.Digest {
			return memoryError(ref.String(), n.Descriptor.Digest, fmt.Errorf("the name does not fit its manifest: %w", ErrCorrupt))
		}
		if !IsManifest(n.Descriptor.MediaType) || !m.repos[ref.Repository].has(n.Descriptor) {
			return memoryError(ref.String(), n.Descriptor.Digest, ErrNotFound)
		}
	}
	for _, n := range names {
		if r := m.repos[n.Reference.Repository]; n.Reference.Tag != "" {
			r.tags[n.Reference.Tag] = r.manifests[n.Descriptor.Digest]
		}
	}
	return nil
}

// Attached implements [Source]. It asks the referrers API, the fallback tag and
// the cosign tags.
func (m *Memory) Attached(ctx context.Context, repo string, subject Descriptor) (Attachments, error) {
	if err := errors.Join(ctx.Err(), CheckDescriptor(subject)); err != nil {
		return nil, memoryError(repo, subject.Digest, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	r := m.repos[repo]
	if r == nil {
		r = &memoryRepo{}
	}
	api := answer(FormReferrers, slices.Clone(r.referrers[subject.Digest]))
	if m.NoReferrersAPI {
		api = Inquiry{Form: FormReferrers, Answer: AnswerUnsupported}
	}
	out := Attachments{api}
	if tag, ok := FormReferrersTag.Tag(subject.Digest); ok {
		q, err := m.fallback(r.tags[tag])
		if err != nil {
			return nil, memoryError(repo+":"+tag, r.tags[tag].Digest, err)
		}
		out = append(out, q)
	}
	for _, form := range CosignForms {
		tag, ok := form.Tag(subject.Digest)
		if !ok {
			continue
		}
		var found []Descriptor
		if d, ok := r.tags[tag]; ok {
			found = []Descriptor{d}
		}
		out = append(out, answer(form, found))
	}
	return out, nil
}

// fallback reads the index under a referrers tag. m.mu is held.
func (m *Memory) fallback(d Descriptor) (Inquiry, error) {
	if d.Digest == "" {
		return answer(FormReferrersTag, nil), nil
	}
	if !IsIndex(d.MediaType) {
		return Inquiry{Form: FormReferrersTag, Answer: AnswerNone, Note: "the tag leads to no index"}, nil
	}
	var j memoryManifest
	if err := json.Unmarshal(m.content[d.Digest], &j); err != nil {
		return Inquiry{}, fmt.Errorf("%v: %w", err, ErrCorrupt)
	}
	return answer(FormReferrersTag, j.Manifests), nil
}

func answer(form Form, found []Descriptor) Inquiry {
	if len(found) == 0 {
		return Inquiry{Form: form, Answer: AnswerNone}
	}
	return Inquiry{Form: form, Answer: AnswerFound, Found: found}
}

// memoryReader ends a long read when its context does.
type memoryReader func([]byte) (int, error)

func (f memoryReader) Read(p []byte) (int, error) { return f(p) }

func memoryRead(ctx context.Context, r io.Reader) io.Reader {
	return memoryReader(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}

func memoryError(name string, dgst digest.Digest, err error) error {
	return &Error{Side: "memory", Name: name, Digest: dgst, Err: err}
}
