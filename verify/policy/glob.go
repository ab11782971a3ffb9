package policy

import (
	"fmt"
	"regexp"
	"strings"

	"airgap/layout"
)

var globGrammar = regexp.MustCompile(`^[a-zA-Z0-9_:/*.-]+$`)

// hubRegistry is what policy-controller calls Docker Hub.
const hubRegistry = "index.docker.io/"

// imageGlob makes an expression of a glob as policy-controller does (pkg/apis/glob):
// "*" is any run of characters but "/", a colon among them, "**" any at all, and
// "*" or "*/*" alone are Docker Hub's.
func imageGlob(glob string) (*regexp.Regexp, error) {
	switch {
	case strings.Contains(glob, "@"):
		return nil, fmt.Errorf("glob %.200q: one for a digest is not supported: rules are found by the name that an image came under", glob)
	case !globGrammar.MatchString(glob), len(glob) > maxReferenceBytes:
		return nil, fmt.Errorf("glob %.200q: letters, digits and any of -_:/*. are wanted", glob)
	}
	switch glob {
	case "*":
		glob = hubRegistry + "library/*"
	case "*/*":
		glob = hubRegistry + "*/*"
	}
	// An image's registry is looked for without its usual port, too.
	return layout.Glob(layout.SameHost(glob)), nil
}

// spellings are the names of an image that a glob may be for: in full, with Docker
// Hub called by any of its hosts, a registry with and without its usual port, and
// without the tag "latest", which nobody has to write. policy-controller takes the one that a manifest happens to have; more that
// fit only means that more has to be met.
func spellings(ref layout.Reference) []string {
	same := layout.SameRepository(ref.Repository)
	repos := []string{ref.Repository, layout.SameHost(ref.Repository), same}
	if rest, ok := strings.CutPrefix(same, "docker.io/"); ok {
		for _, host := range layout.HubHosts() { // by a glob with a wildcard in the host
			repos = append(repos, host+"/"+rest)
		}
		repos = append(repos, rest)
		if short, ok := strings.CutPrefix(rest, "library/"); ok {
			repos = append(repos, short)
		}
	}
	var out []string
	for _, repo := range repos {
		if ref.Tag != "" {
			out = append(out, repo+":"+ref.Tag)
		}
		if ref.Digest != "" {
			out = append(out, repo+"@"+string(ref.Digest))
		}
		if ref.Tag == "latest" || ref.Tag == "" {
			out = append(out, repo)
		}
	}
	return out
}

// globsFit says whether any glob is for the image.
func globsFit(globs []*regexp.Regexp, ref layout.Reference) bool {
	for _, name := range spellings(ref) {
		for _, g := range globs {
			if g.MatchString(name) {
				return true
			}
		}
	}
	return false
}
