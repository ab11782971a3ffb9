package enclave

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/store"
	"airgap/store/ledger"

	"github.com/opencontainers/go-digest"
	"golang.org/x/mod/sumdb/note"
)

// Files of an exported ledger, beside its tiles and its checkpoint.
const (
	NamesFile = "names.json" // the list of names
	KeyFile   = "key"        // the key that verifies the checkpoint
)

// exportedName is a name as an export has it. Of images the ledger tells; the list
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

// LedgerKey returns the verifier key in a store's database (golang.org/x/mod/sumdb/note);
// "" if that cannot be read.
func LedgerKey(dir string) string {
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

// LedgerExport is an exported ledger that was read, and whose checkpoint was verified.
type LedgerExport struct {
	// Rebuild has the names that the ledger leaves, for store.Rebuild.
	Rebuild store.RebuildOptions
	// KeyFromExport: the key that verified the checkpoint came with the export. A user who
	// can write to the export can replace both.
	KeyFromExport bool
}

// ReadLedgerExport reads the folder that a ledger was exported to. own is the key in the
// store's database, if that can be read; kept, which may be nil, is a checkpoint that the
// ledger has to continue. Damage matches layout.ErrCorrupt, a checkpoint that is not
// signed by the key ledger.ErrCheckpoint.
func ReadLedgerExport(dir, own string, kept *ledger.Checkpoint) (*LedgerExport, error) {
	e := &export{own: own, kept: kept != nil}
	how, err := e.read(dir)
	if err != nil {
		return nil, err
	}
	how.Kept = kept
	return &LedgerExport{how, e.claim}, nil
}

// export is an exported ledger that is being read.
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
	came, err := disk.ReadFile(d, KeyFile, ledger.MaxCheckpointBytes)
	switch {
	case err == nil:
		e.claim = true
		return openBy(msg, strings.TrimSpace(string(came)))
	case errors.Is(err, fs.ErrNotExist) && e.kept: // of an earlier version
		c, err := ledger.ParseCheckpoint(msg)
		return c, asDamage(err)
	case errors.Is(err, fs.ErrNotExist):
		return ledger.Checkpoint{}, &layout.Error{
			Err:  fmt.Errorf("it has no file %q, and the database cannot be read: nothing says by which key its checkpoint is signed: %w", KeyFile, layout.ErrCorrupt),
			Hint: "--checkpoint FILE holds it against a checkpoint that was kept elsewhere (airgap log checkpoint)",
		}
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
		return o, DamagedLedger(err)
	}
	if err := replay(&o); err != nil {
		return o, err
	}
	return o, addAttached(&o, d)
}

// addAttached adds the tags that lead to what is attached, of repositories that have a
// name. They are believed as little as what they lead to.
func addAttached(o *store.RebuildOptions, d disk.FS) error {
	data, err := disk.ReadFile(d, NamesFile, maxNamesBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // of an earlier version
	}
	if err != nil {
		return err
	}
	var listed []exportedName
	if err := json.Unmarshal(data, &listed); err != nil {
		return fmt.Errorf("%s: %v: %w", NamesFile, err, layout.ErrCorrupt)
	}
	here := map[string]bool{}
	for _, n := range o.Names {
		here[n.Reference.Repository] = true
	}
	for _, l := range listed {
		ref, err := layout.ParseReference(l.Reference)
		if err != nil {
			return fmt.Errorf("%s: %v: %w", NamesFile, err, layout.ErrCorrupt)
		}
		if layout.IsDerivedTag(ref.Tag) && here[ref.Repository] {
			o.Names = append(o.Names, store.RebuiltName{Reference: nameIn(ref), Digest: l.Digest, Listed: true})
		}
	}
	return nil
}

// ExportNames returns the list of all names of a store, those of attachments too, as
// JSON.
func ExportNames(ctx context.Context, s *store.Store) ([]byte, error) {
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
