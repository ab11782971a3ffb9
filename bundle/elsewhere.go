package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Elsewhere is a source that also looks in other repositories for what is attached:
// cosign keeps signatures there that COSIGN_REPOSITORY names. What is found is attached
// in the repository of its subject, under the forms by which it was found, as if it had
// been there: so it is carried, and found by everybody, without further ado.
type Elsewhere struct {
	layout.Source
	repos []string
	found atomic.Int64

	mu   sync.Mutex
	from map[listing]string // by repository and digest, where a manifest was found
}

// NewElsewhere makes a source of src that also looks in repos, which are named in full.
func NewElsewhere(src layout.Source, repos []string) *Elsewhere {
	repos = slices.Compact(slices.Sorted(slices.Values(repos)))
	return &Elsewhere{Source: src, repos: repos, from: map[listing]string{}}
}

// Repositories lists those that are looked in, sorted.
func (e *Elsewhere) Repositories() []string { return e.repos }

// Found counts what was found in them so far.
func (e *Elsewhere) Found() int { return int(e.found.Load()) }

// Attached implements [layout.Source]. That nothing is found elsewhere changes no
// answer: whether the subject's own repository could be asked is what the record says.
func (e *Elsewhere) Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error) {
	out, err := e.Source.Attached(ctx, repo, subject)
	if err != nil {
		return nil, err
	}
	for _, other := range e.repos {
		if other == repo {
			continue
		}
		got, err := e.Source.Attached(ctx, other, subject)
		if errors.Is(err, layout.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, inq := range got {
			if inq.Answer != layout.AnswerFound {
				continue
			}
			if err := e.oneTag(repo, other, subject, out, inq); err != nil {
				return nil, err
			}
			e.note(repo, other, inq.Found)
			out = merge(out, inq)
		}
	}
	return out, nil
}

// oneTag refuses two manifests for one of cosign's tags: one of them would be lost.
func (e *Elsewhere) oneTag(repo, other string, subject layout.Descriptor, have layout.Attachments, inq layout.Inquiry) error {
	tag, ok := inq.Form.Tag(subject.Digest)
	if !ok || inq.Form == layout.FormReferrersTag {
		return nil
	}
	for _, h := range have {
		if h.Form != inq.Form || len(h.Found) == 0 || len(inq.Found) == 0 || h.Found[0].Digest == inq.Found[0].Digest {
			continue
		}
		return &layout.Error{Side: layout.SideSource, Name: repo + ":" + tag, Digest: h.Found[0].Digest,
			Err:  fmt.Errorf("%s has another manifest (%s) under this tag, and only one can be carried: %w", other, inq.Found[0].Digest, layout.ErrUnsupported),
			Hint: "copy the signatures into one repository at the source, or leave that repository out of --attached-from and COSIGN_REPOSITORY"}
	}
	return nil
}

func (e *Elsewhere) note(repo, other string, found []layout.Descriptor) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range found {
		key := listing{repo: repo, child: d.Digest}
		if _, ok := e.from[key]; !ok {
			e.from[key] = other
			e.found.Add(1)
		}
	}
}

// Open implements [layout.Source]. What the repository does not have is looked for
// where something attached was found; the digest says that it is the same.
func (e *Elsewhere) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	first := e.where(repo, d.Digest)
	if first != "" {
		return e.Source.Open(ctx, first, d)
	}
	rc, err := e.Source.Open(ctx, repo, d)
	if !errors.Is(err, layout.ErrNotFound) || e.Found() == 0 {
		return rc, err
	}
	for _, other := range e.repos {
		rc, oerr := e.Source.Open(ctx, other, d)
		if !errors.Is(oerr, layout.ErrNotFound) {
			return rc, oerr
		}
	}
	return nil, err
}

func (e *Elsewhere) where(repo string, dgst digest.Digest) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.from[listing{repo: repo, child: dgst}]
}
