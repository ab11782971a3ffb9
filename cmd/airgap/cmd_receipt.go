package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/disk"
	"airgap/store"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
)

// receiptOptions are what the flags of receipt say.
type receiptOptions struct {
	refs     []string
	store    string
	output   string
	holder   string
	fast     bool
	key      keyOptions
	registry registryOptions
	outputOptions
}

func receiptCommand(u *ui) *cli.Command {
	var o receiptOptions
	return &cli.Command{
		Name:      "receipt",
		Usage:     "state which blobs are held here, so that the next export leaves them out",
		ArgsUsage: "[REF...]",
		Description: `Writes a receipt: the digests of all blobs that a store holds, or, if REFs are given,
of all blobs of those images, and of what is attached to them, that their registry
says it has when it is asked for each. Carried back, it lets airgap export --since
leave those out.

Each blob of a store is hashed. A damaged or missing one is reported, and is not in the
receipt, so that the next export carries it again.

Signed with --record-key it is a statement that an exporter can hold its sender to;
unsigned it is a claim, and is shown as one. It names its holder (a store's ledger, or
the registry's host, unless --holder says otherwise) and, for a store that has a
ledger, the ledger's checkpoint.

Examples:
   airgap receipt -o receipt.json --record-key enclave.key
   airgap receipt --store /srv/airgap -o receipt.json
   airgap receipt registry.corp/acme/app:1.3 registry.corp/acme/db:9 -o receipt.json`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the receipt to `FILE`, or to stdout if it is -", DefaultText: "none: required", Destination: &o.output},
			&cli.StringFlag{Name: "store", Usage: "state what the store in `DIR` holds", DefaultText: "$AIRGAP_STORE, else airgap/store in the user's data folder", Destination: &o.store},
			&cli.BoolFlag{Name: "fast", Usage: "compare the sizes of a store's blobs, and read none: the receipt may list damaged ones", Destination: &o.fast},
			&cli.StringFlag{Name: "holder", Usage: "say that `NAME` holds it", DefaultText: "the ledger's name, or the registry's host", Destination: &o.holder},
			&cli.StringFlag{Name: "record-key", Category: "Record:", Usage: "sign the receipt with the private key in `KEY` (ECDSA P-256 or Ed25519; PEM, or as cosign encrypts it)", DefaultText: "none", Destination: &o.key.key},
			&cli.StringFlag{Name: "record-password-file", Category: "Record:", Usage: "the password of --record-key is the first line of `FILE`", DefaultText: "$AIRGAP_PASSWORD, $COSIGN_PASSWORD, else it is asked for on a terminal", Destination: &o.key.passwordFile},
		}, append(o.registry.flags(), o.outputOptions.flags()...)...),
		Action: func(c *cli.Context) error {
			o.refs = c.Args().Slice()
			return runReceipt(c.Context, u, o)
		},
	}
}

// receiptResult is what receipt reports.
type receiptResult struct {
	Receipt    string        `json:"receipt"` // the file
	Digest     digest.Digest `json:"digest"`  // of the statement in it
	Holder     string        `json:"holder,omitempty"`
	Time       time.Time     `json:"time"`
	Blobs      int           `json:"blobs"`
	Bytes      int64         `json:"bytes"`  // of the blobs
	Absent     int           `json:"absent"` // blobs that are listed and not there, or damaged
	Hashed     bool          `json:"hashed"` // each blob; never of a registry
	Checkpoint bool          `json:"checkpoint"`
	Signed     bool          `json:"signed"`
}

// heldBlobs is what is to be stated.
type heldBlobs struct {
	holder, checkpoint string
	blobs              []layout.Blob
	absent             int
	hashed             bool
}

func (o *receiptOptions) check(u *ui) error {
	if err := checkAll(o.outputOptions.check(), o.registry.check("")); err != nil {
		return err
	}
	switch {
	case o.output == "":
		return &adviceError{usagef("where to? give --output FILE"), "-o - writes to stdout"}
	case o.store != "" && len(o.refs) > 0:
		return usagef("--store and references: want one or the other")
	case o.fast && len(o.refs) > 0:
		return usagef("--fast is about the blobs of a store; those of a registry are not hashed")
	case o.key.key == "" && o.key.passwordFile != "":
		return usagef("--record-password-file is about the key of --record-key")
	}
	return nil
}

func runReceipt(ctx context.Context, u *ui, o receiptOptions) error {
	if err := o.check(u); err != nil {
		return err
	}
	key, err := o.readKey(ctx, u)
	if err != nil {
		return err
	}
	var held *heldBlobs
	if len(o.refs) > 0 {
		held, err = o.inRegistry(ctx, u)
	} else {
		held, err = o.inStore(ctx, u)
	}
	if err != nil {
		return err
	}
	if o.holder != "" {
		held.holder = o.holder
	}
	res, data, err := held.receipt(u.now(), key)
	if err != nil {
		return err
	}
	res.Receipt = o.output
	w := u.stdout
	if o.output == "-" {
		if _, err := u.stdout.Write(data); err != nil || o.quiet {
			return err
		}
		w = u.stderr
	} else if err := writeWhole(o.output, data); err != nil {
		return err
	}
	return u.resultTo(w, o.outputOptions, "ReceiptResult", res, func(w io.Writer) { writeReceipt(w, res) })
}

func (o *receiptOptions) readKey(ctx context.Context, u *ui) (crypto.Signer, error) {
	if o.key.key == "" {
		return nil, nil
	}
	key, err := o.key.readKey(ctx, u, "--record-key")
	if err == nil {
		if err = signing.CheckKey(key); err != nil {
			err = usagef("--record-key %s: %w", o.key.key, err)
		}
	}
	return key, err
}

// inStore lists what a store holds.
func (o *receiptOptions) inStore(ctx context.Context, u *ui) (*heldBlobs, error) {
	dir := o.store
	if dir == "" {
		var err error
		if dir, err = u.defaultStore(); err != nil {
			return nil, err
		}
	}
	s, err := store.Open(dir, store.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	held, err := o.heldIn(ctx, u, s)
	if err != nil {
		return nil, err
	}
	note, c, err := s.Checkpoint()
	if errors.Is(err, layout.ErrNotFound) { // no ledger yet
		return held, nil
	}
	held.holder, held.checkpoint = c.Origin, string(note)
	return held, err
}

// heldIn lists the blobs of a store that are intact.
func (o *receiptOptions) heldIn(ctx context.Context, u *ui, s *store.Store) (*heldBlobs, error) {
	p := u.progress("receipt", o.outputOptions)
	defer p.close()
	blobs, damaged, err := s.Held(ctx, store.HeldOptions{
		SizesOnly: o.fast,
		OnPlan:    func(count int, size int64) { p.event(layout.Event{Kind: layout.EventPlan, N: size, Count: count}) },
		OnBlob:    func(size int64) { p.event(layout.Event{Kind: layout.EventSkip, N: size}) },
	})
	if err != nil {
		return nil, err
	}
	held := &heldBlobs{absent: len(damaged), hashed: !o.fast}
	for _, b := range blobs {
		held.blobs = append(held.blobs, layout.Blob{Digest: b.Digest, Size: b.Size})
	}
	for _, b := range damaged {
		u.warn("%s is damaged or missing in the store, and is not in the receipt; airgap store check --repair BUNDLE replaces it", b.Digest)
	}
	return held, nil
}

// inRegistry lists what a registry says it holds.
func (o *receiptOptions) inRegistry(ctx context.Context, u *ui) (*heldBlobs, error) {
	targets, op, err := openerFor(u, o.registry, "", o.refs)
	if err != nil {
		return nil, err
	}
	defer op.Close()
	var refs []layout.Reference
	for _, t := range targets {
		switch {
		case t.kind != inRegistry:
			return nil, &adviceError{usagef("%s: want a reference in a registry", t), "of a store, airgap receipt --store DIR states what it holds"}
		case len(refs) > 0 && t.ref.Registry() != refs[0].Registry():
			return nil, usagef("a receipt is of one registry, and these are two: %s and %s", refs[0].Registry(), t.ref.Registry())
		}
		refs = append(refs, t.ref)
	}
	client, err := op.registry(ctx)
	if err != nil {
		return nil, err
	}
	held := &heldBlobs{holder: refs[0].Registry()}
	held.blobs, held.absent, err = bundle.Held(ctx, client, refs)
	return held, err
}

// receipt makes the statement, and seals it.
func (h *heldBlobs) receipt(now time.Time, key crypto.Signer) (*receiptResult, []byte, error) {
	res := &receiptResult{Holder: h.holder, Blobs: len(h.blobs), Absent: h.absent, Hashed: h.hashed, Checkpoint: h.checkpoint != "", Signed: key != nil}
	list := make([]digest.Digest, 0, len(h.blobs))
	for _, b := range h.blobs {
		list = append(list, b.Digest)
		res.Bytes += b.Size
	}
	r, err := bundle.NewReceipt(h.holder, now, h.checkpoint, list)
	if err != nil {
		return nil, nil, err
	}
	res.Digest, res.Time = r.Digest, r.Time
	data, err := r.Seal(key)
	return res, data, err
}

// writeWhole writes a small file that is there whole or not at all.
func writeWhole(path string, data []byte) error {
	path, err := outputFile(path)
	if err != nil {
		return err
	}
	dir, err := disk.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer dir.Close()
	name := filepath.Base(path)
	temp := name + layout.PartialSuffix
	f, err := dir.Open(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	_, err = f.WriteAt(data, 0)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = dir.Rename(temp, name)
	}
	if err != nil {
		_ = dir.Remove(temp)
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeReceipt(w io.Writer, res *receiptResult) {
	name := res.Receipt
	if name == "-" {
		name = "the receipt"
	}
	holder := res.Holder
	if holder == "" {
		holder = "a store without a ledger"
	}
	fmt.Fprintf(w, "%s: %s, %s, held by %s at %s\n", escape(name), plural(res.Blobs, "blob"), humanSize(res.Bytes), escape(holder), res.Time.Format(time.RFC3339))
	if res.Absent > 0 {
		fmt.Fprintf(w, "not held, though listed: %s\n", plural(res.Absent, "blob"))
	}
	if res.Signed {
		fmt.Fprintln(w, "signed")
	} else {
		fmt.Fprintln(w, "not signed: a claim")
	}
}
