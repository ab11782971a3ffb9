package reload_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/store/serve/reload"
)

var errEmpty = errors.New("empty")

// watched is a value over one file, with a clock and what was reported.
type watched struct {
	*reload.Value[string]
	path    string
	now     time.Time
	loads   int
	reports []error
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{path: filepath.Join(t.TempDir(), "file"), now: time.Unix(1e9, 0)}
	w.write(t, "one")
	v, err := reload.Open(reload.Options{
		Now:    func() time.Time { return w.now },
		Failed: func(err error) { w.reports = append(w.reports, err) },
	}, func() (string, error) {
		w.loads++
		data, err := reload.ReadFile(w.path, 10)
		if err == nil && len(data) == 0 {
			err = errEmpty
		}
		return string(data), err
	}, w.path)
	if err != nil {
		t.Fatal(err)
	}
	w.Value = v
	return w
}

func (w *watched) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(w.path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(w.path+".new", w.path); err != nil {
		t.Fatal(err)
	}
}

// after looks once the time in which nobody looks again is over.
func (w *watched) after() string {
	w.now = w.now.Add(reload.Every)
	return w.Get()
}

func TestChangeIsRead(t *testing.T) {
	w := watch(t)
	w.write(t, "two") // as long, and perhaps within one tick of the file's clock
	if got := w.Get(); got != "one" {
		t.Errorf("%q: looked at twice in a moment", got)
	}
	if got := w.after(); got != "two" {
		t.Errorf("%q after the change", got)
	}
	w.after()
	if w.loads != 2 || len(w.reports) > 0 {
		t.Errorf("read %d times, reported %v", w.loads, w.reports)
	}
	// A clock that is put back keeps nobody from looking.
	w.write(t, "three")
	w.now = w.now.Add(-time.Hour)
	if got := w.Get(); got != "three" {
		t.Errorf("%q with the clock put back", got)
	}
}

// What was there before counts until the file makes sense again, and somebody is
// told once.
func TestBrokenChangeIsNot(t *testing.T) {
	w := watch(t)
	w.write(t, "")
	for range 3 {
		if got := w.after(); got != "one" {
			t.Errorf("%q of a broken file", got)
		}
	}
	if len(w.reports) != 1 || !errors.Is(w.reports[0], errEmpty) {
		t.Errorf("reported %v", w.reports)
	}
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := w.after(); got != "one" {
			t.Errorf("%q with no file", got)
		}
	}
	if len(w.reports) != 2 || !errors.Is(w.reports[1], fs.ErrNotExist) {
		t.Errorf("reported %v", w.reports)
	}
	w.write(t, "two")
	if got := w.after(); got != "two" || len(w.reports) != 2 {
		t.Errorf("%q when it was mended; reported %v", got, w.reports)
	}
}

func TestBrokenFromTheStart(t *testing.T) {
	_, err := reload.Open(reload.Options{}, func() (string, error) { return "", errEmpty }, "nowhere")
	if !errors.Is(err, errEmpty) {
		t.Error(err)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 10)), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := reload.ReadFile(path, 10); err != nil || len(data) != 10 {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := reload.ReadFile(path, 9); err == nil {
		t.Error("more than the limit was read")
	}
	if _, err := reload.ReadFile(dir, 10); err == nil {
		t.Error("a folder was read")
	}
}
