package bundle

import (
	"context"
	"fmt"
	"io"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// recorded is a bundle read by its export record: repositories hold what the
// record places in them, and answer what they answered then. That it is true is
// for prove to say.
type recorded struct {
	*layout.Reader
	record    *Record
	manifests map[digest.Digest]*RecordManifest
	tags      map[string]digest.Digest // of roots
	places    map[string]map[digest.Digest]*RecordPlace
	answers   map[string]map[layout.Form]string
	absent    map[digest.Digest]bool // layers that a delta does not carry
	lacking   map[listing]bool       // by repository and digest, what that did not have
	remarks   map[inquiry]string     // on answers, not on manifests
}

// inquiry is one question that a repository was asked about a manifest.
type inquiry struct {
	repo    string
	subject digest.Digest
	form    layout.Form
}

// readRecord finds the export record of a bundle of ours.
func readRecord(ctx context.Context, r *layout.Reader) (*Record, error) {
	var found []layout.Descriptor
	for _, d := range r.Index() {
		if d.ArtifactType == RecordArtifactType {
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d export records in index.json, want one: %w", len(found), layout.ErrCorrupt)
	}
	raw, err := readBlob(ctx, r, found[0], layout.MaxManifestBytes)
	if err != nil {
		return nil, err
	}
	m, err := layout.ParseManifest(found[0], raw)
	if err != nil {
		return nil, err
	}
	if len(m.Layers) == 0 || m.Layers[0].MediaType != statementMediaType {
		return nil, fmt.Errorf("export record: no %s: %w", statementMediaType, layout.ErrCorrupt)
	}
	if raw, err = readBlob(ctx, r, m.Layers[0], maxRecordBytes); err != nil {
		return nil, err
	}
	record, err := parseRecord(raw)
	if err == nil {
		record.share()
	}
	return record, err
}

func readBlob(ctx context.Context, src layout.Source, d layout.Descriptor, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are accepted: %w", d.Digest, d.Size, limit, layout.ErrLimit)
	}
	rc, err := src.Open(ctx, "", d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

func newRecorded(r *layout.Reader, record *Record) (*recorded, error) {
	s := &recorded{
		Reader: r, record: record,
		manifests: make(map[digest.Digest]*RecordManifest, len(record.Manifests)),
		tags:      map[string]digest.Digest{},
		places:    map[string]map[digest.Digest]*RecordPlace{},
		answers:   map[string]map[layout.Form]string{},
		absent:    record.Delta.set(),
		lacking:   map[listing]bool{},
		remarks:   map[inquiry]string{},
	}
	for _, o := range record.LeftOut {
		if o.Reason == layout.ReasonAbsent {
			s.lacking[listing{repo: o.Repository, child: o.Digest}] = true
		}
	}
	for _, a := range record.SetAside {
		if a.Digest == "" {
			s.remarks[inquiry{a.Repository, a.Subject, a.By}] = a.Reason
		}
	}
	for i := range record.Manifests {
		m := &record.Manifests[i]
		if err := layout.CheckDescriptor(m.descriptor()); err != nil {
			return nil, fmt.Errorf("export record: %w", err)
		}
		s.manifests[m.Digest] = m
	}
	for i := range record.Repositories {
		repo := &record.Repositories[i]
		if s.places[repo.Name] != nil {
			return nil, fmt.Errorf("export record: repository %.200q twice: %w", repo.Name, layout.ErrCorrupt)
		}
		places := make(map[digest.Digest]*RecordPlace, len(repo.Manifests))
		for j := range repo.Manifests {
			places[repo.Manifests[j].Digest] = &repo.Manifests[j]
		}
		s.places[repo.Name], s.answers[repo.Name] = places, repo.Answers
	}
	return s, nil
}

// roots returns the names that the record lists.
func (s *recorded) roots() ([]layout.Reference, error) {
	var out []layout.Reference
	for _, r := range s.record.Roots {
		ref, err := parseRootReference(r.Reference)
		if err != nil {
			return nil, fmt.Errorf("export record: %v: %w", err, layout.ErrCorrupt)
		}
		if ref.Tag != "" {
			s.tags[ref.Repository+":"+ref.Tag] = r.Digest
		}
		out = append(out, ref)
	}
	return out, nil
}

// parseRootReference reads a reference and demands that it was written in full:
// what is short for something else could be two names for one thing.
func parseRootReference(s string) (layout.Reference, error) {
	ref, err := layout.ParseReference(s)
	if err == nil && ref.String() != s {
		err = fmt.Errorf("reference %.300q is not written in full", s)
	}
	return ref, err
}

// Resolve implements [layout.Source].
func (s *recorded) Resolve(_ context.Context, ref layout.Reference) (layout.Descriptor, error) {
	if d, ok := s.tags[ref.Repository+":"+ref.Tag]; ok && (ref.Digest == "" || ref.Digest == d) {
		return s.descriptor(d), nil
	}
	if s.places[ref.Repository][ref.Digest] != nil {
		return s.descriptor(ref.Digest), nil
	}
	return layout.Descriptor{}, &layout.Error{Side: layout.SideBundle, Name: s.File(),
		Err: fmt.Errorf("%s: %w", ref, layout.ErrNotFound), Hint: "airgap inspect lists what it holds"}
}

// descriptor describes a manifest as the inventory does; one that it does not
// list gets a descriptor that nothing accepts.
func (s *recorded) descriptor(d digest.Digest) layout.Descriptor {
	if m := s.manifests[d]; m != nil {
		return m.descriptor()
	}
	return layout.Descriptor{}
}

// Open implements [layout.Source]. A manifest is found only in the repositories
// that it was taken from, and other content in all but those that did not have it.
func (s *recorded) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	gone := s.lacking[listing{repo: repo, child: d.Digest}]
	if layout.IsManifest(d.MediaType) {
		gone = s.places[repo][d.Digest] == nil
	}
	if gone {
		return nil, &layout.Error{Side: layout.SideBundle, Name: s.File(), Digest: d.Digest,
			Err: fmt.Errorf("in repository %s: %w", repo, layout.ErrNotFound)}
	}
	if s.absent[d.Digest] && !layout.IsManifest(d.MediaType) {
		return nil, notCarried(s.File(), d.Digest)
	}
	return s.Reader.Open(ctx, repo, d)
}

// Attached implements [layout.Source].
func (s *recorded) Attached(_ context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error) {
	p := s.places[repo][subject.Digest]
	if p == nil {
		return nil, &layout.Error{Side: layout.SideBundle, Name: s.File(), Digest: subject.Digest,
			Err: fmt.Errorf("in repository %s: %w", repo, layout.ErrNotFound)}
	}
	answers := p.Answers
	if answers == nil {
		answers = s.answers[repo]
	}
	var out layout.Attachments
	for form, a := range answers {
		inq := layout.Inquiry{Form: form, Answer: layout.AnswerNone}
		remark := s.remarks[inquiry{repo, subject.Digest, form}]
		if inq.Note = remark; a == unsupported {
			inq.Answer, inq.Doubt = layout.AnswerUnsupported, remark
		}
		for _, e := range p.Attached {
			for _, by := range e.By {
				if by == form {
					inq.Answer = layout.AnswerFound
					inq.Found = append(inq.Found, s.descriptor(e.Digest))
				}
			}
		}
		out = append(out, inq)
	}
	return out, nil
}
