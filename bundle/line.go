package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"

	"airgap/bundle/custody"
	"airgap/layout/disk"

	"github.com/opencontainers/go-digest"
)

// lineVersion is the format of a line's file.
const lineVersion = "airgap.line/v1"

// maxLineFile is more than a line's file ever has.
const maxLineFile = 64 << 10

// lineNames are those a line can have: it is a file name, and typed by people.
var lineNames = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// lineState is what the exporting side remembers of a line.
type lineState struct {
	Version string        `json:"version"`
	Line    string        `json:"line"`
	Serial  uint64        `json:"serial"`
	Head    digest.Digest `json:"head"` // of the bundle with that serial
	Key     string        `json:"key"`  // fingerprint of who signed it
	// Checkpoint is the receiver's that was last given; it goes into each bundle
	// until there is another.
	Checkpoint string `json:"checkpoint,omitempty"`
}

// LineFile is a line on the exporting side, locked while a bundle is added to it.
type LineFile struct {
	dir   disk.FS
	name  string
	lock  disk.File
	state lineState // of the bundle before; Serial 0 for a new line
}

// OpenLine locks the line called name, whose file is in dir; it is new if there is no
// such file. key is the fingerprint of who is going to sign. A line that somebody else
// began is an error: the receiver counts by key, and for it that would be another
// line.
func OpenLine(dir disk.FS, name, key string) (*LineFile, error) {
	if !lineNames.MatchString(name) {
		return nil, fmt.Errorf("line %.100q: want up to 64 of a-z, 0-9, '.', '_' and '-': %w", name, ErrUsage)
	}
	l := &LineFile{dir: dir, name: name + ".json", state: lineState{Version: lineVersion, Line: name, Key: key}}
	var err error
	if l.lock, err = dir.Open(name+".lock", os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, err
	}
	if err := disk.Lock(l.lock); err != nil {
		return nil, errors.Join(fmt.Errorf("line %s: %w", name, err), l.lock.Close())
	}
	if err := l.read(key); err != nil {
		return nil, errors.Join(err, l.lock.Close())
	}
	return l, nil
}

func (l *LineFile) read(key string) error {
	data, err := disk.ReadFile(l.dir, l.name, maxLineFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var s lineState
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil || s.Version != lineVersion || s.Line != l.state.Line || s.Serial == 0 || s.Head.Validate() != nil {
		return fmt.Errorf("%s is not the file of a line, as airgap writes it (%v): %w", l.name, err, ErrUsage)
	}
	if s.Key != key {
		return fmt.Errorf("line %s is signed with another key (%s): go on with that one, or begin another line: %w", s.Line, s.Key, ErrUsage)
	}
	l.state = s
	return nil
}

// New says whether the next bundle is the first.
func (l *LineFile) New() bool { return l.state.Serial == 0 }

// Next is the place of the next bundle.
func (l *LineFile) Next() *custody.Line {
	return &custody.Line{Name: l.state.Line, Serial: l.state.Serial + 1, Previous: l.state.Head}
}

// Checkpoint is the one to put into the next bundle: given or, if that is empty, the
// last that was. goesBack says whether given is of another ledger than the last, or of
// an earlier state of it: somebody may want to hide that a ledger was put back. Then it
// is an error, unless anew says that the receiver has begun another ledger.
func (l *LineFile) Checkpoint(given string, anew bool, goesBack func(last, given string) error) (string, error) {
	if given != "" && l.state.Checkpoint != "" && !anew {
		if err := goesBack(l.state.Checkpoint, given); err != nil {
			return "", fmt.Errorf("the checkpoint is not one that follows the last that line %s was given: %w: %w", l.state.Line, err, ErrUsage)
		}
	}
	if given != "" {
		l.state.Checkpoint = given
	}
	return l.state.Checkpoint, nil
}

// Took has the next bundle, whose signed records are head, be the last one. It comes
// before that bundle gets its name: a serial that is lost is a gap, which shows; one
// that is given twice would make the receiver refuse the second.
func (l *LineFile) Took(head digest.Digest) error {
	s := l.state
	s.Serial, s.Head = s.Serial+1, head
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := disk.WriteFile(l.dir, l.name, append(data, '\n')); err != nil {
		return err
	}
	l.state = s
	return l.dir.Flush()
}

// Close lets go of the line.
func (l *LineFile) Close() error { return l.lock.Close() }
