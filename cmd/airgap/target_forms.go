package main

import (
	"net/url"
	"strings"

	"airgap/layout"
)

// registrySchemes are what other tools write before a reference in a registry:
// skopeo and podman the first, helm the second.
var registrySchemes = []string{"docker://", "oci://"}

// withoutScheme drops what other tools write before a reference. A path has no host
// after it (oci:///srv/x), and stays as it is.
func withoutScheme(s string) (string, bool) {
	for _, scheme := range registrySchemes {
		if rest, ok := strings.CutPrefix(s, scheme); ok && rest != "" && rest[0] != '/' {
			return rest, true
		}
	}
	return s, false
}

// transports are the other forms in which skopeo and podman name images, and what to
// write here instead.
var transports = []struct{ prefix, instead string }{
	{"docker-archive:", "write bundle:FILE, with #REF for one image in it"},
	{"oci-archive:", "write bundle:FILE, with #REF for one image in it"},
	{"docker-daemon:", "save it first: docker save IMAGE -o FILE.tar"},
	{"containers-storage:", "save it first: podman save IMAGE -o FILE.tar"},
	{"dir:", "copy it to a layout first: skopeo copy dir:DIR oci:LAYOUT"},
	{"ostree:", "copy it to a layout first: skopeo copy ostree:IMAGE oci:LAYOUT"},
}

// checkForm refuses what is neither a path nor a reference, and names the right form.
func checkForm(s string) error {
	for _, t := range transports {
		if strings.HasPrefix(s, t.prefix) {
			return &adviceError{usagef("%.300q: %s is not read", s, strings.TrimSuffix(t.prefix, ":")), t.instead}
		}
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return nil
	}
	switch strings.ToLower(scheme) {
	case "http", "https":
		return &adviceError{usagef("%.300q is a URL, and a reference has none", s), urlHint(rest)}
	case "oci", "docker", "bundle", "store":
		return nil
	}
	return &adviceError{usagef("%.300q: %.40s:// is not known", s, scheme), formsHint}
}

const formsHint = "a target is a reference, or oci:DIR, bundle:FILE, store:DIR or a path, each with #REF for one image in it"

// urlHint is how what a URL leads to is written as a reference.
func urlHint(rest string) string {
	for page, repo := range pages {
		if name, ok := strings.CutPrefix(rest, page); ok {
			name, _, _ = strings.Cut(name, "?")
			name = strings.TrimSuffix(strings.TrimSuffix(name, "/"), "/tags")
			if ref, err := layout.ParseReference(repo + name); err == nil {
				return "write " + ref.Repository + ":TAG"
			}
		}
	}
	if looksLikePath(rest) {
		return "download it first, and give the file"
	}
	u, err := url.Parse("https://" + rest)
	if ref, perr := layout.ParseReference(strings.TrimSuffix(rest, "/")); err == nil && perr == nil && u.RawQuery == "" && strings.Contains(rest, "/") {
		return "write " + ref.Name() + "; for a registry without TLS add --plain-http"
	}
	return formsHint
}

// pages are web pages about images, and where those are.
var pages = map[string]string{
	"hub.docker.com/_/":   "docker.io/library/",
	"hub.docker.com/r/":   "docker.io/",
	"quay.io/repository/": "quay.io/",
}
