// Package store keeps images and all that is attached to them in one folder of
// the isolated side, without a registry.
//
// [Open] opens a store, or makes it. A [Store] is a [layout.Source]. Content is
// added through a [Session], which is a [layout.Sink]:
//
//	s, err := store.Open(dir, store.Options{})
//	...
//	defer s.Close()
//	session, err := s.Begin(ctx)
//	...
//	defer session.Close() // discards, unless committed
//	err = layout.Copy(ctx, session, src, graph, layout.CopyOptions{})
//
// # On disk
//
//	airgap.db           a bbolt database: names, membership, attachments, sizes
//	blobs/<alg>/<hex>   every blob and manifest, a plain file each, as in an OCI layout
//	ingest/<process>/   what the sessions of a process write, and what they count on
//	lock/               what processes share the store by; holds nothing
//	reserve             1 MiB that is given up when the disk is full; see reserve.go
//
// The database says which blobs there are. A file that it does not list was left
// by a crash; it is never served, is replaced when its content is put again, and
// goes with the next [Store.Collect].
//
// # Guarantees
//
// A session is invisible until its Commit returns, and complete afterwards, even
// if the power fails: its files are renamed into place and made durable, then one
// database transaction publishes names, membership, attachments and sizes. A
// crash leaves the state before or the state after. A session that is closed
// without a commit leaves nothing behind.
//
// [Store.Pusher] takes what the clients of a registry push, and [Store.View] is what
// they are given. What was pushed is told from what was imported: it is in repositories
// that are marked as not admitted, or in quarantine until a judge releases it, or it is
// attached to something and nothing can be started from it.
//
// What is attached to a manifest is taken from the bytes of the manifests that
// say so, never from what somebody claims.
//
// Content belongs to the repositories it was put in, and to no other; its bytes
// are kept once.
//
// Any number of processes can have a store open, to read it and to write it. Each
// opens the database for a moment when it needs it; sessions of all processes put
// content side by side, and commit one after the other. A session that counts on
// something which another has changed meanwhile fails with [ErrChanged]; what it
// found in the store stays until it ends. [ErrLocked] says that one has to wait for
// too long. The store has to be on a file system of this machine.
//
// Every reader that [Store.Open] gives checks digest and size as it goes, so that
// damage on the disk is found when it is read. What a session relies on, because it is
// there already, is hashed first, and replaced if it is damaged (intact.go).
// [Store.Check] looks for damage, [Session.Repair] replaces a file, and [Rebuild] makes a
// database that was lost anew. The pages of the database are checked before bbolt reads
// them (opendb.go).
//
// Stores that earlier versions made can be read as they are, and become what this
// version makes when something is written.
//
// # What it does not do
//
// It does not judge: signatures and policies are checked before content is put,
// and whether a name may move is for the caller to decide. It does not protect
// itself from somebody who can write to its folder.
package store
