package store

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"airgap/layout"
)

// childEnv makes the test binary play another process.
const childEnv = "AIRGAP_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	mode, dir, _ := strings.Cut(os.Getenv(childEnv), ":")
	var err error
	switch mode {
	case "":
		os.Exit(m.Run())
	case "hold", "hold-ro", "alone":
		err = holdChild(dir, Options{ReadOnly: mode == "hold-ro", Alone: mode == "alone"})
	case "import":
		err = importChild(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// holdChild opens the store, says so, and keeps it until its input ends.
func holdChild(dir string, o Options) error {
	s, err := Open(dir, o)
	if err != nil {
		return err
	}
	fmt.Println("open")
	_, _ = io.ReadAll(os.Stdin)
	return s.Close()
}

// importChild imports one image after the other, starting with the first that the
// store lacks, and acknowledges each.
func importChild(dir string) error {
	ctx := context.Background()
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	names, err := s.Names(ctx)
	if err != nil {
		return err
	}
	for i := len(names); ; i++ {
		session, err := s.Begin(ctx)
		if err != nil {
			return err
		}
		if err := session.Log(fmt.Appendf(nil, "import %d", i)); err != nil {
			return err
		}
		if err := killContent(i).Load(ctx, progressSink{session}); err != nil {
			return err
		}
		fmt.Println("committed", i)
	}
}

// progressSink prints a line for each Put, so that a kill can be aimed at any.
type progressSink struct{ *Session }

func (p progressSink) Put(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	fmt.Println("put")
	return p.Session.Put(ctx, repo, d, r)
}

// child starts the test binary as another process.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func startChild(t *testing.T, mode, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+mode+":"+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &child{cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stdout)}
}
