package main

import (
	"fmt"
	"io"
	"net"
)

func checkListen(addr string) error { return checkAddress("--listen", addr) }

// checkAddress is about the address in flag.
func checkAddress(flag, addr string) error {
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
		return usagef("%s %q: want HOST:PORT, as in %s", flag, addr, defaultListen)
	}
	return nil
}

// resolve looks the address up once, so that what is decided by it holds.
func resolve(flag, addr string) (*net.TCPAddr, error) {
	to, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, usagef("%s %q: %w", flag, addr, err)
	}
	return to, nil
}

func listen(flag string, addr *net.TCPAddr) (net.Listener, error) {
	l, err := net.ListenTCP("tcp", addr)
	if err != nil {
		return nil, &adviceError{fmt.Errorf("%s: %w", flag, err), "stop what listens there, or name another address with " + flag + "; port 0 takes one that is free"}
	}
	return l, nil
}

// serveResult is what serve reports when it begins.
type serveResult struct {
	URL    string `json:"url"`
	Source string `json:"source"`
	// Metrics is where they are, if they are wanted.
	Metrics string `json:"metrics,omitempty"`
}

// announce says where it listens, and what of it somebody should know.
func (o *serveOptions) announce(u *ui, addr net.Addr, s *served, metrics string) error {
	scheme := "http"
	if o.cert != "" {
		scheme = "https"
	}
	res := serveResult{scheme + "://" + addr.String(), s.name, metrics}
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		if o.cert == "" {
			u.warn("others than this machine can reach %s, without TLS: whoever is between can read, and change names; give --cert and --cert-key", res.URL)
		}
		if why := o.reachable(res.URL, o.push.writable); why != "" {
			u.warn("%s", why)
		}
	}
	if !o.quiet {
		fmt.Fprintf(u.stderr, "airgap: serving %s, %s; Ctrl-C stops\n", escape(s.name), o.push.text())
	}
	return u.result(o.outputOptions, "ServeResult", res, func(w io.Writer) {
		fmt.Fprintln(w, res.URL)
		if res.Metrics != "" {
			fmt.Fprintln(w, res.Metrics)
		}
	})
}
