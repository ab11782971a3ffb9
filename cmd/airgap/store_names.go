package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"airgap/bundle"
	"airgap/layout"
	"airgap/store"
	"airgap/verify/policy"
)

// isPattern tells patterns, as policies have them, from references.
func isPattern(arg string) bool { return strings.Contains(arg, "*") }

// choice is what a command takes out of a store.
type choice struct {
	refs []layout.Reference
	held []heldName // left out: they would have been taken, but are in quarantine

	named map[layout.Reference]bool // one by one, by no pattern
}

func (c *choice) add(refs ...layout.Reference) {
	have := map[layout.Reference]bool{}
	for _, r := range c.refs {
		have[r] = true
	}
	for _, r := range refs {
		if !have[r] {
			have[r] = true
			c.refs = append(c.refs, r)
		}
	}
}

// choose finds what is meant by references and patterns; by none of them, everything.
// What is in quarantine is an error if it was named, and left out if a pattern or
// everything includes it.
func (s *storeSource) choose(ctx context.Context, st *store.Store, dir string, args []string) (*choice, error) {
	c := &choice{named: map[layout.Reference]bool{}}
	if len(args) == 0 {
		args = []string{"**"}
	}
	for _, arg := range args {
		if isPattern(arg) {
			if err := s.choosePattern(c, dir, arg); err != nil {
				return nil, err
			}
			continue
		}
		if _, err := layout.ParseReference(arg); err != nil {
			return nil, usagef("%w", err)
		}
		refs, err := s.pick(target{kind: inStore, path: dir, name: arg})
		if err != nil {
			return nil, err
		}
		for _, ref := range refs {
			if err := cmp.Or(givenOut(ctx, st, ref), s.admitted(ref)); err != nil {
				return nil, err
			}
			c.named[ref] = true
		}
		c.add(refs...)
	}
	return c, nil
}

func (s *storeSource) choosePattern(c *choice, dir, arg string) error {
	p, err := policy.ParsePattern(arg)
	if err != nil {
		return usagef("%w", err)
	}
	var refs []layout.Reference
	for _, n := range s.names {
		if p.Fits(n.Reference) {
			refs = append(refs, n.Reference)
		}
	}
	held := len(c.held)
	for _, h := range s.held {
		if p.Fits(h.ref) {
			c.held = append(c.held, h)
		}
	}
	for _, n := range s.pushed {
		if p.Fits(n.Reference) {
			c.held = append(c.held, heldName{n.Reference, n.Descriptor.Digest, errNotAdmitted.Error()})
		}
	}
	if len(refs) == 0 && len(c.held) == held {
		return noneFits(dir, arg)
	}
	c.add(refs...)
	return nil
}

// errNotAdmitted: it is given out to those who pull, and not brought anywhere.
var errNotAdmitted = errors.New("a client pushed it, and nobody has admitted it")

// admitted fails for a name of what was only pushed.
func (s *storeSource) admitted(ref layout.Reference) error {
	for _, n := range s.pushed {
		if n.Reference == ref || ref.Tag == "" && n.Reference.Repository == ref.Repository {
			return &layout.Error{Side: layout.SideStore, Name: ref.Name(), Digest: n.Descriptor.Digest, Err: fmt.Errorf("%w: %w", bundle.ErrRefused, errNotAdmitted),
				Hint: "have a policy judge it: airgap export store:DIR#" + ref.Name() + ", and import that"}
		}
	}
	return nil
}

// noneFits says that a store has no such name.
func noneFits(dir, arg string) error {
	return &layout.Error{Side: layout.SideStore, Name: dir, Err: fmt.Errorf("no name in it fits %q: %w", arg, layout.ErrNotFound),
		Hint: "airgap store ls --store " + dir + " lists the names"}
}

// givenOut fails for what is kept and not given out: a manifest that only what is in
// quarantine leads to is so, too.
func givenOut(ctx context.Context, st *store.Store, ref layout.Reference) error {
	_, err := st.View().Resolve(ctx, ref)
	if !errors.Is(err, layout.ErrNotFound) {
		return err
	}
	if _, kept := st.Judged().Resolve(ctx, ref); kept != nil {
		return err
	}
	if _, why := st.Resolve(ctx, ref); errors.Is(why, store.ErrQuarantined) {
		return why
	}
	return &layout.Error{Side: layout.SideStore, Name: ref.String(), Digest: ref.Digest,
		Err:  fmt.Errorf("%w: only what is there leads to it", store.ErrQuarantined),
		Hint: "airgap store ls tells what is in quarantine, and why"}
}
