// Package access says who may do what at a registry: names and passwords from a file
// of users, and rights from a file of rules. [Open] reads both; [Guard] is asked for
// each request.
//
// # Users
//
// The file is one of htpasswd's, with bcrypt only ($2a$, $2b$, $2y$; htpasswd -B):
//
//	# who carries images in
//	ci:$2y$10$…
//	alice:$2y$10$…
//
// Empty lines and lines that begin with # are left out. A name is at most 255 bytes
// of what can be printed, stands there once, and is neither "*" nor "anonymous". The
// cost of a hash is at most [MaxCost], for whoever asks has it computed.
//
// # Rights
//
// Who may do what is a list of rules, and what no rule allows is refused:
//
//	rules:
//	  - users: ["*"]                          # everybody who has a name
//	    repositories: ["**"]
//	    actions: [pull]
//	  - users: [ci]
//	    repositories: ["ghcr.io/acme/**", "docker.io/library/nginx"]
//	    actions: [push, delete]
//	  - users: [anonymous]                    # whoever gives no name
//	    repositories: ["docker.io/**"]
//	    actions: [pull]
//
// Repositories are named in full, as they are stored; "*" is any run of characters
// but "/", "**" any at all. Who may push or delete may pull. The anonymous can only be
// allowed to pull. Unknown fields, keys that are given twice and empty lists are
// errors.
//
// Without a file of rights every user may do everything, and the anonymous may pull if
// [Options.Anonymous] says so.
//
// # Guarantees
//
// Both files are read again when they change. A change that makes no sense is
// reported, and what was there before goes on to count: nothing is opened up by a
// mistake, and nothing locked by one. What such a change was to take away is not taken
// away either, until it is mended.
//
// Passwords are kept nowhere. Of one that was right, a keyed hash is remembered for a
// while, so that not every request costs a bcrypt; it ends with the line in the file
// that it was right for. A name that is unknown costs what one that is known does. No
// more than a few passwords are checked at once, and no more than some wait for it:
// see [ErrBusy].
//
// # What it does not do
//
// It does not lock out who guesses: a name that is known could be locked out by
// anybody. Who may pull without a name and wants to push has to send one unasked:
// docker sends one only where /v2/ wants it, and so pushes only where the anonymous may
// do nothing (a store can be served twice). Passwords cross the network as they are, so there has to be TLS.
package access
