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
	"strings"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/layout/disk"
	"airgap/store"
	"airgap/store/ledger"
	"airgap/verify"

	"github.com/opencontainers/go-digest"
	"golang.org/x/mod/sumdb/note"
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

// keyName is what log export calls the key that verifies the checkpoint.
const keyName = "key"

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
	e := &export{kept: kept != nil, own: ownKey(dir)}
	how, err := e.read(o.care.ledger)
	if err != nil {
		return how, local(fmt.Errorf("--ledger %s: %w", o.care.ledger, err))
	}
	how.Kept = kept
	if e.claim && kept == nil {
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

// ownKey is the key in the database that is to be replaced; "" if that cannot be read.
func ownKey(dir string) string {
	s, err := store.Open(dir, store.Options{ReadOnly: true})
	if err != nil {
		return ""
	}
	key, err := s.LedgerKey()
	if err := errors.Join(err, s.Close()); err != nil {
		return ""
	}
	return key
}

// export is what log export wrote.
type export struct {
	own   string // the key in the store's database, if that can be read
	kept  bool   // the export is held against a checkpoint that was kept
	claim bool   // its checkpoint was verified by the key that came with it
}

// open reads a checkpoint that one of the keys has signed: the one in the database; else,
// or for a ledger that continues a checkpoint that was kept, the one in the export.
func (e *export) open(d disk.FS) (ledger.Checkpoint, error) {
	msg, err := disk.ReadFile(d, "checkpoint", ledger.MaxCheckpointBytes)
	if err != nil {
		return ledger.Checkpoint{}, err
	}
	if e.own != "" {
		c, err := openBy(msg, e.own)
		if err == nil || !e.kept {
			return c, err
		}
	}
	came, err := disk.ReadFile(d, keyName, ledger.MaxCheckpointBytes)
	switch {
	case err == nil:
		e.claim = true
		return openBy(msg, strings.TrimSpace(string(came)))
	case errors.Is(err, fs.ErrNotExist) && e.kept: // of an earlier version
		c, err := ledger.ParseCheckpoint(msg)
		return c, asDamage(err)
	case errors.Is(err, fs.ErrNotExist):
		return ledger.Checkpoint{}, &adviceError{fmt.Errorf("it has no file %q, and the database cannot be read: nothing says by which key its checkpoint is signed: %w", keyName, layout.ErrCorrupt),
			"--checkpoint FILE holds it against a checkpoint that was kept elsewhere (airgap log checkpoint)"}
	}
	return ledger.Checkpoint{}, err
}

func openBy(msg []byte, key string) (ledger.Checkpoint, error) {
	by, err := note.NewVerifier(key)
	if err != nil {
		return ledger.Checkpoint{}, asDamage(err)
	}
	c, err := ledger.OpenCheckpoint(msg, by)
	if err == nil && c.Origin != by.Name() {
		err = fmt.Errorf("it is of %q, and signed by %q: %w", c.Origin, by.Name(), ledger.ErrCheckpoint)
	}
	return c, asDamage(err)
}

func asDamage(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("checkpoint: %w (%w)", err, layout.ErrCorrupt)
}

// read reads the folder of an export.
func (e *export) read(dir string) (store.RebuildOptions, error) {
	var o store.RebuildOptions
	d, err := disk.Open(dir)
	if err != nil {
		return o, err
	}
	defer d.Close()
	if o.Checkpoint, err = e.open(d); err != nil {
		return o, err
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

// replaying goes through a ledger, and does to names what it says was done to them.
type replaying struct {
	names   map[string]*replayed
	admits  map[string]int                        // how many names of a repository were admitted, or are judged
	marked  map[string]bool                       // repositories that are not admitted
	pushed  map[string]map[digest.Digest]struct{} // what clients pushed, by repository
	doubted map[digest.Digest]bool
	history []store.RebuiltAct
	absent  []custody.Entry // those that say which children were absent
}

type replayed struct {
	store.RebuiltName
	client bool // pushed, and not judged
}

// replay works out which names a ledger leaves, and in which state.
func replay(o *store.RebuildOptions) error {
	r := &replaying{
		names: map[string]*replayed{}, admits: map[string]int{}, marked: map[string]bool{},
		pushed: map[string]map[digest.Digest]struct{}{}, doubted: map[digest.Digest]bool{},
	}
	for i, data := range o.Entries {
		e, err := custody.ParseEntry(data)
		if err != nil {
			return fmt.Errorf("line %d: %w (%w)", i, err, layout.ErrCorrupt)
		}
		if len(e.Absent) > 0 {
			r.absent = append(r.absent, e)
		}
		ref, ok := aboutStore(e)
		if !ok {
			continue
		}
		r.line(ref, e)
	}
	o.Marks = func(contains func(digest.Digest) []digest.Digest) (map[string][]byte, error) {
		return bundle.AbsentMarks(r.absent, contains)
	}
	for _, name := range slices.Sorted(maps.Keys(r.names)) {
		o.Names = append(o.Names, r.names[name].RebuiltName)
	}
	o.NotAdmitted, o.Doubted, o.History = slices.Sorted(maps.Keys(r.marked)), r.doubted, r.history
	return nil
}

// aboutStore returns what an entry is about, if that is a name in the ledger's own store. It
// may be about a bundle, or an import into a registry that the store remembers.
func aboutStore(e custody.Entry) (layout.Reference, bool) {
	ref, err := layout.ParseReference(e.Reference)
	elsewhere := e.Act == custody.Import && e.To != nil && e.To.Kind == custody.InRegistry
	return ref, err == nil && e.Reference != "" && !elsewhere
}

func (r *replaying) line(ref layout.Reference, e custody.Entry) {
	repo, n := ref.Repository, r.names[ref.Name()]
	act := store.RebuiltAct{
		Repository: repo, Digest: e.Digest, Reason: e.Reason,
		Absent: e.Absent, Cut: len(e.Absent) == custody.MaxAbsent,
	}
	switch e.Act {
	case custody.Import:
		act.Attached = layout.IsDerivedTag(ref.Tag)
		if !act.Attached { // what is attached admits no image
			r.admit(repo)
		}
		act.Kind = store.ActAdmit
		r.history = append(r.history, act)
		r.set(ref, &replayed{RebuiltName: store.RebuiltName{Digest: e.Digest}})
	case custody.Push:
		r.push(ref, e)
	case custody.Delete:
		r.set(ref, nil)
		r.doubted[e.Digest] = true
		if act.Kind = store.ActDelete; n != nil && !n.Unnamed {
			act.Kind = store.ActUnname // by store rm, or by a client that deleted the manifest
		}
		if ref.Tag == "" {
			delete(r.pushed[repo], e.Digest)
			r.history = append(r.history, act)
		}
	case custody.Quarantine, custody.Release:
		r.doubted[e.Digest] = true
		if act.Kind = store.ActHold; e.Act == custody.Release {
			act.Kind = store.ActRelease
		}
		if e.Act == custody.Release || ref.Tag == "" { // else the name is quarantined
			r.history = append(r.history, act)
		}
		if n == nil && ref.Tag == "" { // it is pulled by its digest, if at all
			n = &replayed{RebuiltName: store.RebuiltName{Digest: e.Digest, Unnamed: true}}
			r.set(ref, n)
		}
		if n != nil && e.Act == custody.Quarantine {
			n.Hold = e.Reason
		} else if n != nil {
			n.Hold = ""
		}
	}
}

// push is a line about what a client pushed: in quarantine, with a reason, if somebody
// judges that, and it was not served already; else given out.
func (r *replaying) push(ref layout.Reference, e custody.Entry) {
	repo, n := ref.Repository, r.names[ref.Name()]
	judged := e.Reason != "" || e.Result == string(verify.Passed) // it passed before, if it has no reason
	if judged {
		r.admit(repo) // who judges admits nothing by a mark
	} else if r.admits[repo] == 0 { // what it had is collected, for it could not be pushed there else
		if !r.marked[repo] {
			r.history = append(r.history, store.RebuiltAct{Kind: store.ActReset, Repository: repo})
		}
		r.marked[repo] = true
	}
	r.history = append(r.history, store.RebuiltAct{Kind: store.ActPush, Repository: repo, Digest: e.Digest, Reason: e.Reason})
	if r.pushed[repo] == nil {
		r.pushed[repo] = map[digest.Digest]struct{}{}
	}
	r.pushed[repo][e.Digest], r.doubted[e.Digest] = struct{}{}, true
	if n != nil && n.Digest == e.Digest && n.Hold == "" && !n.Unnamed {
		return // it is given out already, and stays so
	}
	r.set(ref, &replayed{
		RebuiltName: store.RebuiltName{Digest: e.Digest, Hold: e.Reason, Pushed: ref.Tag == ""},
		client:      !judged,
	})
}

// set makes n what a reference stands for; nil takes it away.
func (r *replaying) set(ref layout.Reference, n *replayed) {
	if was := r.names[ref.Name()]; was != nil && !was.client && !was.Unnamed {
		r.admits[ref.Repository]--
	}
	if n == nil {
		delete(r.names, ref.Name())
		return
	}
	n.Reference, r.names[ref.Name()] = nameIn(ref), n
	if !n.client && !n.Unnamed {
		r.admits[ref.Repository]++
	}
}

// reasonPushed is why what clients pushed is in quarantine once a repository has admitted
// content.
const reasonPushed = "it was pushed by a client, and nobody has admitted it"

// admit takes the mark off a repository: what was only pushed there is in quarantine.
func (r *replaying) admit(repo string) {
	if !r.marked[repo] {
		return
	}
	delete(r.marked, repo)
	r.history = append(r.history, store.RebuiltAct{Kind: store.ActHoldAll, Repository: repo, Reason: reasonPushed})
	for dgst := range r.pushed[repo] {
		ref := layout.Reference{Repository: repo, Digest: dgst}
		if r.names[ref.Name()] == nil {
			r.set(ref, &replayed{RebuiltName: store.RebuiltName{Digest: dgst, Unnamed: true}})
		}
	}
	for _, n := range r.names {
		if n.Reference.Repository == repo && n.Hold == "" && !layout.IsDerivedTag(n.Reference.Tag) {
			n.Hold = reasonPushed
		}
	}
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
			o.Names = append(o.Names, store.RebuiltName{Reference: nameIn(ref), Digest: l.Digest, Listed: true})
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
