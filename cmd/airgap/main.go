// Command airgap carries container images, with everything that is attached to
// them, into networks that have no way out. docs/cli.md lists its commands.
package main

// How it talks, in one place:
//
//   - stdout is the result of a command, and nothing else; as text for people,
//     which may change, or with --format json as one versioned document.
//   - stderr is the talk: progress, warnings, errors. --quiet leaves errors and
//     warnings.
//   - An error is one sentence after "airgap: ", naming the side, the reference
//     and the digest, and if something can be done about it, a second after
//     "hint: ". The exit code says which kind it was; see exit.go.
//   - Nothing that came out of a bundle or a registry reaches a terminal with
//     control characters in it; see escape.go.
//   - Nothing is asked, and every command runs without a terminal; but a
//     password that is missing is asked for where there is one.
//
// One command is one file, cmd_*.go: its flags fill a struct, and a run function
// takes a context, the ui and that struct.

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
)

func main() { os.Exit(realMain()) }

// realMain is main without the exit, so that tests can call it.
func realMain() int {
	if os.Getenv("GOGC") == "" {
		// Layers stream; what grows is the graph. Half as much room beside it
		// costs a few per cent of time where there are very many manifests.
		debug.SetGCPercent(50)
	}
	ctx, cancel := stoppable(context.Background())
	defer cancel()
	u := newUI(os.Stdin, os.Stdout, os.Stderr)
	return execute(ctx, u, os.Args)
}

// execute runs one command line and reports how it ended.
func execute(ctx context.Context, u *ui, args []string) int {
	app := newApp(u)
	args, err := arrange(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	if s := stopCause(ctx); s != nil && err != nil {
		// What failed on the way out is of no interest; what to do next is.
		last := error(s)
		for _, a := range slices.Backward(advices(err)) {
			last = &adviceError{last, a}
		}
		err = last
	}
	if err == nil {
		return exitDone
	}
	if text := errorText(err); text != "" {
		fmt.Fprintf(u.stderr, "airgap: %s\n", text)
	}
	for _, hint := range hints(err) {
		fmt.Fprintf(u.stderr, "hint: %s\n", hint)
	}
	return exitCode(err)
}
