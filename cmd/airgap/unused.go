package main

import (
	"context"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/layout"
)

// usesAs says whether anything in b got its repository from --as. What happens to
// be in that repository anyway counts too.
func usesAs(b *bundle.Bundle, as string) bool {
	given, err := layout.ParseReference(as)
	return err == nil && !b.Own() && slices.ContainsFunc(b.References(), func(ref layout.Reference) bool {
		return ref.Repository == given.Repository
	})
}

// warnUnused says, when all is open, that --as was of no use.
func (op *opener) warnUnused(u *ui) {
	if op.as != "" && !op.asUsed {
		u.warn("%s", unusedAs(op.as))
	}
}

func unusedAs(as string) string {
	return "--as " + escape(as) + " is not used: everything has a name of its own (--map of import changes names)"
}

// seen is which of the flags about names fitted anything in the bundles imported.
type seen struct {
	o       *importOptions
	rules   []bundle.Rule
	matched []bool // each rule
	as      bool
}

func newSeen(o *importOptions, m bundle.Mapping) *seen {
	return &seen{o: o, rules: m.Rules, matched: make([]bool, len(m.Rules))}
}

func (s *seen) bundle(b *bundle.Bundle) {
	s.as = s.as || usesAs(b, s.o.as)
	for _, ref := range b.References() {
		for i, r := range s.rules {
			if r.From == "" || ref.Repository == r.From || strings.HasPrefix(ref.Repository, r.From+"/") {
				s.matched[i] = true
			}
		}
	}
}

// ahead looks into all bundles before anything is written, if it matters which
// repositories they hold. A stream cannot be looked into, and what cannot be
// opened is for the import itself to say.
func (s *seen) ahead(ctx context.Context) error {
	if len(s.rules) == 0 {
		return nil
	}
	for _, path := range s.o.bundles {
		if path == "-" {
			return nil
		}
		t, err := parseLocal(path)
		if err != nil {
			return err
		}
		b, err := bundle.Open(ctx, t.path, bundle.OpenOptions{As: s.o.as})
		if err != nil {
			return nil
		}
		s.bundle(b)
		b.Close()
	}
	return s.unmatched()
}

// unmatched refuses a rule that nothing fitted.
func (s *seen) unmatched() error {
	if i := slices.Index(s.matched, false); i >= 0 {
		return &adviceError{usagef("--map %s: no repository of what is imported is %s or beneath it; nothing was written", s.o.rules[i], s.rules[i].From),
			"airgap inspect BUNDLE lists what it holds"}
	}
	return nil
}

// warn says, when all is imported, what was of no use.
func (s *seen) warn(u *ui) {
	if s.o.as != "" && !s.as {
		u.warn("%s", unusedAs(s.o.as))
	}
	for i, ok := range s.matched {
		if !ok {
			u.warn("--map %s: no repository of what was imported is %s or beneath it", escape(s.o.rules[i]), escape(s.rules[i].From))
		}
	}
}
