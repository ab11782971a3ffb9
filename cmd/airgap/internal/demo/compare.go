package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// readBack fetches everything that was pushed from the registry it was pushed
// to, and makes sure that the registry has no tag besides. What it returns is
// what the far side has to equal.
func (p *publisher) readBack(ctx context.Context) ([]item, error) {
	got, err := compareRegistry(ctx, p.items, p.repo)
	if err != nil {
		return nil, err
	}
	return got, compareTags(ctx, slices.Collect(maps.Keys(p.tags)), p.repo)
}

// compareRegistry fetches every item from repo by digest and compares the bytes,
// and of a manifest the media type. It returns what it got, and reports every
// difference, not only the first.
func compareRegistry(ctx context.Context, want []item, repo repository) ([]item, error) {
	var got []item
	var errs []error
	for _, i := range want {
		data, mediaType, err := repo.content(ctx, i)
		switch {
		case err != nil:
			errs = append(errs, err)
		case !bytes.Equal(data, i.data):
			errs = append(errs, fmt.Errorf("%s: %s is not the same, %d bytes instead of %d", repo, i.desc.Digest, len(data), len(i.data)))
		case i.manifest && mediaType != i.desc.MediaType:
			errs = append(errs, fmt.Errorf("%s: %s is served as %s, not %s", repo, i.desc.Digest, mediaType, i.desc.MediaType))
		}
		i.data = data
		got = append(got, i)
	}
	return got, errors.Join(errs...)
}

// content fetches what i stands for, with the media type if it is a manifest.
func (r repository) content(ctx context.Context, i item) ([]byte, string, error) {
	if i.manifest {
		return r.manifest(ctx, i.desc.Digest.String())
	}
	data, err := r.blob(ctx, i.desc.Digest)
	return data, "", err
}

// compareStore reads every item from the plain files of a store.
func compareStore(want []item, dir string) error {
	var errs []error
	for _, i := range want {
		name := filepath.Join(dir, "blobs", i.desc.Digest.Algorithm().String(), i.desc.Digest.Encoded())
		data, err := os.ReadFile(name)
		switch {
		case err != nil:
			errs = append(errs, err)
		case !bytes.Equal(data, i.data):
			errs = append(errs, fmt.Errorf("%s is not the same, %d bytes instead of %d", name, len(data), len(i.data)))
		}
	}
	return errors.Join(errs...)
}

// compareTags checks that repo has exactly the tags wanted.
func compareTags(ctx context.Context, want []string, repo repository) error {
	got, err := repo.tags(ctx)
	if err != nil {
		return err
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s: the tags are\n  %s\nand should be\n  %s", repo, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	return nil
}

// compareNames checks, in a registry without the referrers API, that every name
// stands for what it stood for and every attachment is found the way clients
// look for it there: by cosign's tag, or in the index under the subject's
// fallback tag. It returns the number of attachments found.
func compareNames(ctx context.Context, tags map[string]digest.Digest, list []attachment, repo repository) (int, error) {
	var errs []error
	want := slices.Collect(maps.Keys(tags))
	for tag, d := range tags {
		data, _, err := repo.manifest(ctx, tag)
		if err == nil && digest.FromBytes(data) != d {
			err = fmt.Errorf("%s:%s is %s, should be %s", repo, tag, digest.FromBytes(data), d)
		}
		errs = append(errs, err)
	}
	found := 0
	for _, a := range list {
		if a.artifact.Tag == "" { // the others are among the tags
			tag := fallbackTag(a.subject.Digest)
			if !slices.Contains(want, tag) {
				want = append(want, tag)
			}
			if err := findFallback(ctx, a, tag, repo); err != nil {
				errs = append(errs, fmt.Errorf("%s on %s: %w", a.what, a.on, err))
				continue
			}
		}
		found++
	}
	errs = append(errs, compareTags(ctx, want, repo))
	return found, errors.Join(errs...)
}

// fallbackTag is where clients list what is attached to d if the registry does
// not (OCI distribution spec 1.1, "Referrers Tag Schema").
func fallbackTag(d digest.Digest) string {
	return d.Algorithm().String() + "-" + d.Encoded()
}

// findFallback looks a up in the index under tag, and checks all that the
// specification wants said of it there.
func findFallback(ctx context.Context, a attachment, tag string, repo repository) error {
	data, _, err := repo.manifest(ctx, tag)
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(a.artifact.Raw, &m); err != nil {
		return err
	}
	want := a.artifact.Manifest
	for _, d := range index.Manifests {
		if d.Digest != want.Digest {
			continue
		}
		if d.MediaType != want.MediaType || d.Size != want.Size || d.ArtifactType != want.ArtifactType || !maps.Equal(d.Annotations, m.Annotations) {
			return fmt.Errorf("%s:%s describes %s wrongly: %+v", repo, tag, d.Digest, d)
		}
		return nil
	}
	return fmt.Errorf("%s:%s does not list %s", repo, tag, want.Digest)
}
