package ledger

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is the state of a log at one size (c2sp.org/tlog-checkpoint).
type Checkpoint struct {
	Origin string // which log
	Size   int64
	Root   tlog.Hash
}

// MaxCheckpointBytes is more than a checkpoint with a handful of signatures has.
const MaxCheckpointBytes = 16 << 10

// ErrCheckpoint says that a text is no checkpoint, or not signed by its log.
var ErrCheckpoint = errors.New("not a checkpoint")

// Text is the checkpoint without signatures.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, c.Root)
}

// Sign writes the checkpoint as a signed note.
func (c Checkpoint) Sign(signers ...note.Signer) ([]byte, error) {
	return note.Sign(&note.Note{Text: c.Text()}, signers...)
}

// OpenCheckpoint reads a signed note by one log. The error matches ErrCheckpoint.
func OpenCheckpoint(msg []byte, by note.Verifier) (Checkpoint, error) {
	if len(msg) > MaxCheckpointBytes {
		return Checkpoint{}, fmt.Errorf("%d bytes, at most %d are read: %w", len(msg), MaxCheckpointBytes, ErrCheckpoint)
	}
	n, err := note.Open(msg, note.VerifierList(by))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%v: %w", err, ErrCheckpoint)
	}
	return parseText(n.Text)
}

// ParseCheckpoint reads a signed note without asking whose it is. What it says is a
// claim: to be held against a log that one has, never to be believed.
func ParseCheckpoint(msg []byte) (Checkpoint, error) {
	if len(msg) > MaxCheckpointBytes {
		return Checkpoint{}, fmt.Errorf("%d bytes, at most %d are read: %w", len(msg), MaxCheckpointBytes, ErrCheckpoint)
	}
	var unverified *note.UnverifiedNoteError
	_, err := note.Open(msg, note.VerifierList())
	if !errors.As(err, &unverified) {
		return Checkpoint{}, fmt.Errorf("%v: %w", err, ErrCheckpoint)
	}
	return parseText(unverified.Note.Text)
}

// parseText reads exactly what Text writes.
func parseText(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] == "" {
		return Checkpoint{}, fmt.Errorf("it has not three lines: %w", ErrCheckpoint)
	}
	c := Checkpoint{Origin: lines[0]}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err == nil && len(root) != tlog.HashSize {
		err = errors.New("its hash is of another length")
	}
	if err == nil {
		c.Root = tlog.Hash(root)
		c.Size, err = strconv.ParseInt(lines[1], 10, 64)
	}
	if err == nil && (c.Size < 0 || c.Text() != text) {
		err = errors.New("it is not written as it should be")
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%v: %w", err, ErrCheckpoint)
	}
	return c, nil
}

// VerifierKey returns the key that verifies what a signer's key signs (C2SP signed note,
// "verifier keys"). It can be shown to anybody.
func VerifierKey(signer string) (string, error) {
	parts := strings.SplitN(signer, "+", 5) // PRIVATE+KEY+<name>+<hash>+<data>
	if len(parts) != 5 {
		return "", fmt.Errorf("a key in no known form: %w", ErrCheckpoint)
	}
	data, err := base64.StdEncoding.DecodeString(parts[4])
	if err == nil && len(data) != 1+ed25519.SeedSize {
		err = errors.New("it is of another length")
	}
	if err != nil {
		return "", fmt.Errorf("the signer's key: %v: %w", err, ErrCheckpoint)
	}
	public := ed25519.NewKeyFromSeed(data[1:]).Public().(ed25519.PublicKey)
	return note.NewEd25519VerifierKey(parts[2], public)
}

// ErrFork says that a log does not begin with what a checkpoint stands for: it was
// cut off, put back to an earlier state, or written anew.
var ErrFork = errors.New("the ledger does not continue this checkpoint")

// Extends says whether the log called origin begins with what c stands for. Its
// error matches ErrFork if it does not.
func (l Log) Extends(origin string, c Checkpoint) error {
	switch size := l.Size(); {
	case c.Origin != origin:
		return fmt.Errorf("it is of the ledger %.100q, this is %.100q: %w", c.Origin, origin, ErrFork)
	case c.Size > size:
		return fmt.Errorf("it was made at %d entries, and now there are %d: %w", c.Size, size, ErrFork)
	}
	root, err := l.Root(c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		return fmt.Errorf("the first %d entries are not those that it was made of: %w", c.Size, ErrFork)
	}
	return nil
}
