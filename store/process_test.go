package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"
)

// Any number of processes have a store open, unless one of them is alone in it.
func TestManyProcesses(t *testing.T) {
	for _, test := range []struct {
		mode         string
		shared, only error // what those get who would share it, and who would be alone
	}{
		{"hold", nil, ErrLocked},
		{"hold-ro", nil, ErrLocked},
		{"alone", ErrLocked, ErrLocked},
	} {
		t.Run(test.mode, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{})
			add(t, s, image("v1"))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			c := startChild(t, test.mode, dir)
			if !c.lines.Scan() {
				t.Fatal("the other process did not open the store")
			}
			for _, o := range []Options{{}, {Wait: time.Millisecond}, {ReadOnly: true}, {Alone: true}} {
				want := test.shared
				if o.Alone {
					want = test.only
				}
				s, err := Open(dir, o)
				if !errors.Is(err, want) {
					t.Errorf("Open(%+v) = %v, want %v", o, err, want)
				}
				if err == nil {
					layouttest.CheckSource(t, s, image("v1"), layouttest.Traits{})
					s.Close()
				} else if !strings.Contains(layout.Hint(err), dir) || !strings.Contains(err.Error(), dir) {
					t.Errorf("%q (hint %q) does not name %s", err, layout.Hint(err), dir)
				}
			}
			c.stdin.Close()
			if err := c.cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			layouttest.CheckSource(t, open(t, dir, Options{}), image("v1"), layouttest.Traits{})
		})
	}
}

// Waiting ends when the other process does.
func TestWait(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, "alone", dir)
	if !c.lines.Scan() {
		t.Fatal("the other process did not open the store")
	}
	opened := make(chan error)
	go func() {
		s, err := Open(dir, Options{Wait: time.Hour})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	c.stdin.Close()
	if err := <-opened; err != nil {
		t.Error(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// killContent is image number i. All share a layer, and a large one is its own.
func killContent(i int) layouttest.Content {
	const mediaType = "application/vnd.oci.image.layer.v1.tar"
	b := layouttest.New(testRepo)
	big := make([]byte, 300<<10)
	for j := range big {
		big[j] = byte(i + j>>8)
	}
	img := b.Image(fmt.Sprint(i), b.Layer(mediaType, "shared"), b.Blob(mediaType, big))
	b.Notary(img, "signature")
	b.Tag(fmt.Sprint(i), img)
	return b.Content()
}

// A process that imports is killed again and again. What it acknowledged is
// there; of what it did not, all or nothing.
func TestKill(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 5
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	acknowledged := 0
	for range kills {
		c := startChild(t, "import", dir)
		// Killed within this line or the next: no clock decides, and
		// the process runs on meanwhile.
		for range rng.IntN(25) {
			if !c.lines.Scan() {
				t.Fatal("the process died by itself")
			}
			acknowledged += count(c.lines.Text())
		}
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for c.lines.Scan() {
			acknowledged += count(c.lines.Text())
		}
		_ = c.cmd.Wait() // "signal: killed"
		acknowledged = afterKill(t, dir, acknowledged)
	}
	if acknowledged == 0 {
		t.Error("no import was ever finished: the kills come too early to show anything")
	}
}

func count(line string) int {
	if strings.HasPrefix(line, "committed ") {
		return 1
	}
	return 0
}

// afterKill checks the store and returns how many images it holds.
func afterKill(t *testing.T, dir string, acknowledged int) int {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sound(t, s)
	names, err := s.Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < acknowledged || len(names) > acknowledged+1 {
		t.Fatalf("%d images, %d were acknowledged", len(names), acknowledged)
	}
	var want []string
	for i := range names {
		want = append(want, fmt.Sprintf("import %d", i))
	}
	if got := entries(t, s); !slices.Equal(got, want) {
		t.Fatalf("the ledger has %q, want %q", got, want)
	}
	var all []layouttest.Content
	for i := range names {
		all = append(all, killContent(i))
	}
	for _, content := range all {
		layouttest.CheckSource(t, s, content, layouttest.Traits{})
	}
	if got := leftovers(t, dir); len(got) > 0 {
		t.Errorf("left over: %v", got)
	}
	return len(names)
}
