package store

import (
	"context"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// PushersView returns the store as those see it who push to it: with what was pushed
// and is in quarantine, so that they can sign it. What was imported and is in quarantine
// is not there for them either.
func (s *Store) PushersView() *View {
	return &View{store: s, pushers: true, kept: map[string]*kept{}}
}

// hidden is like the function, for those who see this.
func (v *View) hidden(tx *bbolt.Tx, repo string, dgst digest.Digest) error {
	if v.pushers && wasPushed(tx, repo, dgst) {
		return nil
	}
	return hidden(tx, repo, dgst)
}

func (v *View) nameHidden(tx *bbolt.Tx, ref layout.Reference, dgst digest.Digest) error {
	if v.pushers && wasPushed(tx, ref.Repository, dgst) {
		return nil
	}
	return nameHidden(tx, ref)
}

// Admitted says whether a repository has only content that was admitted, or what is
// attached to that; true if there is none such.
func (v *View) Admitted(ctx context.Context, repo string) (bool, error) {
	marked := false
	err := ctx.Err()
	if err == nil {
		err = v.store.view(func(tx *bbolt.Tx) error {
			marked = notAdmitted(tx, repo)
			return nil
		})
	}
	return !marked && err == nil, v.store.wrap("", err)
}
