package layout

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Reference names a manifest in a repository: by tag, by digest, or by a tag
// together with the digest it is expected to have.
type Reference struct {
	Repository string // with the registry's host, as in "ghcr.io/acme/app"
	Tag        string
	Digest     digest.Digest
}

// ParseReference reads a reference as docker and its kin do: "ubuntu" is
// "docker.io/library/ubuntu:latest".
func ParseReference(s string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Reference{}, fmt.Errorf("reference %.300q: %w", s, err)
	}
	// Unlike docker, keep a tag that stands beside a digest: it is the name
	// that the image is known by.
	ref := Reference{Repository: named.Name()}
	if t, ok := reference.TagNameOnly(named).(reference.Tagged); ok {
		ref.Tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		if ref.Digest, err = ParseDigest(d.Digest().String()); err != nil {
			return Reference{}, fmt.Errorf("reference %.300q: %w", s, err)
		}
	}
	return ref, nil
}

// String returns the reference in full, with tag and digest where it has them.
func (r Reference) String() string {
	s := r.Repository
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}

// Name returns the name under which the manifest is kept: repository and tag,
// or repository and digest where there is no tag.
func (r Reference) Name() string {
	if r.Tag != "" {
		r.Digest = ""
	}
	return r.String()
}

// Registry returns the host part.
func (r Reference) Registry() string {
	host, _, _ := strings.Cut(r.Repository, "/")
	return host
}

// SameHost writes the host of a repository in one way: it is one registry, however its
// name is spelled (case, and the ports that a scheme implies).
func SameHost(repo string) string {
	host, path, ok := strings.Cut(repo, "/")
	if !ok {
		return repo
	}
	host = strings.ToLower(host)
	if name, port, ok := strings.Cut(host, ":"); ok {
		switch strings.TrimLeft(port, "0") {
		case "443", "80":
			host = name
		}
	}
	return host + "/" + path
}
