//go:build unix

package main

import (
	"slices"
	"strings"
	"testing"
)

// One image of seven changes, and the goal tells a delta that carries more than that.
func TestChanged(t *testing.T) {
	var names []string
	for _, img := range deltaImages() {
		names = append(names, img.name)
	}
	before, after := changed(names)
	var gone []string
	for _, n := range before {
		if !slices.Contains(after, n) {
			gone = append(gone, n)
		}
	}
	if len(before) != len(mainImages) || len(after) != len(before) || strings.Join(gone, " ") != "demo/api:v1" || !slices.Contains(after, changedImage) {
		t.Errorf("before %v, after %v", before, after)
	}
	for _, d := range []*deltaResult{{Changed: 10, Carried: 11, Other: 1}, {Changed: 10, Carried: 9}} {
		if g := d.goals()[0]; g.Verdict == "met" {
			t.Errorf("%+v is met", d)
		}
	}
}
