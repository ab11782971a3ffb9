package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/store/ledger"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// replacedName is what Rebuild leaves of the database that was there.
const replacedName = databaseName + ".replaced"

// RebuildOptions say what the blobs of a store do not.
type RebuildOptions struct {
	// Names are those that the store is to have. One whose manifest is not there is
	// left out.
	Names []RebuiltName
	// History is what was done in repositories, oldest first. A name that no act is about is
	// taken for admitted with all of its children that are there.
	History []RebuiltAct
	// NotAdmitted are repositories that clients made by pushing, and that nobody has
	// admitted anything to.
	NotAdmitted []string
	// Doubted is what clients pushed, or what was in quarantine, in whatever repository.
	// In repositories that are not admitted nothing of it is given out because it is
	// attached to something, but for what nothing can be started from: it has to be among
	// Names, in that repository, and not held. In others that goes for everything.
	Doubted map[digest.Digest]bool
	// Marks returns the marks of the new database; nil has none. contains lists all that a
	// manifest contains, at any depth, as far as the store has the manifests.
	Marks func(contains func(digest.Digest) []digest.Digest) (map[string][]byte, error)
	// Entries are the ledger's, and Checkpoint the state that they have to add up to.
	// The ledger keeps the name that the checkpoint has; its key is a new one.
	Entries    [][]byte
	Checkpoint ledger.Checkpoint
	// Kept, if it is given, is an earlier state that somebody has kept elsewhere, and that
	// the entries have to continue; else Rebuild fails with ledger.ErrFork.
	Kept *ledger.Checkpoint
	// OnBlob is called after each file with its size.
	OnBlob func(size int64)

	fs disk.FS // for tests; nil means the real one
}

// RebuiltName is a name, and what is known of it.
type RebuiltName struct {
	Reference layout.Reference
	Digest    digest.Digest
	Hold      string // why it is in quarantine, if it is
	// Pushed: a client pushed it by its digest. It is a name if nothing else leads to it.
	Pushed bool
	// Unnamed: it is no name, and says only whether a manifest is in quarantine.
	Unnamed bool
	// Listed: nobody has signed for it. It is a tag, and admits nothing.
	Listed bool
}

// Rebuilt says what came of it.
type Rebuilt struct {
	Names, Repositories int
	Blobs               int // that the names lead to, manifests included
	Entries             int
	Missing             []RebuiltName // their manifests are not there
	Damaged             []string      // files that are not what they are called
	Left                int           // files that no name leads to; the next collection removes them
	Replaced            string        // what the former database is called now; "" if there was none
}

// Rebuild makes the database of the store in dir anew, from its blobs, each of which is
// hashed, and from what o says. Repositories get what their names lead to: children,
// what says of itself that it is attached, and cosign's signatures and attestations by
// what they sign. A manifest of which only the file is there is in no repository. A
// repository serves no manifest that could be started and that it did not serve before, as
// far as o.History says; what that leaves open is in quarantine.
//
// No other process has the store open meanwhile, or it fails with ErrLocked. If it fails,
// everything is as before.
//
// What a database has beside that is lost: other marks, revocation lists, names of
// cosign's SBOMs, and whatever was done after the entries end.
func Rebuild(ctx context.Context, dir string, o RebuildOptions) (Rebuilt, error) {
	s := &Store{dir: dir, fs: o.fs}
	var r Rebuilt
	err := s.openFolder()
	if err == nil {
		defer s.closeFolder()
		for _, name := range []string{lockDir, ingestDir} {
			err = errors.Join(err, s.fs.Mkdir(name))
		}
	}
	if err == nil {
		err = s.share(Options{Alone: true})
	}
	if err == nil {
		var held *disk.LockFile
		if held, err = s.holdDatabase(); held != nil {
			defer held.Close()
		}
	}
	if err == nil {
		r, err = newRebuilding(s, o).run(ctx)
	}
	return r, s.wrap("", err)
}

func (s *Store) closeFolder() {
	if s.use != nil {
		_ = s.use.Close()
	}
	if s.closer != nil {
		_ = s.closer.Close()
	}
}

// holdDatabase keeps those out who have the database open and know no other lock: earlier
// versions of airgap, and who reads a store in which nobody has made one. It takes what
// bbolt locks, whatever is in the file.
func (s *Store) holdDatabase() (*disk.LockFile, error) {
	f, err := disk.OpenLockFile(filepath.Join(s.dir, databaseName), false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = f.TryAlone()
	if errors.Is(err, disk.ErrBusy) {
		err = ErrLocked
	}
	return f, err
}

type rebuilding struct {
	store *Store
	o     RebuildOptions
	found inventory
	kept  []RebuiltName // of those in o
	// started says, of manifests that were looked at, whether they could be started.
	started map[digest.Digest]bool
	marked  map[string]bool // repositories that are not admitted
	Rebuilt
}

func newRebuilding(s *Store, o RebuildOptions) *rebuilding {
	r := &rebuilding{store: s, o: o, started: map[digest.Digest]bool{}, marked: map[string]bool{}}
	for _, repo := range o.NotAdmitted {
		r.marked[repo] = true
	}
	return r
}

func (r *rebuilding) run(ctx context.Context) (Rebuilt, error) {
	s := r.store
	if err := r.room(); err != nil {
		return r.Rebuilt, err
	}
	if err := r.scan(ctx); err != nil {
		return r.Rebuilt, err
	}
	sessions, err := r.fill()
	if err != nil {
		return r.Rebuilt, err
	}
	const temp = ingestDir + "/rebuilt.db"
	if err := s.fs.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r.Rebuilt, err
	}
	if err := r.write(sessions, filepath.Join(s.dir, temp)); err != nil {
		return r.Rebuilt, errors.Join(err, s.fs.Remove(temp))
	}
	return r.Rebuilt, r.replace(temp)
}

// room fails if there is no name for the database that is there. Without one, what an
// earlier rebuild has left is that of one which did not come to its end.
func (r *rebuilding) room() error {
	fsys := r.store.fs
	there, err := disk.Exists(fsys, databaseName)
	taken, terr := disk.Exists(fsys, replacedName)
	if err := errors.Join(err, terr); err != nil {
		return err
	}
	if taken && !there {
		r.Replaced = replacedName
	}
	if taken && there {
		return &layout.Error{
			Side: layout.SideStore, Name: r.store.dir, Err: fmt.Errorf("%s is there: %w", replacedName, fs.ErrExist),
			Hint: "an earlier rebuild has left it; move it away once it is not needed any more",
		}
	}
	return nil
}

// write makes the database.
func (r *rebuilding) write(sessions []*Session, path string) error {
	if err := createDatabase(path); err != nil {
		return err
	}
	db, err := openDatabase(databaseOptions{path: path, wait: DefaultWait})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if err := errors.Join(r.writeLedger(tx), r.writeMarks(tx)); err != nil {
			return err
		}
		return r.record(tx, sessions)
	})
	return errors.Join(err, db.Close())
}

// record writes what the repositories have. What is in quarantine stays there: nobody
// admits anything.
func (r *rebuilding) record(tx *bbolt.Tx, sessions []*Session) error {
	for _, session := range sessions {
		if err := session.recordBlobs(tx); err != nil {
			return err
		}
		for _, repo := range sorted(session.gains) {
			if err := session.recordRepository(tx, repo, session.gains[repo]); err != nil {
				return err
			}
		}
	}
	for _, n := range r.names() {
		if err := recordName(tx, n); err != nil {
			return err
		}
	}
	for _, session := range sessions {
		if err := session.recordChanges(tx); err != nil {
			return err
		}
	}
	return nil
}

// writeLedger writes the entries, which have to be those of the checkpoint.
func (r *rebuilding) writeLedger(tx *bbolt.Tx) error {
	if len(r.o.Entries) == 0 {
		if r.o.Kept != nil && r.o.Kept.Size > 0 {
			return fmt.Errorf("there are no entries, and %d are kept: %w", r.o.Kept.Size, ledger.ErrFork)
		}
		return nil
	}
	if err := nameLedger(tx, r.o.Checkpoint.Origin); err != nil {
		return err
	}
	b, err := tx.CreateBucketIfNotExists(ledgerBucket)
	if err != nil {
		return err
	}
	l := ledger.In(b)
	for _, e := range r.o.Entries {
		if _, err := l.Append(e); err != nil {
			return err
		}
	}
	if err := l.Extends(r.o.Checkpoint.Origin, r.o.Checkpoint); err != nil {
		return fmt.Errorf("the entries: %w (%w)", err, layout.ErrCorrupt)
	}
	if r.o.Kept != nil {
		if err := l.Extends(r.o.Checkpoint.Origin, *r.o.Kept); err != nil {
			return err
		}
	}
	r.Entries = len(r.o.Entries)
	n := binary.BigEndian.AppendUint64(nil, uint64(r.Entries))
	return tx.Bucket(metaBucket).Put(rebuiltKey, n)
}

// writeMarks writes the marks.
func (r *rebuilding) writeMarks(tx *bbolt.Tx) error {
	if r.o.Marks == nil {
		return nil
	}
	marks, err := r.o.Marks(r.found.contained)
	if err != nil || len(marks) == 0 {
		return err
	}
	b, err := tx.CreateBucketIfNotExists(marksBucket)
	for name, value := range marks {
		if err == nil {
			err = b.Put([]byte(name), value)
		}
	}
	return err
}

// replace puts the new database in the place of the old one, which stays under another
// name. A crash in between leaves none in place: then nobody opens the store, until it is
// made anew.
func (r *rebuilding) replace(temp string) error {
	fsys := r.store.fs
	there, err := disk.Exists(fsys, databaseName)
	if err == nil && there {
		err = fsys.Rename(databaseName, replacedName)
	}
	if err != nil {
		return errors.Join(err, fsys.Remove(temp))
	}
	err = fsys.Rename(temp, databaseName)
	placed := err == nil
	if placed {
		err = fsys.Flush()
	}
	if err == nil {
		if there {
			r.Replaced = replacedName
		}
		return nil
	}
	if placed { // and may not last
		err = errors.Join(err, fsys.Rename(databaseName, temp))
	}
	if there {
		err = errors.Join(err, fsys.Rename(replacedName, databaseName))
	}
	return errors.Join(err, fsys.Remove(temp))
}

// names are those that the store gets.
func (r *rebuilding) names() []layout.Name {
	out := slices.Clone(r.found.tags)
	for _, n := range r.kept {
		out = append(out, layout.Name{Reference: n.Reference, Descriptor: r.found.manifests[n.Digest].Descriptor})
	}
	return out
}

// choose drops the names whose manifest is not there, and of what clients pushed by
// digest those that something else leads to.
func (h *history) choose() map[string][]digest.Digest {
	r := h.rebuilding
	roots, pushed := map[string][]digest.Digest{}, []RebuiltName{}
	for _, n := range r.o.Names {
		switch {
		case n.Unnamed:
		case r.found.manifests[n.Digest] == nil:
			r.Missing = append(r.Missing, n)
		case n.Pushed:
			pushed = append(pushed, n)
		default:
			r.kept = append(r.kept, n)
			roots[n.Reference.Repository] = append(roots[n.Reference.Repository], n.Digest)
		}
	}
	reached := map[spot]bool{}
	reach := func(repo string, from []digest.Digest) {
		for dgst := range h.reach(repo, from).manifests {
			reached[spot{repo, dgst}] = true
		}
	}
	for repo, from := range roots {
		reach(repo, from)
	}
	for _, n := range pushed {
		m := r.found.manifests[n.Digest]
		for _, c := range m.Manifests {
			if h.leads(n.Reference.Repository, n.Digest, c.Digest) {
				reach(n.Reference.Repository, []digest.Digest{c.Digest})
			}
		}
		if m.Subject != nil {
			reached[spot{n.Reference.Repository, n.Digest}] = true
		}
	}
	for _, n := range pushed {
		if repo := n.Reference.Repository; !reached[spot{repo, n.Digest}] {
			r.kept = append(r.kept, n)
			roots[repo] = append(roots[repo], n.Digest)
		}
	}
	return roots
}

// fill works out what each repository has, of what was admitted and of what was not.
// Nothing of it has to be written: the files are there.
func (r *rebuilding) fill() ([]*Session, error) {
	staged := map[digest.Digest]*stagedBlob{}
	admitted := &Session{store: r.store, staged: staged, gains: map[string]*gain{}}
	pushed := &Session{store: r.store, staged: staged, gains: map[string]*gain{}, origin: origin{at: max(time.Now().Unix(), 1)}}
	of := func(repo string) *Session {
		if r.marked[repo] {
			return pushed
		}
		return admitted
	}
	h, err := r.replay()
	if err != nil {
		return nil, err
	}
	byRepo := h.choose()
	r.found.tags = nil
	for _, n := range r.kept {
		if n.Hold != "" {
			of(n.Reference.Repository).keepHeld(n)
		}
	}
	for _, repo := range sorted(byRepo) {
		g := h.reach(repo, byRepo[repo])
		of(repo).gains[repo] = g
		for dgst := range g.blobs {
			staged[dgst] = &stagedBlob{}
		}
		for dgst := range g.manifests {
			staged[dgst] = &stagedBlob{}
		}
		if err := r.keepDoubted(of(repo), pushed, h, repo); err != nil {
			return nil, err
		}
	}
	r.Names, r.Repositories, r.Blobs = len(r.kept), len(byRepo), len(staged)
	r.Left = len(r.found.sizes) - r.Blobs
	return []*Session{admitted, pushed}, nil
}
