package store

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"airgap/layout"
	"airgap/layout/disk"

	"github.com/opencontainers/go-digest"
)

// What a process writes before it is published lies in a folder of its own:
//
//	ingest/<process>/alive       locked for as long as the process has the store open
//	ingest/<process>/<n>         a blob that is not complete, or not published
//	ingest/<process>/<n>.claims  digests that a session counts on, one a line
//
// A folder whose lock nobody holds was left by a crash.
const (
	aliveName   = "alive"
	claimSuffix = ".claims"
)

// ingest is the folder of this process. It is made when the first file is.
type ingest struct {
	fs      disk.FS
	publish *publication

	mu    sync.Mutex
	dir   string // "" until it is made
	alive disk.File
	count uint64
}

// file names a new file.
func (g *ingest) file(ctx context.Context, suffix string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dir == "" {
		if err := g.make(ctx); err != nil {
			return "", err
		}
	}
	g.count++
	return g.dir + "/" + strconv.FormatUint(g.count, 10) + suffix, nil
}

// make makes the folder. Until its lock is held it looks like one that a crash left,
// so nobody must look meanwhile.
func (g *ingest) make(ctx context.Context) error {
	if err := g.publish.lock(ctx); err != nil {
		return err
	}
	defer g.publish.unlock()
	dir := ingestDir + "/" + rand.Text()
	if err := g.fs.Mkdir(dir); err != nil {
		return err
	}
	alive, err := g.fs.Open(dir+"/"+aliveName, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err // the next who looks removes it
	}
	if err := disk.Lock(alive); err != nil {
		return errors.Join(err, alive.Close())
	}
	g.dir, g.alive = dir, alive
	return nil
}

// close removes the folder, in which nothing is left.
func (g *ingest) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dir == "" {
		return nil
	}
	dir := g.dir
	g.dir = ""
	err := errors.Join(g.fs.Remove(dir+"/"+aliveName), g.alive.Close())
	// From here on it looks like one that a crash left.
	if rerr := g.fs.Remove(dir); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// clear removes what crashed processes left, and calls running, if it is given, for each
// file of those that run. The publication is held.
func (g *ingest) clear(running func(name string) error) error {
	entries, err := readDir(g.fs, ingestDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := ingestDir + "/" + e.Name()
		if e.IsDir() {
			err = g.clearProcess(name, running)
		} else {
			err = g.fs.Remove(name) // of an earlier version of airgap
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (g *ingest) clearProcess(dir string, running func(name string) error) error {
	runs, err := g.runs(dir)
	if err != nil || runs && running == nil {
		return err
	}
	entries, err := readDir(g.fs, dir)
	if err != nil {
		return err
	}
	do := g.fs.Remove
	if runs {
		do = running
	}
	for _, e := range entries {
		if err := do(dir + "/" + e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if runs {
		return nil
	}
	return g.fs.Remove(dir)
}

// runs says whether the process that a folder belongs to still runs.
func (g *ingest) runs(dir string) (bool, error) {
	f, err := g.fs.Open(dir+"/"+aliveName, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = disk.Lock(f)
	runs := errors.Is(err, disk.ErrBusy)
	if runs {
		err = nil
	}
	return runs, errors.Join(err, f.Close())
}

// claims are the digests that a session counts on, where a collection of garbage in any
// process finds them. A claim is made before one looks whether the store has it: either
// the collection sees the claim, or the look sees that it is gone.
type claims struct {
	in   *ingest
	mu   sync.Mutex
	name string
	file disk.File
	size int64
	all  map[digest.Digest]bool
}

// open makes the file, where there is none yet.
func (c *claims) open(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil {
		return nil
	}
	name, err := c.in.file(ctx, claimSuffix)
	if err != nil {
		return err
	}
	f, err := c.in.fs.Open(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	c.name, c.file, c.size, c.all = name, f, 0, map[digest.Digest]bool{}
	return nil
}

// add makes a claim. The file is open.
func (c *claims) add(dgst digest.Digest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return ErrClosed // meanwhile
	}
	if c.all[dgst] {
		return nil
	}
	// Over what a write that failed has left of a line.
	n, err := c.file.WriteAt([]byte(dgst+"\n"), c.size)
	if err != nil {
		return err
	}
	c.size += int64(n)
	c.all[dgst] = true
	return nil
}

// drop gives the claims up.
func (c *claims) drop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return nil
	}
	err := errors.Join(c.file.Close(), c.in.fs.Remove(c.name))
	c.file, c.all = nil, nil
	return err
}

// claimed reads what the sessions of all processes count on. The publication is held.
func (s *Store) claimed() (map[digest.Digest]bool, error) {
	out := map[digest.Digest]bool{}
	err := s.ingest.clear(func(name string) error {
		if !strings.HasSuffix(name, claimSuffix) {
			return nil
		}
		f, err := s.fs.Open(name, os.O_RDONLY, 0)
		if err != nil {
			return err // one whose session has just ended is not there: no claims
		}
		defer f.Close()
		for lines := bufio.NewReader(f); ; {
			line, err := lines.ReadString('\n')
			if err == io.EOF {
				return nil // what is left of a line is still being written
			}
			dgst, perr := layout.ParseDigest(strings.TrimSuffix(line, "\n"))
			if err := errors.Join(err, perr); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			out[dgst] = true
		}
	})
	return out, err
}

func readDir(fsys disk.FS, name string) ([]fs.DirEntry, error) {
	f, err := fsys.Open(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	return entries, errors.Join(err, f.Close())
}
