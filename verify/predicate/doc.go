// Package predicate knows the well-known predicates of in-toto statements: what
// they are called, what kind of thing they say, and what a policy or a person wants
// to know of them, in one form whatever the version.
//
// It believes nothing and checks no signature: what it returns is what the
// statement says. Predicates are JSON that somebody else wrote, so what is missing
// or of another shape is left out, never guessed.
package predicate
