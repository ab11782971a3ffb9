package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"airgap/bundle"
	"airgap/layout"
	"airgap/store"

	"github.com/opencontainers/go-digest"
)

// subject is a manifest that is to be signed.
type subject struct {
	target   target
	ref      layout.Reference
	desc     layout.Descriptor
	platform string
}

func (s subject) report(attached layout.Descriptor, present bool) signedManifest {
	return signedManifest{
		Target: s.target.String(), Reference: s.ref.String(), Digest: s.desc.Digest, MediaType: s.desc.MediaType, Platform: s.platform,
		Manifest: attached.Digest, ArtifactType: attached.ArtifactType, Present: present,
	}
}

// workplace is a bundle, a store or all registries: subjects are read from it, and
// artifacts are attached there.
type workplace struct {
	name string
	layout.Source
	names   []layout.Reference // what it holds; unused of registries
	mayMiss func(repo string, parent digest.Digest, child layout.Descriptor) bool
	attach  func(ctx context.Context, all []bundle.Addition, progress func(layout.Event)) ([]bool, error)
	local   func(error) error
	// lacks says which revocation lists the additions point to and are not
	// here; nil where they can be fetched later.
	lacks func([]bundle.Addition) []string

	subjects  []subject
	missing   []string // what an index lists and is not here
	additions []bundle.Addition
	which     []int // of additions, for each subject
	present   []bool
}

// make makes the additions, one for each subject even if it was named twice.
func (p *workplace) make(mk maker) error {
	type spot struct {
		repo   string
		digest digest.Digest
	}
	made := map[spot]int{}
	for _, s := range p.subjects {
		at := spot{s.ref.Repository, s.desc.Digest}
		i, ok := made[at]
		if !ok {
			a, err := mk(s.ref.Repository, s.desc)
			if err != nil {
				// It was the key, the chain or the document that did not do.
				return usagef("%s: %w", s.ref, err)
			}
			i = len(p.additions)
			made[at] = i
			p.additions = append(p.additions, bundle.Addition{Repository: s.ref.Repository, Subject: s.desc.Digest, Artifact: a})
		}
		p.which = append(p.which, i)
	}
	return nil
}

func (p *workplace) finish(ctx context.Context, progress func(layout.Event)) (err error) {
	p.present, err = p.attach(ctx, p.additions, progress)
	return p.local(err)
}

// places opens what the targets are in, each once, and resolves each target once.
func (o *signingOptions) places(ctx context.Context, op *opener, targets []target) ([]*workplace, error) {
	var out []*workplace
	byPath := map[string]*workplace{}
	for _, t := range targets {
		key := fmt.Sprint(t.kind, " ", filepath.Clean(t.path))
		p := byPath[key]
		if p == nil {
			var err error
			if p, err = op.workplace(ctx, t); err != nil {
				return nil, err
			}
			byPath[key] = p
			out = append(out, p)
		}
		s, err := p.resolve(ctx, t)
		if err == nil {
			p.subjects = append(p.subjects, s)
			if o.recursive {
				err = p.below(ctx, s)
			}
		}
		if err != nil {
			return nil, p.local(err)
		}
	}
	return out, nil
}

func (op *opener) workplace(ctx context.Context, t target) (*workplace, error) {
	switch t.kind {
	case inBundle:
		return op.bundlePlace(ctx, t)
	case inStore:
		return op.storePlace(ctx, t)
	}
	c, err := op.registry(ctx)
	if err != nil {
		return nil, err
	}
	return &workplace{
		name: "the registry", Source: c, local: func(err error) error { return err },
		attach: func(ctx context.Context, all []bundle.Addition, _ func(layout.Event)) ([]bool, error) {
			return bundle.Attach(ctx, c, all)
		},
	}, nil
}

func (op *opener) bundlePlace(ctx context.Context, t target) (*workplace, error) {
	s, err := op.openBundle(ctx, target{kind: inBundle, path: t.path}) // proven
	if err != nil {
		return nil, err
	}
	if !s.bundle.Own() {
		return nil, &adviceError{usagef("%s is not a bundle that airgap export wrote", t.path), "make one of it: airgap export " + t.path + " -o FILE.tar"}
	}
	return &workplace{
		name: t.path, Source: s.Source, names: s.References, mayMiss: s.MayMiss, local: local, lacks: s.bundle.MissingLists,
		attach: func(ctx context.Context, all []bundle.Addition, progress func(layout.Event)) ([]bool, error) {
			return s.bundle.Attach(ctx, all, bundle.AttachOptions{Progress: progress})
		},
	}, nil
}

// storePlace opens a store for writing, which nobody else can do meanwhile. It
// makes none: there would be nothing in it to sign.
func (op *opener) storePlace(ctx context.Context, t target) (*workplace, error) {
	if !store.Is(t.path) {
		_, err := readStore(ctx, t.path)
		return nil, err
	}
	st, err := writeStore(t.path)
	if err != nil {
		return nil, err
	}
	op.closes = append(op.closes, st.Close)
	names, err := st.Names(ctx)
	if err != nil {
		return nil, err
	}
	p := &workplace{name: "store:" + t.path, Source: st, mayMiss: mayMissAny, local: local}
	for _, n := range names {
		if !layout.IsDerivedTag(n.Reference.Tag) {
			p.names = append(p.names, n.Reference)
		}
	}
	p.attach = func(ctx context.Context, all []bundle.Addition, _ func(layout.Event)) ([]bool, error) {
		session, err := st.Begin(ctx)
		if err != nil {
			return nil, err
		}
		defer session.Close()
		return bundle.Attach(ctx, session, all)
	}
	return p, nil
}

// resolve finds the one manifest that a target stands for. It is read, so that
// nothing is signed that is not there.
func (p *workplace) resolve(ctx context.Context, t target) (subject, error) {
	ref := t.ref
	if t.kind != inRegistry {
		refs, err := pick(t, p.names)
		if err != nil {
			return subject{}, err
		}
		if len(refs) != 1 {
			return subject{}, &adviceError{usagef("%s stands for %s, and sign wants one", t, plural(len(refs), "image")),
				"name it as in " + p.name + "#REF; airgap tree " + p.name + " lists what there is"}
		}
		ref = refs[0]
	}
	d, err := p.Resolve(ctx, ref)
	if err != nil {
		return subject{}, err
	}
	_, err = p.load(ctx, ref.Repository, d)
	return subject{target: t, ref: ref, desc: d}, err
}

func (p *workplace) load(ctx context.Context, repo string, d layout.Descriptor) (*layout.Manifest, error) {
	if !layout.IsManifest(d.MediaType) {
		return nil, &layout.Error{Side: layout.SideSource, Name: repo, Digest: d.Digest, Err: fmt.Errorf("media type %.100q is no manifest: %w", d.MediaType, layout.ErrUnsupported)}
	}
	rc, err := p.Open(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	raw, err := layout.ReadAll(rc, d)
	if err != nil {
		return nil, err
	}
	return layout.ParseManifest(d, raw)
}

// below appends everything that an index lists, at any depth, each once. A child
// that was left out, as by --platform, is not here to be signed.
func (p *workplace) below(ctx context.Context, top subject) error {
	seen := map[digest.Digest]bool{top.desc.Digest: true}
	for todo := []subject{top}; len(todo) > 0; todo = todo[1:] {
		m, err := p.load(ctx, top.ref.Repository, todo[0].desc)
		if err != nil {
			return err
		}
		for _, d := range m.Manifests {
			if seen[d.Digest] {
				continue
			}
			if seen[d.Digest] = true; len(seen) > layout.MaxManifests {
				return fmt.Errorf("%s: more than %d manifests: %w", top.ref, layout.MaxManifests, layout.ErrLimit)
			}
			s, err := p.child(ctx, top, todo[0].desc.Digest, d)
			if err != nil {
				return err
			}
			if s.desc.Digest != "" {
				p.subjects, todo = append(p.subjects, s), append(todo, s)
			}
		}
	}
	return nil
}

// child is what an index lists as d; without a digest if it is not here.
func (p *workplace) child(ctx context.Context, top subject, parent digest.Digest, d layout.Descriptor) (subject, error) {
	_, err := p.load(ctx, top.ref.Repository, d)
	if errors.Is(err, layout.ErrNotFound) && p.mayMiss != nil && p.mayMiss(top.ref.Repository, parent, d) {
		p.missing = append(p.missing, fmt.Sprintf("%s, listed by %s, is not in %s and was not signed", d.Digest, parent, p.name))
		return subject{}, nil
	}
	s := subject{
		target: top.target, ref: layout.Reference{Repository: top.ref.Repository, Digest: d.Digest},
		desc: layout.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size},
	}
	if d.Platform != nil {
		s.platform = layout.FormatPlatform(*d.Platform)
	}
	return s, err
}
