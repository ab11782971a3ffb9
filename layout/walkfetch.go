package layout

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// fetch loads a manifest, decides whether what led to it is true, and goes on
// from there.
func (w *walker) fetch(ctx context.Context, t task) error {
	if t.depth > MaxDepth {
		return &Error{Side: SideSource, Name: t.repo, Digest: t.desc.Digest,
			Err: fmt.Errorf("manifests nested or attached more than %d deep: %w", MaxDepth, ErrLimit)}
	}
	l, err := w.load(ctx, t)
	if err != nil {
		return w.failed(t, err)
	}
	if t.claim != nil {
		if reason := t.claim.refute(l.node); reason != "" {
			w.reject(t, reason)
			return nil
		}
		w.attach(t)
	}
	fresh, more, err := w.enter(t, l)
	if err != nil || !more {
		return err
	}
	next, err := w.children(t, l)
	if err != nil {
		return err
	}
	if fresh {
		ask := t
		ask.ask, ask.claim, ask.desc = true, nil, l.node.Descriptor
		next = append(next, ask)
	}
	w.push(next...)
	return nil
}

// failed turns the failure to read t into an error that names it, or into an
// omission where the index is known to be sparse.
func (w *walker) failed(t task, err error) error {
	if errors.Is(err, ErrNotFound) && t.parent != "" && w.opt.MayMiss != nil && w.opt.MayMiss(t.repo, t.parent, t.desc) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.missing = append(w.missing, Omission{Repository: t.repo, Parent: t.parent, Descriptor: t.desc, Reason: ReasonAbsent})
		return nil
	}
	if errors.Is(err, ErrNotFound) && t.claim != nil && w.opt.MayMissAttached[t.desc.Digest] {
		w.reject(t, ReasonMissingReferrer)
		return nil
	}
	what, hint := "", ""
	switch {
	case t.claim != nil && errors.Is(err, ErrNotFound):
		what = fmt.Sprintf("attached to %s (%s): ", t.claim.subject, t.claim.form)
		hint = fmt.Sprintf("an attachment that is listed and missing fails the whole export, so that no signature is lost unseen; "+
			"push it to the source again, delete the entry there, or, if it is gone for good, add --allow-missing-referrer %s", t.desc.Digest)
	case t.claim != nil:
		what = fmt.Sprintf("attached to %s (%s): ", t.claim.subject, t.claim.form)
		hint = "an attachment that cannot be carried fails the whole run, so that no signature is lost unseen; " +
			"repair it at the source, or delete the dangling entry there"
	case t.parent != "":
		what = fmt.Sprintf("listed by index %s: ", t.parent)
		hint = "choose platforms that the source has with --platform"
	}
	return &Error{Side: SideSource, Name: t.repo, Digest: t.desc.Digest, Err: fmt.Errorf("%s%w", what, err), Hint: hint}
}

// refute says why n is not attached as claimed, or "".
func (c *claim) refute(n *Node) string {
	switch {
	case n.Descriptor.Digest == c.subject:
		return "it is the subject itself"
	case n.Subject == "" && slices.Contains(CosignForms, c.form):
		return "" // tied by the tag alone; what it signs is for verify to say
	case n.Subject != c.subject:
		return fmt.Sprintf("its subject is %q", n.Subject)
	}
	return ""
}

func (w *walker) reject(t task, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rejected = append(w.rejected, Rejection{t.repo, t.claim.subject, t.desc.Digest, t.claim.form, reason})
}

// attach notes that a claim is true, once for each form; graph puts the forms
// together.
func (w *walker) attach(t task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.spots[placeKey{t.repo, t.claim.subject}]
	s.Attached = append(s.Attached, Edge{Digest: t.desc.Digest, Forms: []Form{t.claim.form}})
	if tag, ok := t.claim.form.Tag(t.claim.subject); ok && t.claim.form != FormReferrersTag {
		w.tags = append(w.tags, Name{Reference: Reference{Repository: t.repo, Tag: tag}, Descriptor: t.desc})
	}
}

// enter takes a manifest of a repository into the graph. It says whether that is
// new, and whether its children have to be looked at: if it is, and once more if
// all paths so far were under a platform selection and this one is not.
func (w *walker) enter(t task, l *load) (fresh, more bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.spots[placeKey{t.repo, t.desc.Digest}]
	if s.entered {
		more = s.filtered && !t.filter
		s.filtered = s.filtered && t.filter
		return false, more, nil
	}
	if !l.accepted {
		l.accepted = true
		w.count++
		w.listed += len(l.node.Blobs) + len(l.listed)
		if w.count > w.opt.maxManifests {
			err = fmt.Errorf("more than %d manifests: %w", w.opt.maxManifests, ErrLimit)
		} else if w.listed > MaxTarEntries {
			err = fmt.Errorf("manifests that list more than %d pieces of content: %w", MaxTarEntries, ErrLimit)
		}
		if err != nil {
			return false, false, &Error{Side: SideSource, Name: t.repo, Err: err}
		}
		if w.opt.OnManifest != nil {
			w.opt.OnManifest(w.count)
		}
	}
	s.entered, s.filtered = true, t.filter
	return true, true, nil
}

// ask collects what is said to be attached, and queues each candidate once for
// each form that lists it.
func (w *walker) ask(ctx context.Context, t task) error {
	found, err := w.src.Attached(ctx, t.repo, t.desc)
	if err != nil {
		return &Error{Side: SideSource, Name: t.repo, Digest: t.desc.Digest, Err: fmt.Errorf("asking for attachments: %w", err)}
	}
	answers := make(map[Form]Answer, len(found))
	var next []task
	for _, inq := range found {
		answers[inq.Form] = inq.Answer
		reason := inq.Doubt
		if inq.Answer == AnswerNone {
			reason = inq.Note
		}
		if reason != "" {
			w.mu.Lock()
			w.rejected = append(w.rejected, Rejection{t.repo, t.desc.Digest, "", inq.Form, reason})
			w.mu.Unlock()
		}
		if len(inq.Found) > w.opt.maxAttached {
			return &Error{Side: SideSource, Name: t.repo, Digest: t.desc.Digest,
				Err: fmt.Errorf("%d attachments (%s), at most %d are accepted: %w", len(inq.Found), inq.Form, w.opt.maxAttached, ErrLimit)}
		}
		for _, d := range inq.Found {
			if err := CheckDescriptor(d); err != nil {
				return &Error{Side: SideSource, Name: t.repo, Digest: t.desc.Digest, Err: fmt.Errorf("attached (%s): %w", inq.Form, err)}
			}
			next = append(next, task{repo: t.repo, desc: trim(d), depth: t.depth + 1, claim: &claim{t.desc.Digest, inq.Form}})
		}
	}
	w.answered(t, answers)
	w.push(next...)
	return nil
}

func (w *walker) answered(t task, answers map[Form]Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := fmt.Sprint(answers)
	if w.answers[key] == nil {
		w.answers[key] = answers
	}
	w.spots[placeKey{t.repo, t.desc.Digest}].Answers = w.answers[key]
}
