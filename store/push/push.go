// Package push is what a registry that takes content needs from the store that
// keeps it. [airgap/store.Store.Pusher] makes a [Pusher] of a store, and
// [airgap/store/serve] speaks HTTP with clients.
package push

import (
	"context"
	"errors"
	"io"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Pusher takes what clients push. Repositories are named in full, as in
// "ghcr.io/acme/app"; by is who pushes, empty for nobody in particular. All methods
// are safe for concurrent use. What they did is durable when they return, with its
// line in the ledger.
type Pusher interface {
	// Upload begins a blob of repo.
	Upload(ctx context.Context, repo string, alg digest.Algorithm) (Upload, error)
	// Mount gives repo a blob that another repository gives out: from or, if that
	// is empty, any that may lets be read. It fails with layout.ErrNotFound if
	// there is none.
	Mount(ctx context.Context, repo string, dgst digest.Digest, from string, may func(repo string) bool) error
	// Put takes a manifest, and the tags that lead to it.
	Put(ctx context.Context, m Manifest) (Result, error)
	// Delete takes away a tag, a manifest with all its tags, or a blob. It fails
	// with layout.ErrNotFound if that is not there.
	Delete(ctx context.Context, what Removal) error
}

// Upload is a blob that is being taken. One call at a time.
type Upload interface {
	io.Writer
	// Size is how many bytes were written.
	Size() int64
	// Commit makes what was written a blob of its repository, if its digest is
	// dgst; else it fails with ErrDigest. The upload has ended in any case.
	Commit(ctx context.Context, dgst digest.Digest) error
	// Close discards what was not committed.
	Close() error
}

// Manifest is one that a client pushed.
type Manifest struct {
	By         string
	Repository string
	Tags       []string
	// Descriptor says what Bytes are, by digest, size and media type.
	layout.Descriptor
	Bytes []byte
}

// Result is what became of a manifest.
type Result struct {
	Subject digest.Digest
	// Held is why it is not given out yet; empty if it is.
	Held string
}

// Removal is what is to be taken away.
type Removal struct {
	By string
	// Reference is a tag, or a digest.
	layout.Reference
	// Blob says that the digest is a blob's.
	Blob bool
}

// Sentinel errors, to be matched with [errors.Is].
var (
	// ErrDenied: what is in the store already forbids it.
	ErrDenied = errors.New("not taken")
	// ErrDigest: the bytes have another digest.
	ErrDigest = errors.New("the bytes have another digest")
	// ErrBlobUnknown: a manifest lists a blob that its repository does not have.
	ErrBlobUnknown = errors.New("a blob that the manifest lists is not in the repository")
	// ErrManifest: the bytes are no manifest of the kind that they are said to be.
	ErrManifest = errors.New("not a valid manifest")
	// ErrInUse: a manifest of the repository lists the blob.
	ErrInUse = errors.New("still in use")
)

// Refusal is an ErrDenied, ErrInUse, ErrBlobUnknown or ErrManifest with what the
// client is told.
type Refusal struct {
	Err  error  // which of them
	Why  string // for people; nothing of the server's own
	Hint string // the way out, if there is one
}

func (r *Refusal) Error() string {
	text := r.Err.Error() + ": " + r.Why
	if r.Hint != "" {
		text += "; " + r.Hint
	}
	return text
}

func (r *Refusal) Unwrap() error { return r.Err }
