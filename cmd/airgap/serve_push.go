package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"airgap/bundle/enclave"
	"airgap/layout"
	"airgap/store"
	"airgap/store/serve"

	"github.com/opencontainers/go-digest"
)

// defaultUploads is how many blobs serve takes at once.
const defaultUploads = 256

// takeOptions are the flags of serve about what clients push.
type takeOptions struct {
	writable   bool
	admit      bool
	sparse     bool
	maxBlob    string
	maxUploads int

	maxBlobBytes int64
}

func (p *takeOptions) check(u *ui, o *serveOptions) (err error) {
	switch {
	case len(o.bundles) > 0 && p.writable:
		return &adviceError{usagef("--writable is about a store; a bundle does not change"), "import the bundle into a store, and serve that"}
	case !p.writable && (p.sparse || p.maxBlob != "" || p.maxUploads != defaultUploads):
		return usagef("--max-blob-size, --max-uploads and --allow-sparse are about what is pushed, and go with --writable")
	case p.admit && !p.writable:
		return usagef("--admit is about what is pushed, and goes with --writable")
	case p.admit && !o.judge.given(u):
		return noPolicy("; without --admit what is pushed is kept in repositories that are marked as not admitted")
	case p.maxUploads < 1:
		return usagef("--max-uploads %d: want 1 or more", p.maxUploads)
	case p.maxBlob == "":
		return nil
	}
	if p.maxBlobBytes, err = parseSize(p.maxBlob); err != nil {
		return usagef("--max-blob-size: %w", err)
	}
	return nil
}

func (p *takeOptions) text() string {
	switch {
	case p.admit:
		return "writable; the policy judges what is pushed"
	case p.writable:
		return "writable"
	}
	return "read-only"
}

// options are what the handler needs to take content for st.
func (p *takeOptions) options(u *ui, st *store.Store, o *policyOptions) (serve.Options, error) {
	po := store.PushOptions{
		Entry:  func(e store.PushEvent) ([]byte, error) { return enclave.PushEntry(st, u.now(), e) },
		Sparse: p.sparse, Now: u.now,
		Repaired: func(dgst digest.Digest) {
			u.warn("%s was damaged in the store; what a client pushed has replaced it", dgst)
		},
	}
	if p.admit {
		judge, err := o.judge(u)
		if err != nil {
			return serve.Options{}, err
		}
		judge.Now = u.now
		po.Admit = (&enclave.Admission{Store: st, Judge: judge, Now: u.now}).Admit
	}
	pusher := st.Pusher(po)
	return serve.Options{Pusher: pusher, Pending: st.PushersView(), MaxBlob: p.maxBlobBytes, MaxUploads: p.maxUploads, Now: u.now}, nil
}

// warnMarked tells of repositories from which is given out what no policy has judged.
func (p *takeOptions) warnMarked(ctx context.Context, u *ui, st *store.Store) error {
	marked, err := st.NotAdmitted(ctx)
	if err != nil || !p.admit || len(marked) == 0 {
		return err
	}
	u.warn("without --admit somebody pushed to %s: what is there is given out, and stays so until more is pushed there, or airgap reverify judges it", strings.Join(marked, ", "))
	return nil
}

// sizeUnits are those that sizes are written in.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}, {"", 1}}

// parseSize reads a number of bytes, with a unit or without one.
func parseSize(s string) (int64, error) {
	for _, unit := range sizeUnits {
		number, ok := strings.CutSuffix(strings.ToUpper(s), unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 1 || n > layout.MaxBlobBytes/unit.bytes {
			break
		}
		return n * unit.bytes, nil
	}
	return 0, fmt.Errorf("%q is no size such as 500MB or 20GB", s)
}
