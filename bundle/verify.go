package bundle

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify"
	"airgap/verify/policy"
)

// Judge has the images of g, which is all of b or a part, judged with the revocation
// lists that b carries, and b itself by what the policy demands of a bundle. An error
// means that there is no verdict.
func (b *Bundle) Judge(ctx context.Context, j *verify.Judge, g *layout.Graph) (*verify.Report, error) {
	h, err := b.Head(ctx, Pinned(j))
	if err != nil {
		return nil, err
	}
	r, err := b.judge(ctx, j, g, h)
	if err == nil && r.Reason == "" {
		if r.Reason = expired(h, r.Time); r.Reason != "" {
			r.State = verify.Refused
		}
	}
	return r, err
}

func (b *Bundle) judge(ctx context.Context, j *verify.Judge, g *layout.Graph, h *Head) (*verify.Report, error) {
	lists, err := b.RevocationLists(ctx)
	if err != nil {
		return nil, b.damaged(err)
	}
	r, err := WithLists(j, lists).Graph(ctx, b.source, g)
	if err != nil {
		return nil, b.damaged(err)
	}
	if r.Reason = demands(j.Policy.Bundle, h); r.Reason != "" {
		r.State = verify.Refused
	}
	return r, nil
}

// Pinned are the keys that a judge trusts, for records; none without a judge.
func Pinned(j *verify.Judge) []custody.Key {
	if j == nil {
		return nil
	}
	var out []custody.Key
	if j.Trust != nil {
		for _, k := range j.Trust.Keys() {
			out = append(out, custody.Key{Name: k.Name, Public: k.Public})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(j.Keys)) {
		out = append(out, custody.Key{Name: name, Public: j.Keys[name]})
	}
	return out
}

// demands says what a bundle lacks that the policy wants of it, if anything.
func demands(want *policy.Bundle, h *Head) string {
	if want == nil {
		return ""
	}
	why := ""
	switch {
	case h == nil:
		why = "its export is not signed"
	case h.Bundle.Standing != custody.Verified:
		why = "its export is signed by no key that is pinned"
	case !slices.Contains(want.Keys, h.Bundle.Key):
		why = fmt.Sprintf("its export is signed by the key %s", h.Bundle.Key)
	case want.Line != "" && (h.Bundle.Record.Line == nil || h.Bundle.Record.Line.Name != want.Line):
		why = "it does not belong to the line " + want.Line
	default:
		return ""
	}
	return fmt.Sprintf("the bundle: %s, and the policy wants %s", why, want)
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
	if r.Reason != "" {
		names = append(names, r.Reason)
	}
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
	if !partial || r.Reason != "" {
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
	less, err := b.only(ctx, refs)
	if err != nil {
		return nil, err
	}
	for _, n := range less.Roots {
		if passed[n.Reference.String()] != n.Descriptor.Digest.String() {
			return nil, b.fail(fmt.Errorf("%s changed while it was judged: %w", n.Reference, layout.ErrCorrupt))
		}
	}
	return less, nil
}
