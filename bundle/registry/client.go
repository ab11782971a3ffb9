package registry

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/retry"

	"airgap/layout"
)

// Options say how registries are reached. The zero value works: https, system
// roots, proxies from the environment, credentials of docker and podman.
type Options struct {
	// UserAgent is sent with every request; "airgap" if empty.
	UserAgent string
	// Side is named in errors. If empty, reading methods say
	// layout.SideSource and writing ones layout.SideDestination.
	Side layout.Side

	// PlainHTTP speaks http instead of https to every registry. Loopback
	// addresses get http anyway, as with docker, unless an option that is
	// about TLS (CAFile, ClientCert, InsecureSkipVerify) is set.
	PlainHTTP bool
	// InsecureSkipVerify accepts any server certificate.
	InsecureSkipVerify bool
	// CAFile holds PEM certificates to trust besides the system's.
	CAFile string
	// ClientCert and ClientKey are PEM files for TLS client authentication.
	ClientCert, ClientKey string

	// Username and Password are for Registry. If that is empty the client
	// speaks to one registry only: a second one is refused, rather than
	// shown a password that is not meant for it.
	Username, Password string
	Registry           string
	// RegistryConfig is a docker config.json or podman auth.json to use
	// instead of the default ones.
	RegistryConfig string

	// Retries is how often a request is repeated, and a blob resumed
	// without a byte gained; 5 if zero, never if negative.
	Retries int
	// Wait returns how long to pause before repetition number attempt (from
	// 0), where asked is what the registry wants, at most MaxRetryAfter. If
	// nil, pauses double from a quarter second to ten, with jitter.
	Wait func(attempt int, asked time.Duration) time.Duration
	// NoReferrersAPI never asks the referrers API, for a registry in which something
	// answers in its place that is none. The export record says so.
	NoReferrersAPI bool

	// KeepDir is a folder in which manifests that were read are kept for some days, so
	// that the next run asks with HEAD where it asked with GET; none if empty.
	KeepDir string

	// Jobs bounds what Commit does at a time; 16 if zero.
	Jobs int

	// Transport carries all requests. If nil, one is made by NewTransport.
	// It excludes the options about TLS.
	Transport http.RoundTripper

	lockDir string // where lock files are; tests set it
}

// Client is a source and a sink over registries. It is safe for concurrent use,
// except that no Put may be under way during a Commit.
type Client struct {
	opts Options
	http *http.Client
	once *http.Client // repeats nothing
	keys *keychain

	manifests takeOnce
	keeper    *keeper

	mu       sync.Mutex
	auths    map[string]login
	support  map[string]*support
	pending  map[subjectKey][]layout.Descriptor
	stored   map[manifestKey]bool // manifests known to be at the destination
	sessions map[string]*url.URL
	heads    map[string]*heads // by repository
	// unmounted are pairs of repositories between which mounting was refused.
	unmounted map[[2]string]bool
	// unread are hosts from which no blob could be read, at the first attempt.
	unread map[string]error
}

var (
	_ layout.Source  = (*Client)(nil)
	_ layout.Sink    = (*Client)(nil)
	_ layout.Mounter = (*Client)(nil)
	_ layout.Prover  = (*Client)(nil)
)

// New returns a client. It reads the files that o names and connects to
// nothing.
func New(o Options) (*Client, error) {
	if o.Transport != nil && o.aboutTLS() {
		return nil, errors.New("registry: Transport excludes CAFile, ClientCert and InsecureSkipVerify")
	}
	if o.Transport == nil {
		t, err := NewTransport(o)
		if err != nil {
			return nil, err
		}
		o.Transport = t
	}
	o.setDefaults()
	keys, err := newKeychain(o)
	if err != nil {
		return nil, err
	}
	c := &Client{
		opts: o, keys: keys, keeper: newKeeper(o.KeepDir, time.Now()),
		auths: map[string]login{}, support: map[string]*support{},
		pending: map[subjectKey][]layout.Descriptor{}, sessions: map[string]*url.URL{},
		stored: map[manifestKey]bool{}, unmounted: map[[2]string]bool{}, unread: map[string]error{}, heads: map[string]*heads{},
	}
	base := &guard{next: o.Transport, plain: o.PlainHTTP}
	c.once = &http.Client{CheckRedirect: checkRedirect, Transport: base}
	c.http = &http.Client{
		CheckRedirect: checkRedirect,
		Transport: &retry.Transport{
			Base:   base,
			Policy: func() retry.Policy { return policy{retries: o.Retries, wait: o.Wait} },
		},
	}
	return c, nil
}

func (o *Options) setDefaults() {
	o.UserAgent = cmp.Or(o.UserAgent, "airgap")
	o.Retries = cmp.Or(o.Retries, 5)
	o.Jobs = cmp.Or(max(o.Jobs, 0), 16)
	if o.Wait == nil {
		o.Wait = defaultWait
	}
}

func (o *Options) aboutTLS() bool {
	return o.CAFile != "" || o.ClientCert != "" || o.ClientKey != "" || o.InsecureSkipVerify
}

// endpoint is one repository and the way to it.
type endpoint struct {
	host string // for requests, with the port
	path string // the repository's name at the registry
	base *url.URL
	login
}

// login is the credential for a repository, in two clients with the same tokens.
type login struct {
	auth *auth.Client
	once *auth.Client // repeats nothing; for what can be left out, or is repeated elsewhere
}

// dockerHost is where docker.io answers the registry API.
const dockerHost = "registry-1.docker.io"

func (c *Client) endpoint(repo string) (*endpoint, error) {
	host, path, err := splitRepo(repo)
	if err != nil {
		return nil, err
	}
	e := &endpoint{host: host, path: path, base: &url.URL{Scheme: c.scheme(host), Host: host}}
	e.login, err = c.loginFor(repo, host)
	return e, err
}

// splitRepo checks repo against the grammar, so that it can be put in a URL.
func splitRepo(repo string) (host, path string, err error) {
	named, err := reference.WithName(repo)
	if err != nil {
		return "", "", fmt.Errorf("repository %.300q: %w", repo, err)
	}
	host, path = reference.Domain(named), reference.Path(named)
	switch host {
	case "":
		return "", "", fmt.Errorf("repository %.300q: the registry is missing", repo)
	case "docker.io", "index.docker.io":
		host = dockerHost
	}
	return host, path, nil
}

func (c *Client) scheme(host string) string {
	if c.opts.PlainHTTP || isLoopback(host) && !c.opts.aboutTLS() {
		return "http"
	}
	return "https"
}

// isLoopback says whether host, with or without a port, is this machine by its
// spelling; nothing is looked up.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// loginFor returns the clients that hold the credential for repo. There is one
// login for each credential, since podman's files can have several for one host.
func (c *Client) loginFor(repo, host string) (login, error) {
	key := c.keys.key(repo, host)
	c.mu.Lock()
	defer c.mu.Unlock()
	id := host + " " + key
	if l, ok := c.auths[id]; ok {
		return l, nil
	}
	if err := c.keys.admit(host); err != nil {
		return login{}, err
	}
	a := &auth.Client{
		Client:     c.http,
		Header:     http.Header{"User-Agent": {c.opts.UserAgent}},
		Cache:      auth.NewCache(),
		ClientID:   "airgap",
		Credential: c.keys.credential(host, key),
	}
	if isLoopback(host) {
		// A registry on this machine may have its token service here.
		a.BlockedRealmPrefixes = []netip.Prefix{}
	}
	once := *a
	once.Client = c.once
	c.auths[id] = login{a, &once}
	return c.auths[id], nil
}

// url returns where part of the repository is, as in "manifests/latest".
func (e *endpoint) url(part string) *url.URL {
	u := *e.base
	u.Path = "/v2/" + e.path + "/" + part
	return &u
}
