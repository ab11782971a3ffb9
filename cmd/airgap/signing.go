package main

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"airgap/layout"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
)

// signingOptions are what sign and attest have in common: what to sign, with which
// key, and what to say of it.
type signingOptions struct {
	targets   []string
	recursive bool
	registry  registryOptions
	keyOptions
	outputOptions
}

func (o *signingOptions) flags(own ...cli.Flag) []cli.Flag {
	const group = "Signing:"
	flags := append([]cli.Flag{
		&cli.StringFlag{Name: "key", Category: group, Usage: "sign with the private key in `FILE` (PEM, or as cosign encrypts it)", DefaultText: "none; required", Destination: &o.key},
		o.passwordFlag(group),
		&cli.BoolFlag{Name: "recursive", Category: group, Usage: "of an index, also sign each manifest it lists", Destination: &o.recursive},
	}, own...)
	return append(flags, append(o.registry.flags(), o.outputOptions.flags()...)...)
}

// parse reads the targets. stdinTaken says what else reads stdin, or is empty.
func (o *signingOptions) parse(command, stdinTaken string) ([]target, error) {
	if err := checkAll(o.outputOptions.check(), o.registry.check(stdinTaken)); err != nil {
		return nil, err
	}
	if len(o.targets) == 0 {
		return nil, usagef("%s wants a reference, or an image in a bundle or a store", command)
	}
	if o.key == "" {
		return nil, &adviceError{usagef("%s wants --key FILE", command), "airgap cert generate-test makes a key for tests, cosign generate-key-pair one for cosign's form"}
	}
	targets, err := parseTargets(o.targets)
	if err == nil {
		err = withHosts(targets)
	}
	for i, t := range targets {
		if err == nil && t.kind == inBundle && (strings.HasPrefix(o.targets[i], "oci:") || isFolder(t.path)) {
			err = &adviceError{usagef("%s: a signature cannot be added to a layout folder", t), "make a bundle of it: airgap export oci:" + t.path + " -o FILE.tar"}
		}
	}
	return targets, err
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// maker makes what is to be attached to a manifest of a repository.
type maker func(repo string, subject layout.Descriptor) (signing.Artifact, error)

// signResult is what sign and attest report.
type signResult struct {
	Form          string           `json:"form"`
	PredicateType string           `json:"predicateType,omitempty"`
	Key           string           `json:"keyFingerprint"` // hex SHA-256 of the public key, in DER
	Signed        []signedManifest `json:"signed"`
}

// signedManifest is a manifest that was signed, and what was attached to it.
type signedManifest struct {
	Target       string        `json:"target"`
	Reference    string        `json:"reference"`
	Digest       digest.Digest `json:"digest"`
	MediaType    string        `json:"mediaType"`
	Platform     string        `json:"platform,omitempty"` // as the index above it says
	Manifest     digest.Digest `json:"manifest"`           // was attached
	ArtifactType string        `json:"artifactType"`
	Present      bool          `json:"present"` // was there already, the same bytes
}

// fingerprint names a key.
func fingerprint(key crypto.Signer) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", usagef("the key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// sign resolves the targets, makes what is to be attached to each, and only when
// all of it is made puts it to where the targets are.
func (o *signingOptions) sign(ctx context.Context, u *ui, targets []target, res *signResult, mk maker) error {
	op, err := newOpener(u, o.registry, "", targets)
	if err != nil {
		return err
	}
	defer op.Close()
	places, err := o.places(ctx, op, targets)
	if err != nil {
		return err
	}
	for _, p := range places {
		if err := p.make(mk); err != nil {
			return err
		}
	}
	pr := u.progress("sign", o.outputOptions)
	defer pr.close()
	res.Signed = []signedManifest{}
	for i, p := range places {
		if err := p.finish(ctx, pr.event); err != nil {
			return alreadySigned(err, places[:i])
		}
		for j, s := range p.subjects {
			res.Signed = append(res.Signed, s.report(p.additions[p.which[j]].Artifact.Manifest, p.present[p.which[j]]))
		}
	}
	pr.close()
	for _, p := range places {
		for _, m := range p.missing {
			u.warn("%s", escape(m))
		}
		if p.lacks == nil {
			continue
		}
		for _, list := range p.lacks(p.additions) {
			u.warn("%s carries no revocation list from %s, to which the signer's certificates point; bring it with airgap trust add --crl, or export again after signing at the source", escape(p.name), escape(list))
		}
	}
	return nil
}

// alreadySigned says what of a command that failed is done.
func alreadySigned(err error, done []*workplace) error {
	var names []string
	for _, p := range done {
		names = append(names, p.name)
	}
	if len(names) == 0 {
		return err
	}
	return &adviceError{err, "already signed: what is in " + strings.Join(names, ", ")}
}

func writeSigned(w io.Writer, res *signResult) {
	for _, s := range res.Signed {
		name := strings.TrimSuffix(nameOnly(s.Reference), "@"+string(s.Digest)) // it has a column
		if s.Platform != "" {
			name += " " + s.Platform
		}
		did := "attached"
		if s.Present {
			did = "was there already:"
		}
		what := res.Form + " signature"
		if res.PredicateType != "" {
			what = "attestation " + res.PredicateType
		}
		fmt.Fprintf(w, "%s  %s\n   %s %s %s\n", escape(name), escape(string(s.Digest)), did, escape(what), escape(string(s.Manifest)))
	}
	fmt.Fprintf(w, "signed %s with key %s\n", plural(len(res.Signed), "manifest"), res.Key)
}
