//go:build unix

package main

import (
	"fmt"
	"slices"
	"time"
)

// sample is what one run of a job cost.
type sample struct {
	Wall, CPU time.Duration
	Sync      time.Duration // until the disk had all of it, after Wall
	RSS       int64         // bytes
	Written   int64         // bytes of the output
	Requests  int64         // seen by the proxy, where there is one
	Blobs     int64         // bytes of blobs that went through the proxy
}

// series is every counted run of one job, and how much of the work it did.
type series struct {
	Name    string
	Note    string
	Runs    []sample
	Part    int // of Whole; both 0 if the job did all of it
	Whole   int
	Skipped string // why there are no runs
}

// median returns the sample whose every field is the median of that field.
// Times are scaled up if the job did only a part.
func (s *series) median() sample {
	pick := func(field func(sample) int64) int64 {
		values := make([]int64, 0, len(s.Runs))
		for _, r := range s.Runs {
			values = append(values, field(r))
		}
		return middle(values)
	}
	m := sample{
		Wall:     time.Duration(pick(func(r sample) int64 { return int64(r.Wall) })),
		CPU:      time.Duration(pick(func(r sample) int64 { return int64(r.CPU) })),
		Sync:     time.Duration(pick(func(r sample) int64 { return int64(r.Sync) })),
		RSS:      pick(func(r sample) int64 { return r.RSS }),
		Written:  pick(func(r sample) int64 { return r.Written }),
		Requests: pick(func(r sample) int64 { return r.Requests }),
		Blobs:    pick(func(r sample) int64 { return r.Blobs }),
	}
	if s.Part > 0 && s.Part < s.Whole {
		f := float64(s.Whole) / float64(s.Part)
		m.Wall, m.CPU = time.Duration(float64(m.Wall)*f), time.Duration(float64(m.CPU)*f)
		m.Requests, m.Written = int64(float64(m.Requests)*f), int64(float64(m.Written)*f)
	}
	return m
}

// middle is the median; of an even number, the mean of the two in the middle.
func middle(values []int64) int64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// spread is the fastest and the slowest run.
func (s *series) spread() (low, high time.Duration) {
	for i, r := range s.Runs {
		if i == 0 || r.Wall < low {
			low = r.Wall
		}
		high = max(high, r.Wall)
	}
	return low, high
}

// group is several jobs that do the same work, side by side.
type group []*series

func (g group) find(name string) *series {
	for _, s := range g {
		if s.Name == name && len(s.Runs) > 0 {
			return s
		}
	}
	return nil
}

// ratio divides the medians of two wall times: how many times as long a took as
// b. ok is false if one of them was not measured.
func (g group) ratio(a, b string) (r float64, ok bool) {
	x, y := g.find(a), g.find(b)
	if x == nil || y == nil || y.median().Wall == 0 {
		return 0, false
	}
	return float64(x.median().Wall) / float64(y.median().Wall), true
}

// The forms in which numbers are written.

func seconds(d time.Duration) string {
	switch s := d.Seconds(); {
	case s < 0.1:
		return fmt.Sprintf("%.3f", s)
	case s < 100:
		return fmt.Sprintf("%.2f", s)
	default:
		return fmt.Sprintf("%.0f", s)
	}
}

func megabytes(n int64) string {
	switch mb := float64(n) / 1e6; {
	case n == 0:
		return "0"
	case mb < 10:
		return fmt.Sprintf("%.2f", mb)
	default:
		return fmt.Sprintf("%.0f", mb)
	}
}

// mebibytes is for memory, whose goal is 64 MiB.
func mebibytes(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) }

func times(r float64) string {
	if r >= 10 {
		return fmt.Sprintf("%.0f ×", r)
	}
	return fmt.Sprintf("%.2f ×", r)
}
