package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Limits of fetching one list.
const (
	listTimeout   = 20 * time.Second
	listRedirects = 3
)

// ErrAddress: a certificate or a manifest points to an address that nobody said lists
// or layers may be fetched from.
var ErrAddress = errors.New("nothing is fetched from there")

// ListFetcher fetches revocation lists over HTTP, with no credentials.
//
// Where from, a certificate says that came out of a registry, in a signature that
// nobody has verified. So that it cannot make this machine knock at doors that
// only this machine can reach, each address is looked at when it is dialed, after
// all names are resolved: it has to be a public one. What is there is of no use to
// whoever chose it, for it is dropped unless it is a revocation list.
//
// A proxy that the environment names is trusted to have rules of its own: it
// resolves the names then, and only addresses that stand in the URL can be checked.
type ListFetcher struct {
	// Hosts may have private addresses, or this machine's: names or addresses as
	// they stand in the URL, without a port. Authorities of companies publish
	// their lists inside.
	Hosts []string
}

// Fetch fetches the list at rawURL.
func (f ListFetcher) Fetch(ctx context.Context, rawURL string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return nil, err
	}
	if err := checkListURL(req.URL); err != nil {
		return nil, err
	}
	transport, err := guard{f.Hosts, "list", "--revocation-list-host"}.transport(req)
	if err != nil {
		return nil, err
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > listRedirects {
			return errors.New("too many redirects")
		}
		if r.URL.Host != via[0].URL.Host {
			return fmt.Errorf("it redirects to another host, %s", r.URL.Host)
		}
		return checkListURL(r.URL)
	}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %d", resp.StatusCode)
	}
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, io.LimitReader(resp.Body, maxListBytes+1)); err != nil {
		return nil, err
	}
	if buf.Len() > maxListBytes {
		return nil, fmt.Errorf("larger than %d bytes", maxListBytes)
	}
	return buf.Bytes(), nil
}

// checkListURL refuses what no authority publishes a list at.
func checkListURL(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%.20q is neither http nor https: %w", u.Scheme, ErrAddress)
	case u.Hostname() == "":
		return fmt.Errorf("the URL has no host: %w", ErrAddress)
	case u.User != nil:
		return fmt.Errorf("the URL holds a user name: %w", ErrAddress)
	}
	return nil
}

// guard lets requests go to public addresses, and to those that somebody allowed.
type guard struct {
	hosts []string // may have private addresses
	what  string   // is fetched
	flag  string   // allows a host
}

// transport is one for this request alone, which dials nothing that it should not.
func (f guard) transport(req *http.Request) (*http.Transport, error) {
	inside := f.mayBeInside(req.URL.Hostname())
	out := &http.Transport{TLSHandshakeTimeout: listTimeout, ResponseHeaderTimeout: listTimeout}
	proxy, err := http.ProxyFromEnvironment(req)
	if err != nil {
		return nil, err
	}
	if proxy != nil {
		if addr, err := netip.ParseAddr(req.URL.Hostname()); err == nil {
			if err := f.check(addr, inside); err != nil {
				return nil, err
			}
		}
		out.Proxy = http.ProxyURL(proxy)
		return out, nil
	}
	dialer := &net.Dialer{Timeout: listTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%s: %w", address, ErrAddress)
		}
		return f.check(at.Addr(), inside)
	}}
	out.DialContext = dialer.DialContext
	return out, nil
}

func (f guard) mayBeInside(host string) bool {
	return slices.ContainsFunc(f.hosts, func(h string) bool {
		return strings.EqualFold(strings.TrimSuffix(strings.Trim(h, "[]"), "."), strings.TrimSuffix(host, "."))
	})
}

// Networks that netip has no word for.
var (
	// Addresses of clouds' metadata services that are not link-local: AWS over
	// IPv6, Alibaba, Oracle.
	metadata = []netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"),
	}
	// Inside somebody's network, or nobody's (RFC 6598, 2544).
	insideNetworks = []netip.Prefix{
		netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("fec0::/10"),
	}
	// Where no server is (RFC 6890), and what leads on to an IPv4 address that
	// cannot be seen from here (RFC 4291, 3056, 4380, 6052, 8215).
	noServers = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
		netip.MustParsePrefix("::/96"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32"),
		netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"),
	}
)

// check says whether something may be fetched from an address; inside, if it was said
// that the host may be inside.
func (f guard) check(a netip.Addr, inside bool) error {
	a = a.Unmap().WithZone("")
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	why := ""
	switch {
	case slices.Contains(metadata, a), a.IsLinkLocalUnicast():
		why = "a link-local address, or a cloud's own"
	case a.IsLoopback(), a.IsPrivate(), slices.ContainsFunc(insideNetworks, in):
		if inside {
			return nil
		}
		return fmt.Errorf("%s is a private address, and nobody said that the %s may come from inside (%s): %w", a, f.what, f.flag, ErrAddress)
	case a.IsMulticast():
		why = "a multicast address"
	case !a.IsValid(), a.IsUnspecified(), slices.ContainsFunc(noServers, in):
		why = "no server's address"
	default:
		return nil
	}
	return fmt.Errorf("%s is %s: %w", a, why, ErrAddress)
}
