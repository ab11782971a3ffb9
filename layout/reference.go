package layout

import (
	"fmt"
	"maps"
	"slices"
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
// "docker.io/library/ubuntu:latest", and so is "index.docker.io/ubuntu", in upper case or
// with its usual port too.
func ParseReference(s string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Reference{}, fmt.Errorf("reference %.300q: %w", s, err)
	}
	// Unlike docker, keep a tag that stands beside a digest: it is the name
	// that the image is known by.
	ref := Reference{Repository: hubName(named.Name(), hubNames)}
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

// hubRegistry is the name that the images of Docker Hub have.
const hubRegistry = "docker.io"

// hubNames are the hosts that distribution/reference takes for Docker Hub, and with it
// docker, containers/image and containerd; hubHosts are all under which its registry
// answers. index.docker.io is the name that go-containerregistry has for it, and
// registry-1.docker.io the host that containers/image and containerd ask for docker.io
// (dockerRegistry in containers/image, DefaultHost in containerd). registry.docker.io
// leads to that, and registry.hub.docker.com is what Jenkins and older scripts write.
var (
	hubNames = map[string]bool{hubRegistry: true, "index.docker.io": true}
	hubHosts = map[string]bool{hubRegistry: true, "index.docker.io": true,
		"registry-1.docker.io": true, "registry.docker.io": true, "registry.hub.docker.com": true}
)

// hubName writes the name of a repository of Docker Hub in full, if its host, in any
// case and with or without its usual port, is one of hosts. Other names it returns as
// they are.
func hubName(repo string, hosts map[string]bool) string {
	host, path, ok := strings.Cut(repo, "/")
	if !ok || !hosts[plainHost(host)] {
		return repo
	}
	if !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return hubRegistry + "/" + path
}

// plainHost is a host in lower case, without a port that a scheme implies.
func plainHost(host string) string {
	host = strings.ToLower(host)
	if i := strings.LastIndex(host, ":"); i >= 0 {
		switch strings.TrimLeft(host[i+1:], "0") {
		case "443", "80":
			return host[:i]
		}
	}
	return host
}

// SameHost writes the host of a repository, or of a pattern for some, in one way: it is
// one registry, however its name is spelled (case, the ports that a scheme implies, and
// the hosts under which Docker Hub answers).
func SameHost(repo string) string {
	host, path, ok := strings.Cut(repo, "/")
	if !ok {
		return repo
	}
	if host = plainHost(host); hubHosts[host] {
		host = hubRegistry
	}
	return host + "/" + path
}

// SameRepository writes the name of a repository in one way: its host as [SameHost]
// does, and the official images of Docker Hub with "library/", which may be left out.
func SameRepository(repo string) string {
	return SameHost(hubName(repo, hubHosts))
}

// HubHosts lists the hosts that [SameHost] writes as docker.io, sorted, without docker.io
// itself.
func HubHosts() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(hubHosts)), func(h string) bool { return h == hubRegistry })
}
