package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify"
	"airgap/verify/trust"

	"github.com/urfave/cli/v2"
)

// deltaOptions say what an export leaves out.
type deltaOptions struct {
	since      cli.StringSlice
	only       string
	trust, key string
}

const deltaCategory = "Delta:"

func (o *deltaOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "since", Category: deltaCategory, Usage: "leave out the layers that `RECEIPT` lists or, for links with no way back, that an earlier bundle brought; repeatable", DefaultText: "none", Destination: &o.since},
		&cli.StringFlag{Name: "only", Category: deltaCategory, Usage: "of the layers, carry those on `LIST` alone, which airgap import --missing wrote", DefaultText: "none", Destination: &o.only},
		&cli.StringFlag{Name: "trust", Category: deltaCategory, Usage: "receipts have to be signed by a key that the trust directory `DIR` holds", DefaultText: "none: they are claims", Destination: &o.trust},
		&cli.StringFlag{Name: "key", Category: deltaCategory, Usage: "receipts have to be signed by the public key in `FILE`", DefaultText: "none: they are claims", Destination: &o.key},
	}
}

// check finds what makes no sense. output is where the bundle goes; empty for stdout.
func (o *deltaOptions) check(output string) error {
	since := o.since.Value()
	switch {
	case len(since) > 0 && o.only != "":
		return usagef("--since and --only: want one or the other")
	case len(since) == 0 && o.trust+o.key != "":
		return usagef("--trust and --key are about the receipts of --since")
	}
	for _, path := range append(since, o.only) {
		if in, err := os.Stat(path); path != "" && err == nil {
			for _, out := range []string{output, output + layout.PartialSuffix} {
				if info, err := os.Stat(out); output != "" && err == nil && os.SameFile(in, info) {
					return usagef("--output %s would replace %s, which says what is held", output, path)
				}
			}
		}
	}
	return nil
}

// bases reads what is held.
func (o *deltaOptions) bases(ctx context.Context, u *ui) ([]bundle.Base, error) {
	if o.only != "" {
		b, err := readMissing(o.only)
		if err != nil {
			return nil, usagef("--only %s: %w", o.only, err)
		}
		return []bundle.Base{b}, nil
	}
	keys, err := o.keys()
	if err != nil {
		return nil, err
	}
	var out []bundle.Base
	for _, path := range o.since.Value() {
		b, err := readBase(ctx, path, keys)
		if err != nil {
			return nil, err
		}
		if b.Standing == bundle.BaseClaimed {
			u.warn("%s is a claim: without --trust or --key nobody has checked who says that this is held", escape(path))
		}
		out = append(out, b)
	}
	return out, nil
}

// keys are those that may sign receipts.
func (o *deltaOptions) keys() ([]custody.Key, error) {
	var out []custody.Key
	if o.key != "" {
		key, err := verify.ReadKey(o.key)
		if err != nil {
			return nil, usagef("--key: %w", err)
		}
		out = append(out, custody.Key{Name: o.key, Public: key})
	}
	if o.trust != "" {
		t, err := trust.Open(o.trust)
		if err != nil {
			return nil, &policyError{err}
		}
		for _, k := range t.Keys() {
			out = append(out, custody.Key{Name: k.Name, Public: k.Public})
		}
		if len(out) == 0 {
			return nil, &adviceError{usagef("--trust %s: there is no key in it, so no receipt can be believed", o.trust), "add the key of whoever signs receipts with airgap trust add --key"}
		}
	}
	return out, nil
}

// readBase reads a receipt, or the head of a bundle.
func readBase(ctx context.Context, path string, keys []custody.Key) (bundle.Base, error) {
	path = strings.TrimPrefix(path, "bundle:")
	is, err := isReceipt(path)
	if err != nil {
		return bundle.Base{}, usagef("--since: %w", err)
	}
	if !is {
		b, err := bundle.Open(ctx, path, bundle.OpenOptions{})
		if err != nil {
			return bundle.Base{}, local(err)
		}
		defer b.Close()
		base, err := b.Base(ctx)
		return base, local(err)
	}
	data, err := readSmall(path, bundle.MaxReceiptBytes)
	if err != nil {
		return bundle.Base{}, usagef("--since: %w", err)
	}
	r, err := bundle.OpenReceipt(data, keys)
	if err != nil {
		return bundle.Base{}, usagef("--since %s: %w", path, err)
	}
	return r.Base(), nil
}

// isReceipt tells a receipt, which is JSON, from a bundle, which is a tar or a folder.
func isReceipt(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return false, err
	}
	head, err := bufio.NewReaderSize(f, 16).Peek(1)
	if err != nil && err != io.EOF {
		return false, err
	}
	return bytes.Equal(head, []byte("{")), nil
}

func readMissing(path string) (bundle.Base, error) {
	data, err := readSmall(path, bundle.MaxMissingBytes)
	if err != nil {
		return bundle.Base{}, err
	}
	m, err := bundle.ParseMissing(data)
	if err != nil {
		return bundle.Base{}, err
	}
	return m.Base()
}

// landingOptions say how a delta is imported.
type landingOptions struct {
	missing   string
	mountFrom cli.StringSlice
}

func (o *landingOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "missing", Category: deltaCategory, Usage: "if the destination lacks what a delta does not carry, write the list to `FILE`, for airgap export --only", DefaultText: "none", Destination: &o.missing},
		&cli.StringSliceFlag{Name: "mount-from", Category: deltaCategory, Usage: "with --to: look for what a delta does not carry in the repository `REPO` of the registry too; repeatable", DefaultText: "the repositories that are imported into", Destination: &o.mountFrom},
	}
}

// check finds what makes no sense.
func (o *landingOptions) check(to string) error { return checkMountFrom(o.mountFrom.Value(), to) }

func checkMountFrom(repos []string, to string) error {
	for _, repo := range repos {
		ref, err := layout.ParseReference(repo)
		switch host, _, _ := strings.Cut(to, "/"); {
		case to == "":
			return usagef("--mount-from is about --to; in a store everything is found")
		case err != nil || ref.Repository != repo:
			return usagef("--mount-from %q: want a repository in full, as %s/team/app", repo, host)
		case ref.Registry() != host:
			return usagef("--mount-from %s: not in the registry %s", repo, host)
		}
	}
	return nil
}

// others opens the bundles that are imported together with path: what one leaves out,
// another may carry. What cannot be opened is told when its turn comes.
func (o *importOptions) others(ctx context.Context, path string) (all []*bundle.Bundle, done func()) {
	for _, other := range o.bundles {
		if other == path || other == "-" {
			continue
		}
		t, err := parseLocal(other)
		if err != nil {
			continue
		}
		if b, err := bundle.Open(ctx, t.path, bundle.OpenOptions{As: o.as}); err == nil {
			all = append(all, b)
		}
	}
	return all, func() {
		for _, b := range all {
			b.Close()
		}
	}
}

// keep writes the list of what is missing, if that is what went wrong.
func (o *landingOptions) keep(err error) error {
	var missing *bundle.MissingError
	if !errors.As(err, &missing) || missing.Late || o.missing == "" {
		return err
	}
	data, merr := missing.List.Marshal()
	if merr == nil {
		merr = writeWhole(o.missing, data)
	}
	if merr != nil {
		return errors.Join(err, merr)
	}
	return &adviceError{err, fmt.Sprintf("the list is in %s: carry it back, run airgap export with --only %[1]s for the same images, and import both bundles in one command", o.missing)}
}

// Holds says of a blob whether the sink has it, in whatever repository.
func (l *lateSink) Holds(ctx context.Context, d layout.Descriptor) (bool, error) {
	if !l.there() {
		return false, nil
	}
	if err := l.opened(); err != nil {
		return false, err
	}
	h, ok := l.sink.(interface {
		Holds(context.Context, layout.Descriptor) (bool, error)
	})
	if !ok {
		return false, nil
	}
	return h.Holds(ctx, d)
}

// writeDelta says what a bundle carries, and what it counts on.
func writeDelta(w io.Writer, d *bundle.Delta) {
	if d == nil {
		return
	}
	fmt.Fprintf(w, "\ncarried: %s, %s with all manifests; not carried: %s, %s\n",
		plural(d.CarriedBlobs, "blob"), humanSize(d.CarriedBytes), plural(d.NotCarriedBlobs, "blob"), humanSize(d.NotCarriedBytes))
	var rows [][]string
	for _, b := range d.Bases {
		rows = append(rows, []string{"  " + plural(b.Blobs, "blob"), humanSize(b.Bytes), describeBase(&b)})
	}
	table(w, rows)
}

// describeBase says who says that something is held.
func describeBase(b *bundle.DeltaBase) string {
	text := fmt.Sprintf("%s: %s %s", b.Standing, b.Kind, shortDigest(b.Digest))
	if b.Holder != "" {
		text += " of " + b.Holder
	}
	if b.Time != nil {
		text += " at " + b.Time.Format("2006-01-02T15:04:05Z07:00")
	}
	if b.Kind == bundle.BaseBundle {
		text += " brought it"
	}
	return text
}
