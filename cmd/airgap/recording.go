package main

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
)

// recordOptions say how an act is recorded.
type recordOptions struct {
	key        keyOptions
	by, reason string
}

const recordCategory = "Record:"

func (o *recordOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "record-key", Category: recordCategory, Usage: "sign the records of this with the private key in `KEY` (ECDSA P-256 or Ed25519; PEM, or as cosign encrypts it)", DefaultText: "none", Destination: &o.key.key},
		&cli.StringFlag{Name: "record-password-file", Category: recordCategory, Usage: "the password of --record-key is the first line of `FILE`", DefaultText: "$AIRGAP_PASSWORD, $COSIGN_PASSWORD, else it is asked for on a terminal", Destination: &o.key.passwordFile},
		&cli.StringFlag{Name: "by", Category: recordCategory, Usage: "records say that `NAME` did it", DefaultText: "none", Destination: &o.by},
		&cli.StringFlag{Name: "reason", Category: recordCategory, Usage: "records say why: `TEXT`", DefaultText: "none", Destination: &o.reason},
	}
}

// recording reads the key, if there is one.
func (o *recordOptions) recording(ctx context.Context, u *ui) (bundle.Recording, error) {
	r := bundle.Recording{By: o.by, Reason: o.reason, Now: u.now}
	for flag, text := range map[string]string{"--by": o.by, "--reason": o.reason} {
		if strings.ContainsFunc(text, unicode.IsControl) || !utf8.ValidString(text) {
			return r, usagef("%s %q: want text in UTF-8, without control characters", flag, text)
		}
	}
	if o.key.key == "" {
		if o.key.passwordFile != "" {
			return r, usagef("--record-password-file is about the key of --record-key")
		}
		r.Tool = custody.Tool{Name: "airgap", Version: readVersion().Version}
		return r, nil
	}
	var err error
	if r.Key, err = o.key.readKey(ctx, u, "--record-key"); err != nil {
		return r, err
	}
	if err := signing.CheckKey(r.Key); err != nil {
		return r, usagef("--record-key %s: %w", o.key.key, err)
	}
	r.Tool = thisTool()
	return r, nil
}

// thisTool is this program, with its digest where it can be read.
var thisTool = sync.OnceValue(func() custody.Tool {
	t := custody.Tool{Name: "airgap", Version: readVersion().Version}
	path, err := os.Executable()
	if err != nil {
		return t
	}
	f, err := os.Open(path)
	if err != nil {
		return t
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err == nil {
		t.Digest = digest.NewDigest(digest.SHA256, sum)
	}
	return t
})

// verifier is what verdicts name: the URI that was given, else the key.
func verifier(uri string, key crypto.Signer) (signing.Verifier, error) {
	v := signing.Verifier{ID: uri, Version: map[string]string{"airgap": readVersion().Version}}
	if uri == "" {
		name, err := fingerprint(key)
		if err != nil {
			return v, err
		}
		v.ID = signing.KeyURI(name)
	}
	return v, nil
}

// errNoLedger says that there is nothing yet that could continue anything.
var errNoLedger = errors.New("there is no ledger here yet")
