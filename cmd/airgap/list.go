package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"airgap/layout"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// maxListLine is the longest line of a list, and maxListLines how many it may
// have: more names than a graph may hold manifests cannot be exported.
const (
	maxListLine  = 4096
	maxListLines = layout.MaxManifests
)

// readLists reads the files of --file; "-" is stdin.
func (u *ui) readLists(ctx context.Context, files []string) ([]target, error) {
	var out []target
	for _, name := range files {
		got, err := u.readList(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
	}
	return out, nil
}

func (u *ui) readList(ctx context.Context, name string) ([]target, error) {
	if name == "-" {
		return parseList("stdin", contextReader(ctx, u.stdin))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usagef("--file: %w", err)
	}
	defer f.Close()
	return parseList(name, f)
}

// parseList reads one target per line. Empty lines and what follows a '#' at the
// beginning of a line or after a space is skipped; a '#' inside a word belongs to
// the target.
func parseList(name string, r io.Reader) ([]target, error) {
	var out []target
	lines := bufio.NewScanner(utf8Reader(r))
	lines.Buffer(nil, maxListLine)
	n := 0
	for lines.Scan() {
		if n++; n > maxListLines {
			return nil, usagef("%s: more than %d lines", name, maxListLines)
		}
		line := uncomment(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if line == "" {
			continue
		}
		if strings.ContainsAny(line, " \t") {
			return nil, usagef("%s:%d: %q: want one reference on a line", name, n, line)
		}
		t, err := parseTarget(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		out = append(out, t)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, usagef("%s:%d: a line of more than %d characters", name, n+1, maxListLine)
	case err != nil:
		return nil, usagef("%s:%d: %w", name, n+1, err)
	}
	return out, nil
}

// utf8Reader reads text as UTF-8, whichever of its forms Unicode text comes in:
// PowerShell writes UTF-16 with a byte order mark, some editors without, and some put
// one before UTF-8. The names in a list begin with an ASCII character, which tells.
func utf8Reader(r io.Reader) io.Reader {
	in := bufio.NewReader(r)
	order := unicode.BigEndian
	switch head, _ := in.Peek(2); {
	case len(head) < 2:
		return in
	case head[1] == 0 && head[0] != 0:
		order = unicode.LittleEndian
	case head[0] == 0 && head[1] != 0:
	default:
		return transform.NewReader(in, unicode.BOMOverride(transform.Nop))
	}
	return transform.NewReader(in, unicode.UTF16(order, unicode.IgnoreBOM).NewDecoder())
}

func uncomment(line string) string {
	if strings.HasPrefix(strings.TrimSpace(line), "#") {
		return ""
	}
	for _, mark := range []string{" #", "\t#"} {
		line, _, _ = strings.Cut(line, mark)
	}
	return strings.TrimSpace(line)
}
