package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"airgap/layout"
	"airgap/verify/signing"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// keyOptions say which private key signs.
type keyOptions struct {
	key          string
	passwordFile string
}

// passwordFlag says where the password of the key that flag names comes from.
func (o *keyOptions) passwordFlag(group string) cli.Flag {
	return &cli.StringFlag{Name: "password-file", Category: group, Usage: "the key's password is the first line of `FILE`", DefaultText: "$AIRGAP_PASSWORD, $COSIGN_PASSWORD, else it is asked for on a terminal", Destination: &o.passwordFile}
}

// readKey reads the key that was given with flag, and asks for its password if it
// has one.
func (o *keyOptions) readKey(ctx context.Context, u *ui, flag string) (crypto.Signer, error) {
	if strings.Contains(o.key, "://") {
		return nil, usagef("%s %s: keys in files alone can be used", flag, o.key)
	}
	data, err := readSmall(o.key, signing.MaxKeyBytes)
	if err != nil {
		return nil, usagef("%s: %w", flag, err)
	}
	from := ""
	key, err := signing.ParsePrivateKey(data, func() (password []byte, err error) {
		password, from, err = o.password(ctx, u)
		return password, err
	})
	switch {
	case err == nil:
		return key, nil
	case errors.Is(err, signing.ErrPassword):
		return nil, &adviceError{usagef("%s %s: %w", flag, o.key, err), "the password came from " + from}
	}
	return nil, usagef("%s %s: %w", flag, o.key, err)
}

// password returns the key's password and where it came from.
func (o *keyOptions) password(ctx context.Context, u *ui) (password []byte, from string, err error) {
	if o.passwordFile != "" {
		data, err := readSmall(o.passwordFile, maxPasswordBytes)
		if err != nil {
			return nil, "", fmt.Errorf("--password-file: %w", err)
		}
		line, _, _ := strings.Cut(string(data), "\n")
		return []byte(strings.TrimSuffix(line, "\r")), o.passwordFile, nil
	}
	for _, name := range []string{"AIRGAP_PASSWORD", "COSIGN_PASSWORD"} {
		if v := u.getenv(name); v != "" {
			return []byte(v), "$" + name, nil
		}
	}
	password, err = u.askPassword(ctx, o.key)
	return password, "the terminal", err
}

// askPassword asks on a terminal, and nowhere else: a script must not hang.
func (u *ui) askPassword(ctx context.Context, path string) ([]byte, error) {
	f, ok := u.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, &adviceError{errors.New("it is encrypted, and there is neither a password nor a terminal to ask for one"),
			"give --password-file FILE or set AIRGAP_PASSWORD"}
	}
	before, err := term.GetState(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(u.stderr, "Password of %s: ", escape(path))
	defer fmt.Fprintln(u.stderr)
	type line struct {
		password []byte
		err      error
	}
	got := make(chan line, 1)
	go func() {
		password, err := term.ReadPassword(int(f.Fd()))
		got <- line{password, err}
	}()
	select {
	case l := <-got:
		return l.password, l.err
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), term.Restore(int(f.Fd()), before)) // show again what is typed
	}
}

// readSmall reads a file of at most so many bytes.
func readSmall(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readMost(path, f, most)
}

func readMost(name string, r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s: more than %d bytes: %w", name, most, layout.ErrLimit)
	}
	return data, err
}

func readChain(path string) ([]*x509.Certificate, error) {
	data, err := readSmall(path, signing.MaxChainBytes)
	if err != nil {
		return nil, usagef("--chain: %w", err)
	}
	certs, err := signing.ParseCertificates(data)
	if err != nil {
		return nil, usagef("--chain %s: %w", path, err)
	}
	return certs, nil
}
