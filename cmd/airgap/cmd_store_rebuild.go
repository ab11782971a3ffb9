package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"airgap/bundle/custody"
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
	how, err := readExport(o.care.ledger)
	if err != nil {
		return local(fmt.Errorf("--ledger %s: %w", o.care.ledger, err))
	}
	p := u.progress("rebuild", o.outputOptions)
	defer p.close()
	how.OnBlob = func(size int64) { p.event(layout.Event{Kind: layout.EventSkip, N: size}) }
	r, err := store.Rebuild(ctx, dir, how)
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

// namesName is what log export calls the list of names.
const namesName = "names.json"

// exportedName is a name as log export writes it. Of images the ledger tells; the list
// is for the tags that lead to what is attached.
type exportedName struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
}

// Limits of what is read of an export.
const (
	maxTileBytes  = 256 * (2 + ledger.MaxEntryBytes)
	maxNamesBytes = 1 << 30
)

// readExport reads what log export wrote.
func readExport(dir string) (store.RebuildOptions, error) {
	var o store.RebuildOptions
	d, err := disk.Open(dir)
	if err != nil {
		return o, err
	}
	defer d.Close()
	msg, err := disk.ReadFile(d, "checkpoint", ledger.MaxCheckpointBytes)
	if err != nil {
		return o, err
	}
	if o.Checkpoint, err = ledger.ParseCheckpoint(msg); err != nil {
		return o, fmt.Errorf("%w (%w)", err, layout.ErrCorrupt)
	}
	o.Entries, err = ledger.ReadEntries(o.Checkpoint.Size, func(name string) ([]byte, error) {
		return disk.ReadFile(d, name, maxTileBytes)
	})
	if err != nil {
		return o, damagedLedger(err)
	}
	if err := replay(&o); err != nil {
		return o, err
	}
	return o, addAttached(&o, d)
}

// replay does what the ledger says was done to names.
func replay(o *store.RebuildOptions) error {
	names := map[string]*store.RebuiltName{}
	admitted, pushed := map[string]bool{}, map[string]bool{}
	for i, data := range o.Entries {
		e, err := custody.ParseEntry(data)
		if err != nil {
			return fmt.Errorf("line %d: %w (%w)", i, err, layout.ErrCorrupt)
		}
		ref, err := layout.ParseReference(e.Reference)
		if err != nil || e.Reference == "" {
			continue // about a bundle, or about nothing that could be a name here
		}
		switch n := names[ref.Name()]; {
		case e.Act == custody.Import:
			names[ref.Name()] = &store.RebuiltName{Reference: nameIn(ref), Digest: e.Digest}
			admitted[ref.Repository] = true
		case e.Act == custody.Push:
			names[ref.Name()] = &store.RebuiltName{Reference: nameIn(ref), Digest: e.Digest, Hold: e.Reason, Pushed: ref.Tag == ""}
			pushed[ref.Repository] = pushed[ref.Repository] || e.Reason == ""
		case e.Act == custody.Delete:
			delete(names, ref.Name())
		case n == nil:
		case e.Act == custody.Quarantine:
			n.Hold = e.Reason
		case e.Act == custody.Release:
			n.Hold = ""
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		o.Names = append(o.Names, *names[name])
	}
	for _, repo := range slices.Sorted(maps.Keys(pushed)) {
		if pushed[repo] && !admitted[repo] {
			o.NotAdmitted = append(o.NotAdmitted, repo)
		}
	}
	return nil
}

// nameIn is a reference as a name: its tag or, without one, its digest.
func nameIn(ref layout.Reference) layout.Reference {
	if ref.Tag != "" {
		ref.Digest = ""
	}
	return ref
}

// addAttached adds the tags that lead to what is attached, of repositories that have a
// name. They are believed as little as what they lead to.
func addAttached(o *store.RebuildOptions, d disk.FS) error {
	data, err := disk.ReadFile(d, namesName, maxNamesBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // of an earlier version
	}
	if err != nil {
		return err
	}
	var listed []exportedName
	if err := json.Unmarshal(data, &listed); err != nil {
		return fmt.Errorf("%s: %v: %w", namesName, err, layout.ErrCorrupt)
	}
	here := map[string]bool{}
	for _, n := range o.Names {
		here[n.Reference.Repository] = true
	}
	for _, l := range listed {
		ref, err := layout.ParseReference(l.Reference)
		if err != nil {
			return fmt.Errorf("%s: %v: %w", namesName, err, layout.ErrCorrupt)
		}
		if layout.IsDerivedTag(ref.Tag) && here[ref.Repository] {
			o.Names = append(o.Names, store.RebuiltName{Reference: nameIn(ref), Digest: l.Digest})
		}
	}
	return nil
}

// exportNames lists all names, those of attachments too.
func exportNames(ctx context.Context, s *store.Store) ([]byte, error) {
	all, err := s.Judged().Names(ctx)
	out := []exportedName{}
	for _, n := range all {
		out = append(out, exportedName{n.Reference.Name(), n.Descriptor.Digest})
	}
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(out, "", "  ")
}
