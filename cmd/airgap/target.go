package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/bundle/registry"
	"airgap/layout"
	"airgap/store"
)

// targetKind is where a target lies.
type targetKind int

const (
	inRegistry targetKind = iota
	inBundle              // a tar or a layout folder
	inStore
)

// target is what a user named: everything in a bundle, a folder or a store, or
// one thing in it, or a reference in a registry.
type target struct {
	kind targetKind
	path string           // of a bundle or a store
	name string           // what stood behind '#'; empty means everything
	ref  layout.Reference // in a registry
	// hostless: the reference did not say which registry, and means
	// docker.io.
	hostless bool
}

func (t target) String() string {
	s := t.path
	switch t.kind {
	case inRegistry:
		return t.ref.String()
	case inStore:
		s = "store:" + s
	}
	if t.name != "" {
		s += "#" + t.name
	}
	return s
}

// parseTarget reads
//
//	oci:DIR[#REF]  bundle:FILE[#REF]  store:DIR[#REF]
//	PATH[#REF]     a bundle, a layout folder or a store, if it contains a slash and exists, or ends as an archive does
//	REFERENCE      in a registry; docker:// and oci:// before it are dropped
//
// What looks like a path and is not there is an error: taken for a reference it
// would make airgap call a registry that nobody named.
func parseTarget(s string) (target, error) {
	if rest, ok := withoutScheme(s); ok {
		return parseReference(rest)
	}
	if err := checkForm(s); err != nil {
		return target{}, err
	}
	for scheme, kind := range map[string]targetKind{"oci:": inBundle, "bundle:": inBundle, "store:": inStore} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			t := splitName(rest)
			t.kind = kind
			if t.path == "" {
				return target{}, usagef("%q: a path has to follow %s", s, scheme)
			}
			return t, nil
		}
	}
	t := splitName(s)
	t.kind = inBundle
	if looksLikePath(t.path) || strings.Contains(t.path, "/") && exists(t.path) {
		if store.Is(t.path) {
			t.kind = inStore
		}
		return t, nil
	}
	return parseReference(s)
}

// parseReference reads a reference in a registry.
func parseReference(s string) (target, error) {
	ref, err := layout.ParseReference(s)
	if err != nil {
		return target{}, &adviceError{usagef("%w", err), formsHint}
	}
	return target{kind: inRegistry, ref: ref, hostless: !strings.HasPrefix(s, ref.Registry()+"/")}, nil
}

// withHosts refuses references that do not say which registry they are in. What
// is read on the isolated side must not, for a name that was mistyped, ask a
// registry on the internet.
func withHosts(targets []target) error {
	for _, t := range targets {
		if t.hostless {
			return &adviceError{usagef("%s: neither a file here nor a reference that names its registry", t.ref),
				"write the registry too, as in docker.io/library/nginx:1.29, or ./ before a path"}
		}
	}
	return nil
}

// parseLocal reads an argument that can only be a bundle or a folder, so that a
// bare name is a path.
func parseLocal(s string) (target, error) {
	if _, ok := withoutScheme(s); ok {
		return target{}, &adviceError{usagef("%q is in a registry, and a bundle is wanted", s), "export it first: airgap export " + s + " -o FILE.tar"}
	}
	if !exists(s) {
		if err := checkForm(s); err != nil {
			return target{}, err
		}
	}
	for _, scheme := range []string{"oci:", "bundle:"} {
		s = strings.TrimPrefix(s, scheme)
	}
	if s == "" {
		return target{}, usagef("an empty path names no bundle")
	}
	return target{kind: inBundle, path: s}, nil
}

func parseTargets(args []string) ([]target, error) {
	out := make([]target, 0, len(args))
	for _, arg := range args {
		t, err := parseTarget(arg)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// splitName takes the last '#' for the separator, unless the whole is a path.
func splitName(s string) target {
	i := strings.LastIndex(s, "#")
	if i < 0 || exists(s) {
		return target{path: s}
	}
	return target{path: s[:i], name: s[i+1:]}
}

// looksLikePath says whether s cannot be meant as a reference.
func looksLikePath(s string) bool {
	for _, head := range []string{"./", "../", "/", "~"} {
		if strings.HasPrefix(s, head) {
			return true
		}
	}
	return s == "." || s == ".." || slices.ContainsFunc(archiveSuffixes, func(suffix string) bool { return strings.HasSuffix(s, suffix) })
}

// archiveSuffixes are those of files that can be bundles, and end no reference without
// a tag that anybody has.
var archiveSuffixes = []string{
	".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", layout.PartialSuffix,
}

// exists says whether there is such a path, for sure.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// opener opens targets, and closes them together.
type opener struct {
	ui  *ui
	reg registryOptions
	as  string // names what has no name of its own
	// asUsed: something opened so far had none.
	asUsed bool
	host   string // the registry that --username is for
	// attachedFrom are further repositories to look in for what is attached.
	attachedFrom []string
	elsewhere    *bundle.Elsewhere

	client *registry.Client
	closes []func() error
}

// openerFor parses the targets of a command that only looks, and makes what opens
// them.
func openerFor(u *ui, registry registryOptions, as string, list []string) ([]target, *opener, error) {
	targets, err := parseTargets(list)
	if err == nil {
		err = withHosts(targets)
	}
	if err != nil {
		return nil, nil, err
	}
	op, err := newOpener(u, registry, as, targets)
	return targets, op, err
}

func newOpener(u *ui, reg registryOptions, as string, targets []target) (*opener, error) {
	op := &opener{ui: u, reg: reg, as: as}
	for _, t := range targets {
		if t.kind != inRegistry || reg.username == "" {
			continue
		}
		if op.host != "" && op.host != t.ref.Registry() {
			return nil, &adviceError{usagef("--username is for one registry, and these are two: %s and %s", op.host, t.ref.Registry()),
				"log in to each with docker login or podman login, or use --registry-config"}
		}
		op.host = t.ref.Registry()
	}
	return op, nil
}

func (op *opener) Close() error {
	var errs []error
	for _, c := range op.closes {
		errs = append(errs, c())
	}
	op.closes = nil
	return errors.Join(errs...)
}

// registry returns the one client for all references.
func (op *opener) registry(ctx context.Context) (*registry.Client, error) {
	if op.client == nil {
		c, err := op.reg.client(ctx, op.ui, op.host, "")
		if err != nil {
			return nil, err
		}
		op.client = c
	}
	return op.client, nil
}

// open returns what a target holds. A bundle of ours is proven first.
func (op *opener) open(ctx context.Context, t target) (*opened, error) {
	switch t.kind {
	case inBundle:
		return op.openBundle(ctx, t)
	case inStore:
		return op.openStore(ctx, t)
	}
	c, err := op.registry(ctx)
	if err != nil {
		return nil, err
	}
	s := bundle.Selection{Source: c, References: []layout.Reference{t.ref}}
	if len(op.attachedFrom) > 0 {
		if op.elsewhere == nil {
			op.elsewhere = bundle.NewElsewhere(c, op.attachedFrom)
		}
		s.Source, s.AttachedFrom = op.elsewhere, op.elsewhere.Repositories()
	}
	return &opened{target: t, Selection: s}, nil
}

// opened is a target that can be read.
type opened struct {
	target target
	bundle.Selection
	bundle *bundle.Bundle // if it is one
	whole  *layout.Graph  // of a bundle, proven
}

func (op *opener) openBundle(ctx context.Context, t target) (*opened, error) {
	b, err := bundle.Open(ctx, t.path, bundle.OpenOptions{As: op.as})
	if err != nil {
		return nil, local(err)
	}
	op.closes = append(op.closes, b.Close)
	for _, text := range b.PassedOver() {
		op.ui.warn("%s: %s", escape(t.path), escape(text))
	}
	op.asUsed = op.asUsed || usesAs(b, op.as)
	g, err := b.Graph(ctx)
	if err != nil {
		return nil, local(err)
	}
	refs, err := pick(t, b.References())
	if err != nil {
		return nil, err
	}
	lists, err := b.RevocationLists(ctx)
	if err != nil {
		return nil, local(err)
	}
	return &opened{t, bundle.Selection{Source: b.Source(), Kind: custody.InBundle, References: refs, MayMiss: b.MayMiss, Lists: lists, NotCarried: b.NotCarried(), AttachedFrom: b.AttachedFrom()}, b, g}, nil
}

func (op *opener) openStore(ctx context.Context, t target) (*opened, error) {
	s, err := readStore(ctx, t.path)
	if err != nil {
		return nil, err
	}
	op.closes = append(op.closes, s.close)
	refs, err := s.pick(t)
	if err != nil {
		return nil, err
	}
	if n := len(s.held); n > 0 && t.name == "" {
		op.ui.warn("%s: %s not looked at: in quarantine (airgap reverify tells why)", escape(t.String()), pluralIs(n, "name"))
	}
	if n := len(s.pushed); n > 0 && t.name == "" {
		op.ui.warn("%s: %s not looked at: pushed by clients, and not admitted (name them, to look at them)", escape(t.String()), pluralIs(n, "name"))
	}
	return &opened{target: t, Selection: bundle.Selection{Source: s, Kind: custody.InStore, References: refs, MayMiss: mayMissAny, Lists: s.lists}}, nil
}

// pick chooses what a target's #REF names: a full reference, a short one as
// docker would complete it, a tag alone or a digest alone. A manifest that has no
// name of its own can be named by repository and digest.
func pick(t target, all []layout.Reference) ([]layout.Reference, error) {
	if t.name == "" {
		return all, nil
	}
	full, err := layout.ParseReference(t.name)
	fits := func(ref layout.Reference) bool {
		return t.name == ref.Tag || t.name == string(ref.Digest) || t.name == ref.String() || t.name == ref.Name() ||
			err == nil && full.Name() == ref.Name()
	}
	var out []layout.Reference
	for _, ref := range all {
		if fits(ref) {
			out = append(out, ref)
		}
	}
	inside := func(ref layout.Reference) bool { return ref.Repository == full.Repository }
	if len(out) == 0 && err == nil && full.Digest != "" && slices.ContainsFunc(all, inside) {
		out = append(out, full)
	}
	if len(out) == 0 {
		return nil, &adviceError{fmt.Errorf("%s: no image in it is called %q: %w", t.path, t.name, layout.ErrNotFound),
			"airgap tree " + t.path + " lists what it holds"}
	}
	return out, nil
}
