// Command demo runs the main job of airgap from one end to the other and tells
// it as a transcript. `make demo` builds the tool and starts it:
//
//	go run ./cmd/airgap/internal/demo [-dir DIR] bin/airgap
//
// It needs no network, no container engine and no service: two registries run
// inside the process, on loopback ports. The image is a real one, with the
// program bin/airgap in it; the signatures are real, by keys made on the spot.
//
// Whatever the transcript says was checked. The comparison and the verification
// at the end share no code with the tool: they use a small HTTP client of their
// own and the libraries of notation and sigstore. The demo ends with exit code 1
// at the first thing that is not as it should be.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() { os.Exit(realMain()) }

// realMain is main without the exit, so that the temporary folder goes away.
func realMain() int {
	dir := flag.String("dir", "", "work in this new folder and leave everything there, instead of a temporary one")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: demo [-dir DIR] AIRGAP\n\nAIRGAP is the airgap program, as made by `make`.")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Stdout, flag.Arg(0), *dir)
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "\ndemo: stopped")
		return 1
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		return 1
	}
	return 0
}

// run plays the demo with the airgap program at path binary. It works in dir, or
// in a temporary folder that it removes.
func run(ctx context.Context, out io.Writer, binary, dir string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	home, err := os.MkdirTemp("", "airgap-demo-")
	if err != nil {
		return fmt.Errorf("a folder to work in: %w", err)
	}
	defer os.RemoveAll(home)
	work := filepath.Join(home, "work")
	if dir != "" {
		if work, err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	// It must not be there yet: nothing in it is to be taken for a result of
	// this run that is one of another.
	if err := os.Mkdir(work, 0o755); err != nil {
		return fmt.Errorf("a folder to work in: %w", err)
	}
	d, err := newDemo(&story{out: out, binary: binary, dir: work, home: home})
	if err != nil {
		return err
	}
	defer d.close()
	for _, chapter := range []func(context.Context) error{
		d.publish, d.export, d.look, d.refuse, d.trust, d.damage, d.admit, d.compare, d.verify, d.serve, d.approve, d.onward, d.history, d.replay, d.use,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	d.sumUp(dir != "")
	return nil
}
