package main

import (
	"errors"
	"strings"
	"testing"
)

// Passwords leave this machine with TLS only, or if somebody says so.
func TestUsersNeedTLS(t *testing.T) {
	for addr, here := range map[string]bool{
		"127.0.0.1:0": true, "127.9.9.9:0": true, "[::1]:0": true, "localhost:0": true,
		":0": false, "0.0.0.0:0": false, "[::]:0": false, "192.0.2.1:0": false, "[2001:db8::1]:0": false, "[::ffff:192.0.2.1]:0": false,
	} {
		to, err := resolve("--listen", addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			o      accessOptions
			secure bool
			want   bool
		}{
			{accessOptions{}, false, true},
			{accessOptions{rights: "rights"}, false, true},
			{accessOptions{users: "users"}, false, here},
			{accessOptions{users: "users", rights: "rights"}, false, here},
			{accessOptions{users: "users"}, true, true},
			{accessOptions{users: "users", plain: true}, false, true},
		} {
			if err := c.o.checkWire(to, c.secure); (err == nil) != c.want || err != nil && !errors.Is(err, errUsage) {
				t.Errorf("%s, %+v, TLS %v: %v", addr, c.o, c.secure, err)
			}
		}
	}
}

// What everybody can do is said, and only that.
func TestReachableIsSaid(t *testing.T) {
	for _, c := range []struct {
		o        accessOptions
		writable bool
		want     string
	}{
		{accessOptions{}, false, "can pull everything;"},
		{accessOptions{}, true, "can pull everything, and push and delete;"},
		{accessOptions{users: "users"}, true, ""},
		{accessOptions{rights: "rights"}, true, ""},
	} {
		if got := c.o.reachable("http://x", c.writable); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%+v, writable %v: %q", c.o, c.writable, got)
		}
	}
}
