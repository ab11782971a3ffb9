package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"airgap/store/ledger"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// scriptEditCheckpoint makes the checkpoint of an export one of the ledger without its last
// entry, and leaves the signature as it was.
func scriptEditCheckpoint(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 1)
	dir := ts.MkAbs(args[0])
	msg, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	ts.Check(err)
	text := shorten(ts, dir).Text()
	_, signatures, _ := strings.Cut(string(msg), "\n\n")
	ts.Check(os.WriteFile(filepath.Join(dir, "checkpoint"), []byte(text+"\n"+signatures), 0o644))
}

// scriptOtherLedger takes the last entry out of an export, and signs what is left by another
// key of the same name.
func scriptOtherLedger(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 1)
	dir := ts.MkAbs(args[0])
	c := shorten(ts, dir)
	private, public, err := note.GenerateKey(rand.Reader, c.Origin)
	ts.Check(err)
	signer, err := note.NewSigner(private)
	ts.Check(err)
	msg, err := c.Sign(signer)
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, "checkpoint"), msg, 0o644))
	ts.Check(os.WriteFile(filepath.Join(dir, "key"), []byte(public+"\n"), 0o644))
}

// shorten takes the last entry out of the only tile of an export, and returns the state.
func shorten(ts *testscript.TestScript, dir string) ledger.Checkpoint {
	msg, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	ts.Check(err)
	c, err := ledger.ParseCheckpoint(msg)
	ts.Check(err)
	entries, err := ledger.ReadEntries(c.Size, func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))) })
	ts.Check(err)
	c.Size--
	var hashes []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, n := range indexes {
			out[i] = hashes[n]
		}
		return out, nil
	})
	var tile []byte
	for n, e := range entries[:c.Size] {
		fresh, err := tlog.StoredHashes(int64(n), e, read)
		ts.Check(err)
		hashes = append(hashes, fresh...)
		tile = append(binary.BigEndian.AppendUint16(tile, uint16(len(e))), e...)
	}
	c.Root, err = tlog.TreeHash(c.Size, read)
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, "tile", "entries", "000.p", fmt.Sprint(c.Size)), tile, 0o644))
	return c
}
