package registry

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"airgap/layout"
)

// Attached implements layout.Source: the referrers API, the fallback tag and
// cosign's three tags, asked at the same time, unfiltered. Manifests found by a
// tag are kept for the Open that follows.
func (c *Client) Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error) {
	t, err := c.about(layout.SideSource, repo, "", subject.Digest)
	if err != nil {
		return nil, err
	}
	if err := layout.CheckDescriptor(subject); err != nil {
		return nil, t.fail(err, "")
	}
	forms := append([]layout.Form{layout.FormReferrers, layout.FormReferrersTag}, layout.CosignForms...)
	all := make(layout.Attachments, len(forms))
	g, ctx := errgroup.WithContext(ctx)
	for i, form := range forms {
		g.Go(func() (err error) {
			switch form {
			case layout.FormReferrers:
				all[i], err = t.byAPI(ctx, repo, subject)
			case layout.FormReferrersTag:
				all[i], err = t.byFallback(ctx, repo, subject)
			default:
				all[i], err = t.byCosignTag(ctx, repo, form, subject)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return all, nil
}

func answer(form layout.Form, found []layout.Descriptor) layout.Inquiry {
	in := layout.Inquiry{Form: form, Answer: layout.AnswerFound, Found: found}
	if len(found) == 0 {
		in.Answer, in.Found = layout.AnswerNone, nil
	}
	return in
}

func (t target) byAPI(ctx context.Context, repo string, subject layout.Descriptor) (layout.Inquiry, error) {
	t.name = repo + " referrers"
	a, err := t.referrers(ctx, repo, subject.Digest, false)
	if err != nil {
		return layout.Inquiry{}, err
	}
	if !a.has {
		return layout.Inquiry{Form: layout.FormReferrers, Answer: layout.AnswerUnsupported, Note: a.note, Doubt: a.doubt}, nil
	}
	return answer(layout.FormReferrers, a.found), nil
}

// byTag gets what stands under the tag of form. ok is false if the inquiry is
// answered already: there is no such tag, or it is the subject itself, which is
// what GitLab answers for a tag that looks like a digest.
func (t target) byTag(ctx context.Context, repo string, form layout.Form, subject layout.Descriptor) (in layout.Inquiry, m fetched, ok bool, err error) {
	in = layout.Inquiry{Form: form, Answer: layout.AnswerNone}
	tag, exists := form.Tag(subject.Digest)
	if !exists {
		in.Answer, in.Note = layout.AnswerUnsupported, "the tag would be longer than a tag may be"
		return in, m, false, nil
	}
	ref := layout.Reference{Repository: repo, Tag: tag}
	t.name, t.digest = ref.String(), ""
	if t.headMissing(ctx, ref, subject) {
		return in, m, false, nil
	}
	m, err = t.fetch(ctx, ref, false)
	switch {
	case errors.Is(err, layout.ErrNotFound):
		return in, m, false, nil
	case err != nil:
		return in, m, false, err
	case m.desc.Digest == subject.Digest:
		in.Note = "the tag answers with the subject itself"
		return in, m, false, nil
	}
	return in, m, true, nil
}

func (t target) byFallback(ctx context.Context, repo string, subject layout.Descriptor) (layout.Inquiry, error) {
	in, m, ok, err := t.byTag(ctx, repo, layout.FormReferrersTag, subject)
	if err != nil || !ok {
		return in, err
	}
	if !layout.IsIndex(m.desc.MediaType) {
		in.Note = fmt.Sprintf("the tag holds %s of type %s, not an index", m.desc.Digest, m.desc.MediaType)
		return in, nil
	}
	var l list
	if err := l.read(m.data); err != nil {
		return in, t.fail(asRegistry(fmt.Errorf("fallback index: %w", err)), "")
	}
	return answer(layout.FormReferrersTag, l.entries), nil
}

func (t target) byCosignTag(ctx context.Context, repo string, form layout.Form, subject layout.Descriptor) (layout.Inquiry, error) {
	in, m, ok, err := t.byTag(ctx, repo, form, subject)
	if err != nil || !ok {
		return in, err
	}
	t.client.manifests.keep(repo, m.desc.Digest, m.data)
	return answer(form, []layout.Descriptor{m.desc}), nil
}
