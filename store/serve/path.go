package serve

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"airgap/layout"
	"airgap/store/serve/access"

	"github.com/opencontainers/go-digest"
)

// What a path can ask for.
const (
	kindBase      = "base"
	kindCatalog   = "_catalog"
	kindManifests = "manifests"
	kindBlobs     = "blobs"
	kindUploads   = "uploads" // where they begin
	kindUpload    = "upload"
	kindTags      = "tags"
	kindReferrers = "referrers"
)

// asked is a path that was understood.
type asked struct {
	kind   string
	repo   string // in full
	name   string // as the client wrote it
	tag    string
	digest digest.Digest
	id     string      // of an upload
	ns     string      // the parameter, if there was one
	by     access.User // who asks
}

// at is where something of the same repository is found, by who asked.
func (a asked) at(rest string) string {
	path := "/v2/" + a.name + "/" + rest
	if a.ns != "" {
		path += "?" + url.Values{"ns": {a.ns}}.Encode()
	}
	return path
}

// maxPathBytes is the longest path that is looked at: a name of 255 bytes, a sha512
// digest, and room.
const maxPathBytes = 1024

var (
	// nameGrammar and tagGrammar are those of distribution-spec 1.1, "Pulling
	// manifests".
	nameGrammar = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	// hostGrammar is what ns may be: a host with a dot, a port, or both.
	hostGrammar = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?$`)
	// hostPort is a name's first element that stands for a registry with a port.
	hostPort = regexp.MustCompile(`^([a-z0-9.-]*\.[a-z0-9.-]*|localhost)_([0-9]{1,5})$`)
)

// understand reads the path of a request, which is /v2 or begins with it, against the
// grammar. Nothing was looked up when it fails.
func understand(u *url.URL) (asked, *failure) {
	if u.Path == "/v2" {
		return asked{kind: kindBase}, nil
	}
	path, ok := plainPath(u)
	if !ok {
		return asked{}, nameInvalid("the path is outside the grammar")
	}
	switch path {
	case "":
		return asked{kind: kindBase}, nil
	case kindCatalog:
		return asked{kind: kindCatalog}, nil
	}
	a, last := split(path)
	if a.kind == "" {
		return asked{}, noEndpoint
	}
	ns, f := namespace(u)
	if f != nil {
		return asked{}, f
	}
	a.ns = ns
	if a.repo, ok = repository(a.name, ns); !ok {
		return asked{}, nameInvalid("the name is outside the grammar")
	}
	return a.point(last)
}

var colons = strings.NewReplacer("%3A", ":", "%3a", ":")

// plainPath is what follows /v2/. Nothing in the grammar needs percent-encoding; of
// the colon in a digest some clients think it does.
func plainPath(u *url.URL) (string, bool) {
	path, ok := strings.CutPrefix(u.EscapedPath(), "/v2/")
	if strings.Contains(path, "%") {
		path = colons.Replace(path)
	}
	return path, ok && len(path) <= maxPathBytes && !strings.Contains(path, "%")
}

// split takes the endpoint off the end of a path: names have slashes of their own.
func split(path string) (asked, string) {
	if name, ok := strings.CutSuffix(path, "/tags/list"); ok {
		return asked{kind: kindTags, name: name}, ""
	}
	head, last := cutLast(path)
	name, kind := cutLast(head)
	if name, ok := strings.CutSuffix(head, "/blobs/uploads"); ok && last != "" {
		return asked{kind: kindUpload, name: name}, last
	} else if name, ok := strings.CutSuffix(strings.TrimSuffix(path, "/"), "/blobs/uploads"); ok {
		return asked{kind: kindUploads, name: name}, ""
	}
	switch kind {
	case kindManifests, kindBlobs, kindReferrers:
		return asked{kind: kind, name: name}, last
	}
	return asked{}, ""
}

func cutLast(s string) (head, last string) {
	i := strings.LastIndexByte(s, '/')
	return s[:max(i, 0)], s[i+1:]
}

var noEndpoint = &failure{http.StatusNotFound, codeUnsupported, "no such endpoint"}

// namespace reads the ns parameter.
func namespace(u *url.URL) (string, *failure) {
	values := u.Query()["ns"]
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) == 1 && hostGrammar.MatchString(values[0]) && (strings.ContainsAny(values[0], ".:") || values[0] == "localhost"):
		return values[0], nil
	}
	return "", nameInvalid("ns names no registry")
}

// repository is the full name of what a client calls name.
func repository(name, ns string) (string, bool) {
	if !nameGrammar.MatchString(name) {
		return "", false
	}
	full := ns + "/" + name
	if ns == "" {
		full = name
		if first, rest, ok := strings.Cut(name, "/"); ok && strings.Contains(first, "_") {
			if m := hostPort.FindStringSubmatch(first); m != nil {
				full = m[1] + ":" + m[2] + "/" + rest
			}
		}
	}
	ref, err := layout.ParseReference(full)
	return ref.Repository, err == nil
}

// Name is what a client that names no registry calls a repository, the inverse of
// what paths are read by. It is "" for one that has no such name, because its
// registry's is not in lower case.
func Name(repo string) string {
	host, rest, _ := strings.Cut(repo, "/")
	name := strings.ReplaceAll(host, ":", "_") + "/" + rest
	if back, ok := repository(name, ""); !ok || back != repo {
		return ""
	}
	return name
}

// point reads what a path ends in.
func (a asked) point(last string) (asked, *failure) {
	switch a.kind {
	case kindTags, kindUploads:
		return a, nil
	case kindUpload:
		a.id = last // it is looked up among those that there are
		return a, nil
	}
	var err error
	if a.digest, err = layout.ParseDigest(last); err == nil {
		return a, nil
	}
	switch {
	case a.kind == kindManifests && tagGrammar.MatchString(last):
		a.tag = last
		return a, nil
	case a.kind == kindManifests && !strings.Contains(last, ":"):
		// It is no tag, so that no manifest can have it.
		return a, &failure{http.StatusNotFound, codeManifestUnknown, "no manifest can have this tag"}
	}
	return a, &failure{http.StatusBadRequest, codeDigestInvalid, "want sha256: or sha512: and lower-case hex digits"}
}
