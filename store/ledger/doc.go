// Package ledger keeps a list to which entries can only be added: a Merkle log
// (RFC 6962, as golang.org/x/mod/sumdb/tlog computes it) in a bucket of a bbolt
// database, so that an entry is written in the same transaction as what it tells of.
//
// # Guarantees
//
// The root of the tree ([Log.Root]) stands for every entry, in order. Whoever kept
// the [Checkpoint] of an earlier size can tell whether the log only grew since
// ([Log.Consistency]), and whether an entry is in it ([Log.Inclusion]); both proofs
// can be checked by others. [Log.Check] computes everything anew.
//
// # What it does not do
//
// Somebody who can write to the database can write another log, consistent in
// itself. That shows as soon as it is held against a checkpoint that is kept
// elsewhere, and only then. What an entry says is for others to understand.
//
// # Formats
//
// A checkpoint is a signed note (c2sp.org/tlog-checkpoint, c2sp.org/signed-note). An
// exported log is a folder of tiles (c2sp.org/tlog-tiles).
package ledger
