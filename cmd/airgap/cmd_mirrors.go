package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"

	"airgap/layout"

	"github.com/urfave/cli/v2"
)

// mirrorsOptions are what the flags of mirrors say.
type mirrorsOptions struct {
	hosts  []string
	client string
	listen string
	store  string
	ca     string
	https  bool
	outputOptions
}

func mirrorsCommand(u *ui) *cli.Command {
	var o mirrorsOptions
	return &cli.Command{
		Name:      "mirrors",
		Usage:     "print how containerd, docker, podman, k3s or OpenShift pull from serve by original names",
		ArgsUsage: "[REGISTRY...]",
		Description: `Prints configuration that has a client ask airgap serve for images of each REGISTRY, so
that manifests and scripts need no change: ghcr.io/acme/app is pulled as
ghcr.io/acme/app. Which file it goes to stands above it. Nothing is written and nobody
is asked; without REGISTRY, those that the store has images of are taken.

    containerd  a hosts.toml for each registry, and a way for all of them
    docker      daemon.json; docker has mirrors of docker.io only, so that images of
                other registries are pulled as HOST:PORT/REGISTRY/…, but for Docker 29
                with the image store of containerd
    podman      registries.conf, also for CRI-O, skopeo and buildah
    k3s         registries.yaml, also for RKE2
    openshift   an ImageDigestMirrorSet and an ImageTagMirrorSet, since OpenShift 4.13

Clients so told ask nobody else about these registries, but for docker and k3s, which
turn to the registry itself if serve does not have an image; k3s can be kept from it.

Examples:
   airgap mirrors --for containerd
   airgap mirrors --for podman docker.io ghcr.io --listen registry.corp:443 --https
   airgap mirrors --for k3s --store /srv/airgap --listen 10.0.0.5:5000
   airgap mirrors --for openshift quay.io --listen registry.corp:443 --https --ca ca.pem`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "for", Usage: "configure `CLIENT`: containerd, docker, podman, k3s or openshift", DefaultText: "none", Destination: &o.client},
			&cli.StringFlag{Name: "listen", Usage: "where clients reach serve, `HOST:PORT`", Value: defaultListen, DefaultText: defaultListen, Destination: &o.listen},
			&cli.BoolFlag{Name: "https", Usage: "serve has a certificate (--cert)", Destination: &o.https},
			&cli.StringFlag{Name: "ca", Usage: "… which clients trust because of the authority in `FILE`, on their machines", DefaultText: "what clients trust already", Destination: &o.ca},
			&cli.StringFlag{Name: "store", Usage: "without REGISTRY: those that the store in `DIR` has images of", DefaultText: "$AIRGAP_STORE, else airgap/store in the user's data folder", Destination: &o.store},
		}, o.outputOptions.flags()...),
		Action: func(c *cli.Context) error {
			o.hosts = c.Args().Slice()
			return runMirrors(c.Context, u, o)
		},
	}
}

// mirrorFile is a piece of configuration and where it goes.
type mirrorFile struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// mirrorsResult is what mirrors reports.
type mirrorsResult struct {
	Client     string       `json:"client"`
	Registries []string     `json:"registries"`
	Files      []mirrorFile `json:"files"`
	Remarks    []string     `json:"remarks,omitempty"`
}

func runMirrors(ctx context.Context, u *ui, o mirrorsOptions) error {
	if err := checkAll(o.outputOptions.check(), checkListen(o.listen)); err != nil {
		return err
	}
	write, ok := mirrorsFor[o.client]
	if !ok {
		return usagef("--for %q: want containerd, docker, podman, k3s or openshift", o.client)
	}
	if err := o.check(); err != nil {
		return err
	}
	if err := o.findHosts(ctx, u); err != nil {
		return err
	}
	if err := o.checkPaths(); err != nil {
		return err
	}
	res := mirrorsResult{Client: o.client, Registries: o.hosts}
	res.Files, res.Remarks = write(&o)
	return u.result(o.outputOptions, "MirrorsResult", res, func(w io.Writer) { writeMirrors(w, res) })
}

// check refuses an address that no client could ask, and what is no plain text in a
// file of configuration.
func (o *mirrorsOptions) check() error {
	host, port, _ := net.SplitHostPort(o.listen)
	ip := net.ParseIP(host)
	switch {
	case !plainHost(o.listen):
		return usagef("--listen %q: want a host and a port", o.listen)
	case host == "" || port == "0" || ip.IsUnspecified():
		return &adviceError{usagef("--listen %s is no address that a client could ask", o.listen), "give the name or address of the machine that serves"}
	case o.client == "openshift" && (host == "localhost" || ip.IsLoopback()):
		return &adviceError{usagef("--listen %s is each node itself", o.listen), "give the name or address of the machine that serves, as nodes reach it"}
	case o.client == "openshift" && strings.Contains(host, ":"):
		return &adviceError{usagef("--listen %s: OpenShift takes no IPv6 address for a mirror", o.listen), "give the name of the machine that serves"}
	case o.ca != "" && !o.https:
		return usagef("--ca is about --https")
	case strings.ContainsFunc(o.ca, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' }):
		return usagef("--ca %q: want a plain path", o.ca)
	}
	return nil
}

// findHosts checks the registries that were named, or takes those of the store.
func (o *mirrorsOptions) findHosts(ctx context.Context, u *ui) (err error) {
	if len(o.hosts) == 0 {
		if o.hosts, err = o.hostsOfStore(ctx, u); err != nil {
			return err
		}
	} else if o.store != "" {
		return usagef("--store says which registries; give those or the store")
	}
	slices.Sort(o.hosts)
	o.hosts = slices.Compact(o.hosts)
	for _, h := range o.hosts {
		if ref, err := layout.ParseReference(h + "/x/y"); err != nil || ref.Registry() != h || !plainHost(h) {
			return usagef("%q is no registry: want its host, as in ghcr.io", h)
		}
	}
	return nil
}

// checkPaths refuses a registry that cannot be said in a path, for clients that say it
// there.
func (o *mirrorsOptions) checkPaths() error {
	if o.client != "podman" && o.client != "openshift" {
		return nil
	}
	for _, h := range o.hosts {
		if pathHost(h) == "" {
			return &adviceError{usagef("%s wants the registry in a path, and %q can be in none", o.client, h), "name the other registries; containerd and k3s can have this one, too"}
		}
	}
	return nil
}

// plainHost says whether s, in a file of configuration, is nothing but a host and a
// port.
func plainHost(s string) bool {
	u, err := url.Parse("http://" + s)
	return err == nil && u.Host == s && !strings.ContainsAny(s, "\"'\\%@ ")
}

func (o *mirrorsOptions) hostsOfStore(ctx context.Context, u *ui) ([]string, error) {
	dir, err := o.store, error(nil)
	if dir == "" {
		if dir, err = u.defaultStore(); err != nil {
			return nil, err
		}
	}
	s, err := readStore(ctx, dir)
	if err != nil {
		return nil, &adviceError{err, "or name the registries: airgap mirrors --for " + o.client + " docker.io ghcr.io"}
	}
	defer s.close()
	var hosts []string
	for _, n := range s.names {
		hosts = append(hosts, n.Reference.Registry())
	}
	if len(hosts) == 0 {
		return nil, &adviceError{errors.New("the store has no images yet"), "name the registries: airgap mirrors --for " + o.client + " docker.io ghcr.io"}
	}
	return hosts, nil
}

func writeMirrors(w io.Writer, res mirrorsResult) {
	for i, f := range res.Files {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "# %s\n%s", f.Path, f.Text)
	}
	if len(res.Remarks) > 0 {
		fmt.Fprintln(w)
	}
	for _, r := range res.Remarks {
		fmt.Fprintf(w, "# %s\n", escape(r))
	}
}
