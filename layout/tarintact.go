package layout

import (
	"context"
	"io"
	"os"

	"airgap/layout/disk"

	"golang.org/x/sync/errgroup"
)

// TarHolds says whether name in fsys is, to the last byte, the bundle that plan
// lays out; then there is nothing to write. It hashes every blob, jobs at a time
// (0 means DefaultJobs). Whatever is in the way of an answer is a no.
func TarHolds(ctx context.Context, fsys disk.FS, name string, plan *Plan, jobs int, progress func(Event)) bool {
	f, err := fsys.Open(name, os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() != plan.Size {
		return false
	}
	a, err := openArchive(name, f, info.Size())
	if err != nil || !a.own || a.matches(plan) != nil {
		return false
	}
	return a.hashes(ctx, plan, jobs, progress) == nil
}

// hashes reads every file that the plan did not make itself.
func (a *archive) hashes(ctx context.Context, plan *Plan, jobs int, progress func(Event)) error {
	c := &copier{opt: CopyOptions{Progress: progress}}
	c.emit(Event{Kind: EventPlan, N: plan.Size, Count: len(plan.Entries)})
	if jobs <= 0 {
		jobs = DefaultJobs
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i := range plan.Entries {
		e := &plan.Entries[i]
		g.Go(func() error {
			if e.Data == nil {
				content := io.NewSectionReader(a.r, e.DataOffset(), e.Size)
				if _, err := copyBuffer(io.Discard, Verify(NopCloser(&ctxReader{ctx, content}), e.Descriptor())); err != nil {
					return err
				}
			}
			c.emit(Event{Kind: EventSkip, Descriptor: e.Descriptor(), N: e.Size})
			return nil
		})
	}
	return g.Wait()
}
