package layout

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

var tagGrammar = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// entryName reads an entry's name. Tools write a full reference, a tag alone, or
// nothing; a name that is neither is taken as nothing. Of a name with the digest
// of something else, only the repository is believed.
func entryName(d Descriptor) Reference {
	for _, key := range []string{annotationTag, AnnotationContainerdName, AnnotationRefName} {
		name := d.Annotations[key]
		if strings.ContainsAny(name, "/:@") {
			ref, err := ParseReference(name)
			if err != nil {
				continue
			}
			if ref.Digest != "" && ref.Digest != d.Digest {
				return Reference{Repository: ref.Repository}
			}
			return ref
		} else if tagGrammar.MatchString(name) {
			return Reference{Tag: name}
		}
	}
	return Reference{}
}

// parseFallbackTag reads the subject out of a referrers tag. One of sha512 has
// only half of it; what is attached then is found by its own subject field.
func parseFallbackTag(tag string) (digest.Digest, bool) {
	d, err := ParseDigest(strings.Replace(tag, "-", ":", 1))
	return d, err == nil && IsReferrersTag(tag)
}

// names is index.json, looked up.
type names struct {
	of     []Reference // of each entry
	full   map[string]int
	bare   map[string]int
	digest map[digest.Digest]int
	repos  map[string]bool
}

func (r *Reader) lookup() *names {
	r.named.Do(func() {
		r.names = names{
			of: make([]Reference, len(r.index)), full: map[string]int{}, bare: map[string]int{},
			digest: make(map[digest.Digest]int, len(r.index)), repos: map[string]bool{},
		}
		for i, d := range r.index {
			r.names.add(i, d)
		}
	})
	return &r.names
}

// add takes in an entry. The name of one that is marked as attached is that of what it
// is attached to.
func (n *names) add(i int, d Descriptor) {
	ref := entryName(d)
	n.of[i] = ref
	if ref.Repository != "" {
		n.repos[ref.Repository] = true
	}
	if kindOf(d) != "" {
		ref.Tag = ""
	}
	if ref.Tag != "" && ref.Repository != "" {
		keepFirst(n.full, ref.Name(), i)
	} else if ref.Tag != "" {
		keepFirst(n.bare, ref.Tag, i)
	}
	keepFirst(n.digest, d.Digest, i)
}

func keepFirst[K comparable](m map[K]int, key K, i int) {
	if _, ok := m[key]; !ok {
		m[key] = i
	}
}

// find returns the entry that ref names. A tag without a repository stands for
// that tag in every repository that has none of its own.
func (n *names) find(ref Reference) (i int, ok bool) {
	if ref.Digest != "" {
		i, ok = n.digest[ref.Digest]
		return i, ok
	}
	if i, ok = n.full[ref.Name()]; !ok && ref.Tag != "" {
		i, ok = n.bare[ref.Tag]
	}
	return i, ok
}

// Resolve implements [Source].
func (r *Reader) Resolve(_ context.Context, ref Reference) (Descriptor, error) {
	if i, ok := r.lookup().find(ref); ok {
		return trim(r.index[i]), nil
	}
	side, name := r.files.side()
	return Descriptor{}, &Error{Side: side, Name: name, Err: fmt.Errorf("%s: %w", ref, ErrNotFound)}
}

// Roots lists what the layout is about: every entry with a name of its own, and
// every other to which none of those leads. So nothing that index.json lists is
// lost, and neither a child of an index nor an attachment stands for itself. Where two
// manifests have one name (image-spec, "OCI Image Layout", allows it), their references
// have the digest too: to take both under that name is refused by [Walk].
func (r *Reader) Roots() ([]Name, error) {
	if err := r.findEdges(context.Background()); err != nil {
		return nil, err
	}
	n, reached, above := r.lookup(), map[digest.Digest]bool{}, r.edges.above()
	var out []Name
	for _, wanted := range []func(ref Reference, d Descriptor) bool{
		func(ref Reference, d Descriptor) bool {
			return ref.Tag != "" && !IsDerivedTag(ref.Tag) && kindOf(d) == ""
		},
		func(ref Reference, d Descriptor) bool {
			return !IsDerivedTag(ref.Tag) && kindOf(d) == "" && !above[d.Digest]
		},
		func(ref Reference, d Descriptor) bool { return !r.bookkeeping(ref, d) },
	} {
		for i, d := range r.index {
			ref := n.of[i]
			if kindOf(d) != "" {
				ref.Tag = "" // it is that of an image
			}
			own := ref.Tag != "" && !IsDerivedTag(ref.Tag)
			if !wanted(ref, d) || reached[d.Digest] && !own {
				continue
			}
			if ref.Tag == "" {
				ref.Digest = d.Digest
			}
			r.edges.reach(d.Digest, reached)
			out = append(out, Name{Reference: ref, Descriptor: trim(d)})
		}
	}
	return uniqueNames(out), nil
}

// bookkeeping says whether an entry is a referrers index of something that is
// there: what it lists is reached from that, and it is made anew where needed.
func (r *Reader) bookkeeping(ref Reference, d Descriptor) bool {
	subject, ok := parseFallbackTag(ref.Tag)
	return ok && IsIndex(d.MediaType) && r.edges.present[subject]
}

// uniqueNames sorts names, drops those that are there twice, and adds the digest to
// those that several manifests have.
func uniqueNames(list []Name) []Name {
	byName := func(a, b Name) int {
		return cmp.Or(cmp.Compare(a.Reference.Name(), b.Reference.Name()), cmp.Compare(a.Descriptor.Digest, b.Descriptor.Digest))
	}
	slices.SortStableFunc(list, byName)
	list = slices.CompactFunc(list, func(a, b Name) bool { return byName(a, b) == 0 })
	for i := 1; i < len(list); i++ {
		a, b := &list[i-1], &list[i]
		if a.Reference.Name() == b.Reference.Name() {
			a.Reference.Digest, b.Reference.Digest = a.Descriptor.Digest, b.Descriptor.Digest
		}
	}
	return list
}
