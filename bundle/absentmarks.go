package bundle

import (
	"encoding/json"
	"fmt"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// What is remembered of indexes that came without some of their children is kept in two
// kinds of marks, so that its size is that of what came: one for each child, with the indexes
// that came without it, and one for each index, with its references.

// absentChild is an index that came without a child. The child has to pass the rule for each
// of the source references of the index.
type absentChild struct {
	Index digest.Digest `json:"index"`
	// References are in the mark of the index. In marks of earlier versions they are here.
	References []string `json:"references,omitempty"`
}

// maxAbsentReferences is how many references are remembered for an index. None is forgotten:
// an import that would bring more is refused.
const maxAbsentReferences = 5000

// absentName is the mark of a child.
func absentName(repo string, child digest.Digest) string {
	return "child " + layout.SameRepository(repo) + " " + string(child)
}

// sparseName is the mark of an index.
func sparseName(repo string, index digest.Digest) string {
	return "index " + layout.SameRepository(repo) + " " + string(index)
}

// readMark reads a mark into v, and returns it as it was written.
func readMark(m MarkReader, name string, v any) (raw []byte, err error) {
	if raw, err = m.Marked(name); err != nil || raw == nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, fmt.Errorf("what is remembered of %s: %v: %w", name, err, layout.ErrCorrupt)
	}
	return raw, nil
}

// absentMarks reads the marks. It reads that of an index once.
type absentMarks struct {
	MarkReader
	indexes map[string][]string
}

func newAbsentMarks(m MarkReader) *absentMarks { return &absentMarks{m, map[string][]string{}} }

// of returns the indexes that came to a repository without a child. References are shared
// between the children of an index, and not to be changed.
func (a *absentMarks) of(repo string, child digest.Digest) ([]absentChild, error) {
	var all []absentChild
	if _, err := readMark(a, absentName(repo, child), &all); err != nil {
		return nil, err
	}
	for i := range all {
		refs, err := a.references(repo, all[i].Index)
		if err != nil {
			return nil, err
		}
		if len(all[i].References) > 0 {
			refs = slices.Concat(all[i].References, refs)
		}
		if len(refs) == 0 { // then no rule would be asked
			return nil, fmt.Errorf("%s lists %s, and no reference of that is remembered: %w", absentName(repo, child), all[i].Index, layout.ErrCorrupt)
		}
		all[i].References = refs
	}
	return all, nil
}

func (a *absentMarks) references(repo string, index digest.Digest) ([]string, error) {
	name := sparseName(repo, index)
	refs, known := a.indexes[name]
	if known {
		return refs, nil
	}
	if _, err := readMark(a, name, &refs); err != nil {
		return nil, err
	}
	a.indexes[name] = refs
	return refs, nil
}

// cameWithout collects what is to be remembered: of each index in a repository, its
// references and its absent children.
type cameWithout struct {
	order []place
	at    map[place]*sparseIndex
	all   bool // however many references an index has
}

type sparseIndex struct {
	references []string
	children   []digest.Digest
	added      map[*digest.Digest]bool // lists of children, by where they are
}

// add adds an index with a reference. Many references of it may share the list of children.
func (c *cameWithout) add(repo string, index digest.Digest, reference string, children []digest.Digest) {
	if len(children) == 0 {
		return
	}
	at := place{repo, index}
	s := c.at[at]
	if s == nil {
		s = &sparseIndex{added: map[*digest.Digest]bool{}}
		if c.at == nil {
			c.at = map[place]*sparseIndex{}
		}
		c.at[at] = s
		c.order = append(c.order, at)
	}
	s.references = append(s.references, reference)
	if !s.added[&children[0]] {
		s.added[&children[0]] = true
		s.children = append(s.children, children...)
	}
}

// remember sets the marks. It reports whether they say anything new.
func (c *cameWithout) remember(m Marks) (news bool, err error) {
	var order []place
	without := map[place][]digest.Digest{}
	for _, at := range c.order {
		s := c.at[at]
		changed, err := s.rememberReferences(m, at, c.all)
		if err != nil {
			return false, err
		}
		news = news || changed
		for _, d := range s.children {
			child := place{at.repo, d}
			if without[child] == nil {
				order = append(order, child)
			}
			without[child] = append(without[child], at.d)
		}
	}
	for _, child := range order {
		changed, err := rememberChild(m, child, without[child])
		if err != nil {
			return false, err
		}
		news = news || changed
	}
	return news, nil
}

func (s *sparseIndex) rememberReferences(m Marks, at place, unlimited bool) (changed bool, err error) {
	var all []string
	was, err := readMark(m, sparseName(at.repo, at.d), &all)
	if err != nil {
		return false, err
	}
	known := map[string]bool{}
	for _, ref := range all {
		known[ref] = true
	}
	for _, ref := range s.references {
		if !known[ref] {
			known[ref], changed = true, true
			all = append(all, ref)
		}
	}
	if len(all) > maxAbsentReferences && !unlimited {
		return false, &layout.Error{Side: layout.SideDestination, Name: at.repo, Digest: at.d,
			Err:  fmt.Errorf("more than %d names for an index whose child %s is absent: %w", maxAbsentReferences, s.children[0], layout.ErrLimit),
			Hint: "import the index with all of its children"}
	}
	now, err := json.Marshal(all)
	if err != nil || !changed {
		return false, err
	}
	return true, m.Mark(sparseName(at.repo, at.d), was, now)
}

// rememberChild adds indexes to the mark of a child.
func rememberChild(m Marks, child place, indexes []digest.Digest) (changed bool, err error) {
	var all []absentChild
	was, err := readMark(m, absentName(child.repo, child.d), &all)
	if err != nil {
		return false, err
	}
	known := map[digest.Digest]bool{}
	for _, a := range all {
		known[a.Index] = true
	}
	for _, d := range indexes {
		if !known[d] {
			known[d], changed = true, true
			all = append(all, absentChild{Index: d})
		}
	}
	now, err := json.Marshal(all)
	if err != nil || !changed {
		return false, err
	}
	return true, m.Mark(absentName(child.repo, child.d), was, now)
}

// CameWithout says whether an index was imported into a repository without a child, as is
// remembered there.
func CameWithout(m MarkReader, repo string, index, child digest.Digest) (bool, error) {
	var all []absentChild
	_, err := readMark(m, absentName(repo, child), &all)
	return slices.ContainsFunc(all, func(a absentChild) bool { return a.Index == index }), err
}
