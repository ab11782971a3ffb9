package bundle

import (
	"errors"
	"net/netip"
	"testing"
)

// Which addresses a list may come from, and which only if somebody said so.
func TestListAddresses(t *testing.T) {
	const (
		public = iota
		inside
		never
	)
	for address, want := range map[string]int{
		"8.8.8.8": public, "151.101.1.69": public, "2606:4700::1111": public, "::ffff:8.8.8.8": public, "172.32.0.1": public, "100.128.0.1": public,

		"127.0.0.1": inside, "127.8.8.8": inside, "::1": inside, "::ffff:127.0.0.1": inside,
		"10.0.0.1": inside, "172.16.0.1": inside, "172.31.255.255": inside, "192.168.1.1": inside, "::ffff:10.1.2.3": inside,
		"fc00::1": inside, "fd12:3456::1": inside, "fec0::1": inside, "100.64.0.1": inside, "198.18.0.1": inside,

		"169.254.169.254": never, "169.254.0.1": never, "::ffff:169.254.169.254": never, "fe80::1": never, "fe80::1%eth0": never,
		"fd00:ec2::254": never, "100.100.100.200": never, "192.0.0.192": never, "::ffff:100.100.100.200": never,
		"224.0.0.1": never, "239.255.255.250": never, "ff02::1": never, "ff0e::1": never,
		"0.0.0.0": never, "::": never, "0.1.2.3": never, "240.0.0.1": never, "255.255.255.255": never, "::ffff:0.0.0.0": never,
		// IPv4 addresses inside IPv6 ones.
		"::a9fe:a9fe": never, "64:ff9b::a9fe:a9fe": never, "64:ff9b:1::1": never, "2002:a9fe:a9fe::1": never, "2001::1": never,
	} {
		a := netip.MustParseAddr(address)
		for _, said := range []bool{false, true} {
			err := guard{}.check(a, said)
			if ok := want == public || want == inside && said; ok != (err == nil) || err != nil && !errors.Is(err, ErrAddress) {
				t.Errorf("%s, inside allowed: %v: %v", address, said, err)
			}
		}
	}
	if (guard{}).check(netip.Addr{}, true) == nil {
		t.Error("no address at all is allowed")
	}
}
