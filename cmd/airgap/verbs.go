package main

import (
	"context"
	"slices"
	"strings"
)

// verb is something that a command can do, and the flags that go with it beside those
// that go with all.
type verb[O any] struct {
	name  string
	flags []string
	run   func(context.Context, *ui, O) error
}

// choose finds the verb that was asked for. A flag that was given and goes with another
// one is refused.
func choose[O any](command string, verbs []verb[O], asked string, given []string) (verb[O], error) {
	var names []string
	for _, v := range verbs {
		names = append(names, v.name)
	}
	i := slices.Index(names, asked)
	switch {
	case asked == "":
		return verb[O]{}, &adviceError{usagef("%s wants to be told what to do: %s", command, strings.Join(names, ", ")), "airgap help " + command + " has examples"}
	case i < 0:
		return verb[O]{}, &adviceError{usagef("airgap %s cannot %q", command, asked), suggestion("airgap "+command+" ", closest(asked, names), "it can "+strings.Join(names, ", "))}
	}
	v := verbs[i]
	for _, other := range verbs {
		for _, f := range other.flags {
			if slices.Contains(given, f) && !slices.Contains(v.flags, f) {
				return v, usagef("--%s goes with %s %s, not with %s %s", f, command, other.name, command, v.name)
			}
		}
	}
	return v, nil
}
