package main

import (
	"context"
	"io"
	"net"

	"airgap/bundle"

	"github.com/urfave/cli/v2"
)

// foreignOptions say what becomes of foreign layers: those that are by their media type
// not kept in registries, as the base layers of older Windows images.
type foreignOptions struct {
	how   string
	skip  bool
	hosts cli.StringSlice
}

// What --foreign-layers takes.
const (
	foreignFetch    = "fetch"
	foreignRegistry = "registry"
	foreignSkip     = "skip"
)

func (o *foreignOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "foreign-layers", Usage: "what becomes of layers that are by their type not kept in registries, where the registry has none: `HOW` is fetch (from the URLs in their manifests, checked by digest), registry (fail) or skip", DefaultText: "fetch if something is exported from a registry, else registry", Destination: &o.how},
		&cli.BoolFlag{Name: "skip-foreign-layers", Usage: "the same as --foreign-layers skip: leave them out", Destination: &o.skip},
		&cli.StringSliceFlag{Name: "foreign-layer-host", Usage: "fetch foreign layers from `HOST`, too, though its address is private; the hosts of the registries are allowed; repeatable", DefaultText: "none", Destination: &o.hosts},
	}
}

func (o *foreignOptions) check() error {
	switch o.how {
	case "", foreignFetch, foreignRegistry, foreignSkip:
		return nil
	}
	return usagef("--foreign-layers %.40q: want %s, %s or %s", o.how, foreignFetch, foreignRegistry, foreignSkip)
}

func (o *foreignOptions) skips() bool { return o.skip || o.how == foreignSkip }

// fetch is how they are fetched, or nil: a user who exports from what lies here alone
// may have no network, and has to ask for it.
func (o *foreignOptions) fetch(targets []target) func(context.Context, string) (io.ReadCloser, error) {
	hosts, remote := o.hosts.Value(), false
	for _, t := range targets {
		if t.kind != inRegistry {
			continue
		}
		remote = true
		host := t.ref.Registry()
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		hosts = append(hosts, host)
	}
	if o.skip || o.how != foreignFetch && (o.how != "" || !remote) {
		return nil
	}
	return bundle.ForeignFetcher{Hosts: hosts}.Open
}
