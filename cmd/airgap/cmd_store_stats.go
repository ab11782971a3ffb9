package main

import (
	"context"
	"fmt"
	"io"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/store"
	"airgap/store/ledger"
)

// storeRepositoriesResult is what store ls --repositories reports.
type storeRepositoriesResult struct {
	Store        string             `json:"store"`
	Repositories []listedRepository `json:"repositories"`
}

type listedRepository struct {
	Repository  string `json:"repository"`
	Names       int    `json:"names"`
	Manifests   int    `json:"manifests"` // named or not
	Attached    int    `json:"attached"`
	Quarantined int    `json:"quarantined"` // manifests that are, or of which names are
	Blobs       int    `json:"blobs"`
	Bytes       int64  `json:"bytes"` // of manifests and blobs, each once
	NotAdmitted bool   `json:"notAdmitted,omitempty"`
}

func listRepositories(ctx context.Context, u *ui, o storeOptions, st *store.Store, dir string) error {
	all, err := st.RepositoryStats(ctx)
	if err != nil {
		return err
	}
	names := make([]layout.Name, len(all))
	for i, r := range all {
		names[i].Reference.Repository = r.Repository
	}
	chosen, err := filterNames(dir, o.args, names)
	if err != nil {
		return err
	}
	res := &storeRepositoriesResult{Store: dir, Repositories: []listedRepository{}}
	for _, r := range all {
		if len(chosen) > 0 && chosen[0].Reference.Repository == r.Repository {
			chosen = chosen[1:]
			res.Repositories = append(res.Repositories, listedRepository(r))
		}
	}
	return u.result(o.outputOptions, "StoreRepositoriesResult", res, func(w io.Writer) { writeRepositories(w, res) })
}

func admittedText(admitted bool) string {
	if admitted {
		return "-"
	}
	return "not admitted"
}

func writeRepositories(w io.Writer, res *storeRepositoriesResult) {
	rows := [][]string{{"REPOSITORY", "NAMES", "MANIFESTS", "ATTACHED", "QUARANTINED", "BLOBS", "SIZE", "STATE"}}
	for _, r := range res.Repositories {
		rows = append(rows, []string{
			r.Repository, fmt.Sprint(r.Names), fmt.Sprint(r.Manifests), fmt.Sprint(r.Attached), fmt.Sprint(r.Quarantined), fmt.Sprint(r.Blobs), humanSize(r.Bytes), admittedText(!r.NotAdmitted),
		})
	}
	table(w, rows)
	fmt.Fprintf(w, "\n%s; what several have is kept once, and counted in each\n", countRepositories(len(res.Repositories)))
}

// storeStatsResult is what store stats reports.
type storeStatsResult struct {
	Store         string `json:"store"`
	Repositories  int    `json:"repositories"`
	Names         int    `json:"names"`
	Manifests     int    `json:"manifests"`   // each as often as repositories have it
	Attached      int    `json:"attached"`    // of them
	Quarantined   int    `json:"quarantined"` // of them
	Files         int    `json:"files"`       // blobs and manifests, each once
	Bytes         int64  `json:"bytes"`       // of the files
	LedgerEntries int64  `json:"ledgerEntries"`
	DatabaseBytes int64  `json:"databaseBytes"`
	// FreeBytes is what the file system has room for; missing if that is not known.
	FreeBytes *int64 `json:"freeBytes,omitempty"`
}

func runStoreStats(ctx context.Context, u *ui, o storeOptions) error {
	if err := o.noArgs(); err != nil {
		return err
	}
	return o.inStore(u, true, func(st *store.Store, dir string) error {
		res, err := statsOf(ctx, st)
		if err != nil {
			return local(err)
		}
		res.Store = dir
		if free, err := disk.Free(dir); err == nil {
			res.FreeBytes = &free
		}
		return u.result(o.outputOptions, "StoreStatsResult", res, func(w io.Writer) { writeStats(w, res) })
	})
}

func statsOf(ctx context.Context, st *store.Store) (*storeStatsResult, error) {
	s, err := st.Stats(ctx)
	if err != nil {
		return nil, err
	}
	res := &storeStatsResult{Repositories: s.Repositories, Manifests: s.Manifests, Files: s.Blobs, Bytes: s.Bytes}
	repos, err := st.RepositoryStats(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range repos {
		res.Names, res.Attached, res.Quarantined = res.Names+r.Names, res.Attached+r.Attached, res.Quarantined+r.Quarantined
	}
	if res.DatabaseBytes, err = st.DatabaseBytes(); err != nil {
		return nil, err
	}
	return res, st.Ledger(func(_ string, l ledger.Log) error {
		res.LedgerEntries = l.Size()
		return nil
	})
}

func writeStats(w io.Writer, res *storeStatsResult) {
	rows := [][]string{
		{"repositories", fmt.Sprint(res.Repositories)},
		{"names", fmt.Sprint(res.Names)},
		{"manifests", fmt.Sprintf("%d, %d of them attached to others", res.Manifests, res.Attached)},
		{"in quarantine", fmt.Sprint(res.Quarantined)},
		{"files", fmt.Sprintf("%d, %s (%s)", res.Files, humanSize(res.Bytes), exactSize(res.Bytes))},
		{"ledger", plural(int(res.LedgerEntries), "line")},
		{"database", humanSize(res.DatabaseBytes)},
	}
	if res.FreeBytes != nil {
		rows = append(rows, []string{"free", humanSize(*res.FreeBytes)})
	}
	table(w, rows)
}
