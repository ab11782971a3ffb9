//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
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
	Kind        loadKind
	Large       bool // what moves is large
	Connections int
	Asked       int // requests, with those that do not count
	Group       group
}

// loadKind says in which table a load is.
type loadKind int

const (
	loadLarge loadKind = iota
	loadSmall
	loadPush
)

const (
	loadByTag    = "GET manifest by tag"
	loadByDigest = "GET manifest by digest"
)

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
	serveClients  = 64
	servePulls    = 8  // of the large blob, at once
	serveParts    = 16 // each of many clients takes one of so many parts of it
	serveWarm     = 10 // a tenth of the requests, and more, does not count
	servePushes   = 4  // of blobs, at once, that are as large together
	servePushPart = 10 // of as many requests as are pulled, so many are pushed
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
	name      string
	prefix    string // of its repositories
	start     func(ctx context.Context, host string) (*server, error)
	empty     func(ctx context.Context, host string) (*server, error) // and takes pushes
	referrers func([]target) []target
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
			empty: func(ctx context.Context, host string) (*server, error) {
				return r.start(ctx, host, r.airgap, "serve", "--store", r.pushDir(), "--listen", host, "--quiet", "--writable")
			},
		},
		{
			name: nameRegistry, referrers: fallback,
			start: func(ctx context.Context, host string) (*server, error) {
				return r.serveConfigured(ctx, serveConfig, s.dir+"/registry", host)
			},
			empty: func(ctx context.Context, host string) (*server, error) {
				return r.serveConfigured(ctx, serveConfig, r.pushDir(), host)
			},
		},
	}
}

// pushDir is where the registry keeps what is pushed, anew for each run.
func (r *rig) pushDir() string { return r.path("out", "pushed") }

// asked is a load that the registries have to be told in their own words.
type asked struct {
	servedLoad
	load
	referrers bool
}

// loads are all that the registries are asked.
func (o serveOptions) loads(t *serveTargets, large int64) []asked {
	out := []asked{{
		servedLoad: servedLoad{Name: "a blob of " + megabytes(large) + " MB", Kind: loadLarge},
		load:       load{method: "GET", targets: t.large, connections: servePulls, count: servePulls},
	}, {
		servedLoad: servedLoad{Name: megabytes(large/serveParts) + " MB of it", Kind: loadLarge},
		load:       load{method: "GET", targets: t.large, connections: serveClients, count: serveClients, most: large / serveParts},
	}}
	for _, kind := range []struct {
		name, method string
		targets      []target
		referrers    bool
	}{
		{loadByTag, "GET", t.tags, false}, {loadByDigest, "GET", t.digests, false},
		{"HEAD manifest by tag", "HEAD", t.tags, false}, {"GET small blob", "GET", t.small, false}, {"GET referrers", "GET", t.referrers, true},
	} {
		for _, n := range []int{1, serveClients} {
			l := load{method: kind.method, targets: kind.targets, connections: n, count: o.requests}
			if n > 1 {
				l.count *= 4
			}
			out = append(out, asked{servedLoad{Name: kind.name, Kind: loadSmall}, l, kind.referrers})
		}
	}
	return append(out, o.pushLoads(large/servePushes)...)
}

// pushLoads are all that is pushed.
func (o serveOptions) pushLoads(large int64) []asked {
	tail := make([]byte, large)
	_, _ = io.ReadFull(noise(large), tail) // it gives all that it is asked for
	out := []asked{{
		servedLoad: servedLoad{Name: "blob of " + megabytes(large) + " MB", Kind: loadPush, Large: true},
		load:       load{push: pushBlobs(servePushes, tail), connections: servePushes, count: servePushes},
	}}
	for _, n := range []int{1, serveClients} {
		count := o.requests / servePushPart
		if n > 1 {
			count = max(4*count, n)
		}
		out = append(out,
			asked{servedLoad: servedLoad{Name: "small blob", Kind: loadPush}, load: load{push: pushBlobs(count, nil), connections: n, count: count}},
			asked{servedLoad: servedLoad{Name: "manifest, by tag", Kind: loadPush}, load: load{push: pushManifests(count), connections: n, count: count}},
		)
	}
	return out
}

// serveLoad puts one load on each registry, in turn.
func (r *rig) serveLoad(ctx context.Context, o serveOptions, l asked, cs []*contender, res *serveResult) error {
	r.say("%s, %d connections, %d requests", l.Name, l.connections, l.count)
	out := l.servedLoad
	out.Connections, out.Asked = l.connections, l.count
	var jobs []*job
	for _, c := range cs {
		one := l.load
		if l.referrers {
			one.targets = c.referrers(one.targets)
		}
		if one.push != nil {
			one.push = one.push.at(c.prefix)
			jobs = append(jobs, r.pushJob(c, one))
			continue
		}
		one.targets = under(c.prefix, one.targets)
		warm := one
		warm.count /= serveWarm
		out.Asked = l.count + warm.count
		jobs = append(jobs, r.pullJob(c, one, warm))
	}
	var err error
	out.Group, err = r.pairs(ctx, o.runs, jobs)
	res.Loads = append(res.Loads, &out)
	return err
}

// underLoad starts a registry for one run, has clients ask it, and ends it.
func underLoad(ctx context.Context, start func(context.Context, string) (*server, error), ask func(host string) (loaded, error)) (sample, error) {
	host, err := freeAddress()
	if err != nil {
		return sample{}, err
	}
	srv, err := start(ctx, host)
	if err != nil {
		return sample{}, err
	}
	defer srv.stop()
	got, err := ask(host)
	if err != nil {
		return sample{}, err
	}
	s, err := srv.spent()
	s.Wall, s.Sync, s.Requests, s.Blobs = got.Wall, got.Sync, got.Requests, got.Bytes
	return s, err
}

func (r *rig) pullJob(c *contender, l, warm load) *job {
	proven := false
	return &job{name: c.name, work: func(ctx context.Context) (sample, error) {
		return underLoad(ctx, c.start, func(host string) (_ loaded, err error) {
			if !proven { // in the round that does not count
				proven, err = true, l.prove(ctx, host)
			}
			if err == nil && warm.count > 0 {
				_, err = warm.run(ctx, host)
			}
			if err != nil {
				return loaded{}, err
			}
			return l.run(ctx, host)
		})
	}}
}

func (r *rig) pushJob(c *contender, l load) *job {
	proven := false
	return &job{name: c.name, output: []string{r.pushDir()}, work: func(ctx context.Context) (sample, error) {
		return underLoad(ctx, c.empty, func(host string) (loaded, error) {
			conn, err := dial(ctx, host)
			if err != nil {
				return loaded{}, err
			}
			defer conn.close()
			if err := l.push.prepare(conn); err != nil {
				return loaded{}, err
			}
			syscall.Sync() // so that nobody waits for what somebody else left behind
			got, err := l.run(ctx, host)
			begun := time.Now()
			syscall.Sync()
			got.Sync = time.Since(begun)
			if err == nil && !proven {
				all := load{targets: l.push.kept()}
				proven, err = true, all.prove(ctx, host)
			}
			return got, err
		})
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
	first, hugePath := "small/app-00/manifests/v1", "/v2/"+serveHost+"/huge/manifests/v1" // see fillServe, hollowImages
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
		begun := time.Now()
		return underLoad(ctx, start, func(host string) (loaded, error) {
			one := load{method: "GET", targets: []target{{path: path}}, connections: 1, count: 1}
			got, err := one.run(ctx, host)
			got.Wall = time.Since(begun)
			return got, err
		})
	}}
}
