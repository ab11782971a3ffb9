package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
)

// hideInStore puts manifests of the store s into quarantine.
func hideInStore(t *testing.T, repo, reason string, hidden ...layout.Descriptor) {
	t.Helper()
	changeStore(t, func(s *store.Session) error {
		for _, d := range hidden {
			if err := s.Quarantine(repo, d.Digest, reason); err != nil {
				return err
			}
		}
		return nil
	})
}

// listedStore makes a store s, in the present folder, with an index that is signed, an
// image that shares a layer with it, one in quarantine, a signature of nothing that is
// there, and another repository that has the same image.
func listedStore(t *testing.T) (b *layouttest.Builder, hidden layout.Descriptor) {
	t.Helper()
	const repo, other = "reg.example/team/app", "docker.io/library/base"
	b, o := layouttest.New(repo), layouttest.New(other)
	layer := b.Layer("application/vnd.oci.image.layer.v1.tar", "base")
	amd, arm := b.Image("amd64", layer), b.Image("arm64", layer)
	index := b.Index(layouttest.ForPlatform(amd, "linux", "amd64"), layouttest.ForPlatform(arm, "linux", "arm64"))
	b.Tag("v1", index)
	b.Tag("amd", amd)
	hidden = b.Image("hidden")
	b.Tag("bad", hidden)
	b.Notary(index, "publisher")
	b.Cosign(layout.FormCosignSig, arm, "key")
	b.Referrer(hidden, "application/spdx+json", "SBOM")
	lost := layouttest.New(repo)
	gone := lost.Image("gone")
	tag, _ := layout.FormCosignSig.Tag(gone.Digest)
	b.Tag(tag, b.Image("signature of what is not here"))
	o.Tag("1", o.Image("amd64", o.Layer("application/vnd.oci.image.layer.v1.tar", "base")))
	fillStore(t, layouttest.Merge(b.Content(), o.Content()))
	return b, hidden
}

// The JSON of store ls, stats and push is as it was.
func TestGoldenStore(t *testing.T) {
	golden, err := filepath.Abs(filepath.Join("testdata", "golden", "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	_, hidden := listedStore(t)
	hideInStore(t, "reg.example/team/app", "rule all: no signature", hidden)
	reg := startRegistry(t, true)
	for _, c := range []struct {
		file, line string
		code       int
	}{
		{"ls.json", "store ls --store s", 0},
		{"ls-repositories.json", "store ls --repositories --store s", 0},
		{"stats.json", "store stats --store s", 0},
		{"push.json", "store push reg.example/** --store s --to " + reg.host + "/mirror", 0},
		{"log.json", "log list --store s", 0},
	} {
		out := mustRun(t, c.code, c.line+" --format json")
		out = strings.ReplaceAll(out, reg.host, "registry.corp")
		lines := strings.Split(out, "\n")
		lines = slices.DeleteFunc(lines, func(l string) bool {
			return slices.ContainsFunc([]string{`"origin":`, `"databaseBytes":`, `"freeBytes":`}, func(key string) bool { return strings.HasPrefix(strings.TrimSpace(l), key) })
		})
		compareGolden(t, filepath.Join(golden, c.file), strings.Join(lines, "\n"))
	}
}

// What store ls lists and what store stats counts is the same.
func TestStoreStats(t *testing.T) {
	t.Chdir(t.TempDir())
	_, hidden := listedStore(t)
	hideInStore(t, "reg.example/team/app", "no", hidden)
	var st storeStatsResult
	if err := json.Unmarshal([]byte(mustRun(t, 0, "store stats --store s --format json")), &st); err != nil {
		t.Fatal(err)
	}
	all := listing(t, 0, "")
	if st.Names != all.Total.Names || st.Quarantined != 1 || st.Files != all.Total.Manifests+all.Total.Blobs || st.Bytes != all.Total.Bytes {
		t.Errorf("stats %+v, list %+v", st, all.Total)
	}
	if st.DatabaseBytes <= 0 || st.FreeBytes == nil || *st.FreeBytes <= 0 {
		t.Errorf("%+v", st)
	}
}

// listing runs store ls and reads what it says.
func listing(t *testing.T, code int, args string) storeListResult {
	t.Helper()
	var res storeListResult
	if err := json.Unmarshal([]byte(mustRun(t, code, "store ls --store s --format json "+args)), &res); err != nil {
		t.Fatal(err)
	}
	return res
}

// What names share is counted once for each, and once in all.
func TestStoreLsCountsOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	listedStore(t)
	all := listing(t, 0, "")
	sum := int64(0)
	for _, n := range all.Names {
		sum += n.Bytes
		alone := listing(t, 0, n.Reference)
		if alone.Total.Bytes != n.Bytes || alone.Total.Names != 1 {
			t.Errorf("%s: %d bytes in the list, %d alone", n.Reference, n.Bytes, alone.Total.Bytes)
		}
	}
	if all.Total.Bytes >= sum {
		t.Errorf("%d bytes in all, %d as the sum of the names: what is shared was not counted once", all.Total.Bytes, sum)
	}
	s, err := store.Open("s", store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	st, err := s.Stats(t.Context())
	if err != nil || st.Bytes != all.Total.Bytes || st.Blobs != all.Total.Manifests+all.Total.Blobs {
		t.Errorf("the store has %+v (%v), the list %+v", st, err, all.Total)
	}
}

// What a reason says does not play with the terminal.
func TestStoreLsIsClean(t *testing.T) {
	t.Chdir(t.TempDir())
	_, hidden := listedStore(t)
	hideInStore(t, "reg.example/team/app", "because\x1b[2J\nreg.example/forged:v1  sha256:000000000000", hidden)
	for _, format := range []string{"text", "json"} {
		out := mustRun(t, 0, "store ls --store s --format "+format)
		if strings.Contains(out, "\x1b") || strings.Contains(out, "\nreg.example/forged") || !strings.Contains(out, "because") {
			t.Errorf("as %s: %q", format, out)
		}
	}
}

// A damaged manifest costs the names that lead to it, and no other; exit code 4 says
// so.
func TestStoreLsOfDamage(t *testing.T) {
	for what, spoil := range map[string]func(path string) error{
		"gone":    os.Remove,
		"changed": func(path string) error { return os.WriteFile(path, []byte(`{}`), 0o600) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Chdir(t.TempDir())
			b, _ := listedStore(t)
			content := b.Content()
			var index layout.Descriptor
			for _, n := range content.Names {
				if n.Reference.Tag == "v1" {
					index = n.Descriptor
				}
			}
			if err := spoil(filepath.Join("s", filepath.FromSlash(layout.BlobPath(index.Digest)))); err != nil {
				t.Fatal(err)
			}
			res := listing(t, exitDamaged, "")
			for _, n := range res.Names {
				if bad := strings.HasSuffix(n.Reference, "/app:v1"); (n.Damaged != "") != bad || (n.Bytes == 0) != bad {
					t.Errorf("%s: %d bytes, damaged %q", n.Reference, n.Bytes, n.Damaged)
				}
			}
			if res.Total.Damaged != 1 || res.Total.Names != 5 {
				t.Errorf("%+v", res.Total)
			}
		})
	}
}
