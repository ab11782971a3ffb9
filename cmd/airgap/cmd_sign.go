package main

import (
	"context"
	"io"
	"strings"
	"time"

	"airgap/layout"
	"airgap/verify/signing"

	"github.com/urfave/cli/v2"
)

// Forms of a signature.
const (
	formNotaryJWS  = "notary-jws"
	formNotaryCOSE = "notary-cose"
	formCosign     = "cosign"
	formRecord     = "record"
)

// signOptions are what the flags of sign say.
type signOptions struct {
	signingOptions
	chain       string
	form        string
	expiry      string
	annotations []string

	annotationsFlag cli.StringSlice
}

func signCommand(u *ui) *cli.Command {
	var o signOptions
	const group = "Signing:"
	return &cli.Command{
		Name:      "sign",
		Usage:     "sign images in a registry, a bundle or a store",
		ArgsUsage: "TARGET...",
		Description: `Signs the image that TARGET names, and attaches the signature where the image is: a
reference in a registry, one image in a bundle (bundle:FILE#REF) or one in a store
(store:DIR#REF). A tag is resolved once, and its digest is signed; of an index that
is the index, and with --recursive each manifest it lists as well. A bundle is
written anew beside the present one, which it then replaces.

With --chain the signature is one of the Notary Project, which notation verify
accepts; CERTS starts with the certificate of the key and ends with the root. Without
it, it is a Sigstore bundle, as cosign sign --key of version 3 makes it, without a
transparency log. Other signatures, also by the same key, stay as they are.

The password of an encrypted key comes from --password-file, $AIRGAP_PASSWORD or
$COSIGN_PASSWORD, or is asked for if there is a terminal.

Examples:
   airgap sign registry.corp/team/app:1.4 --key release.key --chain release.crt
   airgap sign registry.corp/team/app:1.4 --key cosign.key
   airgap sign bundle:app.tar#1.4 --key cosign.key --recursive
   airgap sign store:/srv/airgap#registry.corp/team/app:1.4 --key release.key \
      --chain release.crt --form notary-cose --expiry 90d -a approved=yes`,
		Flags: o.flags(
			&cli.StringFlag{Name: "chain", Category: group, Usage: "the key's certificates, up to the root, are in `CERTS` (PEM)", DefaultText: "none", Destination: &o.chain},
			&cli.StringFlag{Name: "form", Category: group, Usage: "make a signature of `FORM`: notary-jws, notary-cose or cosign", DefaultText: "notary-jws with --chain, else cosign", Destination: &o.form},
			&cli.StringFlag{Name: "expiry", Category: group, Usage: "a Notary signature is valid for `DURATION`, as 90d or 12h", DefaultText: "without end", Destination: &o.expiry},
			&cli.StringSliceFlag{Name: "annotation", Aliases: []string{"a"}, Category: group, Usage: "sign `KEY=VALUE` too, as notation does with -m; repeatable", DefaultText: "none", Destination: &o.annotationsFlag},
		),
		Action: func(c *cli.Context) error {
			o.targets = c.Args().Slice()
			o.annotations = o.annotationsFlag.Value()
			return runSign(c.Context, u, o)
		},
	}
}

func runSign(ctx context.Context, u *ui, o signOptions) error {
	targets, err := o.parse("sign", "")
	if err != nil {
		return err
	}
	opts, err := o.notary(u.now())
	if err != nil {
		return err
	}
	chain := signing.Chain{}
	if o.chain != "" {
		if chain.Certs, err = readChain(o.chain); err != nil {
			return err
		}
	}
	if chain.Key, err = o.readKey(ctx, u, "--key"); err != nil {
		return err
	}
	res := &signResult{Form: o.form}
	if res.Key, err = fingerprint(chain.Key); err != nil {
		return err
	}
	if err := o.sign(ctx, u, targets, res, o.maker(chain, opts)); err != nil {
		return err
	}
	return u.result(o.outputOptions, "SignResult", res, func(w io.Writer) { writeSigned(w, res) })
}

// maker signs in the form that was chosen.
func (o *signOptions) maker(chain signing.Chain, opts signing.NotaryOptions) maker {
	if o.form == formCosign {
		return func(_ string, subject layout.Descriptor) (signing.Artifact, error) {
			return signing.BundleSignature(subject, chain.Key)
		}
	}
	return func(_ string, subject layout.Descriptor) (signing.Artifact, error) {
		return signing.Notary(subject, chain, opts)
	}
}

// notary settles the form, and reads what only a Notary signature can say.
func (o *signOptions) notary(now time.Time) (signing.NotaryOptions, error) {
	// The type stands where notation itself writes it: some registries list
	// referrers by that alone.
	opts := signing.NotaryOptions{SigningTime: now, TypeInConfig: true}
	if o.form == "" {
		o.form = formCosign
		if o.chain != "" {
			o.form = formNotaryJWS
		}
	}
	switch o.form {
	case formNotaryJWS:
	case formNotaryCOSE:
		opts.Format = signing.NotaryCOSE
	case formCosign:
		return opts, o.checkCosign()
	default:
		return opts, usagef("--form %q: want %s, %s or %s", o.form, formNotaryJWS, formNotaryCOSE, formCosign)
	}
	if o.chain == "" {
		return opts, &adviceError{usagef("--form %s needs the key's certificates, with --chain", o.form), "airgap cert generate-test makes a key and a chain for tests"}
	}
	if o.expiry != "" {
		d, err := parseWithin(o.expiry)
		if err != nil || d < time.Second {
			return opts, usagef("--expiry %q: want a number of days or hours, as 90d or 12h", o.expiry)
		}
		opts.Expiry = now.Add(d)
	}
	var err error
	opts.Metadata, err = parseAnnotations(o.annotations)
	return opts, err
}

// checkCosign refuses what cosign's form has no place for: left out in silence it
// would be missed.
func (o *signOptions) checkCosign() error {
	switch {
	case o.chain != "":
		return usagef("--form cosign has no place for the certificates of --chain")
	case o.expiry != "":
		return usagef("--expiry: cosign's form knows none; Notary's does, with --chain")
	case len(o.annotations) > 0:
		return &adviceError{usagef("--annotation: cosign's bundle form knows none; Notary's does, with --chain"), "airgap attest signs a whole document"}
	}
	return nil
}

func parseAnnotations(list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, s := range list {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return nil, usagef("--annotation %q: want KEY=VALUE", s)
		}
		if _, twice := out[k]; twice {
			return nil, usagef("--annotation: %q is given twice", k)
		}
		out[k] = v
	}
	return out, nil
}
