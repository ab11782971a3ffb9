package layout_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Sources that misbehave.

// hooks is a source with something done before each call; an error from it is
// the answer.
type hooks struct {
	layout.Source
	resolve  func(ref layout.Reference) error
	open     func(repo string, d layout.Descriptor) error
	attached func(repo string, d layout.Descriptor) error
}

func (h hooks) Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	if h.resolve != nil {
		if err := h.resolve(ref); err != nil {
			return layout.Descriptor{}, err
		}
	}
	return h.Source.Resolve(ctx, ref)
}

func (h hooks) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if h.open != nil {
		if err := h.open(repo, d); err != nil {
			return nil, err
		}
	}
	return h.Source.Open(ctx, repo, d)
}

func (h hooks) Attached(ctx context.Context, repo string, d layout.Descriptor) (layout.Attachments, error) {
	if h.attached != nil {
		if err := h.attached(repo, d); err != nil {
			return nil, err
		}
	}
	return h.Source.Attached(ctx, repo, d)
}

// counted fails the test if anything is asked twice.
func counted(t *testing.T, src layout.Source) (layout.Source, func() int) {
	var mu sync.Mutex
	calls := map[string]int{}
	count := func(call string) error {
		mu.Lock()
		defer mu.Unlock()
		if calls[call]++; calls[call] > 1 {
			t.Errorf("asked twice: %s", call)
		}
		return nil
	}
	return hooks{src,
			func(ref layout.Reference) error { return count("resolve " + ref.String()) },
			func(repo string, d layout.Descriptor) error { return count("open " + repo + " " + string(d.Digest)) },
			func(repo string, d layout.Descriptor) error {
				return count("attached " + repo + " " + string(d.Digest))
			},
		}, func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(calls)
		}
}

// jittery answers in an order of its own.
func jittery(src layout.Source, seed uint64) layout.Source {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, seed))
	wait := func() error {
		mu.Lock()
		n := rng.IntN(30)
		mu.Unlock()
		for range n {
			runtime.Gosched()
		}
		return nil
	}
	return hooks{src,
		func(layout.Reference) error { return wait() },
		func(string, layout.Descriptor) error { return wait() },
		func(string, layout.Descriptor) error { return wait() },
	}
}

// claiming is a source that says more is attached than there is.
type claiming struct {
	layout.Source
	claims map[digest.Digest]layout.Attachments
}

func (c claiming) Attached(ctx context.Context, repo string, d layout.Descriptor) (layout.Attachments, error) {
	got, err := c.Source.Attached(ctx, repo, d)
	if claims, ok := c.claims[d.Digest]; ok && err == nil {
		return claims, nil
	}
	return got, err
}

// found is an answer that lists ds.
func found(form layout.Form, ds ...layout.Descriptor) layout.Attachments {
	return layout.Attachments{{Form: form, Answer: layout.AnswerFound, Found: ds}}
}

// inventor is a source that makes up, for whatever it is asked, n more manifests
// that are attached to it.
type inventor struct {
	n  int
	mu sync.Mutex
	// made holds the manifests' bytes.
	made  map[digest.Digest][]byte
	asked int
}

func (v *inventor) make(subject *layout.Descriptor, i int) layout.Descriptor {
	s := ""
	if subject != nil {
		s = fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":%d}`, subject.MediaType, subject.Digest, subject.Size)
	}
	raw := []byte(image(fmt.Sprintf(`,"annotations":{"i":"%d"}%s`, i, s)))
	d := layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.made == nil {
		v.made = map[digest.Digest][]byte{}
	}
	v.made[d.Digest] = raw
	return d
}

func (v *inventor) Resolve(context.Context, layout.Reference) (layout.Descriptor, error) {
	return v.make(nil, 0), nil
}

func (v *inventor) Open(_ context.Context, _ string, d layout.Descriptor) (io.ReadCloser, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return io.NopCloser(bytes.NewReader(v.made[d.Digest])), nil
}

func (v *inventor) Attached(_ context.Context, _ string, d layout.Descriptor) (layout.Attachments, error) {
	v.mu.Lock()
	v.asked++
	v.mu.Unlock()
	var out []layout.Descriptor
	for i := range v.n {
		out = append(out, v.make(&d, i))
	}
	return found(layout.FormReferrers, out...), nil
}
