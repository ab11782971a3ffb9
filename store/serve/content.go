package serve

import (
	"context"
	"io"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Content is what is served. Repositories are named in full, as in
// "ghcr.io/acme/app". All methods are safe for concurrent use, and fail with
// [layout.ErrNotFound] for what is not there, or is not to be given out.
type Content interface {
	// Resolve finds a manifest by its tag, or by its digest.
	Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error)
	// Manifest reads a manifest of repo, and checks its size and digest.
	Manifest(ctx context.Context, repo string, d layout.Descriptor) ([]byte, error)
	// Blob opens a blob of repo, after checking its size. Its content need not
	// be checked.
	Blob(ctx context.Context, repo string, dgst digest.Digest) (io.ReadSeekCloser, error)
	Lists
}

// Lists say what there is.
type Lists interface {
	// Repositories lists the repositories, sorted.
	Repositories(ctx context.Context) ([]string, error)
	// Tags lists the tags of repo, sorted by their bytes.
	Tags(ctx context.Context, repo string) ([]string, error)
	// Referrers lists the manifests of repo whose subject is the given one, sorted
	// by digest; none if there is no such repository or subject. Only media type,
	// digest and size count.
	Referrers(ctx context.Context, repo string, subject digest.Digest) ([]layout.Descriptor, error)
}
