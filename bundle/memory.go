package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"airgap/bundle/custody"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Memory is what the isolated side remembers from one import to the next: marks that
// do not go back, and a ledger that only grows.
type Memory interface {
	// Marked returns a mark, or nil; Mark sets it with the next Commit, which fails
	// if it is no longer what it was.
	Marked(name string) ([]byte, error)
	Mark(name string, was, now []byte) error
	// Log adds an entry to the ledger with the next Commit; Last is the last that
	// is there, or nil.
	Log(entry []byte) error
	Last() ([]byte, error)
	// Append adds entries at once, on their own; where there is no ledger yet, it
	// does nothing.
	Append(ctx context.Context, entries ...[]byte) error
	// Continues fails if the ledger does not begin with what a checkpoint of it
	// stands for; the error matches ErrRollback.
	Continues(checkpoint []byte) error
	// Commit makes it last. Where the memory is the destination, what is copied
	// and what is remembered become visible in one step, with the names, and this
	// does nothing.
	Commit(ctx context.Context) error
}

// ErrRollback says that a bundle, or an image in it, is older than what came before,
// or not what it should continue.
var ErrRollback = errors.New("rollback or replay")

// clockSkew is how far this machine's clock may be behind the ledger.
const clockSkew = 10 * time.Minute

// lineMark is what is remembered of a line, for each key that signs it.
type lineMark struct {
	Serial uint64        `json:"serial"`
	Head   digest.Digest `json:"head"` // of the bundle with that serial
}

// tagMark is what is remembered of a name: what it stands for, all that can be started
// or leads to such there, and what it led to before and does no longer, oldest first.
// Each manifest is known by the SHA-256 of its bytes, whatever digest names it. Marks of
// earlier versions may have other digests in Was and Images.
type tagMark struct {
	Digest digest.Digest   `json:"digest"`
	Images []digest.Digest `json:"images,omitempty"` // Digest among them, if there are others
	Was    []digest.Digest `json:"was,omitempty"`
}

// leads lists all that the name leads to.
func (m *tagMark) leads() []digest.Digest {
	if len(m.Images) > 0 || m.Digest == "" {
		return m.Images
	}
	return []digest.Digest{m.Digest}
}

// maxTagHistory is how many former digests of a name are remembered.
const maxTagHistory = 2000

func lineName(line, fingerprint string) string { return "line " + line + " " + fingerprint }

// tagName is the mark of a name, however its host is spelled.
func tagName(ref layout.Reference) string {
	return "tag " + layout.SameRepository(ref.Repository) + ":" + ref.Tag
}

// recall holds a bundle against what is remembered, and sets what is to be remembered
// of it. It returns what is against it, each to be overridden or not at all; and what
// is odd, but no reason to refuse.
type recall struct {
	memory  Memory
	now     time.Time
	latest  time.Time // the earliest time that the ledger's next entry may have
	against []string
	notes   []string
}

func (r *recall) refuse(format string, args ...any) {
	r.against = append(r.against, fmt.Sprintf(format, args...))
}

func (r *recall) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// clock refuses to go on by a clock that is behind: everything that expires, and
// every order in time, would be judged by it.
func (r *recall) clock(allow bool) error {
	last, err := r.memory.Last()
	if err == nil {
		r.latest, err = CheckClock(last, r.now)
	}
	if allow && errors.Is(err, ErrUndecided) {
		// It may be the ledger's that was ahead once.
		r.refuse("the ledger's last entry is of %s, and this machine's clock says %s", r.latest.Format(time.RFC3339), r.now.Format(time.RFC3339))
		return nil
	}
	return err
}

// CheckClock fails with an error that matches ErrUndecided if now is behind the last
// entry of a ledger, which may be nil. It returns the earliest time that the next entry
// may have: were one older than the one before, a clock could be put back step by step,
// or by a first try that is refused.
func CheckClock(last []byte, now time.Time) (time.Time, error) {
	if last == nil {
		return now, nil
	}
	e, err := custody.ParseEntry(last)
	if err != nil {
		return now, fmt.Errorf("the last entry of the ledger: %v: %w", err, layout.ErrCorrupt)
	}
	if e.At.After(now.Add(clockSkew)) {
		return e.At, &layout.Error{Err: fmt.Errorf("%w: the ledger's last entry is of %s, and this machine's clock says %s", ErrUndecided, e.At.Format(time.RFC3339), now.Format(time.RFC3339)),
			Hint: "set the clock of this machine"}
	}
	if e.At.After(now) {
		now = e.At
	}
	return now, nil
}

// blind notes what nobody can check without a memory.
func (r *recall) blind(h *Head) {
	if h == nil || r.memory != nil {
		return
	}
	if l := h.Bundle.Record.Line; l != nil {
		r.note("it is of the line %s, and nothing is remembered of that here: an older one would not be noticed", l.Name)
	}
	if h.Bundle.Record.Checkpoint != "" {
		r.note("it carries a checkpoint of the ledger that has to continue it, and there is none here to hold against it")
	}
}

// head holds the bundle's place in its line against what came before, if a pinned key
// vouches for it.
func (r *recall) head(h *Head, delta bool) error {
	if h == nil {
		return nil
	}
	if h.Bundle.Standing != custody.Verified {
		r.note("its export is signed by no key that is pinned; what it says of its place in a line is not believed")
		return nil
	}
	rec := h.Bundle.Record
	if rec.Checkpoint != "" {
		if err := r.memory.Continues([]byte(rec.Checkpoint)); errors.Is(err, ErrRollback) {
			r.refuse("%v", err)
		} else if err != nil {
			return err
		}
	}
	if rec.Line == nil {
		return nil
	}
	return r.line(h, delta)
}

// expired says when a pinned key lets the bundle expire, if that has passed.
func expired(h *Head, now time.Time) string {
	if h == nil || h.Bundle.Standing != custody.Verified {
		return ""
	}
	if at := h.Bundle.Record.Expires; at != nil && now.After(*at) {
		return "the bundle expired at " + at.Format(time.RFC3339)
	}
	return ""
}

func (r *recall) line(h *Head, delta bool) error {
	l := h.Bundle.Record.Line
	name := lineName(l.Name, h.Bundle.Fingerprint)
	was, err := r.memory.Marked(name)
	if err != nil {
		return err
	}
	var mark lineMark
	if was != nil {
		if err := json.Unmarshal(was, &mark); err != nil {
			return fmt.Errorf("what is remembered of line %s: %v: %w", l.Name, err, layout.ErrCorrupt)
		}
	}
	switch {
	case was == nil && l.Serial > 1:
		r.gap(delta, "the first bundle of line %s that comes here has serial %d", l.Name, l.Serial)
	case was == nil:
	case l.Serial < mark.Serial:
		r.refuse("it has serial %d of line %s, and %d was here before", l.Serial, l.Name, mark.Serial)
		return nil // an override does not bring the mark back
	case l.Serial == mark.Serial && h.Manifest == mark.Head:
		return nil // the same once more
	case l.Serial == mark.Serial:
		r.refuse("it has serial %d of line %s, and so had another bundle that was here before", l.Serial, l.Name)
	case l.Serial == mark.Serial+1 && l.Previous != mark.Head:
		r.refuse("serial %d of line %s continues another bundle %d than the one that was here", l.Serial, l.Name, mark.Serial)
	case l.Serial > mark.Serial+1:
		r.gap(delta, "line %s goes from serial %d to %d: what was between did not come here", l.Name, mark.Serial, l.Serial)
	}
	now, err := json.Marshal(lineMark{l.Serial, h.Manifest})
	if err != nil {
		return err
	}
	return r.memory.Mark(name, was, now)
}

// gap is odd, and for a delta, which counts on what was between, a reason to refuse.
func (r *recall) gap(delta bool, format string, args ...any) {
	if delta {
		r.refuse(format, args...)
		return
	}
	r.note(format, args...)
}

// tags refuses an image that a name stood for once and that another has replaced since:
// nobody could tell it from the present one by its signatures. It is known again inside
// an index, or without the one that it was in, under the name outside and under the one
// here.
func (r *recall) tags(ctx context.Context, src layout.Source, starts *layout.Inspector, g *layout.Graph, to []layout.Name) error {
	known := map[spot][]led{} // many tags may have one image
	for i, n := range g.Roots {
		if n.Reference.Tag == "" {
			continue
		}
		at := spot{n.Reference.Repository, n.Descriptor.Digest}
		leads, ok := known[at]
		if !ok {
			all, err := started(ctx, src, starts, g, n)
			if err != nil {
				return err
			}
			if leads, err = asBytes(all, func(d digest.Digest) ([]byte, error) { return g.ReadManifest(ctx, src, d) }); err != nil {
				return err
			}
			known[at] = leads
		}
		for _, name := range slices.Compact([]string{tagName(n.Reference), tagName(to[i].Reference)}) {
			if err := r.tag(name, n, leads); err != nil {
				return err
			}
		}
	}
	return nil
}

// started lists what a root leads to that can be started, or that leads to such: the
// root itself, and of an index all below it that is here, but for attestations.
func started(ctx context.Context, src layout.Source, starts *layout.Inspector, g *layout.Graph, root layout.Name) ([]digest.Digest, error) {
	out := []digest.Digest{root.Descriptor.Digest}
	seen := map[digest.Digest]bool{root.Descriptor.Digest: true}
	for next := 0; next < len(out); next++ {
		for _, c := range g.Nodes[out[next]].Children {
			if _, here := g.Place(root.Reference.Repository, c.Digest); !here || seen[c.Digest] {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			seen[c.Digest] = true
			why, err := g.Startable(ctx, src, starts, root.Reference.Repository, c.Digest)
			if err != nil {
				return nil, err
			}
			if why != "" {
				out = append(out, c.Digest)
			}
		}
	}
	return out, nil
}

// led is a manifest that a name leads to: the digest that names it, and the SHA-256 of
// its bytes.
type led struct{ named, sha256 digest.Digest }

// in says whether a set has it under either digest.
func (l led) in(set map[digest.Digest]bool) bool { return set[l.sha256] || set[l.named] }

// asBytes finds the SHA-256 of manifests. The same bytes can come under a digest of
// another algorithm, and must be known again.
func asBytes(all []digest.Digest, read func(digest.Digest) ([]byte, error)) ([]led, error) {
	out := make([]led, 0, len(all))
	for _, d := range all {
		l := led{d, d}
		if d.Algorithm() != digest.SHA256 {
			raw, err := read(d)
			if err != nil {
				return nil, err
			}
			l.sha256 = digest.SHA256.FromBytes(raw)
		}
		out = append(out, l)
	}
	return out, nil
}

func (r *recall) tag(name string, n layout.Name, leads []led) error {
	against, err := leadsTo(r.memory, name, n, leads)
	for _, why := range against {
		r.refuse("%s", why)
	}
	return err
}

// MarkReader reads what is remembered of names; nil if that is nothing.
type MarkReader interface {
	Marked(name string) ([]byte, error)
}

// Marks are what is remembered of names. A [Memory] has them.
type Marks interface {
	MarkReader
	Mark(name string, was, now []byte) error
}

// NameLeads has remembered that a name leads to an image from now on, as an import does.
// leads are the image and all below it that can be started, or leads to such. If the name
// led to one of these before, and to others since, the error matches ErrRollback, and
// nothing is to be remembered. read returns the bytes of one of leads.
func NameLeads(m Marks, n layout.Name, leads []digest.Digest, read func(digest.Digest) ([]byte, error)) error {
	all, err := asBytes(leads, read)
	if err != nil {
		return err
	}
	pending := &pendingMark{Marks: m}
	against, err := leadsTo(pending, tagName(n.Reference), n, all)
	if err == nil && len(against) > 0 {
		err = fmt.Errorf("%w: %s", ErrRollback, strings.Join(against, "; "))
	}
	if err != nil || pending.set == nil {
		return err
	}
	return pending.set()
}

// pendingMark sets a mark later.
type pendingMark struct {
	Marks
	set func() error
}

func (p *pendingMark) Mark(name string, was, now []byte) error {
	p.set = func() error { return p.Marks.Mark(name, was, now) }
	return nil
}

// leadsTo sets what is to be remembered of a name, and says what is against it. The
// first of leads is what the name stands for.
func leadsTo(m Marks, name string, n layout.Name, leads []led) (against []string, err error) {
	was, err := m.Marked(name)
	if err != nil {
		return nil, err
	}
	var mark tagMark
	if was != nil {
		if err := json.Unmarshal(was, &mark); err != nil {
			return nil, fmt.Errorf("what is remembered of %s: %v: %w", n.Reference, err, layout.ErrCorrupt)
		}
	}
	before := mark.leads()
	root := n.Descriptor.Digest
	if i := slices.IndexFunc(leads, func(l led) bool { return l.named == root }); i >= 0 {
		root = leads[i].sha256
	}
	same := mark.Digest == root // a sparse index may come with other children than before
	now, leading := make([]digest.Digest, 0, len(leads)), map[digest.Digest]bool{}
	hadBefore, had := setOf(before), setOf(mark.Was)
	for _, l := range leads {
		leading[l.sha256], leading[l.named] = true, true
		if !same && l.in(had) && !l.in(hadBefore) {
			against = append(against, fmt.Sprintf("%s led to %s before, and since then to %s", n.Reference, l.named, mark.Digest))
		}
		now = append(now, l.sha256)
	}
	if same {
		for _, d := range before {
			if !leading[d] {
				now = append(now, d)
			}
		}
		if slices.Equal(before, now) {
			return nil, nil
		}
	}
	mark.Was = slices.DeleteFunc(append(mark.Was, before...), func(d digest.Digest) bool { return leading[d] })
	mark.Was = mark.Was[max(0, len(mark.Was)-maxTagHistory):]
	mark.Digest, mark.Images = root, nil
	if len(now) > 1 {
		mark.Images = now
	}
	data, err := json.Marshal(mark)
	if err != nil {
		return against, err
	}
	return against, m.Mark(name, was, data)
}

// verdict is what comes of it: an error that matches ErrRollback, unless everything
// that is against the bundle is overridden.
func (r *recall) verdict(allow bool) error {
	if len(r.against) == 0 || allow {
		return nil
	}
	return &layout.Error{Err: fmt.Errorf("%w: %s", ErrRollback, strings.Join(r.against, "; ")),
		Hint: "if it is meant, --allow-rollback with --reason takes it in and puts that on the record"}
}

// delta says whether the bundle counts on what came before it.
func (b *Bundle) delta() bool { return len(b.NotCarried()) > 0 }
