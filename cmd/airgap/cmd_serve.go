package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/layout"
	"airgap/store"
	"airgap/store/serve"

	"github.com/urfave/cli/v2"
)

// defaultListen is where serve listens, unless told: at what this machine alone can
// reach.
const defaultListen = "127.0.0.1:5000"

// defaultGrace is how long downloads may go on after serve was told to stop. systemd
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
	push          pushOptions
	as            string
	skip          bool // verification of a bundle
	judge         policyOptions
	outputOptions
}

func serveCommand(u *ui) *cli.Command {
	var o serveOptions
	return &cli.Command{
		Name:      "serve",
		Usage:     "be a registry, read-only, over a store or a bundle",
		ArgsUsage: "[BUNDLE]",
		Description: `Gives what a store holds, or a BUNDLE (a tar or a layout folder; nothing is extracted),
to whatever speaks to registries: pulls, lists of tags and of referrers (OCI
Distribution 1.1). Nothing can be pushed. What is in quarantine is not there.

Images keep the names of their source: ghcr.io/acme/app is HOST:PORT/ghcr.io/acme/app
here, or ghcr.io/acme/app itself for a client that was told of a mirror (airgap
mirrors prints how). In HOST:PORT/… a source's port is written with an underscore, as in
reg.example_5000/team/app.

A bundle is proven first, and judged by the policy: it is served if every image passes.
--insecure-skip-verify serves what nobody has judged. A store was judged when it was
filled; while it is served, others can import into it, and what they bring shows at
once.

It listens where nobody but this machine can reach it. The first line on stdout is its
address, also for port 0; SIGTERM or Ctrl-C ends it, once downloads under way have
ended, or --grace is over. /healthz says whether it can read.

Examples:
   airgap serve --store /srv/airgap
   airgap serve --store /srv/airgap --listen :443 --cert tls.pem --cert-key tls.key
   airgap serve bundle.tar --policy policy.yaml --trust /etc/airgap/trust
   airgap serve bundle.tar --insecure-skip-verify --listen 127.0.0.1:0 --access-log`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "store", Usage: "serve the store in `DIR`", DefaultText: "without BUNDLE: $AIRGAP_STORE, else airgap/store in the user's data folder", Destination: &o.store},
			&cli.StringFlag{Name: "listen", Usage: "listen at `ADDR`, HOST:PORT; without HOST, everywhere", Value: defaultListen, DefaultText: defaultListen, Destination: &o.listen},
			&cli.StringFlag{Name: "cert", Usage: "serve HTTPS with the certificate, and those above it, in `FILE` (PEM)", DefaultText: "none: HTTP", Destination: &o.cert},
			&cli.StringFlag{Name: "cert-key", Usage: "… and its private key in `FILE` (PEM)", DefaultText: "none", Destination: &o.certKey},
			&cli.BoolFlag{Name: "access-log", Usage: "write a line of JSON for each request to stderr", Destination: &o.accessLog},
			&cli.BoolFlag{Name: "verify-reads", Usage: "hash a blob each time before it is sent (manifests always are; blobs of a bundle once)", Destination: &o.verifyReads},
			&cli.DurationFlag{Name: "grace", Usage: "when told to stop, let downloads go on for `TIME`, such as 90s", Value: defaultGrace, DefaultText: "1m", Destination: &o.grace},
			&cli.BoolFlag{Name: "writable", Usage: "let clients push to the store, mount and delete", Destination: &o.push.writable},
			&cli.BoolFlag{Name: "admit", Usage: "… and have the policy judge what they push: it is given out once it passes", Destination: &o.push.admit},
			&cli.StringFlag{Name: "max-blob-size", Usage: "take no blob of more than `SIZE`, such as 500MB or 20GB", DefaultText: "none but the store's own, 16 TiB", Destination: &o.push.maxBlob},
			&cli.IntFlag{Name: "max-uploads", Usage: "take at most `N` blobs at once", Value: defaultUploads, DefaultText: "256", Destination: &o.push.maxUploads},
			&cli.BoolFlag{Name: "allow-sparse", Usage: "take manifests that list blobs which are not there (indexes may always list what is not)", Destination: &o.push.sparse},
			asFlag(&o.as),
			&cli.BoolFlag{Name: "insecure-skip-verify", Usage: "serve a bundle that no policy has judged; digests, sizes and the record are checked all the same", Destination: &o.skip},
		}, append(o.judge.flags(), o.outputOptions.flags()...)...),
		Action: func(c *cli.Context) error {
			o.bundles = c.Args().Slice()
			return runServe(c.Context, u, o)
		},
	}
}

func (o *serveOptions) check(u *ui) error {
	if err := checkAll(o.outputOptions.check(), checkAs(o.as), checkListen(o.listen)); err != nil {
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

func checkListen(addr string) error {
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
		return usagef("--listen %q: want HOST:PORT, as in %s", addr, defaultListen)
	}
	return nil
}

// served is what serve gives out.
type served struct {
	serve.Content
	name   string // as other commands take it
	verify serve.Verify
	close  func() error
	push   serve.Options // what concerns pushing
}

// serveResult is what serve reports when it begins.
type serveResult struct {
	URL    string `json:"url"`
	Source string `json:"source"`
}

func runServe(ctx context.Context, u *ui, o serveOptions) (err error) {
	if err := o.check(u); err != nil {
		return err
	}
	var secure *tls.Config
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.certKey)
		if err != nil {
			return usagef("--cert %s, --cert-key %s: %w", o.cert, o.certKey, err)
		}
		secure = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	s, err := o.open(ctx, u)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, s.close()) }()
	if o.verifyReads {
		s.verify = serve.VerifyAlways
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return &adviceError{fmt.Errorf("--listen: %w", err), "stop what listens there, or name another address with --listen; port 0 takes one that is free"}
	}
	defer l.Close()
	if err := o.announce(u, l.Addr(), s); err != nil {
		return err
	}
	options := s.push
	options.Verify, options.Failed, options.Access = s.verify, u.serveFailed, o.access(u)
	h := serve.New(s, options)
	defer func() { err = cmp.Or(err, h.Close()) }()
	err = serve.Run(ctx, l, h, serve.RunOptions{Grace: o.grace, TLS: secure})
	if errors.Is(err, serve.ErrCut) {
		u.warn("stopped after %s; %s", o.grace, err)
		err = nil // it was told to
	}
	return err
}

// announce says where it listens, and what of it somebody should know.
func (o *serveOptions) announce(u *ui, addr net.Addr, s *served) error {
	scheme := "http"
	if o.cert != "" {
		scheme = "https"
	}
	res := serveResult{URL: scheme + "://" + addr.String(), Source: s.name}
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		if o.cert == "" {
			u.warn("others than this machine can reach %s, without TLS: whoever is between can read, and change names; give --cert and --cert-key", res.URL)
		}
		u.warn("everybody who can reach %s can pull everything: there are no users yet", res.URL)
	}
	if !o.quiet {
		fmt.Fprintf(u.stderr, "airgap: serving %s, %s; Ctrl-C stops\n", escape(s.name), o.push.text())
	}
	return u.result(o.outputOptions, "ServeResult", res, func(w io.Writer) { fmt.Fprintln(w, res.URL) })
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
			slog.String("agent", a.Agent))
	}
}

func (o *serveOptions) open(ctx context.Context, u *ui) (*served, error) {
	if len(o.bundles) == 0 {
		return o.openStore(u)
	}
	path := o.bundles[0]
	if dir, ok := strings.CutPrefix(path, "store:"); ok || store.Is(path) {
		return nil, &adviceError{usagef("%s is a store", path), "serve it with --store " + dir}
	}
	return o.openBundle(ctx, u, path)
}

func (o *serveOptions) openStore(u *ui) (*served, error) {
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
	out := &served{Content: s.View(), name: "store:" + dir, verify: serve.VerifySize, close: s.Close}
	if !o.push.writable {
		return out, nil
	}
	if out.push, err = o.push.options(u, s, &o.judge); err != nil {
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
	if err := o.admit(ctx, u, b, g); err != nil {
		return nil, local(err)
	}
	at, ok := b.Source().(serve.Layout)
	if !ok {
		return nil, fmt.Errorf("%s cannot be read from anywhere in it: %w", b.Path, layout.ErrUnsupported)
	}
	return &served{Content: serve.FromGraph(g, at), name: b.Path, verify: serve.VerifyOnce, close: b.Close}, nil
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

// admit lets a bundle be served only if every image passes, or nobody is asked.
func (o *serveOptions) admit(ctx context.Context, u *ui, b *bundle.Bundle, g *layout.Graph) error {
	if o.skip {
		u.warn("--insecure-skip-verify: no policy is asked and no signature is checked; whatever is in the bundle is served")
		return nil
	}
	j, err := o.judge.judge(u)
	if err != nil {
		return err
	}
	r, err := b.Judge(ctx, j, g)
	if err != nil {
		return err
	}
	if err := bundle.Err(r); err != nil {
		return &adviceError{err, "airgap verify " + b.Path + " says why"}
	}
	return nil
}
