//go:build interop && linux

package interop

import (
	"cmp"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// baseSource is the program of the base image: it greets, or prints a file.
const baseSource = `package main

import "os"

func main() {
	if len(os.Args) < 2 {
		os.Stdout.WriteString("` + greeting + `\n")
		return
	}
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		os.Exit(1)
	}
	os.Stdout.Write(data)
}
`

// baseName is the base image's repository.
const baseName = "reg.example/team/app"

// asked is something that engines are asked to start.
type asked struct {
	form
	desc ocispec.Descriptor
}

// starts is the base image, all forms, and what engines made of them.
type starts struct {
	folder, elsewhere *layoutFolder
	base              *baseImage
	forms             []asked
	indexes           []asked

	mu      sync.Mutex
	results map[string]map[string]string // by form and engine
	engines []string
	served  map[string]map[string]bool // by way and form
}

func newStarts(t *testing.T) *starts {
	t.Helper()
	s := &starts{
		folder: newLayoutFolder(the.path("starts")), elsewhere: newLayoutFolder(the.path("starts-elsewhere")),
		results: map[string]map[string]string{}, served: map[string]map[string]bool{},
	}
	prog, err := the.buildProgram("base", baseSource)
	if err != nil {
		t.Fatal(err)
	}
	s.base = s.folder.baseImage(prog)
	for _, x := range allForms() {
		s.forms = append(s.forms, asked{x, s.folder.disguise(s.base, x)})
	}
	for _, x := range indexForms() {
		s.indexes = append(s.indexes, asked{form{name: x.name}, s.folder.disguiseIn(s.base, x, s.elsewhere)})
	}
	known := map[digest.Digest]string{}
	for _, x := range s.all() {
		if other, ok := known[x.desc.Digest]; ok {
			t.Fatalf("%s is the same as %s", x.name, other)
		}
		known[x.desc.Digest] = x.name
	}
	for _, f := range []*layoutFolder{s.folder, s.elsewhere} {
		if f.err != nil {
			t.Fatal(f.err)
		}
	}
	return s
}

// registry has all of it, and the image of pauses.
func (s *starts) registry(t *testing.T) *plainRegistry {
	t.Helper()
	prog, err := the.buildProgram("pause", pauseSource)
	if err != nil {
		t.Fatal(err)
	}
	return &plainRegistry{
		folder: s.folder, elsewhere: s.elsewhere,
		tags: map[string]ocispec.Descriptor{"pause:1": s.folder.image("amd64", file{"pause", 0o755, prog})},
	}
}

// Whatever an engine starts, of images that look like something else, is never served
// when it arrives attached to a signed image, as a child of an index that nobody signed,
// or pushed by a client. The engines get it from a registry that holds nothing back. What
// people do attach is served.
//
// Nothing is asserted the other way round: that no engine here starts something does not
// make it harmless.
func TestWhatEnginesStart(t *testing.T) {
	need(t, "airgap", "containerd", "ctr", "runc", "crictl", "dockerd", "docker", "podman", "conmon", "xz", "bzip2",
		"containerd2/containerd", "containerd2/ctr", "containerd2/containerd-shim-runc-v2", "docker29/dockerd")
	s := newStarts(t)
	j := newJudged(t, s)
	ways := []way{{"attached", j.attached}, {"pushed", j.pushed}, {"admitted", j.admitting}, {"late", j.late}, {"child", j.children}}
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) { s.served[w.name] = w.find(t) })
	}
	t.Run("engines", s.askAll)
	for _, x := range s.all() {
		s.check(t, x, ways)
	}
	s.print(t, ways)
}

// way is one in which something gets into a store, or does not.
type way struct {
	name string
	find func(t *testing.T) map[string]bool // what is served then, by form
}

// check compares what engines make of a form with what is served.
func (s *starts) check(t *testing.T, x asked, ways []way) {
	t.Helper()
	for _, e := range s.engines {
		if got := s.results[x.name][e]; x.name == "plain" && got != "S" && got != "" { // it was not asked
			t.Errorf("%s does not start a plain image: %q", e, got)
		}
	}
	for _, w := range ways {
		for _, e := range s.engines {
			if s.served[w.name][x.name] && s.results[x.name][e] == "S" {
				t.Errorf("%s: %s starts it, and it is served (%s): %s", x.name, e, w.name, x.desc.Digest)
			}
		}
		if strings.HasPrefix(x.name, harmless) && s.served[w.name] != nil && !s.served[w.name][x.name] && w.name != "late" && w.name != "child" {
			t.Errorf("%s: it is not served (%s)", x.name, w.name)
		}
	}
}

// askAll asks all engines, two at a time.
func (s *starts) askAll(t *testing.T) {
	registry := s.registry(t)
	for _, engines := range []func(*testing.T, *node) []starter{startersOn, startersOf2} {
		n := newNode(t)
		n.serveHTTP(t, plainHost, registry)
		for _, e := range engines(t, n) {
			s.engines = append(s.engines, e.name)
			t.Run(e.name, func(t *testing.T) {
				t.Parallel()
				s.ask(t, e)
			})
		}
	}
}

// all are the forms, and the indexes.
func (s *starts) all() []asked { return append(s.forms[:len(s.forms):len(s.forms)], s.indexes...) }

// ask has an engine pull the base image, and then start everything.
func (s *starts) ask(t *testing.T, e starter) {
	ref := func(d ocispec.Descriptor) string { return plainHost + "/team/app@" + string(d.Digest) }
	base := ref(s.base.Descriptor)
	if _, err := e.try(base, base, form{}); err != nil {
		t.Fatal("the base image: ", err)
	}
	for _, x := range s.all() {
		got, err := e.try(ref(x.desc), base, x.form)
		t.Logf("%s: %s %v", x.name, got, err)
		s.mu.Lock()
		if s.results[x.name] == nil {
			s.results[x.name] = map[string]string{}
		}
		s.results[x.name][e.name] = got
		s.mu.Unlock()
	}
}

// print prints a table: S is started, p pulled only, - refused; then the ways in which it
// is served.
func (s *starts) print(t *testing.T, ways []way) {
	var out strings.Builder
	fmt.Fprintf(&out, "engines: %s; then: ", strings.Join(s.engines, ", "))
	for _, w := range ways {
		fmt.Fprintf(&out, " %s", w.name)
	}
	for _, x := range s.all() {
		fmt.Fprintf(&out, "\n%-70s ", x.name)
		for _, e := range s.engines {
			fmt.Fprint(&out, cmp.Or(s.results[x.name][e], "?"), " ")
		}
		for _, w := range ways {
			if s.served[w.name][x.name] {
				fmt.Fprintf(&out, " %s", w.name)
			}
		}
	}
	t.Log(out.String())
}
