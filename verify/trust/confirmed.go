package trust

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"airgap/layout/disk"
)

// Somebody has to look a trust directory over from time to time: what nobody has
// looked at for years may be trusted for no reason any more. When that was last
// done stands in a file of its own, with the digest of what there was to see, so
// that it says nothing about what came later by other ways.
const (
	confirmedFile    = "confirmed.json"
	confirmedVersion = "airgap.trust/v1"
	maxConfirmed     = 1 << 10 // bytes
)

// confirmation is the file. It is read only in the spelling in which it is written.
type confirmation struct {
	Version   string    `json:"version"`
	Confirmed time.Time `json:"confirmed"`
	Digest    string    `json:"digest"` // Trust.Digest of what was confirmed
}

func (c confirmation) bytes() ([]byte, error) {
	data, err := json.MarshalIndent(c, "", "  ")
	return append(data, '\n'), err
}

const (
	howToConfirm = "look over what airgap trust list shows, then run airgap trust confirm"
	howToMend    = "take that file away, " + howToConfirm
)

func parseConfirmation(data []byte) (confirmation, error) {
	var c confirmation
	if err := json.Unmarshal(data, &c); err != nil {
		return c, hint(fmt.Errorf("%w: %w", ErrInvalid, err), howToMend)
	}
	if c.Version != confirmedVersion {
		return c, hint(fmt.Errorf("%w: version %.40q, want %q", ErrInvalid, c.Version, confirmedVersion), howToMend)
	}
	if again, err := c.bytes(); err != nil || c.Confirmed.IsZero() || c.Confirmed.Location() != time.UTC || !bytes.Equal(again, data) {
		return c, hint(fmt.Errorf("%w: it is not as airgap writes it", ErrInvalid), howToMend)
	}
	return c, nil
}

// confirmation reads the file.
func (l *loader) confirmation() error {
	data, err := readFile(l.fsys, confirmedFile, maxConfirmed)
	if err == nil {
		l.t.confirmation, err = parseConfirmation(data)
	}
	if err != nil {
		return inDir(l.dir, confirmedFile, err)
	}
	return nil
}

// Confirmed returns when somebody last confirmed what is in here: with
// [Editor.Confirm], or by making or changing it with this package while what was
// there before had been confirmed. It is false of a directory that nobody has
// confirmed, and of one that was changed by other ways since.
//
// The time is the word of whoever can write to the folder, as is all that is in it.
func (t *Trust) Confirmed() (time.Time, bool) {
	if t.confirmation.Version == "" || t.confirmation.Digest != t.digest {
		return time.Time{}, false
	}
	return t.confirmation.Confirmed, true
}

// settled says whether there is nothing that still waits to be confirmed.
func (t *Trust) settled() bool {
	_, ok := t.Confirmed()
	return ok || t.files == 0 && t.confirmation.Version == ""
}

// confirm writes that what is there now is confirmed.
func (w *writer) confirm(now time.Time) (*Trust, error) {
	t, err := loadUnconfirmed(w.fsys, w.dir)
	if err != nil {
		return nil, err
	}
	t.confirmation = confirmation{confirmedVersion, now.UTC().Truncate(time.Second), t.digest}
	data, err := t.confirmation.bytes()
	if err != nil {
		return nil, inDir(w.dir, confirmedFile, fmt.Errorf("the clock says %s: %w", now, err))
	}
	return t, w.put(confirmedFile, data)
}

// keep confirms a change, if what was there before was confirmed.
func (w *writer) keep(was *Trust, now time.Time) error {
	if was == nil || !was.settled() {
		return nil
	}
	_, err := w.confirm(now)
	return err
}

// Confirm says that somebody has looked at all that is in the directory and wants
// it to be trusted. It changes nothing else.
func (e Editor) Confirm() (*Trust, error) {
	d, err := openDir(e.Dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	w, err := openWriter(d, e.Dir)
	if err != nil {
		return nil, err
	}
	defer w.close()
	return w.confirm(e.now())
}

// loadUnconfirmed reads all but what says when it was confirmed, which is about
// to be written anew, whatever is wrong with it.
func loadUnconfirmed(fsys disk.FS, dir string) (*Trust, error) {
	return (&loader{fsys: fsys, dir: dir, t: &Trust{}, unconfirmed: true}).load()
}

// confirmed looks for what keeps a confirmation from counting.
func (c *checker) confirmed() {
	conf := c.t.confirmation
	i := Item{File: confirmedFile}
	switch at, ok := c.t.Confirmed(); {
	case conf.Version == "":
	case !ok:
		c.add(i, Finding{Code: FindChanged, When: conf.Confirmed,
			Message: "something was changed by other ways since it was confirmed on " + day(conf.Confirmed) + ", so that it counts as not confirmed; " + howToConfirm})
	case at.After(c.now):
		c.add(i, Finding{Code: FindFuture, Problem: true, When: at,
			Message: "it was confirmed on " + at.Format(time.RFC3339) + ", which is yet to come: that time or this machine's clock is wrong"})
	}
}
