package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
		all := make([]layout.Reference, 0, len(s.names))
		for _, n := range s.names {
			all = append(all, n.Reference)
		}
		refs, err := s.pick(target{kind: inStore, path: dir, name: arg}, all)
		if err != nil {
			return nil, err
		}
		for _, ref := range refs {
			if err := givenOut(ctx, st, ref); err != nil {
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
	if len(refs) == 0 && len(c.held) == held {
		return noneFits(dir, arg)
	}
	c.add(refs...)
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
