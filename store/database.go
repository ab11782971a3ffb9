package store

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// The schema. Digests are keys in binary (see key).
//
//	meta/schema                          "2"
//	blobs/<digest>                       size, 8 bytes; every blob and manifest
//	repositories/<repo>/notAdmitted          nothing: see origin.go
//	repositories/<repo>/blobs/<digest>       nothing, or when it was pushed
//	repositories/<repo>/manifests/<digest>   record
//	repositories/<repo>/tags/<tag>           digest, as text
//	repositories/<repo>/pins/<digest>        a name without a tag: nothing, or "pushed"
//	repositories/<repo>/attached/<subject><digest>   nothing
//	repositories/<repo>/quarantined/…        see quarantine.go; not there before the first
//	revocationLists/<issuer>             a CRL in DER form; not there before the first
//	ledger, marks                        see remember.go; not there before the first
const (
	schema = "2"
	// firstSchema knows neither what was pushed nor when: all of it was imported.
	firstSchema = "1"
)

var (
	metaBucket  = []byte("meta")
	blobsBucket = []byte("blobs")
	reposBucket = []byte("repositories")

	repoBlobs     = []byte("blobs")
	repoManifests = []byte("manifests")
	repoTags      = []byte("tags")
	repoPins      = []byte("pins")
	repoAttached  = []byte("attached")
	repoBuckets   = [][]byte{repoBlobs, repoManifests, repoTags, repoPins, repoAttached}

	schemaKey = []byte("schema")
	present   = []byte{} // the value of a key that says all; nil would read as absent
)

// record is what is kept of a manifest in one repository.
type record struct {
	MediaType    string        `json:"mediaType"`
	Size         int64         `json:"size"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Subject      digest.Digest `json:"subject,omitempty"`
	// Pushed is when a client pushed it, in Unix seconds; 0 if it was imported.
	Pushed int64 `json:"pushed,omitempty"`
}

func (r record) descriptor(dgst digest.Digest) layout.Descriptor {
	return layout.Descriptor{MediaType: r.MediaType, Digest: dgst, Size: r.Size}
}

// key encodes a digest: one byte for the algorithm, which tells the length, and
// the hash. dgst is valid.
func key(dgst digest.Digest) []byte {
	alg := byte(1)
	if dgst.Algorithm() == digest.SHA512 {
		alg = 2
	}
	k, err := hex.AppendDecode([]byte{alg}, []byte(dgst.Encoded()))
	if err != nil {
		panic("store: digest was not checked: " + err.Error())
	}
	return k
}

// parseKey reads a digest off the front of k.
func parseKey(k []byte) (digest.Digest, []byte, error) {
	for i, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		if n := 1 + alg.Size(); len(k) >= n && k[0] == byte(i+1) {
			return digest.NewDigestFromEncoded(alg, hex.EncodeToString(k[1:n])), k[n:], nil
		}
	}
	return "", nil, fmt.Errorf("key %x: %w", k, errDatabase)
}

func putSize(b *bbolt.Bucket, dgst digest.Digest, size int64) error {
	return b.Put(key(dgst), binary.BigEndian.AppendUint64(nil, uint64(size)))
}

func parseSize(v []byte) (int64, bool) {
	if len(v) != 8 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(v)), true
}

// blobSize looks up a blob; ok is false for one that the store does not have.
func blobSize(tx *bbolt.Tx, dgst digest.Digest) (size int64, ok bool) {
	return parseSize(tx.Bucket(blobsBucket).Get(key(dgst)))
}

// repoBucket finds one of a repository's buckets, or nil.
func repoBucket(tx *bbolt.Tx, repo string, name []byte) *bbolt.Bucket {
	if repo == "" {
		return nil
	}
	if b := tx.Bucket(reposBucket).Bucket([]byte(repo)); b != nil {
		return b.Bucket(name)
	}
	return nil
}

// member says whether content belongs to repo.
func member(tx *bbolt.Tx, repo string, d layout.Descriptor) bool {
	name := repoBlobs
	if layout.IsManifest(d.MediaType) {
		name = repoManifests
	}
	b := repoBucket(tx, repo, name)
	return b != nil && b.Get(key(d.Digest)) != nil
}

// manifest looks up a manifest of repo; ok is false if it has none such.
func manifest(tx *bbolt.Tx, repo string, dgst digest.Digest) (r record, ok bool, err error) {
	b := repoBucket(tx, repo, repoManifests)
	if b == nil {
		return record{}, false, nil
	}
	v := b.Get(key(dgst))
	if v == nil {
		return record{}, false, nil
	}
	if err := json.Unmarshal(v, &r); err != nil {
		return record{}, false, fmt.Errorf("manifest %s: %v: %w", dgst, err, errDatabase)
	}
	return r, true, nil
}

func createDatabase(path string) error {
	db, err := openDatabase(databaseOptions{path: path, wait: DefaultWait, create: true})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{metaBucket, blobsBucket, reposBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(metaBucket).Put(schemaKey, []byte(schema))
	})
	return errors.Join(err, db.Close())
}

// checkSchema refuses what this version does not understand.
func checkSchema(tx *bbolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta == nil || tx.Bucket(blobsBucket) == nil || tx.Bucket(reposBucket) == nil {
		return fmt.Errorf("%s is no airgap store: %w", databaseName, errDatabase)
	}
	switch got := string(meta.Get(schemaKey)); got {
	case schema, firstSchema:
		return nil
	default:
		return fmt.Errorf("its format is %q, this airgap knows %q: %w", got, schema, layout.ErrUnsupported)
	}
}

// migrate makes a store of an earlier version one of this. It can be read without.
func (s *Store) migrate() error {
	current := false
	err := s.view(func(tx *bbolt.Tx) error {
		err := checkSchema(tx)
		current = err == nil && string(tx.Bucket(metaBucket).Get(schemaKey)) == schema
		return err
	})
	if err != nil || current {
		return err
	}
	return s.update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(schemaKey, []byte(schema)) })
}

// view reads the database.
func (s *Store) view(fn func(*bbolt.Tx) error) (err error) {
	defer recoverDamage(&err)()
	return s.db.view(fn)
}

// update changes the database, all or nothing.
func (s *Store) update(fn func(*bbolt.Tx) error) (err error) {
	defer recoverDamage(&err)()
	return s.db.update(fn)
}

// recoverDamage turns what a damaged database does (bbolt panics, and pages
// beyond the end of the file fault) into an error. Use: defer recoverDamage(&err)().
func recoverDamage(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			*err = fmt.Errorf("%w: %v", errDatabase, r)
		}
	}
}

// maxRepositoryBytes is the longest name of a repository, far beyond the 255
// bytes that registries take.
const maxRepositoryBytes = 1024

// checkName refuses what can not be part of a reference, and would garble lists.
func checkName(name string, limit int) error {
	bad := func(r rune) bool { return r <= ' ' || r == 0x7f }
	if name == "" || len(name) > limit || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("name %.300q: %w", name, layout.ErrUnsupported)
	}
	return nil
}
