package main

import (
	"context"
	"encoding/json"
	"io"
	"net/url"
	"strings"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify/predicate"
	"airgap/verify/signing"

	"github.com/urfave/cli/v2"
)

// maxPredicateBytes keeps the envelope, in base64, well below the 64 MiB that
// verify reads.
const maxPredicateBytes = 32 << 20

// attestOptions are what the flags of attest say.
type attestOptions struct {
	signingOptions
	kind      string
	predicate string
	form      string
}

func attestCommand(u *ui) *cli.Command {
	var o attestOptions
	const group = "Signing:"
	return &cli.Command{
		Name:      "attest",
		Usage:     "sign a statement about images: an SBOM, provenance, a scan result, a VEX",
		ArgsUsage: "TARGET...",
		Description: `Signs the document in --predicate as a statement (in-toto) about the image that TARGET
names, and attaches it where the image is: a reference in a registry, one image in a
bundle (bundle:FILE#REF) or one in a store (store:DIR#REF). The document is a JSON
object, and is taken as it is: whether it is true, or of the type that it is given, is
not checked.

--form cosign makes a Sigstore bundle, as cosign attest --key of version 3 does, without
a transparency log; cosign verify-attestation accepts it. cosign verify and Kyverno take
such an attestation for a signature of the image: attest with a key by which nobody
verifies signatures. --form record makes a form that policies of airgap read, and no
other tool. Custody records, and verification summaries that do not say PASSED, always
have that form.

TYPE is one of cosign's names, slsaprovenance (version 0.2), slsaprovenance1, spdx,
spdxjson, cyclonedx, vuln, openvex or link, or the URI of another predicate type.

The password of an encrypted key comes from --password-file, $AIRGAP_PASSWORD or
$COSIGN_PASSWORD, or is asked for if there is a terminal.

Examples:
   airgap attest registry.corp/team/app:1.4 --key cosign.key \
      --type cyclonedx --predicate bom.json
   airgap attest bundle:app.tar#1.4 --key cosign.key --type openvex --predicate -
   airgap attest store:/srv/airgap#registry.corp/team/app:1.4 --key cosign.key \
      --type https://corp.example/approval/v1 --predicate approval.json`,
		Flags: o.flags(
			&cli.StringFlag{Name: "type", Category: group, Usage: "the document is of `TYPE`, one of cosign's names or a URI", DefaultText: "none; required", Destination: &o.kind},
			&cli.StringFlag{Name: "form", Category: group, Usage: "make an attestation of `FORM`: cosign or record", DefaultText: "cosign; record for custody records and refusals", Destination: &o.form},
			&cli.StringFlag{Name: "predicate", Category: group, Usage: "the document is in `FILE` (JSON), - is stdin", DefaultText: "none; required", Destination: &o.predicate},
		),
		Action: func(c *cli.Context) error {
			o.targets = c.Args().Slice()
			return runAttest(c.Context, u, o)
		},
	}
}

func runAttest(ctx context.Context, u *ui, o attestOptions) error {
	stdinTaken := ""
	if o.predicate == "-" {
		stdinTaken = "--predicate -"
	}
	targets, err := o.parse("attest", stdinTaken)
	if err != nil {
		return err
	}
	predicateType, err := parsePredicateType(o.kind)
	if err != nil {
		return err
	}
	predicate, err := o.readPredicate(ctx, u)
	if err != nil {
		return err
	}
	if err := o.checkForm(predicateType, predicate); err != nil {
		return err
	}
	key, err := o.readKey(ctx, u, "--key")
	if err != nil {
		return err
	}
	res := &signResult{Form: o.form, PredicateType: predicateType}
	if res.Key, err = fingerprint(key); err != nil {
		return err
	}
	err = o.sign(ctx, u, targets, res, func(repo string, subject layout.Descriptor) (signing.Artifact, error) {
		att := signing.Attestation{PredicateType: predicateType, Predicate: predicate, SubjectName: repo}
		if o.form == formRecord {
			return custody.Attach(subject, att, key)
		}
		return signing.BundleAttestation(subject, att, key)
	})
	if err != nil {
		return err
	}
	if o.form == formCosign {
		u.warn("cosign verify --key and Kyverno accept an image for any attestation by that key; use a key for attestations alone, or --form record")
	}
	return u.result(o.outputOptions, "AttestResult", res, func(w io.Writer) { writeSigned(w, res) })
}

// checkForm settles the form. Neither a record nor a refusal may be taken for an
// approval.
func (o *attestOptions) checkForm(predicateType string, document []byte) error {
	_, isRecord := custody.ActOf(predicateType)
	isRecord = isRecord && predicateType != signing.PredicateVerificationSummary
	refusal := predicate.Passed(predicateType, document)
	if o.form == "" {
		o.form = formCosign
		if isRecord || refusal != nil {
			o.form = formRecord
		}
	}
	switch {
	case o.form != formCosign && o.form != formRecord:
		return usagef("--form %q: want %s or %s", o.form, formCosign, formRecord)
	case o.form == formRecord:
		return nil
	case isRecord:
		return &adviceError{usagef("--form cosign: cosign verify would take a custody record for a signature"), "leave --form out"}
	case refusal != nil:
		return &adviceError{usagef("--form cosign: cosign verify would take it for a signature, and %w", refusal), "leave --form out"}
	}
	return nil
}

func parsePredicateType(s string) (string, error) {
	known := strings.Join(predicate.Names(), ", ")
	if s == "" {
		return "", &adviceError{usagef("attest wants --type TYPE"), "it is a URI or one of " + known}
	}
	if uri := predicate.Type(s); uri != s {
		return uri, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || strings.ContainsFunc(s, unprintable) {
		return "", &adviceError{usagef("--type %q is neither a URI nor a name that is known", s), "the names are " + known}
	}
	if s == signing.PredicateCosignSign {
		return "", &adviceError{usagef("--type %s makes a signature, not a statement", s), "use airgap sign"}
	}
	return s, nil
}

// readPredicate reads the document, which has to be a JSON object.
func (o *attestOptions) readPredicate(ctx context.Context, u *ui) (json.RawMessage, error) {
	var data []byte
	var err error
	switch o.predicate {
	case "":
		return nil, usagef("attest wants --predicate FILE")
	case "-":
		data, err = readMost("stdin", contextReader(ctx, u.stdin), maxPredicateBytes)
	default:
		data, err = readSmall(o.predicate, maxPredicateBytes)
	}
	if err != nil {
		return nil, usagef("--predicate: %w", err)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil || object == nil {
		return nil, usagef("--predicate %s is not a JSON object", o.predicate)
	}
	return data, nil
}
