package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"airgap/bundle"
	"airgap/layout/disk"
	"airgap/store/ledger"
	"airgap/verify/policy"
	"airgap/verify/sigstore"

	"github.com/urfave/cli/v2"
)

// lineOptions say how the signed records of an export go on from others.
type lineOptions struct {
	line, dir  string
	expires    string
	checkpoint string
	newLedger  bool // the receiver has begun another one
}

func (o *lineOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "line", Category: recordCategory, Usage: "the bundle is the next of the line `NAME`: it gets a serial, and names the one before; needs --record-key", DefaultText: "none", Destination: &o.line},
		&cli.StringFlag{Name: "line-dir", Category: recordCategory, Usage: "what is remembered of lines is in `DIR`", DefaultText: "$AIRGAP_LINES, else airgap/lines in the user's data folder", Destination: &o.dir},
		&cli.StringFlag{Name: "expires", Category: recordCategory, Usage: "the bundle is too old to be taken in after `AGE`, such as 30d or 12h", DefaultText: "never", Destination: &o.expires},
		&cli.StringFlag{Name: "checkpoint", Category: recordCategory, Usage: "whoever takes it in has to have a ledger that continues the checkpoint in `FILE` (airgap log checkpoint)", DefaultText: "that of the signed receipts in --since, else the last that the line was given", Destination: &o.checkpoint},
		&cli.BoolFlag{Name: "new-ledger", Category: recordCategory, Usage: "let the checkpoint be of another ledger, or of an earlier state, than the last that the line was given", Destination: &o.newLedger},
	}
}

// signed says whether the records of an export are to be signed, or what they lack.
func (o *exportOptions) signed() (bool, error) {
	if o.record.key.key != "" {
		return true, nil
	}
	for flag, given := range map[string]bool{
		"--line": o.line.line != "", "--expires": o.line.expires != "", "--checkpoint": o.line.checkpoint != "",
		"--by": o.record.by != "", "--reason": o.record.reason != "", "--record-password-file": o.record.key.passwordFile != "",
	} {
		if given {
			return false, &adviceError{usagef("%s is about signed records, and there is no --record-key", flag), "give --record-key KEY; without one an export has no clock and no serial, so that the same gives the same bytes"}
		}
	}
	return false, nil
}

// recording says how the export is recorded; nil if it is not. The line is locked
// until done is called.
func (o *exportOptions) recording(ctx context.Context, u *ui, opts *bundle.ExportOptions) (done func(), err error) {
	done = func() {}
	if is, err := o.signed(); !is || err != nil {
		return done, err
	}
	r, err := o.record.recording(ctx, u)
	if err != nil {
		return done, err
	}
	if o.line.expires != "" {
		age, err := policy.ParseDuration(o.line.expires)
		if err != nil {
			return done, usagef("--expires: %w", err)
		}
		r.Expires = u.now().Add(age).UTC().Truncate(time.Second)
	}
	r.Checkpoint = received(u, opts.Since)
	if o.line.checkpoint != "" {
		msg, err := readSmall(o.line.checkpoint, ledger.MaxCheckpointBytes)
		if err == nil {
			_, err = ledger.ParseCheckpoint(msg)
		}
		if err != nil {
			return done, usagef("--checkpoint %s: %w", o.line.checkpoint, err)
		}
		r.Checkpoint = string(msg)
	}
	opts.Recording = &r
	if o.line.line == "" {
		return done, nil
	}
	return o.openLine(u, &r, opts)
}

// received is the newest checkpoint that came with receipts; of two ledgers, neither:
// a bundle is for one receiver then, and it is not known which.
func received(u *ui, since []bundle.Base) string {
	var newest ledger.Checkpoint
	text := ""
	for _, b := range since {
		c, err := ledger.ParseCheckpoint([]byte(b.Checkpoint))
		switch {
		case b.Checkpoint == "" || err != nil || b.Standing != bundle.BaseStated: // a claim is anybody's
		case text != "" && c.Origin != newest.Origin:
			u.warn("the receipts come from the ledgers %s and %s: no checkpoint goes into the bundle; choose one with --checkpoint", escape(newest.Origin), escape(c.Origin))
			return ""
		case text == "" || c.Size > newest.Size:
			newest, text = c, b.Checkpoint
		}
	}
	return text
}

// goesBack says why a checkpoint cannot follow another, as far as the two tell.
func goesBack(last, given string) error {
	was, err := ledger.ParseCheckpoint([]byte(last))
	if err != nil {
		return err
	}
	now, err := ledger.ParseCheckpoint([]byte(given))
	switch {
	case err != nil:
		return err
	case now.Origin != was.Origin:
		return fmt.Errorf("it is of the ledger %s, and the last was of %s", now.Origin, was.Origin)
	case now.Size < was.Size, now.Size == was.Size && now.Root != was.Root:
		return fmt.Errorf("it was made at %d entries, and the last at %d", now.Size, was.Size)
	}
	return nil
}

// openLine has the export be the next of its line.
func (o *exportOptions) openLine(u *ui, r *bundle.Recording, opts *bundle.ExportOptions) (done func(), err error) {
	done = func() {}
	dir, err := u.lineDir(o.line.dir)
	if err != nil {
		return done, err
	}
	key, err := sigstore.Fingerprint(r.Key.Public())
	if err != nil {
		return done, usagef("--record-key: %w", err)
	}
	folder, err := disk.Create(dir)
	if err != nil {
		return done, err
	}
	l, err := bundle.OpenLine(folder, o.line.line, key)
	if err != nil {
		return done, errors.Join(err, folder.Close())
	}
	if l.New() {
		u.warn("the line %s is new here (%s): this is its first bundle", escape(o.line.line), escape(dir))
	}
	if r.Checkpoint, err = l.Checkpoint(r.Checkpoint, o.line.newLedger, goesBack); err != nil {
		return done, &adviceError{errors.Join(err, l.Close(), folder.Close()), "find out who put the far side's ledger back; if it has begun a new one on purpose, say so with --new-ledger"}
	}
	r.Line, opts.BeforeName = l.Next(), l.Took
	return func() {
		_ = l.Close() // what it had to say is written
		_ = folder.Close()
	}, nil
}

// lineDir is where lines are remembered.
func (u *ui) lineDir(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	if dir := u.getenv("AIRGAP_LINES"); dir != "" {
		return dir, nil
	}
	if dir := u.getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "airgap", "lines"), nil
	}
	if home := u.getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "share", "airgap", "lines"), nil
	}
	return "", &adviceError{usagef("there is no folder for lines: neither $AIRGAP_LINES nor $HOME is set"), "name one with --line-dir DIR"}
}
