package bundle

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"airgap/layout"
	"airgap/verify"
)

// Verify proves b as far as it can be without reading layers, and has every image
// in it judged. An error means that there is no verdict.
func Verify(ctx context.Context, b *Bundle, j *verify.Judge) (*verify.Report, error) {
	g, err := b.Graph(ctx)
	if err != nil {
		return nil, err
	}
	return b.judge(ctx, j, g)
}

func (b *Bundle) judge(ctx context.Context, j *verify.Judge, g *layout.Graph) (*verify.Report, error) {
	lists, err := b.RevocationLists(ctx)
	if err != nil {
		return nil, b.damaged(err)
	}
	r, err := WithLists(j, lists).Graph(ctx, b.source, g)
	return r, b.damaged(err)
}

// WithLists is a judge that has more revocation lists at hand.
func WithLists(j *verify.Judge, lists []RevocationList) *verify.Judge {
	with := *j
	with.CRLs = slices.Clone(j.CRLs)
	for _, l := range lists {
		if crl, err := x509.ParseRevocationList(l.DER); err == nil { // one that is none says nothing
			with.CRLs = append(with.CRLs, crl)
		}
	}
	return &with
}

// keepLists hands the lists that the verdict rests on to a destination that keeps
// such: later nobody can come with older ones.
func keepLists(dst layout.Sink, r *verify.Report) error {
	k, ok := dst.(interface {
		KeepList(issuer string, der []byte) error
	})
	if !ok || r == nil {
		return nil
	}
	for _, l := range r.Lists {
		if err := k.KeepList(l.Issuer, l.CRL.Raw); err != nil {
			return err
		}
	}
	return nil
}

// Err is nil for a report in which everything passed, and says else what did not.
func Err(r *verify.Report) error {
	sentinel, hint := ErrRefused, "the verdict says what is missing"
	switch r.State {
	case verify.Passed:
		return nil
	case verify.Undecided:
		sentinel, hint = ErrUndecided, "the verdict says what could not be checked, such as a trust store or a revocation list that is not here"
	}
	var names []string
	for _, v := range r.Verdicts {
		if v.State != verify.Passed {
			names = append(names, fmt.Sprintf("%s is %s", v.Reference, v.State))
		}
	}
	if len(names) == 0 {
		names = append(names, "there is no image in it")
	}
	return &layout.Error{Err: fmt.Errorf("%w: %s", sentinel, strings.Join(names, "; ")), Hint: hint}
}

// admitted is what of g may enter: all of it or, if partial, the roots that
// passed with what belongs to them. Nothing at all is an error.
func (b *Bundle) admitted(ctx context.Context, g *layout.Graph, r *verify.Report, partial bool) (*layout.Graph, error) {
	err := Err(r)
	if err == nil {
		return g, nil
	}
	err = b.fail(err)
	if !partial {
		return nil, err
	}
	passed := map[string]string{}
	var refs []layout.Reference
	for i, v := range r.Verdicts {
		if v.State == verify.Passed {
			refs = append(refs, g.Roots[i].Reference)
			passed[v.Reference] = v.Digest.String()
		}
	}
	if len(refs) == 0 {
		return nil, err
	}
	less, err := layout.Walk(ctx, b.source, refs, layout.WalkOptions{MayMiss: b.MayMiss, Jobs: localJobs, SkipForeign: b.skipsForeign()})
	if err != nil {
		return nil, b.damaged(err)
	}
	for _, n := range less.Roots {
		if passed[n.Reference.String()] != n.Descriptor.Digest.String() {
			return nil, b.fail(fmt.Errorf("%s changed while it was judged: %w", n.Reference, layout.ErrCorrupt))
		}
	}
	return less, nil
}
