package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"airgap/bundle"
	"airgap/bundle/enclave"
	"airgap/layout"
	"airgap/layout/disk"
	"airgap/store"
	"airgap/store/ledger"

	"github.com/opencontainers/go-digest"
)

// storeRebuildResult is what store rebuild reports.
type storeRebuildResult struct {
	Store        string        `json:"store"`
	Repositories int           `json:"repositories"`
	Names        int           `json:"names"`
	Blobs        int           `json:"blobs"`
	Entries      int           `json:"entries"`
	Missing      []missingName `json:"missing"`
	Damaged      []string      `json:"damaged"`
	Left         int           `json:"left"`
	Replaced     string        `json:"replaced,omitempty"`
}

type missingName struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
}

func runStoreRebuild(ctx context.Context, u *ui, o storeOptions) error {
	if err := o.noArgs(); err != nil {
		return err
	}
	if o.care.ledger == "" {
		return &adviceError{usagef("store rebuild wants --ledger DIR: blobs do not say what they were called"), "airgap log export writes it, as long as the database can be read"}
	}
	dir, err := u.storeDir(o.store)
	if err != nil {
		return err
	}
	if err := looksLikeStore(dir); err != nil {
		return err
	}
	how, err := o.readLedger(u, dir)
	if err != nil {
		return err
	}
	p := u.progress("rebuild", o.outputOptions)
	defer p.close()
	how.OnBlob = func(size int64) { p.event(layout.Event{Kind: layout.EventSkip, N: size}) }
	r, err := store.Rebuild(ctx, dir, how)
	if errors.Is(err, ledger.ErrFork) && !errors.Is(err, layout.ErrCorrupt) {
		err = &adviceError{fmt.Errorf("%w: %w", bundle.ErrRollback, err), "the export in --ledger is not of the ledger, or not of the state, that the checkpoint was made of: find out who edited it"}
	}
	if err != nil {
		return local(err)
	}
	p.close()
	u.warn("what was remembered of lines, tags and revocation lists is not in a ledger: an older bundle, or list, would be taken in again. Import the latest ones, and run airgap reverify")
	res := &storeRebuildResult{
		Store: dir, Repositories: r.Repositories, Names: r.Names, Blobs: r.Blobs, Entries: r.Entries,
		Missing: []missingName{}, Damaged: slices.Concat([]string{}, r.Damaged), Left: r.Left, Replaced: r.Replaced,
	}
	for _, n := range r.Missing {
		res.Missing = append(res.Missing, missingName{n.Reference.Name(), n.Digest})
	}
	return u.result(o.outputOptions, "StoreRebuildResult", res, func(w io.Writer) { writeRebuilt(w, res) })
}

// looksLikeStore keeps a rebuild from making a store of what is none.
func looksLikeStore(dir string) error {
	d, err := disk.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	there, err := disk.Exists(d, "blobs")
	if err == nil && !there {
		err = &layout.Error{Side: layout.SideStore, Name: dir, Err: layout.ErrNotFound, Hint: "it has no folder blobs, of which a store could be made"}
	}
	return err
}

func writeRebuilt(w io.Writer, res *storeRebuildResult) {
	for _, n := range res.Missing {
		fmt.Fprintf(w, "missing %s  %s: its manifest is not among the blobs\n", escape(n.Reference), shortDigest(n.Digest))
	}
	for _, name := range res.Damaged {
		fmt.Fprintf(w, "damaged %s: not what its name says\n", escape(name))
	}
	fmt.Fprintf(w, "%s in %s, %s; %s in the ledger\n", plural(res.Names, "name"), countRepositories(res.Repositories), plural(res.Blobs, "blob"), plural(res.Entries, "line"))
	if res.Left > 0 {
		fmt.Fprintf(w, "%s that no name leads to: it came after the ledger was written out, or lost its name; store gc removes it\n", plural(res.Left, "file"))
	}
	if res.Replaced != "" {
		fmt.Fprintf(w, "the database that was there is %s\n", escape(filepath.Join(res.Store, res.Replaced)))
	}
}

// readLedger reads --ledger and --checkpoint, and checks by what the export is believed.
func (o *storeOptions) readLedger(u *ui, dir string) (store.RebuildOptions, error) {
	var how store.RebuildOptions
	var kept *ledger.Checkpoint
	if o.care.checkpoint != "" {
		var err error
		if kept, err = readCheckpoint(o.care.checkpoint); err != nil {
			return how, err
		}
	}
	e, err := enclave.ReadLedgerExport(o.care.ledger, enclave.LedgerKey(dir), kept)
	if err != nil {
		return how, local(fmt.Errorf("--ledger %s: %w", o.care.ledger, err))
	}
	if how = e.Rebuild; e.KeyFromExport && kept == nil {
		u.warn("the export was checked by the key that came with it, for the database cannot be read: whoever can write to the export can replace both. --checkpoint FILE holds it against a checkpoint that was kept elsewhere")
	}
	return how, nil
}

// readCheckpoint reads a checkpoint that a user has kept.
func readCheckpoint(path string) (*ledger.Checkpoint, error) {
	msg, err := readSmall(path, ledger.MaxCheckpointBytes)
	if err == nil {
		var c ledger.Checkpoint
		if c, err = ledger.ParseCheckpoint(msg); err == nil {
			return &c, nil
		}
	}
	return nil, usagef("--checkpoint %s: %w", path, err)
}
