package bundle

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"airgap/layout"
	"airgap/verify/notary"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Limits of revocation lists. Those about code-signing certificates have kilobytes;
// a list takes some twenty times its size in memory.
const (
	maxLists       = 256
	maxListBytes   = 8 << 20
	maxListTotal   = 16 << 20        // of all, for they are held in memory
	listsTimeout   = 2 * time.Minute // for all of them
	listJobs       = 8
	listMediaType  = "application/pkix-crl" // RFC 5280, 4.2.1.13; RFC 2585
	listPEMHeading = "X509 CRL"
)

// RevocationList is a CRL in DER form, and where it was to be had.
type RevocationList struct {
	URL string
	DER []byte
}

// MissingList is a revocation list that could not be had, and why.
type MissingList struct {
	URL    string `json:"url"`
	Reason string `json:"reason"`
}

type lists []RevocationList

func (l lists) byDigest() map[digest.Digest][]byte {
	out := make(map[digest.Digest][]byte, len(l))
	for _, one := range l {
		out[digest.FromBytes(one.DER)] = one.DER
	}
	return out
}

// withLists names lists in the record, sorted by URL.
func (r *Record) withLists(l lists) *Record {
	for _, one := range l {
		r.RevocationLists = append(r.RevocationLists, RecordRevocationList{one.URL, digest.FromBytes(one.DER), int64(len(one.DER))})
	}
	slices.SortFunc(r.RevocationLists, func(a, b RecordRevocationList) int { return cmp.Compare(a.URL, b.URL) })
	return r
}

// collectLists fetches the revocation lists that certificates in the graph's
// signatures point to. One that came with a source stands in for a URL that gives
// none.
func collectLists(ctx context.Context, parts []Selection, src *remembering, g *layout.Graph, fetch func(context.Context, string) ([]byte, error)) (lists, []MissingList, error) {
	carried := map[string][]byte{}
	for _, p := range parts {
		for _, l := range p.Lists {
			carried[l.URL] = l.DER
		}
	}
	if fetch == nil && len(carried) == 0 {
		return nil, nil, nil
	}
	urls, err := listPoints(ctx, src, g)
	if err != nil {
		return nil, nil, err
	}
	var mu sync.Mutex
	var out lists
	var missing []MissingList
	total := 0
	for _, u := range urls[min(len(urls), maxLists):] {
		missing = append(missing, MissingList{u, fmt.Sprintf("certificates point to %d lists, at most %d are fetched", len(urls), maxLists)})
	}
	within, cancel := context.WithTimeout(ctx, listsTimeout)
	defer cancel()
	jobs, jctx := errgroup.WithContext(within)
	jobs.SetLimit(listJobs)
	for _, u := range urls[:min(len(urls), maxLists)] {
		jobs.Go(func() error {
			der, err := oneList(jctx, u, carried[u], fetch)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				missing = append(missing, MissingList{u, err.Error()})
			case der != nil && total+len(der) > maxListTotal:
				missing = append(missing, MissingList{u, fmt.Sprintf("all lists together would have more than %d bytes", maxListTotal)})
			case der != nil:
				total += len(der)
				out = append(out, RevocationList{u, der})
			}
			return nil
		})
	}
	if err := jobs.Wait(); err != nil {
		return nil, nil, err
	}
	slices.SortFunc(out, func(a, b RevocationList) int { return cmp.Compare(a.URL, b.URL) })
	slices.SortFunc(missing, func(a, b MissingList) int { return cmp.Compare(a.URL, b.URL) })
	return out, missing, ctx.Err()
}

func oneList(ctx context.Context, url string, carried []byte, fetch func(context.Context, string) ([]byte, error)) ([]byte, error) {
	if fetch == nil {
		return carried, nil
	}
	data, err := fetch(ctx, url)
	if err == nil {
		data, err = parseList(data)
	}
	if err != nil && carried != nil {
		return carried, nil
	}
	return data, err
}

// parseList returns a list in DER form; some authorities publish PEM.
func parseList(data []byte) ([]byte, error) {
	if block, _ := pem.Decode(data); block != nil && block.Type == listPEMHeading {
		data = block.Bytes
	}
	if _, err := x509.ParseRevocationList(data); err != nil {
		return nil, errors.New("what is there is no revocation list")
	}
	return data, nil
}

// listPoints lists where the certificates of all Notary signatures say that their
// revocation lists are, sorted, each once.
func listPoints(ctx context.Context, src *remembering, g *layout.Graph) ([]string, error) {
	var mu sync.Mutex
	seen := map[string]bool{}
	jobs, ctx := errgroup.WithContext(ctx)
	jobs.SetLimit(layout.DefaultWalkJobs)
	for _, n := range g.Manifests() {
		for _, b := range n.Blobs {
			if !slices.Contains(notary.MediaTypes, b.MediaType) || b.Size > notary.MaxEnvelopeBytes {
				continue
			}
			jobs.Go(func() error {
				data, err := src.read(ctx, n.Repository, b.Descriptor())
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				for _, u := range notary.Points(data, b.MediaType) {
					seen[u] = true
				}
				return nil
			})
		}
	}
	if err := jobs.Wait(); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// remembering is a source that gives signatures from memory which were read for
// their revocation lists, up to a limit, so that they are fetched once.
type remembering struct {
	layout.Source
	mu    sync.Mutex
	kept  map[digest.Digest][]byte
	bytes int64
}

// maxRemembered is how many bytes of signatures are kept.
const maxRemembered = 16 << 20

// Open implements [layout.Source].
func (r *remembering) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	r.mu.Lock()
	data, ok := r.kept[d.Digest]
	r.mu.Unlock()
	if !ok {
		return r.Source.Open(ctx, repo, d)
	}
	return layout.Verify(layout.NopCloser(bytes.NewReader(data)), d), nil
}

// read reads a signature and keeps it.
func (r *remembering) read(ctx context.Context, repo string, d layout.Descriptor) ([]byte, error) {
	rc, err := r.Open(ctx, repo, d)
	if err != nil {
		return nil, &layout.Error{Side: layout.SideSource, Name: repo, Digest: d.Digest, Err: err}
	}
	data, err := layout.ReadAll(rc, d)
	if err == nil {
		r.keep(d.Digest, data)
	}
	return data, err
}

func (r *remembering) keep(dgst digest.Digest, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept[dgst] == nil && r.bytes+int64(len(data)) <= maxRemembered {
		r.bytes += int64(len(data))
		r.kept[dgst] = data
	}
}

// lists reads the revocation lists that the record names.
func (b *Bundle) lists(ctx context.Context) (map[digest.Digest][]byte, error) {
	out, total := map[digest.Digest][]byte{}, int64(0)
	if len(b.Record.RevocationLists) > maxLists {
		return nil, fmt.Errorf("%d revocation lists, at most %d are accepted: %w", len(b.Record.RevocationLists), maxLists, layout.ErrLimit)
	}
	for _, l := range b.Record.RevocationLists {
		if out[l.Digest] != nil {
			continue
		}
		if total += max(l.Size, 0); total > maxListTotal {
			return nil, fmt.Errorf("revocation lists of more than %d bytes: %w", maxListTotal, layout.ErrLimit)
		}
		data, err := readBlob(ctx, b.reader, layout.Descriptor{MediaType: listMediaType, Digest: l.Digest, Size: l.Size}, maxListBytes)
		if err != nil {
			return nil, err
		}
		out[l.Digest] = data
	}
	return out, nil
}

// RevocationLists returns the lists that travelled with a bundle. They prove
// nothing until an issuer that is trusted is found to have signed them.
func (b *Bundle) RevocationLists(ctx context.Context) ([]RevocationList, error) {
	if b.Record == nil {
		return nil, nil
	}
	byDigest, err := b.lists(ctx)
	if err != nil {
		return nil, b.damaged(err)
	}
	var out []RevocationList
	for _, l := range b.Record.RevocationLists {
		out = append(out, RevocationList{l.URL, byDigest[l.Digest]})
	}
	return out, nil
}
