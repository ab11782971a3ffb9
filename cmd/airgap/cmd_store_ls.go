package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/layout"
	"airgap/store"
	"airgap/verify/policy"

	"github.com/opencontainers/go-digest"
)

// storeListResult is what store ls reports.
type storeListResult struct {
	Store string       `json:"store"`
	Names []listedName `json:"names"`
	Total listedTotal  `json:"total"`
}

// listedName is a name and what it leads to.
type listedName struct {
	bundle.Image
	Quarantined string `json:"quarantined,omitempty"` // why
	Damaged     string `json:"damaged,omitempty"`     // why the rest is not known
	NotAdmitted bool   `json:"notAdmitted,omitempty"` // a client pushed it
}

// listedTotal counts what the names that are listed lead to, each piece once.
type listedTotal struct {
	Names       int   `json:"names"`
	Quarantined int   `json:"quarantined"` // names
	Damaged     int   `json:"damaged"`     // names
	Manifests   int   `json:"manifests"`
	Blobs       int   `json:"blobs"`
	Bytes       int64 `json:"bytes"`
}

func runStoreLs(ctx context.Context, u *ui, o storeOptions) error {
	return o.inStore(u, true, func(st *store.Store, dir string) error {
		if o.repositories {
			return listRepositories(ctx, u, o, st, dir)
		}
		m := u.progress("store ls", o.outputOptions)
		defer m.close()
		l := &lister{src: st.Judged(), onManifest: m.manifest, seen: map[digest.Digest]bool{}}
		names, err := l.names(ctx, st, dir, o.args)
		if err == nil {
			err = l.all(ctx, names)
		}
		if err != nil {
			return local(err)
		}
		m.close()
		res := &storeListResult{Store: dir, Names: l.out, Total: l.total}
		if err := u.result(o.outputOptions, "StoreListResult", res, func(w io.Writer) { writeListed(w, res) }); err != nil {
			return err
		}
		return l.verdict(dir)
	})
}

// lister sums up what names lead to, one repository after the other.
type lister struct {
	src        store.Judged
	held       map[layout.Reference]string // reasons
	marked     []string                    // repositories that are not admitted
	onManifest func(n int)

	out     []listedName
	total   listedTotal
	seen    map[digest.Digest]bool // counted in total
	damaged error                  // the first
}

// names finds the names that are asked for, and why those in quarantine are.
func (l *lister) names(ctx context.Context, st *store.Store, dir string, args []string) ([]layout.Name, error) {
	all, err := l.src.Names(ctx)
	if err != nil {
		return nil, err
	}
	held, err := st.Quarantined(ctx)
	if err == nil {
		l.marked, err = st.NotAdmitted(ctx)
	}
	if err != nil {
		return nil, err
	}
	l.held = map[layout.Reference]string{}
	for _, q := range held {
		for _, n := range q.Names {
			l.held[n.Reference] = n.Reason
			if n.Reason == "" {
				l.held[n.Reference] = q.Reason
			}
		}
	}
	var names []layout.Name
	for _, n := range all {
		attached, err := l.isAttached(ctx, n.Reference)
		if err != nil {
			return nil, err
		}
		if !attached {
			names = append(names, n)
		}
	}
	return filterNames(dir, args, names)
}

// isAttached says whether a name leads to what is attached to a manifest that is
// there, and is counted with it.
func (l *lister) isAttached(ctx context.Context, ref layout.Reference) (bool, error) {
	subject, derived := layout.TagSubject(ref.Tag)
	if subject == "" {
		return derived, nil
	}
	_, err := l.src.Resolve(ctx, layout.Reference{Repository: ref.Repository, Digest: subject})
	if errors.Is(err, layout.ErrNotFound) {
		return false, nil
	}
	return true, err
}

// filterNames keeps the names that are meant by any of args; by none, all.
func filterNames(dir string, args []string, all []layout.Name) ([]layout.Name, error) {
	if len(args) == 0 {
		return all, nil
	}
	wanted := map[layout.Reference]bool{}
	for _, arg := range args {
		fits, err := nameFilter(arg)
		if err != nil {
			return nil, err
		}
		found := false
		for _, n := range all {
			if fits(n.Reference) {
				wanted[n.Reference], found = true, true
			}
		}
		if !found {
			return nil, noneFits(dir, arg)
		}
	}
	var out []layout.Name
	for _, n := range all {
		if wanted[n.Reference] {
			out = append(out, n)
		}
	}
	return out, nil
}

// nameFilter reads a reference, a repository (all names in it) or a pattern.
func nameFilter(arg string) (func(layout.Reference) bool, error) {
	if isPattern(arg) {
		p, err := policy.ParsePattern(arg)
		if err != nil {
			return nil, usagef("%w", err)
		}
		return p.Fits, nil
	}
	want, err := layout.ParseReference(arg)
	switch {
	case err != nil:
		return nil, usagef("%w", err)
	case want.Digest == "" && !strings.HasSuffix(arg, ":"+want.Tag):
		return func(ref layout.Reference) bool { return ref.Repository == want.Repository }, nil
	}
	return func(ref layout.Reference) bool { return ref.Name() == want.Name() }, nil
}

// all goes through the repositories: the graph of one is all that is in memory.
func (l *lister) all(ctx context.Context, names []layout.Name) error {
	l.out = make([]listedName, 0, len(names))
	for len(names) > 0 {
		n := 1
		for n < len(names) && names[n].Reference.Repository == names[0].Reference.Repository {
			n++
		}
		err := l.walk(ctx, names[:n])
		if inStoreDamaged(err) && n > 1 {
			err = l.eachAlone(ctx, names[:n])
		} else if inStoreDamaged(err) {
			l.cannot(names[0], err)
			err = nil
		}
		if err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

// inStoreDamaged says whether what a name leads to is not as it was put.
func inStoreDamaged(err error) bool { return err != nil && (isDamage(err) || lacksContent(err)) }

// eachAlone finds which of the names lead to what is damaged.
func (l *lister) eachAlone(ctx context.Context, names []layout.Name) error {
	for i := range names {
		if err := l.walk(ctx, names[i:i+1]); inStoreDamaged(err) {
			l.cannot(names[i], err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// cannot lists a name of which no more can be said.
func (l *lister) cannot(n layout.Name, err error) {
	if l.damaged == nil {
		l.damaged = err
	}
	img := bundle.Image{Reference: n.Reference.Name(), Digest: n.Descriptor.Digest, MediaType: n.Descriptor.MediaType}
	l.add(n, listedName{Image: img, Damaged: err.Error()})
	l.total.Damaged++
}

func (l *lister) add(n layout.Name, one listedName) {
	one.Quarantined = l.held[n.Reference]
	one.NotAdmitted = slices.Contains(l.marked, n.Reference.Repository)
	if one.Quarantined != "" {
		l.total.Quarantined++
	}
	l.total.Names++
	l.out = append(l.out, one)
}

// walk sums up names of one repository.
func (l *lister) walk(ctx context.Context, names []layout.Name) error {
	refs := make([]layout.Reference, len(names))
	for i, n := range names {
		refs[i] = n.Reference
	}
	before := l.total.Manifests
	g, err := layout.Walk(ctx, l.src, refs, layout.WalkOptions{MayMiss: mayMissAny, OnManifest: func(n int) { l.onManifest(before + n) }})
	if err != nil {
		return err
	}
	images := bundle.ImagesOf(g, g.Roots)
	for i, root := range g.Roots {
		if images[i], err = l.image(ctx, g, root, images[i]); err != nil {
			return err
		}
	}
	for i, root := range g.Roots {
		l.add(root, listedName{Image: images[i]})
	}
	l.count(g)
	return nil
}

// image adds what a root's config says to what was summed up.
func (l *lister) image(ctx context.Context, g *layout.Graph, root layout.Name, img bundle.Image) (bundle.Image, error) {
	img.Reference = root.Reference.Name()
	n := g.Nodes[root.Descriptor.Digest]
	if len(img.Platforms) > 0 || !n.Image {
		return img, nil
	}
	p, err := layout.ConfigPlatform(ctx, l.src, root.Reference.Repository, n)
	if err == nil && p != nil {
		img.Platforms = []string{layout.FormatPlatform(*p)}
	}
	return img, err
}

// count adds to the total what was not there yet.
func (l *lister) count(g *layout.Graph) {
	add := func(d digest.Digest, size int64, n *int) {
		if !l.seen[d] {
			l.seen[d] = true
			l.total.Bytes += size
			*n++
		}
	}
	for d, n := range g.Nodes {
		add(d, n.Descriptor.Size, &l.total.Manifests)
		for _, b := range n.Blobs {
			add(b.Digest, b.Size, &l.total.Blobs)
		}
	}
}

// verdict is an error if something was found to be damaged: it has been listed.
func (l *lister) verdict(dir string) error {
	if l.damaged == nil {
		return nil
	}
	return &adviceError{local(fmt.Errorf("%s to what is damaged; the first: %w", leads(l.total.Damaged), l.damaged)), "airgap store check --store " + dir + " finds all that is"}
}

func leads(names int) string {
	if names == 1 {
		return "1 name leads"
	}
	return fmt.Sprintf("%d names lead", names)
}

func writeListed(w io.Writer, res *storeListResult) {
	rows := [][]string{{"NAME", "DIGEST", "KIND", "PLATFORMS", "ATTACHED", "SIZE", "STATE"}}
	for _, n := range res.Names {
		platforms, attached, size := strings.Join(n.Platforms, ","), fmt.Sprint(n.Attached), humanSize(n.Bytes)
		if n.Damaged != "" {
			attached, size = "?", "?"
		}
		rows = append(rows, []string{nameOnly(n.Reference), shortDigest(n.Digest), orDash(string(n.Kind)), orDash(platforms), attached, size, n.state()})
	}
	table(w, rows)
	t := res.Total
	fmt.Fprintf(w, "\n%s", plural(t.Names, "name"))
	if t.Quarantined > 0 {
		fmt.Fprintf(w, ", %d of them in quarantine", t.Quarantined)
	}
	fmt.Fprintf(w, "; in all %s, %s, %s, each counted once\n", plural(t.Manifests, "manifest"), plural(t.Blobs, "blob"), humanSize(t.Bytes))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// state is what is odd about a name.
func (n *listedName) state() string {
	var parts []string
	if n.Damaged != "" {
		parts = append(parts, "damaged: "+n.Damaged)
	}
	if n.NotAdmitted {
		parts = append(parts, admittedText(false))
	}
	if n.Quarantined != "" {
		parts = append(parts, "in quarantine: "+n.Quarantined)
	}
	return orDash(strings.Join(parts, "; "))
}
