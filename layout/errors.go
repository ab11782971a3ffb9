package layout

import (
	"errors"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Sentinel errors, to be matched with [errors.Is].
var (
	// ErrNotFound: the side was asked and does not have it.
	ErrNotFound = errors.New("not found")
	// ErrCorrupt: the bytes are not what their digest, size or format says.
	ErrCorrupt = errors.New("damaged")
	// ErrLimit: honest content does not get this large.
	ErrLimit = errors.New("over the limit")
	// ErrUnsupported: well-formed, but nothing airgap can carry.
	ErrUnsupported = errors.New("not supported")
	// ErrIncomplete: it ends before it should. It is ErrCorrupt too.
	ErrIncomplete error = incomplete{}
	// ErrNotBundle: it is a file or a folder of another kind. It is ErrUnsupported
	// too.
	ErrNotBundle error = notBundle{}
	// ErrAlgorithm: the side takes no content by a digest of this algorithm.
	ErrAlgorithm = errors.New("digest algorithm not supported")
)

type incomplete struct{}

func (incomplete) Error() string        { return "incomplete" }
func (incomplete) Is(target error) bool { return target == ErrCorrupt }

type notBundle struct{}

func (notBundle) Error() string        { return "not a bundle" }
func (notBundle) Is(target error) bool { return target == ErrUnsupported }

// Side names an end of a transfer in errors and messages.
type Side string

// The sides.
const (
	SideSource      Side = "source"
	SideDestination Side = "destination"
	SideBundle      Side = "bundle"
	SideFolder      Side = "layout folder"
	SideStore       Side = "store"
)

// Error says what went wrong, on which side, with which content, and where it
// can, what to do about it. One without Side and Name only adds a Hint.
type Error struct {
	Side   Side
	Name   string        // repository, reference or file; may be empty
	Digest digest.Digest // the content concerned; may be empty
	Err    error
	Hint   string // what the user can do; may be empty
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Side))
	if e.Name != "" {
		b.WriteString(" " + e.Name)
	}
	text := e.Err.Error()
	if d := string(e.Digest); d != "" && !strings.Contains(e.Name, d) && !strings.Contains(text, d) {
		b.WriteString(" " + d)
	}
	if b.Len() > 0 {
		text = ": " + text
	}
	return strings.TrimPrefix(b.String(), " ") + text
}

func (e *Error) Unwrap() error { return e.Err }

// Hint returns the innermost advice that err carries, or "".
func Hint(err error) string {
	hint := ""
	for e := (*Error)(nil); errors.As(err, &e); err = e.Err {
		if e.Hint != "" {
			hint = e.Hint
		}
	}
	return hint
}
