package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"airgap/bundle"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"
)

// scriptExpand replaces $NAME in a file by what the script's environment holds.
func scriptExpand(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 1)
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// scriptClean refuses what could move a cursor or turn a text around.
func scriptClean(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 1)
	text := ts.ReadFile(args[0])
	if text == "" {
		ts.Fatalf("%s is empty", args[0])
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && unprintable(r) }); i >= 0 {
		ts.Fatalf("%s: %q", args[0], text[i:min(len(text), i+20)])
	}
}

// scriptEmpty wants a folder with nothing in it.
func scriptEmpty(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 1)
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	for _, e := range entries {
		ts.Fatalf("%s holds %s", args[0], e.Name())
	}
}

// scriptPlanned compares a bundle with the plan that --dry-run printed of it.
func scriptPlanned(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, 2)
	var plan bundle.ExportResult
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &plan))
	data := ts.ReadFile(args[0])
	if int64(len(data)) != plan.Size {
		ts.Fatalf("%d bytes, the plan says %d", len(data), plan.Size)
	}
	blobs := 0
	for _, f := range plan.Files {
		hex, ok := strings.CutPrefix(f.Name, "blobs/sha256/")
		if !ok {
			continue
		}
		blobs++
		if got := digest.FromString(data[f.Offset : f.Offset+f.Size]); got.Encoded() != hex {
			ts.Fatalf("%s is not at %d", f.Name, f.Offset)
		}
	}
	if blobs == 0 {
		ts.Fatalf("the plan lists no blobs")
	}
}

// scriptUnname leaves tags in the index of a layout where full names stand, as
// most tools write them.
func scriptUnname(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 1)
	path := filepath.Join(ts.MkAbs(args[0]), ocispec.ImageIndexFile)
	raw, err := os.ReadFile(path)
	ts.Check(err)
	var index ocispec.Index
	ts.Check(json.Unmarshal(raw, &index))
	for i := range index.Manifests {
		a := index.Manifests[i].Annotations
		name := a[layout.AnnotationRefName]
		index.Manifests[i].Annotations = map[string]string{layout.AnnotationRefName: name[strings.LastIndex(name, ":")+1:]}
	}
	raw, err = json.Marshal(index)
	ts.Check(err)
	ts.Check(os.WriteFile(path, raw, 0o600))
}

// scriptRemoveLargest removes the largest blob of a layout.
func scriptRemoveLargest(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(os.Remove(largestBlob(ts, neg, args)))
}

func scriptDamageLargest(ts *testscript.TestScript, neg bool, args []string) {
	scriptDamage(ts, neg, []string{largestBlob(ts, neg, args), "0"})
}

func largestBlob(ts *testscript.TestScript, neg bool, args []string) string {
	wantArgs(ts, neg, args, 1, 1)
	dir := filepath.Join(ts.MkAbs(args[0]), "blobs", "sha256")
	entries, err := os.ReadDir(dir)
	ts.Check(err)
	largest, size := "", int64(-1)
	for _, e := range entries {
		info, err := e.Info()
		ts.Check(err)
		if info.Size() > size {
			largest, size = e.Name(), info.Size()
		}
	}
	return filepath.Join(dir, largest)
}
