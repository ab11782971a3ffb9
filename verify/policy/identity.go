package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"airgap/layout"

	"github.com/distribution/reference"
	"go.yaml.in/yaml/v3"
)

// How what a signature says the image is called is held against what it should be
// called (containers-policy.json(5), "signedIdentity").
const (
	matchExact             = "matchExact"
	matchRepoDigestOrExact = "matchRepoDigestOrExact"
	matchRepository        = "matchRepository"
	matchExactReference    = "exactReference"
	matchExactRepository   = "exactRepository"
	matchRemapIdentity     = "remapIdentity"
	maxReferenceBytes      = 1024
	nothingSigned          = "what was signed does not say what the image is called, and the policy asks"
)

// ErrReference says that a signature is for an image of another name, or for no
// name.
var ErrReference = errors.New("signed under another name")

// Identity says under which name an image has to have been signed: in a simple
// signing payload, that is critical.identity.docker-reference. No other form of
// signature has one.
type Identity struct {
	kind                 string
	reference            string // of exactReference and exactRepository
	prefix, signedPrefix string // of remapIdentity
	image                layout.Reference
}

// UnmarshalYAML implements yaml.Unmarshaler: one of the words that need nothing
// more, or a reference or repository in full.
func (w *Identity) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: reference: want %s, %s, %s, or a reference in full", n.Line, matchExact, matchRepository, matchRepoDigestOrExact)
	}
	w.kind = n.Value
	switch n.Value {
	case matchExact, matchRepository, matchRepoDigestOrExact:
	default:
		w.kind, w.reference = matchExactReference, n.Value
		if named, err := reference.ParseNamed(n.Value); err == nil && reference.IsNameOnly(named) {
			w.kind = matchExactRepository
		}
	}
	if err := w.check(); err != nil {
		return fmt.Errorf("line %d: reference: %w", n.Line, err)
	}
	return nil
}

// check says whether it can be met at all.
func (w *Identity) check() error {
	switch w.kind {
	case matchExact, matchRepository, matchRepoDigestOrExact:
		return nil
	case matchExactReference, matchExactRepository:
		named, err := reference.ParseNamed(w.reference)
		if err != nil || len(w.reference) > maxReferenceBytes {
			return fmt.Errorf("%.200q is no reference in full, as in registry.example/team/app:v1", w.reference)
		}
		if reference.IsNameOnly(named) != (w.kind == matchExactRepository) {
			return fmt.Errorf("%.200q: want %s", w.reference, map[string]string{matchExactReference: "a tag or a digest in it", matchExactRepository: "a repository alone"}[w.kind])
		}
		return nil
	case matchRemapIdentity:
		for _, p := range []string{w.prefix, w.signedPrefix} {
			if !isPrefix(p) {
				return fmt.Errorf("prefix %.200q: want a registry, a namespace or a repository in full", p)
			}
		}
		return nil
	}
	return fmt.Errorf("%.50q is not known", w.kind)
}

var domain = regexp.MustCompile("^" + reference.DomainRegexp.String() + "$")

// isPrefix says whether s could start the name of a repository: a registry, or
// that and the first elements of a path.
func isPrefix(s string) bool {
	if len(s) > maxReferenceBytes {
		return false
	}
	if domain.MatchString(s) {
		return true
	}
	named, err := reference.ParseNamed(s)
	return err == nil && named.String() == s && reference.IsNameOnly(named)
}

// Accepts says whether a signature that names signed is one for the image. Its
// error matches ErrReference.
func (w *Identity) Accepts(signed string) error {
	if signed == "" {
		return fmt.Errorf("%s: %w", nothingSigned, ErrReference)
	}
	if len(signed) > maxReferenceBytes {
		return fmt.Errorf("a name of %d bytes: %w", len(signed), ErrReference)
	}
	got, err := reference.ParseNormalizedNamed(signed)
	if err != nil {
		return fmt.Errorf("%.200q is no reference: %w", signed, ErrReference)
	}
	if !w.fits(got) {
		return fmt.Errorf("it is signed as %.300q, and the policy wants %s: %w", signed, w, ErrReference)
	}
	return nil
}

func (w *Identity) fits(got reference.Named) bool {
	switch w.kind {
	case matchExactReference:
		want, err := reference.ParseNamed(w.reference)
		return err == nil && !reference.IsNameOnly(want) && got.String() == want.String()
	case matchExactRepository:
		return got.Name() == w.reference
	}
	image, err := reference.ParseNamed(w.intended())
	if err != nil || reference.IsNameOnly(image) {
		return false // whoever asks did not say for which image
	}
	switch w.kind {
	case matchExact:
		return got.String() == image.String()
	case matchRepository:
		return got.Name() == image.Name()
	case matchRemapIdentity:
		if image, err = w.remap(image); err != nil {
			return false
		}
		return repoDigestOrExact(got, image)
	case matchRepoDigestOrExact:
		return repoDigestOrExact(got, image)
	}
	return false
}

// intended is the image's name: with its tag, or with its digest where it has
// none.
func (w *Identity) intended() string { return w.image.Name() }

// repoDigestOrExact: an image that is named by digest may have been signed under
// any tag of its repository.
func repoDigestOrExact(got, image reference.Named) bool {
	if reference.IsNameOnly(got) {
		return false
	}
	if _, tagged := image.(reference.Tagged); tagged {
		return got.String() == image.String()
	}
	return got.Name() == image.Name()
}

// remap gives the image the name that it had where it was signed.
func (w *Identity) remap(image reference.Named) (reference.Named, error) {
	if n := image.Name(); n != w.prefix && !strings.HasPrefix(n, w.prefix+"/") {
		return image, nil
	}
	return reference.ParseNamed(w.signedPrefix + strings.TrimPrefix(image.String(), w.prefix))
}

// String is what is wanted, in words.
func (w *Identity) String() string {
	image := "the image's own name"
	if w.image.Repository != "" {
		image = w.intended()
	}
	switch w.kind {
	case matchExactReference, matchExactRepository:
		return w.reference
	case matchRepository:
		if w.image.Repository != "" {
			return w.image.Repository
		}
		return "the image's own repository"
	case matchRemapIdentity:
		return fmt.Sprintf("%s, with %s for %s", image, w.signedPrefix, w.prefix)
	}
	return image
}

// forImage is r with every demand for a name bound to an image's.
func (r Requirement) forImage(ref layout.Reference) Requirement {
	if r.Cosign != nil && r.Cosign.Reference != nil {
		c, w := *r.Cosign, *r.Cosign.Reference
		w.image = ref
		c.Reference, r.Cosign = &w, &c
	}
	each := func(list []Requirement) []Requirement {
		var out []Requirement
		for _, p := range list {
			out = append(out, p.forImage(ref))
		}
		return out
	}
	r.AllOf, r.AnyOf = each(r.AllOf), each(r.AnyOf)
	if r.AtLeast != nil {
		r.AtLeast = &AtLeast{Count: r.AtLeast.Count, Of: each(r.AtLeast.Of)}
	}
	if by := r.signedBy(); by != nil {
		bound := by.forImage(ref)
		switch {
		case r.Artifact != nil:
			a := *r.Artifact
			a.SignedBy, r.Artifact = &bound, &a
		case r.BuildKit != nil:
			b := *r.BuildKit
			b.SignedBy, r.BuildKit = &bound, &b
		}
	}
	return r
}

// inFull writes out what docker's users may leave away: "busybox" is
// docker.io/library/busybox. What is no reference stays as it is.
func inFull(s, kind string) string {
	if kind != matchExactReference && kind != matchExactRepository {
		return s
	}
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return s
	}
	return named.String()
}
