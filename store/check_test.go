package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// wrongs are what a bug, or somebody with an editor, might do to the database.
// Each leaves a database that opens and that Check has to find fault with.
func wrongs(image, signature layout.Descriptor, blob digest.Digest) map[string]func(*bbolt.Tx) error {
	repo := func(tx *bbolt.Tx, name []byte) *bbolt.Bucket { return repoBucket(tx, testRepo, name) }
	absent := digest.FromString("absent")
	setSubject := func(tx *bbolt.Tx, subject digest.Digest) error {
		r := record{MediaType: signature.MediaType, Size: signature.Size, Subject: subject}
		v, err := json.Marshal(r)
		return errors.Join(err, repo(tx, repoManifests).Put(key(signature.Digest), v))
	}
	edge := func(subject, attached digest.Digest) []byte { return append(key(subject), key(attached)...) }
	return map[string]func(*bbolt.Tx) error{
		"blob forgotten":     func(tx *bbolt.Tx) error { return tx.Bucket(blobsBucket).Delete(key(blob)) },
		"manifest forgotten": func(tx *bbolt.Tx) error { return tx.Bucket(blobsBucket).Delete(key(image.Digest)) },
		"blob of another size": func(tx *bbolt.Tx) error {
			return putSize(tx.Bucket(blobsBucket), blob, 1)
		},
		"manifest of another size": func(tx *bbolt.Tx) error {
			v, err := json.Marshal(record{MediaType: image.MediaType, Size: image.Size + 1})
			return errors.Join(err, repo(tx, repoManifests).Put(key(image.Digest), v))
		},
		"tag leads nowhere": func(tx *bbolt.Tx) error { return repo(tx, repoTags).Put([]byte("x"), []byte(absent)) },
		"pin leads nowhere": func(tx *bbolt.Tx) error { return repo(tx, repoPins).Put(key(absent), present) },
		"edge to nowhere": func(tx *bbolt.Tx) error {
			return repo(tx, repoAttached).Put(edge(image.Digest, absent), present)
		},
		"edge that is none": func(tx *bbolt.Tx) error {
			return repo(tx, repoAttached).Put(edge(signature.Digest, image.Digest), present)
		},
		"edge lost": func(tx *bbolt.Tx) error {
			return repo(tx, repoAttached).Delete(edge(image.Digest, signature.Digest))
		},
		"edge lost, and its subject": func(tx *bbolt.Tx) error {
			return errors.Join(setSubject(tx, ""), repo(tx, repoAttached).Delete(edge(image.Digest, signature.Digest)))
		},
		"edge moved": func(tx *bbolt.Tx) error {
			return errors.Join(setSubject(tx, absent),
				repo(tx, repoAttached).Delete(edge(image.Digest, signature.Digest)),
				repo(tx, repoAttached).Put(edge(absent, signature.Digest), present))
		},
		"another type": func(tx *bbolt.Tx) error {
			v, err := json.Marshal(record{MediaType: layout.MediaTypeIndex, Size: image.Size})
			return errors.Join(err, repo(tx, repoManifests).Put(key(image.Digest), v))
		},
	}
}

// onlyBytesTell are the wrongs that agree with themselves.
var onlyBytesTell = map[string]bool{"edge lost, and its subject": true, "edge moved": true, "another type": true}

func TestCheckFinds(t *testing.T) {
	b := layouttest.New(testRepo)
	img := b.Image("v1")
	signature := b.Notary(img, "signature")
	b.Tag("v1", img)
	b.Pin(img)
	blob := largest(b.Content()).Descriptor.Digest
	for name, wrong := range wrongs(img, signature, blob) {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.TempDir(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			add(t, s, b.Content())
			if r := sound(t, s); r.Blobs != len(b.Content().Repositories[testRepo]) {
				t.Errorf("%d blobs were checked", r.Blobs)
			}
			if err := s.update(wrong); err != nil {
				t.Fatal(err)
			}
			for _, o := range []CheckOptions{{}, {Hashes: true}} {
				r, err := s.Check(t.Context(), o)
				found := len(r.Problems) > 0 && errors.Is(r.Err(), layout.ErrCorrupt)
				if err != nil || !found && (o.Hashes || !onlyBytesTell[name]) {
					t.Errorf("Check(%+v) = %+v, %v", o, r, err)
				}
			}
		})
	}
}

// Keys that are no digests are not passed over.
func TestCheckGarbledKeys(t *testing.T) {
	for _, bucket := range [][]byte{repoBlobs, repoManifests, repoPins, repoAttached, blobsBucket} {
		s, err := Open(t.TempDir(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		add(t, s, image("v1"))
		err = s.update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(blobsBucket)
			if !bytes.Equal(bucket, blobsBucket) {
				b = repoBucket(tx, testRepo, bucket)
			}
			return b.Put([]byte("\x03garbled"), present)
		})
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Check(t.Context(), CheckOptions{})
		if err := errors.Join(err, r.Err()); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%s: Check = %v, want ErrCorrupt", bucket, err)
		}
	}
}

// More blobs than one transaction looks at.
func TestCheckManyBlobs(t *testing.T) {
	s := open(t, memoryDir(t), Options{})
	content := many(checkBatch + 10)
	add(t, s, content)
	seen := int64(0)
	r, err := s.Check(t.Context(), CheckOptions{OnBlob: func(size int64) { seen += size }})
	if want := len(content.Repositories[testRepo]); err != nil || r.Blobs != want || r.Bytes != seen || r.Err() != nil {
		t.Errorf("Check = %d blobs of %d, %d bytes, %d reported, %v, %v", r.Blobs, want, r.Bytes, seen, r.Err(), err)
	}
}

// What is collected while a check runs is not found missing.
func TestCheckBesideACollection(t *testing.T) {
	for _, step := range []string{"blobs", "manifests"} {
		dir := t.TempDir()
		s, other := open(t, dir, Options{}), open(t, dir, Options{ReadOnly: true})
		add(t, s, cosigned("kept"))
		add(t, s, cosigned("gone"))
		unname(t, s, "gone")
		n := 0
		r, err := other.Check(t.Context(), CheckOptions{Hashes: true, OnBlob: func(int64) {
			if n++; step == "blobs" && n == 1 {
				collect(t, s, CollectOptions{})
			}
		}})
		no(t, err)
		if step == "manifests" { // between the list of them and their bytes
			gone := cosigned("gone").Names[len(cosigned("gone").Names)-1].Descriptor
			collect(t, s, CollectOptions{})
			no(t, other.checkManifest(&r, listedManifest{repo: testRepo, desc: gone}))
		}
		for _, p := range r.Problems {
			t.Errorf("%s: %s %s: %v", step, p.Repository, p.Digest, p.Err)
		}
		if r.Blobs == 0 {
			t.Error("nothing was checked")
		}
	}
}

// Manifests are read while nobody is kept from writing.
func TestCheckLetsWritersIn(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, Options{})
	add(t, w, image("v1"))
	folder, err := disk.Open(dir)
	no(t, err)
	t.Cleanup(func() { folder.Close() })
	n, checks := 0, true
	reader := open(t, dir, Options{ReadOnly: true, FS: &openingFS{folder, func(name string) {
		if checks && name == layout.BlobPath(image("v1").Names[0].Descriptor.Digest) {
			n++
			add(t, w, image(fmt.Sprint("w", n)))
		}
	}}})
	w.db.wait = 20 * leaseTime
	r, err := reader.Check(t.Context(), CheckOptions{Hashes: true})
	w.db.wait, checks = DefaultWait, false
	if no(t, err); n < 2 || len(r.Problems) > 0 {
		t.Errorf("%d times, %+v", n, r)
	}
}

// openingFS calls fn before it opens a file.
type openingFS struct {
	disk.FS
	fn func(name string)
}

func (f *openingFS) Open(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f.fn(name)
	return f.FS.Open(name, flag, perm)
}
