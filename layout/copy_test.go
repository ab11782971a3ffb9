package layout_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// flaky fails the first Put of each blob after reading half of it.
type flaky struct {
	*layout.Memory
	err error

	mu    sync.Mutex
	tries map[digest.Digest]int
}

func (f *flaky) Put(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	f.mu.Lock()
	f.tries[d.Digest]++
	first := f.tries[d.Digest] == 1
	f.mu.Unlock()
	if first {
		_, _ = io.CopyN(io.Discard, r, d.Size/2)
		return f.err
	}
	return f.Memory.Put(ctx, repo, d, r)
}

type passing struct{ error }

func (passing) Temporary() bool { return true }

// A sink that lost its connection gets the content once more, from the start.
func TestCopyTriesAgain(t *testing.T) {
	const repo = "reg.example/app"
	content := layouttest.Everything(repo)
	src := load(t, content)
	g, err := layout.Walk(t.Context(), src, content.Roots(), layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dst := &flaky{Memory: layout.NewMemory(), err: passing{errors.New("connection reset")}, tries: map[digest.Digest]int{}}
	var moved, done int64
	err = layout.Copy(t.Context(), dst, src, g, layout.CopyOptions{Progress: func(e layout.Event) {
		switch e.Kind {
		case layout.EventAdvance:
			moved += e.N
		case layout.EventDone:
			done += e.N
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range g.Roots {
		if _, err := dst.Resolve(t.Context(), n.Reference); err != nil {
			t.Error(err)
		}
	}
	if moved != done {
		t.Errorf("progress says %d bytes, %d were needed: what was lost on the way counts", moved, done)
	}

	dst = &flaky{Memory: layout.NewMemory(), err: errors.New("forbidden"), tries: map[digest.Digest]int{}}
	if err := layout.Copy(t.Context(), dst, src, g, layout.CopyOptions{}); err == nil {
		t.Error("an error that is final was tried again")
	}
}

// Every name that is not there is told, not only the first.
func TestWalkNamesAllThatIsAbsent(t *testing.T) {
	const repo = "reg.example/app"
	content := layouttest.Everything(repo)
	refs := append(content.Roots(), layout.Reference{Repository: repo, Tag: "typo"}, layout.Reference{Repository: repo, Tag: "gone"})
	_, err := layout.Walk(t.Context(), load(t, content), refs, layout.WalkOptions{})
	if !errors.Is(err, layout.ErrNotFound) {
		t.Fatalf("Walk = %v, want ErrNotFound", err)
	}
	for _, name := range []string{repo + ":typo", repo + ":gone"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q is not named in: %v", name, err)
		}
	}
}

// wrapped is no conduit: who knows what it does to the bytes.
type wrapped struct{ io.ReadCloser }

// Content that a source verifies is not hashed again, and what only looks like
// it is.
func TestVerifyTwice(t *testing.T) {
	data := []byte("content")
	d := layout.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	first := func() io.ReadCloser { return layout.Verify(io.NopCloser(strings.NewReader("content")), d) }
	if r := first(); layout.Verify(r, d) != r {
		t.Error("a verified reader is wrapped once more")
	}
	if r := layout.NopCloser(first()); layout.Verify(r, d) != r {
		t.Error("a verified reader behind a conduit is wrapped once more")
	}
	other := layout.Descriptor{Digest: digest.FromString("other!!"), Size: d.Size}
	begun := first()
	if _, err := begun.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for what, r := range map[string]io.ReadCloser{
		"verified for something else":    layout.Verify(first(), other),
		"begun":                          layout.Verify(begun, d),
		"behind what may change it":      layout.Verify(wrapped{io.NopCloser(strings.NewReader("c0ntent"))}, d),
		"a conduit of an unchecked read": layout.Verify(layout.NopCloser(strings.NewReader("c0ntent")), d),
	} {
		if _, err := io.ReadAll(r); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", what, err)
		}
	}
}
