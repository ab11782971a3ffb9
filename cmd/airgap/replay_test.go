package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/bundle/enclave"
	"airgap/layout"
	"airgap/store"
)

// TestReplay edits a database behind the back of its ledger: store check says so.
func TestReplay(t *testing.T) {
	t.Chdir(t.TempDir())
	_, named := reverifyStore(t)
	if _, stderr, code := runLine(t, testUI(), strings.Fields("reverify --store s --policy policy.yaml --trust T")...); code != exitRefused {
		t.Fatalf("reverify: %d %s", code, stderr)
	}
	ref := func(tag string) layout.Reference { return layout.Reference{Repository: reverifyRepo, Tag: tag} }
	mark := func(s *store.Session, name, value string) error {
		was, err := s.Marked(name)
		if err != nil || was == nil {
			t.Fatalf("no mark %q (%v)", name, err)
		}
		return s.Mark(name, was, []byte(value))
	}
	for _, edit := range []struct {
		name, says string
		edit       func(s *store.Session) error
		names      []layout.Name
	}{
		{"nothing", "", func(*store.Session) error { return nil }, nil},
		{"a name moves", "v1 is sha256:", func(*store.Session) error { return nil }, []layout.Name{{Reference: ref("v1"), Descriptor: named["index"]}}},
		{"a name is added", "no line gives " + reverifyRepo + ":extra its name", func(*store.Session) error { return nil }, []layout.Name{{Reference: ref("extra"), Descriptor: named["v1"]}}},
		{"a name is taken away", "v1 is gone", func(s *store.Session) error { return s.Remove(ref("v1")) }, nil},
		{"what is quarantined is released", "is served, and quarantined", func(s *store.Session) error {
			for _, d := range named {
				if err := s.Release(reverifyRepo, d.Digest); err != nil {
					return err
				}
			}
			return nil
		}, nil},
		{"a former image is forgotten", "is not remembered", func(s *store.Session) error {
			return mark(s, "tag "+reverifyRepo+":v1", `{"digest":"`+string(named["index"].Digest)+`"}`)
		}, nil},
		{"a mark is no mark", "cannot be read", func(s *store.Session) error { return mark(s, "tag "+reverifyRepo+":v1", "{") }, nil},
	} {
		t.Run(edit.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "t")
			if err := os.CopyFS(dir, os.DirFS("s")); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, dir)
			session, err := s.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			if err := edit.edit(session); err != nil {
				t.Fatal(err)
			}
			if err := session.Commit(t.Context(), edit.names); err != nil {
				t.Fatal(err)
			}
			found, err := enclave.CheckLedger(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			fits := func(p enclave.Problem) bool { return strings.Contains(p.Problem, edit.says) }
			if (edit.says == "") != (len(found) == 0) || edit.says != "" && !slices.ContainsFunc(found, fits) {
				t.Errorf("%+v, want %q", found, edit.says)
			}
			stdout, stderr, code := runLine(t, testUI(), "store", "check", "--store", dir)
			if edit.says == "" && code != exitDone || edit.says != "" && (code != exitDamaged || !strings.Contains(stdout, edit.says) || !strings.Contains(stderr, "hint: ")) {
				t.Errorf("store check: %d\n%s%s", code, stdout, stderr)
			}
		})
	}
}
