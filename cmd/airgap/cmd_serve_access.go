package main

import (
	"crypto/tls"
	"fmt"
	"net"

	"airgap/store/serve"
	"airgap/store/serve/access"
	"airgap/store/serve/reload"

	"github.com/urfave/cli/v2"
)

// accessOptions say who may do what at serve, and who may watch it.
type accessOptions struct {
	users, rights string
	anonymous     bool
	anonymousSet  bool // somebody has said so, or that not
	plain         bool // passwords without TLS
	metrics       string
}

func (o *accessOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "users", Category: "Access:", Usage: "the users and the bcrypt hashes of their passwords are in `FILE`, as htpasswd -B writes it", DefaultText: "none: whoever reaches it", Destination: &o.users},
		&cli.StringFlag{Name: "rights", Category: "Access:", Usage: "who may do what in which repositories is in `FILE` (YAML)", DefaultText: "every user may do everything", Destination: &o.rights},
		&cli.BoolFlag{Name: "anonymous", Category: "Access:", Usage: "with --users, let whoever gives no name pull, too (without, everybody can; with --rights, rules say it)", DefaultText: "off", Destination: &o.anonymous},
		&cli.BoolFlag{Name: "insecure-http-users", Category: "Access:", Usage: "take passwords without TLS from other machines, because a proxy before it does TLS", Destination: &o.plain},
		&cli.StringFlag{Name: "metrics", Usage: "give metrics for Prometheus at `ADDR`, HOST:PORT, to whoever reaches that", DefaultText: "none", Destination: &o.metrics},
	}
}

func (o *accessOptions) check() error {
	switch {
	case o.anonymousSet && o.rights != "":
		return usagef("--anonymous and --rights: it is for a rule with users: [anonymous] to say what those may do")
	case o.anonymousSet && !o.anonymous && o.users == "":
		return usagef("--anonymous=false without --users: nobody could pull")
	case o.plain && o.users == "":
		return usagef("--insecure-http-users is about --users")
	case o.metrics != "":
		return checkAddress("--metrics", o.metrics)
	}
	return nil
}

// checkWire refuses what would send passwords over a network as they are.
func (o *accessOptions) checkWire(addr *net.TCPAddr, secure bool) error {
	if o.users == "" || secure || o.plain || addr.IP.IsLoopback() {
		return nil
	}
	return &adviceError{usagef("--users at %s without TLS: passwords would cross the network for everybody to read", addr),
		"give --cert and --cert-key; if a proxy before it does TLS, let it listen at 127.0.0.1, or add --insecure-http-users"}
}

// guard is nil if everybody may do everything.
func (o *accessOptions) guard(failed func(error)) (*access.Guard, error) {
	if o.users == "" && o.rights == "" {
		return nil, nil
	}
	g, err := access.Open(access.Options{Users: o.users, Rights: o.rights, Anonymous: o.anonymous, Failed: failed})
	if err != nil {
		return nil, usagef("--users, --rights: %w", err)
	}
	return g, nil
}

// secure is nil for plain HTTP.
func (o *serveOptions) secure(failed func(error)) (*tls.Config, error) {
	if o.cert == "" {
		return nil, nil
	}
	config, err := serve.LoadTLS(o.cert, o.certKey, reload.Options{Failed: failed})
	if err != nil {
		return nil, usagef("--cert %s, --cert-key %s: %w", o.cert, o.certKey, err)
	}
	return config, nil
}

// reachable says what others than this machine can do, if that is more than they
// should; "" if all is well.
func (o *accessOptions) reachable(url string, writable bool) string {
	what := "pull everything"
	switch {
	case o.users != "" || o.rights != "":
		return ""
	case writable:
		what += ", and push and delete"
	}
	return fmt.Sprintf("everybody who can reach %s can %s; --users and --rights say who may", url, what)
}
