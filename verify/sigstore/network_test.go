package sigstore

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"airgap/verify/signing"
	"airgap/verify/sigstore/sigstoretest"
)

// noWay fails whatever goes out.
type noWay struct{ t *testing.T }

func (n noWay) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("a request to %s", r.URL)
	return nil, errors.New("no network")
}

// sockets counts those of this process; -1 where they cannot be.
func sockets() int {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	n := 0
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// TestNoNetwork: nothing is asked for, whether it verifies or not.
func TestNoNetwork(t *testing.T) {
	transport, client, resolver := http.DefaultTransport, http.DefaultClient, net.DefaultResolver
	t.Cleanup(func() { http.DefaultTransport, http.DefaultClient, net.DefaultResolver = transport, client, resolver })
	http.DefaultTransport, http.DefaultClient = noWay{t}, &http.Client{Transport: noWay{t}}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(_ context.Context, network, address string) (net.Conn, error) {
		t.Errorf("a name is looked up at %s %s", network, address)
		return nil, errors.New("no network")
	}}
	before := sockets()
	s, pinned := newSigstore(t)
	_, other := newSigstore(t)
	key := signing.InsecureKey("a")
	for _, f := range forms() {
		for _, by := range []sigstoretest.Signing{byID, {Key: key}, {Identity: identity, Issuer: issuer, NoLog: true, NoTimestamp: true, NoSCT: true}} {
			e := must[*Envelope](t)(f.make(s, image, by))
			for _, m := range []Material{pinned, other, {}} {
				for _, w := range []Want{wantID, {Key: key.Public()}} {
					if got, err := e.Verify(image, m, w); (got == nil) == (err == nil) {
						t.Errorf("%v, %v", got, err)
					}
				}
			}
		}
	}
	if after := sockets(); after != before {
		t.Errorf("%d sockets before, %d after", before, after)
	}
}
