package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/layout"
	"airgap/store"
	"airgap/store/serve"
	"airgap/store/serve/access"

	"github.com/urfave/cli/v2"
)

// defaultListen is where serve listens, unless told: at what this machine alone can
// reach.
const defaultListen = "127.0.0.1:5000"

// defaultGrace is how long uploads and downloads may go on after serve was told to stop. systemd
// kills after 90 seconds.
const defaultGrace = time.Minute

// serveOptions are what the flags of serve say.
type serveOptions struct {
	bundles       []string
	store         string
	listen        string
	cert, certKey string
	accessLog     bool
	verifyReads   bool
	grace         time.Duration
	push          takeOptions
	as            string
	skip          bool // verification of a bundle
	judge         policyOptions
	accessOptions
	outputOptions
}

func serveCommand(u *ui) *cli.Command {
	var o serveOptions
	return &cli.Command{
		Name:      "serve",
		Usage:     "be a registry over a store or a bundle",
		ArgsUsage: "[BUNDLE]",
		Description: `Gives what a store holds, or a BUNDLE (a tar or a layout folder; nothing is extracted),
to whatever speaks to registries: pulls, lists of tags and of referrers (OCI
Distribution 1.1), and with --writable pushes. What is in quarantine is not there.

Images keep the names of their source: ghcr.io/acme/app is HOST:PORT/ghcr.io/acme/app
here, or ghcr.io/acme/app itself for a client that was told of a mirror (airgap
mirrors prints how). In HOST:PORT/… a source's port is written with an underscore, as in
reg.example_5000/team/app.

A bundle is proven first, and judged by the policy: it is served if every image passes.
--insecure-skip-verify serves what nobody has judged. A store was judged when it was
filled; while it is served, others can import into it, which shows at once.

With --writable clients push, mount and delete; the ledger tells of the manifests that
were pushed, and of what was deleted. A repository that a push makes is marked as not
admitted, until an import gives a name there; then what was only pushed is in
quarantine. To a repository with admitted images only signatures and the like can be
pushed, and tags of images do not move. With --admit the policy judges what is pushed,
again whenever something is attached: it is given out once it passes; until then only
users who may push there see it.

It listens where nobody but this machine can reach it. The first line on stdout is its
address, also for port 0, and with --metrics the second is that of the metrics.
SIGTERM or Ctrl-C ends it, once what is under way has ended, or --grace is over.
/livez says that it runs, /healthz whether it can read, and /readyz that it can and is
not about to stop.

With --users whoever wants anything gives a name and a password, and with --rights may
do what a rule allows, and nothing else:

    rules:
      - users: ["*"]                         # everybody who has a name
        repositories: ["ghcr.io/acme/**", "docker.io/library/nginx"]
        actions: [pull]                      # or push, delete
      - users: [anonymous]                   # whoever gives none
        repositories: ["docker.io/**"]
        actions: [pull]

Users, rights, certificate and key are read again when they change; what makes no sense
then is told, and changes nothing.

Examples:
   airgap serve --store /srv/airgap
   airgap serve --store /srv/airgap --listen :443 --cert tls.pem --cert-key tls.key
   airgap serve --store /srv/airgap --users htpasswd --rights rights.yaml
   airgap serve --store /srv/airgap --writable --admit --policy policy.yaml --trust T \
      --users htpasswd
   airgap serve --store /srv/airgap --metrics 127.0.0.1:9464 --access-log
   airgap serve bundle.tar --policy policy.yaml --trust /etc/airgap/trust
   airgap serve bundle.tar --insecure-skip-verify --listen 127.0.0.1:0 --access-log`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "store", Usage: "serve the store in `DIR`", DefaultText: "without BUNDLE: $AIRGAP_STORE, else airgap/store in the user's data folder", Destination: &o.store},
			&cli.StringFlag{Name: "listen", Usage: "listen at `ADDR`, HOST:PORT; without HOST, everywhere", Value: defaultListen, DefaultText: defaultListen, Destination: &o.listen},
			&cli.StringFlag{Name: "cert", Usage: "serve HTTPS with the certificate, and those above it, in `FILE` (PEM)", DefaultText: "none: HTTP", Destination: &o.cert},
			&cli.StringFlag{Name: "cert-key", Usage: "… and its private key in `FILE` (PEM)", DefaultText: "none", Destination: &o.certKey},
			&cli.BoolFlag{Name: "access-log", Usage: "write a line of JSON for each request to stderr", Destination: &o.accessLog},
			&cli.BoolFlag{Name: "verify-reads", Usage: "hash a blob each time before it is sent (manifests always are; blobs of a bundle once)", Destination: &o.verifyReads},
			&cli.DurationFlag{Name: "grace", Usage: "when told to stop, let uploads and downloads go on for `TIME`, such as 90s", Value: defaultGrace, DefaultText: "1m", Destination: &o.grace},
			&cli.BoolFlag{Name: "writable", Usage: "let clients push to the store, mount and delete", Destination: &o.push.writable},
			&cli.BoolFlag{Name: "admit", Usage: "… and have the policy judge what they push: it is given out once it passes", Destination: &o.push.admit},
			&cli.StringFlag{Name: "max-blob-size", Usage: "take no blob of more than `SIZE`, such as 500MB or 20GB", DefaultText: "none but the store's own, 16 TiB", Destination: &o.push.maxBlob},
			&cli.IntFlag{Name: "max-uploads", Usage: "take at most `N` blobs at once", Value: defaultUploads, DefaultText: "256", Destination: &o.push.maxUploads},
			&cli.BoolFlag{Name: "allow-sparse", Usage: "take manifests that list blobs which are not there (indexes may always list what is not)", Destination: &o.push.sparse},
			asFlag(&o.as),
			&cli.BoolFlag{Name: "insecure-skip-verify", Usage: "serve a bundle that no policy has judged; digests, sizes and the record are checked all the same", Destination: &o.skip},
		}, slices.Concat(o.judge.flags(), o.accessOptions.flags(), o.outputOptions.flags())...),
		Action: func(c *cli.Context) error {
			o.anonymousSet = c.IsSet("anonymous")
			o.bundles = c.Args().Slice()
			return runServe(c.Context, u, o)
		},
	}
}

func (o *serveOptions) check(u *ui) error {
	if err := checkAll(o.outputOptions.check(), checkAs(o.as), checkListen(o.listen), o.accessOptions.check()); err != nil {
		return err
	}
	if err := o.push.check(u, o); err != nil {
		return err
	}
	given := o.judge.given(u)
	switch {
	case len(o.bundles) > 1:
		return &adviceError{usagef("serve takes one bundle"), "import several into a store, and serve that"}
	case len(o.bundles) == 1 && o.store != "":
		return usagef("a bundle and --store: want one of them")
	case (o.cert == "") != (o.certKey == ""):
		return usagef("--cert and --cert-key go together")
	case o.grace < 0:
		return usagef("--grace %s: want a time", o.grace)
	case len(o.bundles) == 0 && (o.skip || o.as != ""):
		return usagef("--insecure-skip-verify and --as are about a bundle; a store has names, and was judged when it was filled")
	case len(o.bundles) == 0 && !o.push.admit && o.judge.given(&ui{getenv: func(string) string { return "" }}):
		return &adviceError{usagef("a store was judged when it was filled; serve asks no policy again"), "airgap reverify judges what a store holds by a policy"}
	case o.skip && o.judge.given(&ui{getenv: func(string) string { return "" }}):
		return usagef("--insecure-skip-verify asks no policy; give one or the other")
	case len(o.bundles) == 1 && !o.skip && !given:
		return noPolicy("; nothing was read. To serve what nobody has judged, add --insecure-skip-verify")
	}
	return nil
}

// served is what serve gives out. What else its Content can do, the handler finds out.
type served struct {
	serve.Content
	name   string // as other commands take it
	verify serve.Verify
	close  func() error
	push   serve.Options // what concerns pushing
}

func runServe(ctx context.Context, u *ui, o serveOptions) (err error) {
	if err := o.check(u); err != nil {
		return err
	}
	p, err := o.prepare(u)
	if err != nil {
		return err
	}
	defer p.watch.close()
	s, err := o.open(ctx, u)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, s.close()) }()
	l, err := listen("--listen", p.addr)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := o.announce(u, l.Addr(), s, p.watch.url()); err != nil {
		return err
	}
	drain := new(serve.Drain)
	options := s.push
	options.Verify, options.Guard, options.Drain = s.verify, p.guard, drain
	options.Failed, options.Access = u.serveFailed, o.access(u)
	h := serve.New(s.Content, p.watch.observe(options))
	defer func() { err = cmp.Or(err, h.Close()) }()
	defer p.watch.begin(ctx, h)()
	err = serve.Run(ctx, l, h, serve.RunOptions{Grace: o.grace, TLS: p.secure, Drain: drain})
	if errors.Is(err, serve.ErrCut) {
		u.warn("stopped after %s; %s", o.grace, err)
		err = nil // it was told to
	}
	return err
}

// prepared is what serve needs besides something to serve.
type prepared struct {
	addr   *net.TCPAddr
	secure *tls.Config   // nil: plain HTTP
	guard  *access.Guard // nil: everybody may do everything
	watch  *watch        // nil: no metrics
}

// prepare reads what the flags name, and opens nothing of the store yet.
func (o *serveOptions) prepare(u *ui) (_ *prepared, err error) {
	p := &prepared{}
	if p.addr, err = resolve("--listen", o.listen); err != nil {
		return nil, err
	}
	if err := o.checkWire(p.addr, o.cert != ""); err != nil {
		return nil, err
	}
	if p.watch, err = o.accessOptions.watch(); err != nil {
		return nil, err
	}
	failed := p.watch.failed(u.serveFailed)
	if p.secure, err = o.secure(failed); err == nil {
		p.guard, err = o.accessOptions.guard(failed)
	}
	if err != nil {
		p.watch.close()
		return nil, err
	}
	return p, nil
}

// serveFailed tells of content that could not be read.
func (u *ui) serveFailed(err error) {
	u.warn("%s", errorText(err))
	for _, h := range hints(err) {
		fmt.Fprintf(u.stderr, "hint: %s\n", h)
	}
}

// access writes the access log; nil if there is none.
func (o *serveOptions) access(u *ui) func(serve.Access) {
	if !o.accessLog {
		return nil
	}
	log := slog.New(slog.NewJSONHandler(u.stderr, nil))
	return func(a serve.Access) {
		log.LogAttrs(context.Background(), slog.LevelInfo, "request",
			slog.String("client", a.Client), slog.String("method", a.Method), slog.String("path", a.Path),
			slog.Int("status", a.Status), slog.Int64("bytes", a.Bytes), slog.Int64("microseconds", a.Duration.Microseconds()),
			slog.String("agent", a.Agent), slog.String("user", a.User), slog.Int64("received", a.Received))
	}
}

func (o *serveOptions) open(ctx context.Context, u *ui) (*served, error) {
	if len(o.bundles) == 0 {
		return o.openStore(ctx, u)
	}
	path := o.bundles[0]
	if dir, ok := strings.CutPrefix(path, "store:"); ok || store.Is(path) {
		return nil, &adviceError{usagef("%s is a store", path), "serve it with --store " + dir}
	}
	return o.openBundle(ctx, u, path)
}

// hashing is what --verify-reads makes of what there is to hash anyway.
func (o *serveOptions) hashing(v serve.Verify) serve.Verify {
	if o.verifyReads {
		return serve.VerifyAlways
	}
	return v
}

func (o *serveOptions) openStore(ctx context.Context, u *ui) (*served, error) {
	dir := o.store
	if dir == "" {
		var err error
		if dir, err = u.defaultStore(); err != nil {
			return nil, err
		}
	}
	s, err := store.Open(dir, store.Options{ReadOnly: !o.push.writable})
	if err != nil {
		return nil, err
	}
	out := &served{Content: s.View(), name: "store:" + dir, verify: o.hashing(serve.VerifySize), close: s.Close}
	if !o.push.writable {
		return out, nil
	}
	if out.push, err = o.push.options(u, s, &o.judge); err == nil {
		err = o.push.warnMarked(ctx, u, s)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return out, nil
}

// openBundle proves a bundle, and asks the policy. Nobody has hashed its blobs yet.
func (o *serveOptions) openBundle(ctx context.Context, u *ui, path string) (_ *served, err error) {
	t, err := parseLocal(path)
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(ctx, t.path, bundle.OpenOptions{As: o.as})
	if err != nil {
		return nil, local(err)
	}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	g, err := b.Graph(ctx)
	if err != nil {
		return nil, local(err)
	}
	if err := o.named(b); err != nil {
		return nil, err
	}
	for _, c := range b.Caveats(g) {
		u.warn("%s: %s", escape(b.Path), escape(c))
	}
	if n := len(b.NotCarried()); n > 0 {
		u.warn("%s: a delta: %s not in it, and not served", escape(b.Path), pluralIs(n, "layer"))
	}
	if g, err = o.admit(ctx, u, b, g); err != nil {
		return nil, local(err)
	}
	at, ok := b.Source().(serve.Layout)
	if !ok {
		return nil, fmt.Errorf("%s cannot be read from anywhere in it: %w", b.Path, layout.ErrUnsupported)
	}
	return &served{Content: serve.FromGraph(g, at), name: b.Path, verify: o.hashing(serve.VerifyOnce), close: b.Close}, nil
}

// named refuses what no client could ask for.
func (o *serveOptions) named(b *bundle.Bundle) error {
	for _, ref := range b.References() {
		if ref.Repository == "" {
			return &adviceError{usagef("%s does not say what its images are called", b.Path), "name them with --as, as in --as ghcr.io/acme/app"}
		}
	}
	return nil
}

// admit returns what of a bundle is served: nothing, unless every image passes or nobody is
// asked.
func (o *serveOptions) admit(ctx context.Context, u *ui, b *bundle.Bundle, g *layout.Graph) (*layout.Graph, error) {
	if o.skip {
		u.warn("--insecure-skip-verify: no policy is asked and no signature is checked; whatever is in the bundle is served")
		return g, nil
	}
	j, err := o.judge.judge(u)
	if err != nil {
		return nil, err
	}
	r, err := b.Judge(ctx, j, g)
	if err != nil {
		return nil, err
	}
	if err := bundle.Err(r); err != nil {
		return nil, &adviceError{err, "airgap verify " + b.Path + " says why"}
	}
	g, left, err := b.Admitted(ctx, j, g, r)
	for _, l := range left {
		u.warn("%s is not served: %s", l.Reference, escape(l.Reason))
	}
	return g, err
}
