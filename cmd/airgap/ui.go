package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/layout"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// ui is this process's ends, and how they are to be used.
type ui struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// Whether people look at them.
	stdoutIsTerminal, stderrIsTerminal bool

	getenv func(string) string
	now    func() time.Time
}

func newUI(stdin, stdout, stderr *os.File) *ui {
	return &ui{
		stdin: stdin, stdout: stdout, stderr: stderr,
		stdoutIsTerminal: term.IsTerminal(int(stdout.Fd())),
		stderrIsTerminal: term.IsTerminal(int(stderr.Fd())),
		getenv:           os.Getenv, now: time.Now,
	}
}

// outputOptions say how a command speaks.
type outputOptions struct {
	format string
	quiet  bool
}

func (o *outputOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "format", Category: "Output:", Usage: "print the result as `FORMAT`, text for people or json for programs", DefaultText: "text", Destination: &o.format},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Category: "Output:", Usage: "no progress and no remarks; warnings and errors only", Destination: &o.quiet},
	}
}

func (o *outputOptions) check() error {
	switch o.format {
	case "", "text", "json":
		return nil
	}
	return usagef("--format %q: want text or json", o.format)
}

// checkAll returns the first error.
func checkAll(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// apiVersion changes when a program that reads the JSON would have to.
const apiVersion = "airgap/v1"

// result prints what a command has found out: v as JSON, or what text writes.
func (u *ui) result(o outputOptions, kind string, v any, text func(w io.Writer)) error {
	return u.resultTo(u.stdout, o, kind, v, text)
}

func (u *ui) resultTo(w io.Writer, o outputOptions, kind string, v any, text func(w io.Writer)) error {
	var b strings.Builder
	if o.format == "json" {
		doc, err := document(kind, v)
		if err != nil {
			return err
		}
		b.Write(doc)
	} else {
		text(&b)
	}
	// One write: what is refused half-way was never a result.
	_, err := io.WriteString(w, b.String())
	return err
}

// document puts the version and the kind before the fields of v.
func document(kind string, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf(`{"apiVersion":%q,"kind":%q`, apiVersion, kind)
	if len(body) > len("{}") {
		head += ","
	}
	var out bytes.Buffer
	if err := json.Indent(&out, append([]byte(head), body[1:]...), "", "  "); err != nil {
		return nil, err
	}
	return []byte(escapeJSON(out.String()) + "\n"), nil
}

// warn prints what must be read.
func (u *ui) warn(format string, args ...any) {
	fmt.Fprintf(u.stderr, "airgap: WARNING: "+format+"\n", args...)
}

// adviceError adds to an error what its user can do, beside what the error
// itself advises.
type adviceError struct {
	err    error
	advice string
}

func (e *adviceError) Error() string { return e.err.Error() }
func (e *adviceError) Unwrap() error { return e.err }

// advices returns what each adviceError around err advises, the outermost first.
func advices(err error) []string {
	var out []string
	for a := (*adviceError)(nil); errors.As(err, &a); err = a.err {
		out = append(out, a.advice)
	}
	return out
}

// errorText is what is said of an error. Its text may hold words of a registry
// or a bundle, so it is escaped; lists that errors of our own contain begin
// their lines with two spaces, and a line that does so can pass for nothing
// else.
func errorText(err error) string {
	if errors.Is(err, errDifferent) {
		return "" // the result has said it
	}
	text := err.Error()
	if errors.Is(err, bundle.ErrUsage) {
		// A mark for the exit code, which tells people nothing.
		text = strings.TrimSuffix(text, ": "+bundle.ErrUsage.Error())
	}
	lines := strings.Split(text, "\n  ")
	for i := range lines {
		lines[i] = escape(lines[i])
	}
	return strings.Join(lines, "\n  ")
}

func hints(err error) []string {
	var out []string
	for _, h := range append([]string{layout.Hint(err)}, advices(err)...) {
		if h != "" {
			out = append(out, escape(h))
		}
	}
	return out
}
