package enclave

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/store"
	"airgap/store/ledger"

	"github.com/opencontainers/go-digest"
)

// Problem is something that is wrong with a store.
type Problem struct {
	Repository string        `json:"repository,omitempty"`
	Digest     digest.Digest `json:"digest,omitempty"`
	Problem    string        `json:"problem"`
}

// maxReplays is how often a ledger is replayed, if others keep changing the store.
const maxReplays = 10

// CheckLedger replays the ledger of a store, and says where names, quarantine or marks are
// not what it says: the database was edited. It says nothing of tags that lead to
// attachments, which have no entries, nor of a store without a ledger.
func CheckLedger(ctx context.Context, st *store.Store) ([]Problem, error) {
	for try := 1; ; try++ {
		before, err := st.State()
		if err != nil {
			return nil, err
		}
		found, err := oneReplay(ctx, st)
		if err != nil {
			return nil, err
		}
		after, err := st.State()
		if err != nil || before == after || found == nil || try == maxReplays {
			return found, err
		}
	}
}

// oneReplay reads the ledger and the store, which others may change meanwhile.
func oneReplay(ctx context.Context, st *store.Store) ([]Problem, error) {
	says, entries, err := replayLedger(ctx, st)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	c := &replayCheck{st: st, says: says, entries: entries, here: map[string]digest.Digest{}, repos: map[string]bool{}}
	err = errors.Join(c.names(ctx), c.quarantine(ctx), c.notAdmitted(ctx), c.marks())
	return c.found, err
}

// replayLedger reads the ledger of a store, and works out what it leaves.
func replayLedger(ctx context.Context, st *store.Store) (says store.RebuildOptions, entries []custody.Entry, err error) {
	err = st.Ledger(func(_ string, l ledger.Log) error {
		for n := range l.Size() {
			data, err := l.Entry(n)
			if err != nil {
				return err
			}
			says.Entries = append(says.Entries, data)
		}
		return EachEntry(ctx, l, func(_ int64, e custody.Entry) { entries = append(entries, e) })
	})
	if err != nil || len(entries) == 0 {
		return says, nil, DamagedLedger(err)
	}
	return says, entries, replay(&says)
}

// replayCheck compares a store with what its ledger says.
type replayCheck struct {
	st      *store.Store
	says    store.RebuildOptions
	entries []custody.Entry
	here    map[string]digest.Digest // names of the store
	repos   map[string]bool
	found   []Problem
}

func (c *replayCheck) add(repo string, dgst digest.Digest, format string, args ...any) {
	c.found = append(c.found, Problem{repo, dgst, "ledger: " + fmt.Sprintf(format, args...)})
}

// names compares names. In entries of earlier versions the ledger may speak for a registry,
// whose imports this store remembers: a name that is not there counts only in repositories
// that are here.
func (c *replayCheck) names(ctx context.Context) error {
	all, err := c.st.Judged().Names(ctx)
	if err != nil {
		return err
	}
	repos, err := c.st.Repositories(ctx)
	if err != nil {
		return err
	}
	for _, repo := range repos {
		c.repos[repo] = true
	}
	said := map[string]store.RebuiltName{}
	for _, n := range c.says.Names {
		if !n.Unnamed {
			said[n.Reference.Name()] = n
		}
	}
	for _, n := range all {
		name := n.Reference.Name()
		c.here[name] = n.Descriptor.Digest
		was, ok := said[name]
		switch {
		case layout.IsDerivedTag(n.Reference.Tag):
		case !ok:
			c.add(n.Reference.Repository, n.Descriptor.Digest, "no line gives %s its name", name)
		case was.Digest != n.Descriptor.Digest:
			c.add(n.Reference.Repository, n.Descriptor.Digest, "%s is %s by its last line", name, was.Digest)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		n := said[name]
		if _, ok := c.here[name]; !ok && !n.Pushed && c.repos[n.Reference.Repository] && !layout.IsDerivedTag(n.Reference.Tag) {
			c.add(n.Reference.Repository, n.Digest, "%s is gone, and no line takes it away", name)
		}
	}
	return nil
}

// quarantine looks for what is served although the ledger says that it is quarantined. An
// import admits what its images lead to, which has no lines: a digest counts only if nothing
// was imported into its repository since.
func (c *replayCheck) quarantine(ctx context.Context) error {
	held := c.heldSince()
	for _, n := range c.says.Names {
		if n.Hold == "" || !c.repos[n.Reference.Repository] || layout.IsDerivedTag(n.Reference.Tag) || n.Reference.Tag == "" && !held[n.Reference.Name()] {
			continue
		}
		d, err := c.st.Resolve(ctx, n.Reference)
		switch {
		case errors.Is(err, store.ErrQuarantined), errors.Is(err, layout.ErrNotFound) && !errors.Is(err, layout.ErrCorrupt):
		case err != nil:
			return err
		case d.Digest == n.Digest:
			c.add(n.Reference.Repository, n.Digest, "%s is served, and quarantined by its last line: %s", n.Reference.Name(), n.Hold)
		}
	}
	return nil
}

// heldSince lists the names whose last line quarantines them, after the last import into
// their repository.
func (c *replayCheck) heldSince() map[string]bool {
	out, since := map[string]bool{}, map[string][]string{} // by name, and by repository
	for _, e := range c.entries {
		ref, ok := aboutStore(e)
		if !ok {
			continue
		}
		name, repo := nameIn(ref).Name(), ref.Repository
		switch e.Act {
		case custody.Quarantine, custody.Push:
			if out[name] = e.Act == custody.Quarantine || e.Reason != ""; out[name] {
				since[repo] = append(since[repo], name)
			}
		case custody.Import:
			for _, name := range since[repo] {
				delete(out, name)
			}
			delete(since, repo)
		}
	}
	return out
}

// notAdmitted compares the marks of repositories that clients have made.
func (c *replayCheck) notAdmitted(ctx context.Context) error {
	marked, err := c.st.NotAdmitted(ctx)
	if err != nil {
		return err
	}
	for _, repo := range c.says.NotAdmitted {
		if c.repos[repo] && !slices.Contains(marked, repo) {
			c.add(repo, "", "only clients have pushed to it, and it passes for admitted")
		}
	}
	for _, repo := range marked {
		if !slices.Contains(c.says.NotAdmitted, repo) {
			c.add(repo, "", "it has admitted content, and is marked as not admitted")
		}
	}
	return nil
}

// marks compares what is remembered against rollbacks. A database that was made anew has
// lost what it remembered of earlier lines.
func (c *replayCheck) marks() error {
	marks, err := c.st.Marks()
	if err != nil {
		return err
	}
	rebuilt, err := c.st.RebuiltAt()
	if err != nil {
		return err
	}
	for _, text := range bundle.MarksAgainst(marks, c.entries[min(rebuilt, int64(len(c.entries))):]) {
		c.add("", "", "%s", text)
	}
	return nil
}
