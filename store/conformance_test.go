package store

import (
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
)

func TestStore(t *testing.T) {
	layouttest.TestSink(t, func(t *testing.T, _ layouttest.Content) layouttest.Target {
		dir := t.TempDir()
		s := open(t, dir, Options{})
		t.Cleanup(func() { // after the session was closed
			if got := leftovers(t, dir); len(got) > 0 {
				t.Errorf("left over: %v", got)
			}
			if r := sound(t, s); r.Orphans > 0 {
				t.Errorf("%d files that the database does not list", r.Orphans)
			}
		})
		return layouttest.Target{
			Sink:   begin(t, s),
			Source: func(*testing.T) layout.Source { return s },
		}
	})
}

func TestStoreReopened(t *testing.T) {
	layouttest.TestSink(t, func(t *testing.T, _ layouttest.Content) layouttest.Target {
		dir := t.TempDir()
		s := open(t, dir, Options{})
		return layouttest.Target{
			Sink: begin(t, s),
			Source: func(t *testing.T) layout.Source {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				return open(t, dir, Options{ReadOnly: true})
			},
		}
	})
}

// A store that holds everything already answers alike while it is imported again.
func TestStoreAgain(t *testing.T) {
	content := layouttest.Everything(testRepo)
	s := open(t, t.TempDir(), Options{})
	for range 2 {
		add(t, s, content)
		layouttest.CheckSource(t, s, content, layouttest.Traits{})
	}
	if r := sound(t, s); r.Orphans != 0 {
		t.Errorf("%d files that the database does not list", r.Orphans)
	}
}
