package registry

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// maxKept is how many bytes of manifests are kept that were found by name and
// have not been opened yet.
const maxKept = 64 << 20

// takeOnce keeps manifests from the answer that brought them to the Open that
// follows. What does not fit pushes out the oldest, which then is asked for
// again: slower, never wrong.
type takeOnce struct {
	mu    sync.Mutex
	bytes map[manifestKey][]byte
	order []manifestKey
	size  int
}

type manifestKey struct {
	repo   string
	digest digest.Digest
}

func (t *takeOnce) keep(repo string, dgst digest.Digest, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bytes == nil {
		t.bytes = map[manifestKey][]byte{}
	}
	k := manifestKey{repo, dgst}
	if _, ok := t.bytes[k]; ok {
		return
	}
	t.bytes[k] = data
	t.order = append(t.order, k)
	t.size += len(data)
	for t.size > maxKept {
		t.drop(t.order[0])
	}
}

func (t *takeOnce) take(repo string, dgst digest.Digest) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := manifestKey{repo, dgst}
	data, ok := t.bytes[k]
	if ok {
		t.drop(k)
	}
	return data, ok
}

func (t *takeOnce) drop(k manifestKey) {
	t.size -= len(t.bytes[k])
	delete(t.bytes, k)
	for i := range t.order {
		if t.order[i] == k {
			t.order = append(t.order[:i], t.order[i+1:]...)
			return
		}
	}
}
