//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// serveResult is what registries gave to many clients.
type serveResult struct {
	Set   *set
	Large int64 // bytes of the large blob
	Loads []*servedLoad
	Huge  int64 // bytes of the bundle that is served
	Start group
}

// servedLoad is one load and what each registry made of it. A sample's wall time is
// that of the requests that count; what is said of the process is about all of its
// life, its start and the requests that do not count included.
type servedLoad struct {
	Name        string
	Connections int
	Count       int
	Asked       int   // with those that do not count
	Bytes       int64 // of bodies, of those that count
	Group       group
}

const (
	nameServe    = "airgap"
	nameRegistry = "registry"

	nameStartStore  = "airgap serve, the store above"
	nameStartHuge   = "airgap serve, huge bundle"
	nameStartJudged = "airgap serve, huge bundle, judged"
	nameStartPeer   = "registry, the content above"
)

type serveOptions struct {
	images   int
	blob     int64 // bytes
	requests int   // over one connection; four times as many over many
	runs     int
	huge     int64 // bytes
}

// What there is of clients.
const (
	serveClients = 64
	servePulls   = 8       // of the large blob, at once
	serveMost    = 4       // of its parts that each of many clients takes, one of
	serveParts   = 16      // … so many
	serveWarm    = 10      // a tenth of the requests does not count
	serveTag     = "v1"    // of the huge bundle
	serveHugePos = "/huge" // its repository
)

// serveConfig is distribution's own example, as far as it is about speed.
const serveConfig = `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  cache: {blobdescriptor: inmemory}
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
http: {addr: %q}
`

// contender is a registry under load.
type contender struct {
	name, note string
	prefix     string // of its repositories
	start      func(ctx context.Context, host string) (*server, error)
	referrers  func([]target) []target
}

// runServe has clients on this machine pull from airgap serve over a store and from
// distribution's registry over the same content.
func (r *rig) runServe(ctx context.Context, o serveOptions) (*serveResult, error) {
	name := fmt.Sprintf("serve-%d-%s", o.images, megabytes(o.blob))
	s, err := r.openSet(ctx, name, fillServe(o.images, o.blob))
	if err != nil {
		return nil, err
	}
	r.say("filling the store")
	dir := r.path("out", "store")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := r.serveStore(ctx, s, dir); err != nil {
		return nil, err
	}
	t, err := r.targets(ctx, s)
	if err != nil {
		return nil, err
	}
	res := &serveResult{Set: s, Large: s.Shared}
	cs := r.contenders(s, dir)
	for _, l := range o.loads(t, s.Shared) {
		if err := r.serveLoad(ctx, o, l, cs, res); err != nil {
			return nil, fmt.Errorf("%s: %w", l.Name, err)
		}
	}
	err = r.serveStart(ctx, o, cs, res)
	return res, errors.Join(err, os.RemoveAll(dir))
}

func (r *rig) contenders(s *set, dir string) []*contender {
	same := func(t []target) []target { return t }
	return []*contender{
		{
			name: nameServe, prefix: serveHost + "/", referrers: same,
			start: func(ctx context.Context, host string) (*server, error) {
				return r.start(ctx, host, r.airgap, "serve", "--store", dir, "--listen", host, "--quiet")
			},
		},
		{
			name: nameRegistry, referrers: fallback,
			start: func(ctx context.Context, host string) (*server, error) {
				return r.serveConfigured(ctx, serveConfig, s.dir+"/registry", host)
			},
		},
	}
}

// asked is a load that the registries have to be told in their own words.
type asked struct {
	servedLoad
	load
	referrers bool
}

// loads are all that the registries are asked.
func (o serveOptions) loads(t *serveTargets, large int64) []asked {
	out := []asked{{
		servedLoad: servedLoad{Name: "a blob of " + megabytes(large) + " MB"},
		load:       load{method: "GET", targets: t.large, connections: servePulls, count: servePulls},
	}, {
		servedLoad: servedLoad{Name: "a sixteenth of it each"},
		load:       load{method: "GET", targets: t.large, connections: serveClients, count: serveClients, most: large / serveParts},
	}}
	for _, kind := range []struct {
		name, method string
		targets      []target
		referrers    bool
	}{
		{"manifest by tag", "GET", t.tags, false}, {"manifest by digest", "GET", t.digests, false},
		{"HEAD, manifest by tag", "HEAD", t.tags, false}, {"small blob", "GET", t.small, false}, {"referrers", "GET", t.referrers, true},
	} {
		for _, n := range []int{1, serveClients} {
			count := o.requests
			if n > 1 {
				count *= 4
			}
			out = append(out, asked{servedLoad{Name: kind.name}, load{kind.method, kind.targets, n, count, 0}, kind.referrers})
		}
	}
	return out
}

// serveLoad puts one load on each registry, in turn.
func (r *rig) serveLoad(ctx context.Context, o serveOptions, l asked, cs []*contender, res *serveResult) error {
	r.say("%s, %d connections, %d requests", l.Name, l.connections, l.count)
	out := &servedLoad{Name: l.Name, Connections: l.connections, Count: l.count, Asked: l.count}
	warm := l.load
	if warm.count = l.count / serveWarm; warm.count > 0 {
		out.Asked += warm.count
	}
	var jobs []*job
	for _, c := range cs {
		one := l.load
		if l.referrers {
			one.targets = c.referrers(one.targets)
		}
		one.targets = under(c.prefix, one.targets)
		warm.targets = one.targets
		jobs = append(jobs, r.loadJob(c, one, warm, out))
	}
	var err error
	out.Group, err = r.pairs(ctx, o.runs, jobs)
	res.Loads = append(res.Loads, out)
	return err
}

// loadJob is one run of a load: a registry that is started for it, and ends.
func (r *rig) loadJob(c *contender, l, warm load, out *servedLoad) *job {
	proven := false
	return &job{name: c.name, note: c.note, work: func(ctx context.Context) (s sample, err error) {
		host, err := freeAddress()
		if err != nil {
			return sample{}, err
		}
		srv, err := c.start(ctx, host)
		if err != nil {
			return sample{}, err
		}
		defer srv.stop()
		if !proven { // in the round that does not count
			proven, err = true, l.prove(ctx, host)
		}
		if err == nil && warm.count > 0 {
			_, err = warm.run(ctx, host)
		}
		var got loaded
		if err == nil {
			got, err = l.run(ctx, host)
		}
		if err != nil {
			return sample{}, err
		}
		s, err = srv.spent()
		s.Wall, s.Requests, s.Blobs = got.Wall, got.Requests, got.Bytes
		return s, err
	}}
}

// serveStart measures how long it is from the start of a registry until it has
// answered with a manifest.
func (r *rig) serveStart(ctx context.Context, o serveOptions, cs []*contender, res *serveResult) error {
	huge := r.path("out", "huge.tar")
	defer os.Remove(huge)
	var err error
	if res.Huge, err = hollow(ctx, huge, o.huge/headImages); err != nil {
		return err
	}
	flags, err := r.judgedBy(requireAll)
	if err != nil {
		return err
	}
	bundle := func(more ...string) func(context.Context, string) (*server, error) {
		return func(ctx context.Context, host string) (*server, error) {
			return r.start(ctx, host, append([]string{r.airgap, "serve", huge, "--listen", host, "--quiet"}, more...)...)
		}
	}
	first, hugePath := "small/app-00/manifests/v1", "/v2/"+serveHost+serveHugePos+"/manifests/"+serveTag
	r.say("start, until there is a manifest")
	res.Start, err = r.rounds(ctx, true, max(o.runs, 1), []*job{
		startJob(nameStartHuge, "proven; --insecure-skip-verify; layers are holes", hugePath, bundle("--insecure-skip-verify")),
		startJob(nameStartJudged, "proven, and every image judged by a policy", hugePath, bundle(flags...)),
		startJob(nameStartStore, "", "/v2/"+cs[0].prefix+first, cs[0].start),
		startJob(nameStartPeer, "", "/v2/"+cs[1].prefix+first, cs[1].start),
	})
	return err
}

func startJob(name, note, path string, start func(context.Context, string) (*server, error)) *job {
	return &job{name: name, note: note, work: func(ctx context.Context) (sample, error) {
		host, err := freeAddress()
		if err != nil {
			return sample{}, err
		}
		begun := time.Now()
		srv, err := start(ctx, host)
		if err != nil {
			return sample{}, err
		}
		defer srv.stop()
		one := load{method: "GET", targets: []target{{path: path}}, connections: 1, count: 1}
		if _, err := one.run(ctx, host); err != nil {
			return sample{}, err
		}
		took := time.Since(begun)
		s, err := srv.spent()
		s.Wall = took
		return s, err
	}}
}
