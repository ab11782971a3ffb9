package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/bundle/enclave"
	"airgap/layout/disk"
	"airgap/store"
	"airgap/store/ledger"

	"github.com/urfave/cli/v2"
)

// logOptions are what the flags of log say.
type logOptions struct {
	verb       string
	args       []string
	store      string
	act        string
	reference  string
	output     string
	checkpoint string
	outputOptions
}

// logVerbs say what log can do, and which flags go with each beside --store and
// those of output.
var logVerbs = []verb[logOptions]{
	{"list", []string{"act", "reference"}, onStore(runLogList)},
	{"verify", []string{"checkpoint"}, onStore(runLogVerify)},
	{"export", []string{"output"}, onStore(runLogExport)},
	{"checkpoint", []string{"output"}, onStore(runLogCheckpoint)},
}

func logCommand(u *ui) *cli.Command {
	var o logOptions
	return &cli.Command{
		Name:      "log",
		Usage:     "show a store's ledger, and prove that nobody edited it",
		ArgsUsage: "[list] | verify | export | checkpoint",
		Description: `A store keeps a ledger to which lines can only be added: what came in, by which
policy, what was refused, overridden, promoted or deleted. It is a Merkle log; one line
that is changed, or taken out, shows.

    list        print the lines, oldest first; --act and --reference choose
    verify      compute everything anew; with --checkpoint, also say whether the ledger
                still begins with what that stood for: one that was cut off, put back to
                an earlier state or written anew does not (exit code 6)
    export      write it to the folder in --output: tiles and a checkpoint that other
                tools can check (c2sp.org/tlog-tiles), the key that verifies it,
                ledger.txt to read, and names.json; with it store rebuild can make the
                database anew
    checkpoint  print its state, signed, in a few lines: to be kept elsewhere, on paper
                or at the other side, and shown again

Examples:
   airgap log --store /srv/airgap
   airgap log list --reference 'ghcr.io/acme/*' --act import --format json
   airgap log checkpoint --store /srv/airgap -o monday.note
   airgap log verify --store /srv/airgap --checkpoint monday.note
   airgap log export --store /srv/airgap -o ./ledger`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "store", Usage: "the ledger of the store in `DIR`", DefaultText: "$AIRGAP_STORE, else airgap/store in the user's data folder", Destination: &o.store},
			&cli.StringFlag{Name: "act", Usage: "with list: only lines about `ACT`, such as import, refuse or override", DefaultText: "all", Destination: &o.act},
			&cli.StringFlag{Name: "reference", Usage: "with list: only lines about images whose name `PATTERN` fits (* within a path element)", DefaultText: "all", Destination: &o.reference},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `PATH`: with export a folder, with checkpoint a file", DefaultText: "checkpoint: stdout", Destination: &o.output},
			&cli.StringFlag{Name: "checkpoint", Usage: "with verify: the checkpoint in `FILE`", DefaultText: "none", Destination: &o.checkpoint},
		}, o.outputOptions.flags()...),
		Action: func(c *cli.Context) error {
			o.verb, o.args = c.Args().First(), c.Args().Tail()
			return runLog(c.Context, u, o, c.LocalFlagNames())
		},
	}
}

func runLog(ctx context.Context, u *ui, o logOptions, given []string) error {
	if o.verb == "" {
		o.verb = "list"
	}
	v, err := choose("log", logVerbs, o.verb, given)
	if err != nil {
		return err
	}
	if err := o.outputOptions.check(); err != nil {
		return err
	}
	if len(o.args) > 0 {
		return usagef("log %s takes no %q", v.name, o.args[0])
	}
	return v.run(ctx, u, o)
}

// onStore opens the store for what reads its ledger.
func onStore(run func(context.Context, *ui, *store.Store, logOptions) error) func(context.Context, *ui, logOptions) error {
	return func(ctx context.Context, u *ui, o logOptions) error {
		dir, err := u.storeDir(o.store)
		if err != nil {
			return err
		}
		s, err := store.Open(dir, store.Options{ReadOnly: true})
		if err != nil {
			return err
		}
		return errors.Join(run(ctx, u, s, o), s.Close())
	}
}

// logResult is what log list reports.
type logResult struct {
	Origin  string     `json:"origin,omitempty"`
	Size    int64      `json:"size"`
	Entries []logEntry `json:"entries"`
}

type logEntry struct {
	Index int64 `json:"index"`
	custody.Entry
}

func runLogList(ctx context.Context, u *ui, s *store.Store, o logOptions) error {
	if _, err := path.Match(o.reference, ""); err != nil {
		return usagef("--reference %q: %w", o.reference, err)
	}
	res := &logResult{Entries: []logEntry{}}
	err := s.Ledger(func(origin string, l ledger.Log) error {
		res.Origin, res.Size = origin, l.Size()
		return enclave.EachEntry(ctx, l, func(n int64, e custody.Entry) {
			name, _, _ := strings.Cut(e.Reference, "@")
			fits, _ := path.Match(o.reference, name)
			if (o.act == "" || string(e.Act) == o.act) && (o.reference == "" || fits) {
				res.Entries = append(res.Entries, logEntry{n, e})
			}
		})
	})
	if err != nil {
		return err
	}
	return u.result(o.outputOptions, "LogResult", res, func(w io.Writer) { writeLog(w, res.Entries) })
}

func writeLog(w io.Writer, entries []logEntry) {
	if len(entries) == 0 {
		fmt.Fprintln(w, "no such lines")
		return
	}
	rows := [][]string{{"LINE", "TIME", "ACT", "IMAGE", "DIGEST", "BY", "NOTE"}}
	for _, e := range entries {
		rows = append(rows, []string{fmt.Sprint(e.Index), e.At.Format(time.RFC3339), string(e.Act), nameOnly(e.Reference), shortDigest(e.Digest), e.who(), e.note()})
	}
	table(w, rows)
}

// who is who acted, and whether a key vouches for it.
func (e *logEntry) who() string {
	key := strings.TrimPrefix(e.Key, "sha256:")
	switch {
	case key == "" && e.By == "":
		return "-"
	case key == "":
		return e.By + " (claimed)"
	case e.By == "":
		return "key " + key[:min(len(key), 12)]
	}
	return e.By + " (key " + key[:min(len(key), 12)] + ")"
}

func (e *logEntry) note() string {
	var parts []string
	if e.Line != nil {
		parts = append(parts, fmt.Sprintf("line %s %d", e.Line.Name, e.Line.Serial))
	}
	if e.Policy != "" {
		parts = append(parts, e.Result+" by policy "+shortDigest(e.Policy))
	}
	if n := len(e.Records); n > 0 {
		parts = append(parts, plural(n, "record"))
	}
	if n := len(e.Absent); n > 0 {
		parts = append(parts, plural(n, "absent child manifest"))
	}
	if e.To != nil && e.To.Name != "" {
		parts = append(parts, "to "+e.To.Name)
	}
	if e.Reason != "" {
		parts = append(parts, e.Reason)
	}
	return strings.Join(parts, "; ")
}

// logVerified is what log verify reports.
type logVerified struct {
	Origin  string `json:"origin,omitempty"`
	Size    int64  `json:"size"`
	Root    string `json:"root"`
	Extends *int64 `json:"extends,omitempty"` // the size of the checkpoint that it continues
}

func runLogVerify(ctx context.Context, u *ui, s *store.Store, o logOptions) error {
	var check *ledger.Checkpoint
	if o.checkpoint != "" {
		var err error
		if check, err = readCheckpoint(o.checkpoint); err != nil {
			return err
		}
	}
	res := &logVerified{}
	err := s.Ledger(func(origin string, l ledger.Log) error {
		root, err := l.Check(ctx)
		if err != nil {
			return local(enclave.DamagedLedger(err))
		}
		res.Origin, res.Size, res.Root = origin, l.Size(), root.String()
		if err := enclave.EachEntry(ctx, l, func(int64, custody.Entry) {}); err != nil {
			return err
		}
		if check == nil {
			return nil
		}
		if err := l.Extends(origin, *check); err != nil {
			if errors.Is(err, ledger.ErrFork) {
				err = &adviceError{fmt.Errorf("%w: %w", bundle.ErrRollback, err), "this store is not the one, or not in the state, that the checkpoint was made of: find out who restored or edited it"}
			}
			return err
		}
		res.Extends = &check.Size
		return nil
	})
	if err != nil {
		return err
	}
	return u.result(o.outputOptions, "LogVerified", res, func(w io.Writer) {
		fmt.Fprintf(w, "%s, each where it was written; root %s\n", plural(int(res.Size), "line"), res.Root)
		if res.Extends != nil {
			fmt.Fprintf(w, "the first %d are those that the checkpoint was made of\n", *res.Extends)
		}
	})
}

func runLogCheckpoint(_ context.Context, u *ui, s *store.Store, o logOptions) error {
	msg, c, err := s.Checkpoint()
	if err != nil {
		return err
	}
	if o.output != "" && o.output != "-" {
		if err := os.WriteFile(o.output, msg, 0o644); err != nil {
			return err
		}
	}
	res := struct {
		Origin     string `json:"origin"`
		Size       int64  `json:"size"`
		Root       string `json:"root"`
		Checkpoint string `json:"checkpoint"`
	}{c.Origin, c.Size, c.Root.String(), string(msg)}
	return u.result(o.outputOptions, "LogCheckpoint", &res, func(w io.Writer) {
		if o.output == "" || o.output == "-" {
			_, _ = w.Write(msg)
			return
		}
		fmt.Fprintf(w, "%s: %s\n", escape(o.output), plural(int(c.Size), "line"))
	})
}

func runLogExport(ctx context.Context, u *ui, s *store.Store, o logOptions) error {
	if o.output == "" {
		return usagef("log export wants --output DIR")
	}
	if entries, err := os.ReadDir(o.output); err == nil && len(entries) > 0 {
		return usagef("--output %s: there is something in it", o.output)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, err := disk.Create(o.output)
	if err != nil {
		return err
	}
	defer dir.Close()
	n, err := exportLog(ctx, dir, s)
	if err != nil {
		return err
	}
	res := struct {
		Folder string `json:"folder"`
		Files  int    `json:"files"`
	}{o.output, n}
	return u.result(o.outputOptions, "LogExport", &res, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s\n", escape(filepath.Clean(o.output)), plural(n, "file"))
	})
}

// exportLog writes the checkpoint last: with it the folder is complete. Lines that come
// meanwhile are not in it. No file is written while the database is read: nobody has to
// wait for a slow disk.
func exportLog(ctx context.Context, dir disk.FS, s *store.Store) (files int, err error) {
	msg, c, err := s.Checkpoint()
	if err != nil {
		return 0, err
	}
	put := func(name string, data []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := dir.Mkdir(path.Dir(name)); err != nil {
			return err
		}
		files++
		return disk.WriteFile(dir, name, data)
	}
	for _, f := range ledger.Files(c.Size) {
		var data []byte
		err := s.Ledger(func(_ string, l ledger.Log) (err error) {
			data, err = l.Read(f)
			return err
		})
		if err == nil {
			err = put(f.Name, data)
		}
		if err != nil {
			return files, err
		}
	}
	text, err := ledgerText(ctx, s, c.Size)
	if err == nil {
		err = put("ledger.txt", []byte(text))
	}
	if err == nil {
		var names []byte
		if names, err = enclave.ExportNames(ctx, s); err == nil {
			err = put(enclave.NamesFile, names)
		}
	}
	var key string
	if err == nil {
		key, err = s.LedgerKey()
	}
	if err == nil {
		err = put(enclave.KeyFile, []byte(key+"\n"))
	}
	if err == nil {
		err = put("checkpoint", msg)
	}
	return files, err
}

// ledgerText is the first lines of a ledger, for people.
func ledgerText(ctx context.Context, s *store.Store, size int64) (string, error) {
	var all []logEntry
	err := s.Ledger(func(_ string, l ledger.Log) error {
		return enclave.EachEntry(ctx, l, func(n int64, e custody.Entry) {
			if n < size {
				all = append(all, logEntry{n, e})
			}
		})
	})
	var text strings.Builder
	writeLog(&text, all)
	return text.String(), err
}
