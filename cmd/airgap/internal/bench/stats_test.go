//go:build unix

package main

import (
	"testing"
	"time"
)

func TestMiddle(t *testing.T) {
	for _, c := range []struct {
		values []int64
		want   int64
	}{
		{nil, 0}, {[]int64{7}, 7}, {[]int64{9, 1, 5}, 5}, {[]int64{8, 2, 4, 6}, 5},
	} {
		if got := middle(c.values); got != c.want {
			t.Errorf("middle(%v) = %d, want %d", c.values, got, c.want)
		}
	}
}

func walls(name string, seconds ...int) *series {
	s := &series{Name: name}
	for _, n := range seconds {
		s.Runs = append(s.Runs, sample{Wall: time.Duration(n) * time.Second, CPU: time.Second, RSS: int64(n) << 20, Requests: 10})
	}
	return s
}

// Each figure has its own median: the run with the median time need not be the
// one with the median memory.
func TestMedianByField(t *testing.T) {
	s := &series{Runs: []sample{{Wall: 1, RSS: 30}, {Wall: 2, RSS: 10}, {Wall: 3, RSS: 20}}}
	if m := s.median(); m.Wall != 2 || m.RSS != 20 {
		t.Errorf("median is %+v", m)
	}
}

func TestPartIsScaledUp(t *testing.T) {
	s := walls("oras", 10)
	s.Part, s.Whole = 50, 200
	m := s.median()
	if m.Wall != 40*time.Second || m.Requests != 40 || m.RSS != 10<<20 {
		t.Errorf("a quarter of the work, scaled up, is %+v", m)
	}
	if low, high := s.spread(); low != 10*time.Second || high != low {
		t.Errorf("the spread is %v to %v, want it as it was measured", low, high)
	}
}

func TestRatio(t *testing.T) {
	g := group{walls("airgap", 2, 2, 9), walls("crane", 4, 4, 4), {Name: "oras", Skipped: "not installed"}}
	if r, ok := g.ratio("crane", "airgap"); !ok || r != 2 {
		t.Errorf("ratio is %v, %v; want 2", r, ok)
	}
	if _, ok := g.ratio("oras", "airgap"); ok {
		t.Error("there is a ratio to what did not run")
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		each      time.Duration
		n, rounds int
	}{
		{100 * time.Millisecond, 200, 3},
		{500 * time.Millisecond, 200, 2}, // 100 s a round: two fit
		{time.Second, 200, 1},
		{3 * time.Second, 80, 1},
		{time.Hour, 20, 1}, // never less than a repository
	} {
		if n, rounds := share(c.each, 200, 3, 4*time.Minute); n != c.n || rounds != c.rounds {
			t.Errorf("share(%v) = %d images, %d rounds, want %d, %d", c.each, n, rounds, c.n, c.rounds)
		}
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{atMost(1, 1), "met"}, {atMost(1.5, 1), "**missed by 50 %**"},
		{atLeast(5, 5), "met"}, {atLeast(4, 5), "**missed by 20 %**"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
