package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"airgap/layout"
)

// Limits of what is kept of manifests between runs.
const (
	// keptFor is how long a manifest is kept.
	keptFor = 7 * 24 * time.Hour
	// maxKeptFiles and maxKeptBytes are how much is kept; the oldest goes first.
	maxKeptFiles = 200_000
	maxKeptBytes = 1 << 30
)

// keeper keeps manifests in a folder, so that a run that goes on from another gets
// none twice: registries count the GETs of manifests. It saves requests and decides
// nothing. A manifest is taken from it only if the registry says, by HEAD, that it is
// still there, and its bytes are hashed. What goes wrong with a file is no error.
//
// A nil keeper keeps nothing.
type keeper struct{ dir string }

// newKeeper makes the folder and removes what is too old.
func newKeeper(dir string, now time.Time) *keeper {
	if dir == "" || os.MkdirAll(dir, 0o700) != nil {
		return nil
	}
	k := &keeper{dir}
	k.prune(now)
	return k
}

func (k *keeper) prune(now time.Time) {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return
	}
	var files []os.FileInfo
	var size int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			files = append(files, info)
			size += info.Size()
		}
	}
	slices.SortFunc(files, func(a, b os.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for i, f := range files {
		if now.Sub(f.ModTime()) < keptFor && len(files)-i <= maxKeptFiles && size <= maxKeptBytes {
			return
		}
		_ = os.Remove(filepath.Join(k.dir, f.Name()))
		size -= f.Size()
	}
}

// keptManifest is the first line of a file; the manifest's bytes follow. For a tag,
// there are none.
type keptManifest struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Guessed   bool          `json:"guessed,omitempty"`
}

// path is the file for what a repository has under part, a tag or a digest.
func (k *keeper) path(repo, part string) string {
	return filepath.Join(k.dir, fmt.Sprintf("%x", sha256.Sum256([]byte(repo+"\n"+part))))
}

func (k *keeper) put(repo, tag string, m fetched) {
	if k == nil {
		return
	}
	head, err := json.Marshal(keptManifest{m.desc.Digest, m.desc.MediaType, m.guessed})
	if err != nil {
		return
	}
	head = append(head, '\n')
	k.write(k.path(repo, string(m.desc.Digest)), append(slices.Clone(head), m.data...))
	if tag != "" {
		k.write(k.path(repo, tag), head)
	}
}

func (k *keeper) write(path string, data []byte) {
	f, err := os.CreateTemp(k.dir, ".new-*")
	if err != nil {
		return
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}

// get returns what a repository had under part.
func (k *keeper) get(repo, part string) (m fetched, ok bool) {
	if k == nil {
		return m, false
	}
	head, _, err := k.read(repo, part)
	if err != nil {
		return m, false
	}
	head, data, err := k.read(repo, string(head.Digest))
	if err != nil || head.Digest.Validate() != nil || head.Digest.Algorithm().FromBytes(data) != head.Digest || !layout.IsManifest(head.MediaType) {
		return m, false
	}
	m.data, m.guessed = data, head.Guessed
	m.desc = layout.Descriptor{MediaType: head.MediaType, Digest: head.Digest, Size: int64(len(data))}
	return m, true
}

func (k *keeper) read(repo, part string) (head keptManifest, data []byte, err error) {
	raw, err := os.ReadFile(k.path(repo, part))
	if err != nil {
		return head, nil, err
	}
	line, data, _ := bytes.Cut(raw, []byte("\n"))
	return head, data, json.Unmarshal(line, &head)
}

// kept returns a manifest that an earlier run fetched, if the registry says that part
// still leads to it.
func (t target) kept(ctx context.Context, repo, part string) (fetched, bool) {
	m, ok := t.client.keeper.get(repo, part)
	if !ok {
		return m, false
	}
	status, said := t.head(ctx, part)
	if status != http.StatusOK || said != string(m.desc.Digest) && part != string(m.desc.Digest) {
		return fetched{}, false
	}
	return m, true
}
