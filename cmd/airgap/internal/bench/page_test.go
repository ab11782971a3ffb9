//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// example is results with something in every part.
func example() *results {
	return &results{
		Main: &mainResult{
			Set:      &set{Names: []string{"a/b:1", "a/b:2", "c:1"}, Layers: 5e8, Bytes: 6e8, Manifests: 18},
			Export:   group{walls(nameAirgap, 3), walls(nameCrane, 2), walls(nameRegctl, 9), walls(nameOras, 12), {Name: nameSkopeo, Skipped: "skopeo is not installed"}},
			Import:   group{walls(nameAirgap, 3), walls(nameRegctl, 9)},
			Store:    group{walls(nameAirgap, 3), walls(nameFloor, 3)},
			Reexport: group{walls(nameAirgap, 1)},
		},
		Latency: &latencyResult{
			Set: &set{Names: []string{"a:1"}, Manifests: 7}, Delay: 50 * time.Millisecond,
			Export: group{walls(nameAirgap, 2), walls(nameRegctl, 20), {Name: nameOras, Part: 1, Whole: 4, Runs: []sample{{Wall: time.Second}}}},
		},
		Head: &headResult{Size: 100e9, Small: 11e6, Inspect: group{walls(nameHuge, 1), walls(nameSmall, 1), walls(nameVerifyHuge, 2)}},
		Verify: &verifyResult{Set: &set{Names: []string{"a:1"}}, Import: group{
			{Name: nameJudged, Runs: []sample{{Wall: 103, CPU: 210}, {Wall: 300, CPU: 300}, {Wall: 110, CPU: 220}, {Wall: 120, CPU: 230}}},
			{Name: nameUnjudged, Runs: []sample{{Wall: 400, CPU: 400}, {Wall: 100, CPU: 200}, {Wall: 100, CPU: 200}, {Wall: 120, CPU: 230}}},
		}},
		Judge: &judgeResult{Images: 10, Signatures: 100, Rates: []judgeRate{
			{kindMixed, 1, 100, 2 * time.Second, time.Second}, {kindMixed, 2, 100, time.Second, time.Second},
			{kindBare, 1, 100, time.Second, time.Second}, {kindBare, 2, 100, time.Second / 2, time.Second},
		}},
		Delta: &deltaResult{
			Set: &set{}, Receipt: 1000, Changed: 9e7, Carried: 9e7, Layers: 6e8,
			Export: group{walls(nameFullBundle, 4), walls(nameDelta, 1)}, Import: group{walls(nameFullBundle, 4), walls(nameDelta, 1)},
		},
		Serve: &serveResult{
			Set: &set{Names: []string{"a:1", "b:1"}}, Large: 1074e6, Huge: 100e9,
			Loads: []*servedLoad{
				{Name: "a blob", Kind: loadLarge, Connections: servePulls, Asked: 2, Group: served(2, 3)},
				{Name: "a part", Kind: loadLarge, Connections: serveClients, Asked: 2, Group: served(2, 3)},
				{Name: loadByTag, Kind: loadSmall, Connections: 1, Asked: 4, Group: served(2, 3)},
				{Name: loadByDigest, Kind: loadSmall, Connections: serveClients, Asked: 4, Group: served(2, 2)},
				{Name: "pushed", Kind: loadPush, Large: true, Connections: 1, Asked: 2, Group: served(2, 3)},
			},
			Start: group{walls(nameStartHuge, 2), walls(nameStartPeer, 1)},
		},
		Scale: &scaleResult{Sizes: []*scaleSize{
			{Manifests: 100, Phases: []phase{{Name: "walk", CPU: 100}}, Commands: group{walls("airgap inspect", 1)}},
			{Manifests: 200, Phases: []phase{{Name: "walk", CPU: 300}}, Commands: group{walls("airgap inspect", 2)}},
		}},
	}
}

// served is what two registries made of a load of two requests, in so many seconds.
func served(airgap, peer time.Duration) group {
	one := func(name string, wall time.Duration) *series {
		return &series{Name: name, Runs: []sample{{Wall: wall * time.Second, Sync: time.Second, CPU: time.Millisecond, RSS: 80 << 20, Requests: 2, Blobs: 6e6}}}
	}
	return group{one(nameServe, airgap), one(nameRegistry, peer)}
}

func TestRender(t *testing.T) {
	page := render([]string{"machine"}, "Why.", example())
	for _, want := range []string{
		"| export, whole graph, one tar | ≤ 1.0 × crane pull | 1.50 × | **missed by 50 %** |",
		"| export, whole graph, one tar | ≥ 4 × faster than oras backup | 4.00 × | met |",
		"| import into a registry | faster than skopeo | not measured |  |",
		"| export from a registry 50ms away | ≥ 5 × faster than oras | 2.00 × | **missed by 60 %** |",
		"| inspect of a bundle of 100 GB | ≤ 1 s | 1.00 s | met |",
		"| verify of a bundle of 100 GB | ≤ 1 s | 2.00 s | **missed by 100 %** |",
		"| import into a store, judged by a policy | ≤ 1.05 × the wall time of one that is not | 1.030 × | met |",
		"| import into a store, judged by a policy | ≤ 1.05 × the CPU time of one that is not | 1.050 × | met |",
		"| judging 100 signatures with two processors | ≥ 0.9 × the gain of bare ECDSA | 100 a second; 2.00 × as fast as with one, bare ECDSA 2.00 × | met |",
		"| re-export of an unchanged set | no layer bytes moved | 0 MB of blobs fetched | met |",
		"| delta after one image of seven changed | no layer carried that did not change | 90 MB of layers carried, 90 MB changed | met |",
		"| pull of a blob of 1074 MB, 8 at once | ≥ 1.0 × the throughput of distribution's registry | 1.50 × | met |",
		"| GET manifest by tag, 1 at once | ≥ 1.5 × the rate of distribution's registry | 1.50 × | met |",
		"| GET manifest by digest, 64 at once | ≥ 1.5 × the rate of distribution's registry | 1.00 × | **missed by 33 %** |",
		"| memory of serve while 64 clients pull it | ≤ 64 MiB | 80 MiB | **missed by 25 %** |",
		"| start of serve over a bundle of 100 GB, to its first manifest | ≤ 1 s | 2.00 s | **missed by 100 %** |",
		"| a blob | 8 | 3 | 2 | 1.50 × | 1.50–1.50 | 0.17 | 0.17 | 80 | 80 |",
		"| GET manifest by tag | 1 | 1 | 1 | 1.50 × | 1.50–1.50 | 250 | 250 | 80 | 80 |",
		"| pushed | 1 | 0.7 (2 MB/s) | 0.5 (2 MB/s) | 1.33 × | 1.33–1.33 | 0 | 0 | 80 | 80 |",
		"of 600 MB of layers, 90 MB are new",
		"1.50 × for walk, 200 against 100",
		"10485 bytes of peak memory for airgap inspect",
		"- wall time, judged against not: 1.030 × between the lower quartiles",
		"pair by pair 1.000 × in the median, 0.258 to 1.100 × between the quartiles",
		"3 images in 2 repositories",
		"not run: skopeo is not installed",
		"oras (1 of 4 images, scaled up)",
		textBegin + "\nWhy.\n" + textEnd,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

// Every row of a table has as many cells as its head, unless it says that
// something did not run.
func TestTablesAreEven(t *testing.T) {
	columns, tables := 0, 0
	for line := range strings.Lines(render(nil, "", example())) {
		n := strings.Count(line, "|")
		switch {
		case n == 0:
			columns = 0
		case columns == 0:
			columns, tables = n, tables+1
		case n != columns && !strings.Contains(line, "not run:"):
			t.Errorf("%d cells, the head of the table has %d: %s", n-1, columns-1, line)
		}
	}
	if tables != 16 {
		t.Errorf("%d tables, want 16", tables)
	}
}

func TestTextIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := writePage(path, nil, &results{}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	mine := "My words.\n\nTwo paragraphs."
	edited := strings.Replace(string(raw), defaultText, mine, 1)
	if edited == string(raw) {
		t.Fatal("a new page has no place for text")
	}
	if err := os.WriteFile(path, []byte(edited), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := writePage(path, nil, example()); err != nil {
			t.Fatal(err)
		}
	}
	if raw, _ = os.ReadFile(path); !strings.Contains(string(raw), textBegin+"\n"+mine+"\n"+textEnd) {
		t.Errorf("the text was not kept:\n%s", raw)
	}
}

// A page whose markers were lost is not written over.
func TestLostMarkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte("# something else\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writePage(path, nil, &results{}); err == nil {
		t.Error("a page without markers was written over")
	}
}

// A run of some workloads changes what the page says of these, and nothing else.
func TestPartOfThePageIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := writePage(path, []string{"first machine"}, example()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := takeApart(string(raw)); !ok || p.String() != string(raw) {
		t.Fatalf("a page taken apart and put together again is another:\n%s", p)
	}
	later := &results{Judge: example().Judge, Head: example().Head}
	later.Judge.Rates[1].Wall = 4 * time.Second
	for range 2 {
		if err := writePage(path, []string{"second machine"}, later); err != nil {
			t.Fatal(err)
		}
	}
	again, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(again)
	for want, times := range map[string]int{
		"first machine": 1, "From a run of its own: second machine.": 2, "## Goals": 1, "## " + titleJudge: 1, "## " + titleVerify: 1, "## Many manifests": 1,
		"| judging 100 signatures with": 1, "25 a second; 0.50 × as fast": 1, "100 a second": 0, "| peak memory of any command above |": 1,
	} {
		if got := strings.Count(page, want); got != times {
			t.Errorf("%q is there %d times, want %d", want, got, times)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}
