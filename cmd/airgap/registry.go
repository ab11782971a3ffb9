package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"

	"airgap/bundle/registry"
	"airgap/layout"

	"github.com/urfave/cli/v2"
)

// registryOptions say how registries are reached; every command that talks to
// one has these flags.
type registryOptions struct {
	plainHTTP, insecure bool
	caFile              string
	certFile, keyFile   string
	username            string
	passwordStdin       bool
	config              string
	noReferrersAPI      bool
	keepDir             string // manifests are kept there between runs; none if empty
}

func (o *registryOptions) flags() []cli.Flag {
	const group = "Registry:"
	return []cli.Flag{
		&cli.BoolFlag{Name: "plain-http", Category: group, Usage: "speak http instead of https; this machine's own addresses get http anyway", Destination: &o.plainHTTP},
		&cli.BoolFlag{Name: "insecure", Category: group, Usage: "accept any TLS certificate of a registry", Destination: &o.insecure},
		&cli.StringFlag{Name: "ca-file", Category: group, Usage: "trust the certificate authorities in `FILE` (PEM) besides the system's", DefaultText: "the system's alone", Destination: &o.caFile},
		&cli.StringFlag{Name: "cert-file", Category: group, Usage: "show registries the TLS client certificate in `FILE` (PEM); needs --key-file", DefaultText: "none", Destination: &o.certFile},
		&cli.StringFlag{Name: "key-file", Category: group, Usage: "`FILE` (PEM) with the key of --cert-file", DefaultText: "none", Destination: &o.keyFile},
		&cli.StringFlag{Name: "username", Aliases: []string{"u"}, Category: group, Usage: "log in as `NAME`; needs --password-stdin, and all references at one registry", DefaultText: "what docker login and podman login left", Destination: &o.username},
		&cli.BoolFlag{Name: "password-stdin", Category: group, Usage: "read the password for --username from stdin", Destination: &o.passwordStdin},
		&cli.StringFlag{Name: "registry-config", Category: group, Usage: "take credentials from `FILE`, in docker's or podman's format", DefaultText: "the files of docker and podman", Destination: &o.config},
		&cli.BoolFlag{Name: "no-referrers-api", Category: group, Usage: "do not ask for the referrers API; attachments are found and listed by tags only, and an export record says so", Destination: &o.noReferrersAPI},
	}
}

// check finds what makes no sense together. stdinTaken says what else reads
// stdin, or is empty.
func (o *registryOptions) check(stdinTaken string) error {
	switch {
	case o.passwordStdin && o.username == "":
		return usagef("--password-stdin needs --username")
	case o.username != "" && !o.passwordStdin:
		return &adviceError{usagef("--username needs --password-stdin"), "a password on the command line would show in the list of processes"}
	case o.passwordStdin && stdinTaken != "":
		return &adviceError{usagef("both --password-stdin and %s read stdin", stdinTaken), "log in with docker login or podman login, or use --registry-config"}
	case (o.certFile == "") != (o.keyFile == ""):
		return usagef("--cert-file and --key-file go together")
	}
	return nil
}

// client makes the client. host is the one that --username is for; side is what
// errors name, or empty for what fits the request.
func (o *registryOptions) client(ctx context.Context, u *ui, host string, side layout.Side) (*registry.Client, error) {
	opts := registry.Options{
		UserAgent: "airgap/" + readVersion().Version, Side: side,
		PlainHTTP: o.plainHTTP, InsecureSkipVerify: o.insecure, CAFile: o.caFile, ClientCert: o.certFile, ClientKey: o.keyFile,
		Username: o.username, RegistryConfig: o.config, NoReferrersAPI: o.noReferrersAPI, KeepDir: o.keepDir,
	}
	if o.username != "" {
		opts.Registry = host
	}
	if o.passwordStdin {
		password, err := readPassword(contextReader(ctx, u.stdin))
		if err != nil {
			return nil, err
		}
		opts.Password = password
	}
	c, err := registry.New(opts)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return c, nil
}

// maxPasswordBytes bounds a password; tokens can be some kilobytes.
const maxPasswordBytes = 64 << 10

// readPassword takes the first line, as docker login does.
func readPassword(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxPasswordBytes)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", usagef("--password-stdin: stdin has no password")
	}
	return line, nil
}
