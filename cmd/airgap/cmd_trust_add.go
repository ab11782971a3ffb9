package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"airgap/layout/disk"
	"airgap/verify/trust"
)

// trustAdded is what trust add reports.
type trustAdded struct {
	Trust string        `json:"trust"`
	Added []trust.Added `json:"added"`
}

func runTrustAdd(_ context.Context, u *ui, o trustOptions) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	dir, err := u.trustDir(o.dir)
	if err != nil {
		return err
	}
	res := trustAdded{Trust: dir, Added: []trust.Added{}}
	var done []string
	for _, file := range files {
		a, err := o.addFile(trust.Editor{Dir: dir, Now: u.now}, file)
		if err != nil {
			return alsoDone(unfit(file, err), "added", done)
		}
		res.Added, done = append(res.Added, a), append(done, a.File)
	}
	u.warnAdded(dir, done)
	return u.result(o.outputOptions, "TrustAdded", res, func(w io.Writer) { writeAdded(w, res) })
}

// files says which files are to be added.
func (o *trustOptions) files() ([]string, error) {
	chosen := 0
	for _, s := range []string{o.ca, o.signingAuthority, o.tsa, o.key, o.root, strings.Join(o.crls, "")} {
		if s != "" {
			chosen++
		}
	}
	files := o.args
	if o.root != "" {
		files = append([]string{o.root}, files...)
	}
	files = append(slices.Clone(o.crls), files...)
	switch {
	case chosen != 1:
		return nil, &adviceError{usagef("trust add wants one of --ca, --signing-authority, --tsa, --key, --trusted-root and --crl"), "airgap help trust has examples"}
	case len(files) == 0:
		return nil, usagef("trust add wants a file")
	case len(files) > 1 && (o.key != "" || o.root != "" || o.name != ""):
		return nil, usagef("one name is for one file, %d were given", len(files))
	case o.key != "" && o.name != "":
		return nil, usagef("--key names the key; there is no use for --name")
	}
	return files, nil
}

// addFile adds one file.
func (o *trustOptions) addFile(e trust.Editor, file string) (trust.Added, error) {
	limit := int64(max(trust.MaxCRLBytes, trust.MaxRootBytes, trust.MaxCertificateBytes))
	data, err := readInput(file, limit)
	if err != nil {
		return trust.Added{}, usagef("%w", err)
	}
	name := o.name
	if name == "" && o.root == "" {
		name = filepath.Base(file)
	}
	switch {
	case o.key != "":
		return e.AddKey(o.key, data)
	case o.root != "":
		return e.AddRoot(name, data)
	case o.ca != "":
		return e.AddCertificate(trust.TypeCA, o.ca, data, name)
	case o.signingAuthority != "":
		return e.AddCertificate(trust.TypeSigningAuthority, o.signingAuthority, data, name)
	case o.tsa != "":
		return e.AddCertificate(trust.TypeTSA, o.tsa, data, name)
	}
	return e.AddCRL(data, name)
}

// readInput reads a file that the user named.
func readInput(path string, limit int64) ([]byte, error) {
	f, err := disk.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: more than %s", path, exactSize(limit))
	}
	return data, err
}

// unfit says of an error whether the file that was named is to blame.
func unfit(file string, err error) error {
	if on(err, trust.Side) || errors.Is(err, errUsage) {
		return err
	}
	return usagef("%s: %w", file, err)
}

// warnAdded says what is wrong already with what was just added.
func (u *ui) warnAdded(dir string, files []string) {
	t, err := trust.Open(dir)
	if err != nil {
		u.warn("%s", errorText(err))
		return
	}
	for _, f := range t.Check(u.now(), 0) {
		if slices.Contains(files, f.File) {
			u.warn("%s", findingText(f))
		}
	}
}

func writeAdded(w io.Writer, res trustAdded) {
	var items []trust.Item
	for _, a := range res.Added {
		how := "added"
		if a.Already {
			how = "was there already:"
		}
		fmt.Fprintf(w, "%s %s\n", how, escape(a.File))
		if len(a.Replaced) > 0 {
			fmt.Fprintf(w, "   in place of an older list: %s\n", escape(strings.Join(a.Replaced, ", ")))
		}
		items = append(items, a.Items...)
	}
	fmt.Fprintln(w)
	writeItems(w, items)
}
