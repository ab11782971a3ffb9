package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"airgap/layout/disk"
	"airgap/store"

	"github.com/urfave/cli/v2"
)

// careOptions are the flags of what keeps a store in order.
type careOptions struct {
	grace  time.Duration
	dryRun bool
	fast   bool
	repair cli.StringSlice
	ledger string
	output string
}

// defaultGarbageGrace is how long what was pushed is kept without a name. A client
// that pushes an image of many gigabytes names it at the end.
const defaultGarbageGrace = 24 * time.Hour

func (o *careOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "grace", Usage: "gc: keep what clients pushed less than `TIME` ago, though nothing leads to it yet", Value: defaultGarbageGrace, DefaultText: "24h", Destination: &o.grace},
		&cli.BoolFlag{Name: "dry-run", Usage: "gc: tell what would go, and remove nothing", Destination: &o.dryRun},
		&cli.BoolFlag{Name: "fast", Usage: "check: compare sizes, and read no blob", Destination: &o.fast},
		&cli.StringSliceFlag{Name: "repair", Usage: "check: replace damaged and missing files from `FROM`: a bundle, store:DIR, or a registry HOST[/PREFIX]; repeatable", DefaultText: "none", Destination: &o.repair},
		&cli.StringFlag{Name: "ledger", Usage: "rebuild: the ledger that airgap log export wrote to `DIR`", DefaultText: "none", Destination: &o.ledger},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "backup: write to `FILE`, which must not be there; load: write what docker load, podman load and ctr images import read to it, or to stdout if it is -", DefaultText: "none", Destination: &o.output},
	}
}

// storeGCResult is what store gc reports.
type storeGCResult struct {
	Store     string `json:"store"`
	DryRun    bool   `json:"dryRun"`
	Manifests int    `json:"manifests"`
	Tags      int    `json:"tags"`
	Blobs     int    `json:"blobs"`
	Bytes     int64  `json:"bytes"`
	Orphans   int    `json:"orphans"`
	Spared    int    `json:"spared"`
}

func runStoreGC(ctx context.Context, u *ui, o storeOptions) error {
	if err := o.noArgs(); err != nil {
		return err
	}
	if o.care.grace < 0 {
		return usagef("--grace %s: want a time", o.care.grace)
	}
	return o.inStore(u, o.care.dryRun, func(st *store.Store, dir string) error {
		c, err := st.Collect(ctx, store.CollectOptions{Grace: o.care.grace, Now: u.now(), DryRun: o.care.dryRun})
		if err != nil {
			return local(err)
		}
		res := &storeGCResult{dir, o.care.dryRun, c.Manifests, c.Tags, c.Blobs, c.Bytes, c.Orphans, c.Spared}
		return u.result(o.outputOptions, "StoreGCResult", res, func(w io.Writer) { writeCollected(w, res) })
	})
}

func writeCollected(w io.Writer, res *storeGCResult) {
	verb := "removed"
	if res.DryRun {
		verb = "would be removed"
	}
	fmt.Fprintf(w, "%s: %s, %s, %s\n", verb, plural(res.Manifests, "manifest"), plural(res.Blobs, "file"), humanSize(res.Bytes))
	if res.Orphans > 0 {
		fmt.Fprintf(w, "and %s that a crash left\n", plural(res.Orphans, "file"))
	}
	if res.Spared > 0 {
		fmt.Fprintf(w, "kept, though nothing leads there: %s that an import counts on, or that came a short while ago\n", plural(res.Spared, "blob"))
	}
}

// noArgs refuses arguments of what takes none.
func (o *storeOptions) noArgs() error {
	if len(o.args) > 0 {
		return usagef("store %s takes no %q", o.verb, o.args[0])
	}
	return nil
}

// runStoreBackup writes a copy of the database, as it is at one moment.
func runStoreBackup(ctx context.Context, u *ui, o storeOptions) error {
	if err := o.noArgs(); err != nil {
		return err
	}
	if o.care.output == "" {
		return usagef("store backup wants --output FILE")
	}
	return o.inStore(u, true, func(st *store.Store, dir string) error {
		n, err := backup(ctx, st, o.care.output)
		if err != nil {
			return err
		}
		res := struct {
			Store string `json:"store"`
			File  string `json:"file"`
			Bytes int64  `json:"bytes"`
		}{dir, o.care.output, n}
		return u.result(o.outputOptions, "StoreBackupResult", &res, func(w io.Writer) {
			fmt.Fprintf(w, "%s: %s; copy %s after this, and the two are a backup\n", escape(res.File), humanSize(n), escape(filepath.Join(dir, "blobs")))
		})
	})
}

// backup is there whole, or not at all. It holds the key of the ledger.
func backup(ctx context.Context, st *store.Store, path string) (n int64, err error) {
	folder, err := disk.Open(filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	defer folder.Close()
	f, err := folder.Open(filepath.Base(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	if n, err = st.Backup(ctx, f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, errors.Join(err, folder.Remove(filepath.Base(path)))
	}
	return n, folder.Flush()
}
