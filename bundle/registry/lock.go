package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"airgap/layout/disk"
)

// locks has a token for each lock file, so that clients in one process take
// turns even where files can not be locked.
var locks sync.Map // path → chan struct{} of capacity 1

const lockPoll = 10 * time.Millisecond

// lock waits until no other client on this host updates the fallback index of k.
// The file lock is advisory and best effort: where none can be had, the check
// after all writes has to do.
func (c *Client) lock(ctx context.Context, k subjectKey) (unlock func(), err error) {
	dir := c.opts.lockDir
	if dir == "" {
		dir = defaultLockDir()
	}
	// A bounded number of files; that two subjects share one does not matter,
	// as nobody holds two.
	sum := sha256.Sum256([]byte(k.repo + "@" + string(k.subject)))
	name := fmt.Sprintf("referrers-%03x.lock", (int(sum[0])<<8|int(sum[1]))&0xfff)

	v, _ := locks.LoadOrStore(filepath.Join(dir, name), make(chan struct{}, 1))
	token := v.(chan struct{})
	select {
	case token <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release, err := waitFile(ctx, dir, name)
	if err != nil {
		<-token
		return nil, err
	}
	return func() { release(); <-token }, nil
}

func defaultLockDir() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "airgap")
	}
	return filepath.Join(os.TempDir(), "airgap-"+strconv.Itoa(os.Getuid()))
}

func waitFile(ctx context.Context, dir, name string) (release func(), err error) {
	folder, err := disk.Create(dir)
	if err != nil {
		return func() {}, nil
	}
	defer folder.Close()
	for {
		// The file is never written to and stays: removing it would let two in.
		f, err := folder.Open(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return func() {}, nil
		}
		if err = disk.Lock(f); !errors.Is(err, disk.ErrBusy) {
			return func() { f.Close() }, nil
		}
		f.Close()
		if err := pause(ctx, lockPoll/2+rand.N(lockPoll)); err != nil {
			return nil, err
		}
	}
}
