//go:build interop && linux

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// lab is what all tests share. Servers and the fixture are made when first asked
// for, and ended by TestMain.
type lab struct {
	dir    string // short, for sockets live in it
	airgap string
	tools  string // folder of the peers that were built from source

	mu    sync.Mutex
	ends  []func()
	count int
}

// the is the one lab.
var the lab

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	// Shims of containerd outlive their parent; this makes them our children,
	// so that they can be found and ended.
	err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	if err == nil {
		err = the.open()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		return 1
	}
	defer the.close()
	return m.Run()
}

func (l *lab) open() error {
	var err error
	if l.dir, err = os.MkdirTemp("", "agi"); err != nil {
		return err
	}
	for _, d := range []string{"home", "tmp", "run"} {
		if err := os.Mkdir(filepath.Join(l.dir, d), 0o700); err != nil {
			return err
		}
	}
	if l.tools = os.Getenv("AIRGAP_TOOLS"); l.tools == "" {
		gopath, err := exec.Command("go", "env", "GOPATH").Output()
		if err != nil {
			return fmt.Errorf("go env GOPATH: %w", err)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(gopath)), string(filepath.ListSeparator))
		l.tools = filepath.Join(first, "airgap-tools", "bin")
	}
	l.airgap = os.Getenv("AIRGAP_BIN")
	if l.airgap == "" {
		l.airgap = filepath.Join("..", "..", "..", "..", "bin", "airgap")
	}
	if l.airgap, err = filepath.Abs(l.airgap); err != nil {
		return err
	}
	if _, err := os.Stat(l.airgap); err != nil {
		return l.buildAirgap()
	}
	return nil
}

func (l *lab) buildAirgap() error {
	cmd := exec.Command("go", "build", "-trimpath", "-o", l.airgap, "./cmd/airgap")
	cmd.Dir = filepath.Join("..", "..", "..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", l.airgap, err, out)
	}
	return nil
}

// atEnd has fn called when all tests are done, the last first.
func (l *lab) atEnd(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends = append(l.ends, fn)
}

func (l *lab) close() {
	for len(l.ends) > 0 {
		last := l.ends[len(l.ends)-1]
		l.ends = l.ends[:len(l.ends)-1]
		last()
	}
	endOrphans()
	unmountBelow(l.dir)
	if err := os.RemoveAll(l.dir); err != nil {
		fmt.Fprintln(os.Stderr, "interop: cleaning up:", err)
	}
}

// unique returns a name that no other call gets.
func (l *lab) unique(prefix string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	return fmt.Sprintf("%s%d", prefix, l.count)
}

// path names something in the lab's folder.
func (l *lab) path(elem ...string) string { return filepath.Join(append([]string{l.dir}, elem...)...) }
