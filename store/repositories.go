package store

import (
	"context"
	"os"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// RepositoryStats counts what one repository has.
type RepositoryStats struct {
	Repository  string
	Names       int   // not those that lead to what is attached to something here
	Manifests   int   // named or not
	Attached    int   // manifests that are attached to another of the repository
	Quarantined int   // as Quarantined lists them
	Blobs       int   // that are no manifests
	Bytes       int64 // of manifests and blobs, each once
	NotAdmitted bool  // clients pushed what is in it, and nothing of that was admitted
}

// RepositoryStats counts for each repository, sorted by name. It reads the database
// alone. What several repositories have is counted in each.
func (s *Store) RepositoryStats(ctx context.Context) ([]RepositoryStats, error) {
	var out []RepositoryStats
	err := s.view(func(tx *bbolt.Tx) error {
		return eachRepository(ctx, tx, func(repo string, b *bbolt.Bucket) error {
			st, err := countRepository(tx, repo, b)
			out = append(out, st)
			return err
		})
	})
	return out, s.wrap("", err)
}

func countRepository(tx *bbolt.Tx, repo string, b *bbolt.Bucket) (RepositoryStats, error) {
	st := RepositoryStats{Repository: repo, NotAdmitted: b.Get(notAdmittedKey) != nil}
	err := b.Bucket(repoBlobs).ForEach(func(k, _ []byte) error {
		size, _ := parseSize(tx.Bucket(blobsBucket).Get(k))
		st.Blobs, st.Bytes = st.Blobs+1, st.Bytes+size
		return nil
	})
	if err != nil {
		return st, err
	}
	attached := map[digest.Digest]bool{}
	err = eachManifest(b, func(dgst digest.Digest) error {
		rec, _, err := manifest(tx, repo, dgst)
		st.Manifests, st.Bytes = st.Manifests+1, st.Bytes+rec.Size
		if rec.Subject != "" {
			attached[dgst] = true
		}
		return err
	})
	if err != nil {
		return st, err
	}
	err = b.Bucket(repoTags).ForEach(func(k, v []byte) error {
		subject, derived := layout.TagSubject(string(k))
		switch {
		case !derived || subject != "" && b.Bucket(repoManifests).Get(key(subject)) == nil:
			st.Names++
		case !layout.IsReferrersTag(string(k)): // what that lists says it itself
			attached[digest.Digest(v)] = true
		}
		return nil
	})
	if err != nil {
		return st, err
	}
	st.Attached, st.Names = len(attached), st.Names+b.Bucket(repoPins).Stats().KeyN
	if b.Bucket(repoQuarantined) != nil {
		held, err := quarantinedIn(tx, repo, b)
		st.Quarantined = len(held)
		return st, err
	}
	return st, nil
}

// DatabaseBytes is the size of the database's file.
func (s *Store) DatabaseBytes() (int64, error) {
	f, err := s.fs.Open(databaseName, os.O_RDONLY, 0)
	if err != nil {
		return 0, s.wrap("", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, s.wrap("", err)
	}
	return info.Size(), nil
}
