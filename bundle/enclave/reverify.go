package enclave

import (
	"cmp"
	"context"
	"time"

	"airgap/bundle"
	"airgap/layout"
	"airgap/store"
	"airgap/verify"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// ReverifyOptions tune [Reverify].
type ReverifyOptions struct {
	Judge *verify.Judge
	// Recording says who does it, and signs the verdicts that change something; no key,
	// no signature. Verifier is what those name as who verified.
	Recording bundle.Recording
	Verifier  signing.Verifier
	Now       time.Time
	// DryRun changes nothing; the store may be open for reading only.
	DryRun bool
}

// ReverifyResult says what a reverification found and changed.
type ReverifyResult struct {
	DryRun bool         `json:"dryRun"`
	State  verify.State `json:"state"` // passed if nothing is in quarantine in the end
	Images int          `json:"images"`
	// Quarantined are those in quarantine in the end, Released those that were.
	Quarantined []QuarantinedImage `json:"quarantined"`
	Released    []QuarantinedImage `json:"released"`
	// Manifests is how many are not served in the end.
	Manifests int `json:"manifests"`
	// NotAdmitted are repositories of what clients pushed: they are not judged.
	NotAdmitted []string       `json:"notAdmitted,omitempty"`
	Report      *verify.Report `json:"report,omitempty"`
}

// QuarantinedImage is an image that is, or was, in quarantine.
type QuarantinedImage struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
	State     verify.State  `json:"state"`
	Reason    string        `json:"reason,omitempty"`
	New       bool          `json:"new"` // it is since now
	// PartOf others that passed: its name leads nowhere, its digest still does.
	PartOfOthers bool          `json:"partOfOthers,omitempty"`
	Record       digest.Digest `json:"record,omitempty"` // manifest of the verdict that was attached
}

// Reverify judges every image of a store by today's policy, trust and revocation lists,
// also those in quarantine and those that no tag leads to any more. What does not pass, or
// cannot be checked, is quarantined; what passes again is released. All of it, and the
// ledger's entries, is one transaction. The error matches store.ErrChanged if the store
// was changed meanwhile.
func Reverify(ctx context.Context, st *store.Store, o ReverifyOptions) (*ReverifyResult, error) {
	r := &reverifying{store: st, recording: o.Recording, verifier: o.Verifier, now: o.Now, dryRun: o.DryRun}
	return r.run(ctx, o.Judge)
}

// reverifying judges a store again.
type reverifying struct {
	store     *store.Store
	recording bundle.Recording
	verifier  signing.Verifier
	now       time.Time
	dryRun    bool

	*separation
	held    map[spot]string             // manifests in quarantine before, with reasons
	names   map[layout.Reference]string // names that were held before
	state   uint64                      // of the store that was judged
	session *store.Session
	records []bundle.Addition
}

func (r *reverifying) run(ctx context.Context, j *verify.Judge) (_ *ReverifyResult, err error) {
	if r.state, err = r.store.State(); err != nil {
		return nil, err
	}
	at, err := LedgerTime(r.store, r.now)
	if err != nil {
		return nil, err
	}
	r.now = at
	kept, err := KeptLists(r.store)
	if err != nil {
		return nil, err
	}
	if err := r.before(ctx); err != nil {
		return nil, err
	}
	src := r.store.Judged()
	if r.separation, err = everything(ctx, src); err != nil {
		return nil, err
	}
	j = bundle.WithLists(j, kept)
	r.watch(j, src)
	r.veto = func(root int) (string, error) { return r.completesImported(ctx, root) }
	if err := r.judge(ctx, src, j); err != nil {
		return nil, err
	}
	return r.change(ctx)
}

// before notes what is in quarantine.
func (r *reverifying) before(ctx context.Context) error {
	all, err := r.store.Quarantined(ctx)
	if err != nil {
		return err
	}
	r.held, r.names = map[spot]string{}, map[layout.Reference]string{}
	for _, q := range all {
		if !q.NamesOnly {
			r.held[spot{q.Repository, q.Digest}] = q.Reason
		}
		for _, n := range q.Names {
			r.names[n.Reference] = cmp.Or(n.Reason, q.Reason)
		}
	}
	return nil
}
