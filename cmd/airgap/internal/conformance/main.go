// Command conformance runs the official conformance suite of the OCI Distribution
// specification against airgap serve, read-only, over a store and over a bundle, and
// writable over an empty store:
//
//	conformance AIRGAP SUITE
//
// AIRGAP is the tool, SUITE the suite's program. What they pull read-only is put there
// before: images, indexes and artifacts of every form, of sha256 and sha512.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/layouttest"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: conformance AIRGAP SUITE")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, airgap, suite string) error {
	dir, err := os.MkdirTemp("", "airgap-conformance-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, path := range []*string{&airgap, &suite} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	p := &place{airgap: airgap, suite: suite, dir: dir}
	contents := []layouttest.Content{layouttest.Everything("ghcr.io/acme/app"), layouttest.SHA512("quay.io/acme/sha512")}
	for i, c := range contents {
		bundle := fmt.Sprintf("%d.tar", i)
		if err := p.fill(ctx, c, bundle); err != nil {
			return err
		}
		for _, source := range [][]string{{"--store", "store"}, {bundle, "--insecure-skip-verify"}} {
			if err := p.readOnly(ctx, c, source); err != nil {
				return err
			}
		}
	}
	return p.writable(ctx)
}

// place is a folder with what is served.
type place struct{ airgap, suite, dir string }

func (p *place) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.airgap, args...)
	cmd.Dir, cmd.Stderr = p.dir, os.Stderr
	return cmd
}

// fill writes content into a bundle and a store.
func (p *place) fill(ctx context.Context, c layouttest.Content, bundle string) error {
	folder := "layout-" + bundle
	d, err := disk.Create(filepath.Join(p.dir, folder))
	if err != nil {
		return err
	}
	defer d.Close()
	w, err := layout.NewFolderWriter(folder, d)
	if err != nil {
		return err
	}
	if err := c.Load(ctx, w); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"export", "oci:" + folder, "-q", "-o", bundle},
		{"import", bundle, "-q", "--insecure-skip-verify", "--store", "store"},
	} {
		if err := p.command(ctx, args...).Run(); err != nil {
			return fmt.Errorf("airgap %s: %w", args[0], err)
		}
	}
	return nil
}

// readOnly has the suite pull from one source.
func (p *place) readOnly(ctx context.Context, c layouttest.Content, source []string) error {
	repo := c.Sorted()[0]
	said, ended, err := p.test(ctx, source, func(host string) []string { return settings(host, repo, c) })
	if err != nil {
		return err
	}
	// It is judged by what it says: for a registry that is not written to, this
	// version of the suite fails after that, when it writes results.yaml.
	counts, err := summary(said, 2*len(c.Repositories[repo]))
	fmt.Print(counts)
	if err != nil {
		return fmt.Errorf("%w (it ended with %v)\n%s", err, ended, said)
	}
	return nil
}

// test serves what args say, and runs the suite with settings.
func (p *place) test(ctx context.Context, args []string, settings func(host string) []string) (said []byte, ended, err error) {
	cmd := p.command(ctx, append([]string{"serve", "-q", "--listen", "127.0.0.1:0"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	defer func() {
		err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM), cmd.Wait())
	}()
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, nil, fmt.Errorf("airgap serve: no address: %w", err)
	}
	fmt.Printf("== airgap serve %s\n", strings.Join(args, " "))
	check := exec.CommandContext(ctx, p.suite)
	check.Dir = p.dir
	check.Env = append(os.Environ(), settings(strings.TrimSpace(strings.TrimPrefix(url, "http://")))...)
	said, ended = check.CombinedOutput()
	return said, ended, nil
}

// settings are the suite's for a registry that cannot be written to.
func settings(host, repo string, c layouttest.Content) []string {
	lists := map[string][]string{}
	add := func(kind, value string) { lists[kind] = append(lists[kind], value) }
	fallback := map[string]bool{}
	for _, n := range c.Names {
		switch {
		case layout.IsReferrersTag(n.Reference.Tag):
			fallback[string(n.Descriptor.Digest)] = true // the API has what it lists
		case n.Reference.Tag != "":
			add("TAGS", n.Reference.Tag)
		}
	}
	for _, item := range c.Repositories[repo] {
		d := string(item.Descriptor.Digest)
		switch {
		case fallback[d]:
		case layout.IsManifest(item.Descriptor.MediaType):
			add("MANIFESTS", d)
			add("REFERRERS", d)
		default:
			add("BLOBS", d)
		}
	}
	out := []string{
		"OCI_REGISTRY=" + host, "OCI_TLS=disabled", "OCI_REPO1=" + repo, "OCI_REPO2=" + repo + "2", "OCI_VERSION=1.1", "OCI_RESULTS_DIR=results",
		"OCI_API_PUSH=false", "OCI_API_BLOBS_DELETE=false", "OCI_API_MANIFESTS_DELETE=false", "OCI_API_TAGS_DELETE=false",
		"OCI_API_BLOBS_DIGEST_HEADER=true",
	}
	for _, kind := range slices.Sorted(maps.Keys(lists)) {
		out = append(out, "OCI_RO_DATA_"+kind+"="+strings.Join(lists[kind], " "))
	}
	return out
}

// summary takes the counts out of what the suite said. It passed so many tests at
// least, and nothing failed.
func summary(said []byte, least int) (string, error) {
	_, counts, ok := strings.Cut(string(said), "OCI Conformance Result: ")
	counts, _, _ = strings.Cut(counts, "\n\n")
	if !ok {
		return "", errors.New("the suite gave no result")
	}
	n := map[string]int{}
	for line := range strings.Lines(counts) {
		name, number, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		count := 0
		if _, err := fmt.Sscan(number, &count); err != nil {
			return counts, fmt.Errorf("counts of an unknown form: %q", line)
		}
		n[strings.Trim(name, " .")] = count
	}
	counts = "OCI Conformance Result: " + counts + "\n"
	if !strings.HasPrefix(counts, "OCI Conformance Result: Pass\n") || n["FAIL"] > 0 || n["Error"] > 0 || n["Pass"] < least || n["Total"] < n["Pass"] {
		return counts, errors.New("the suite found failures")
	}
	return counts, nil
}
