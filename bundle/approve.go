package bundle

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"

	"airgap/layout"
	"airgap/verify"
	"airgap/verify/signing"
	"airgap/verify/sigstore"

	"github.com/opencontainers/go-digest"
)

// Approver signs, for whoever imports, what the policy let in.
type Approver struct {
	// Key signs. It has to be one that [signing.CheckKey] accepts.
	Key crypto.Signer
	// Verifier is what the approvals name. Those who rely on them have to be
	// told which key signs for it.
	Verifier signing.Verifier
}

// Approval is a verification summary that an import attached.
type Approval struct {
	Destination string        `json:"destination"`
	Digest      digest.Digest `json:"digest"`   // of the image
	Manifest    digest.Digest `json:"manifest"` // of what is attached to it
	Verifier    string        `json:"verifierId"`
	Present     bool          `json:"present"` // an equal one was there already
}

// Summary is the verification summary of a verdict in r: who came to it, when, by
// which policy, on which evidence. resource is what the image is called where the
// summary is for. Where the image came from is told by the addresses of the
// evidence, and by the name of the subject once it is signed: see
// [signing.VerificationSummary.Attestation], to be given v.Reference.
//
// A verdict that is anything but passed makes a summary that says FAILED.
func Summary(r *verify.Report, v *verify.Verdict, by signing.Verifier, resource layout.Reference) (signing.VerificationSummary, error) {
	s := signing.NewVerificationSummary(v.State == verify.Passed)
	policy, err := digest.Parse(r.Policy.Digest)
	if err != nil {
		return s, fmt.Errorf("the policy (%s) has no digest that could be named: %w", r.Policy.File, ErrUsage)
	}
	source, err := layout.ParseReference(v.Reference)
	if err != nil {
		return s, err
	}
	s.Verifier, s.TimeVerified, s.ResourceURI = by, r.Time, signing.ImageURI(resource.Name())
	// The folder the policy lies in is nobody's business, the digest tells it.
	file := (&url.URL{Path: filepath.Base(r.Policy.File)}).EscapedPath()
	s.Policy = signing.PolicyResource(file, policy, r.Policy.Environment, r.Trust)
	for _, d := range evidence(v) {
		s.InputAttestations = append(s.InputAttestations, signing.NewResource(signing.ImageURI(source.Repository+"@"+string(d)), d))
	}
	return s, nil
}

// evidence lists the manifests whose content a verdict rests on, sorted.
func evidence(v *verify.Verdict) []digest.Digest {
	out := restsOn(v.Outcome, nil)
	for _, c := range v.Children {
		out = restsOn(c.Outcome, out)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func restsOn(o *verify.Outcome, to []digest.Digest) []digest.Digest {
	if o == nil || o.State != verify.Passed {
		return to
	}
	for _, e := range o.Evidence {
		to = append(to, e.Manifest)
	}
	for _, p := range o.Parts {
		to = restsOn(p, to)
	}
	return to
}

// approval is one that is signed and not yet where it belongs.
type approval struct {
	Addition
	subject layout.Descriptor
	summary signing.VerificationSummary
	says    *Approval
}

// approve signs an approval for each root of g. All of them passed; one that did
// not is an error, whatever the caller thought.
func (a *Approver) approve(g *layout.Graph, r *verify.Report, to *mapped) ([]*approval, error) {
	verdicts := map[string]*verify.Verdict{}
	for i := range r.Verdicts {
		verdicts[r.Verdicts[i].Reference] = &r.Verdicts[i]
	}
	var out []*approval
	for i, n := range g.Roots {
		v := verdicts[n.Reference.String()]
		if v == nil || v.State != verify.Passed || v.Digest != n.Descriptor.Digest {
			return nil, fmt.Errorf("%s: no approval of what did not pass: %w", n.Reference, ErrRefused)
		}
		one, err := a.sign(r, v, n, to.names[i].Reference)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func (a *Approver) sign(r *verify.Report, v *verify.Verdict, n layout.Name, at layout.Reference) (*approval, error) {
	s, err := Summary(r, v, a.Verifier, at)
	if err != nil {
		return nil, err
	}
	att, err := s.Attestation(v.Reference)
	if err != nil {
		return nil, err
	}
	subject := layout.Descriptor{MediaType: n.Descriptor.MediaType, Digest: n.Descriptor.Digest, Size: n.Descriptor.Size}
	artifact, err := signing.BundleAttestation(subject, att, a.Key)
	if err != nil {
		return nil, err
	}
	one := &approval{Addition: Addition{at.Repository, subject.Digest, artifact}, subject: subject, summary: s}
	one.says = &Approval{Destination: at.String(), Digest: subject.Digest, Manifest: artifact.Manifest.Digest, Verifier: a.Verifier.ID}
	return one, one.check()
}

// before is dst's commit, with the approvals put first: a store takes all of it in
// its one transaction, and a registry has them before it has the names.
func (a *Approver) before(dst layout.Sink, all []*approval) func(context.Context, []layout.Name) error {
	if len(all) == 0 {
		return dst.Commit
	}
	return func(ctx context.Context, names []layout.Name) error {
		if err := a.put(ctx, dst, all); err != nil {
			return err
		}
		return dst.Commit(ctx, names)
	}
}

// put puts approvals to where the images are, but for those of which there is an
// equal one. It comes after everything else is there, and before the names.
func (a *Approver) put(ctx context.Context, dst layout.Sink, all []*approval) error {
	for _, one := range all {
		if one.says.Present {
			continue
		}
		if there, err := a.there(ctx, dst, one); err != nil || there != "" {
			if err != nil {
				return err
			}
			one.says.Manifest, one.says.Present = there, true
			continue
		}
		if _, err := putAddition(ctx, dst, one.Addition); err != nil {
			return err
		}
	}
	return nil
}

// readable is a source or a sink that says what is attached in it.
type readable interface {
	opener
	Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error)
}

// there finds an approval in the destination that says the same.
func (a *Approver) there(ctx context.Context, dst layout.Sink, one *approval) (digest.Digest, error) {
	src, ok := dst.(readable)
	if !ok {
		return "", nil
	}
	all, err := src.Attached(ctx, one.Repository, one.subject)
	if err != nil {
		return "", err
	}
	looked := map[digest.Digest]bool{}
	for _, inq := range all {
		for _, d := range inq.Found {
			if looked[d.Digest] || len(looked) == maxLooked {
				continue
			}
			looked[d.Digest] = true
			if same, err := a.same(ctx, src, one.Repository, d, one); err != nil || same {
				return d.Digest, err
			}
		}
	}
	return "", nil
}

// comesAlong finds an approval in the bundle that says the same, so that nothing
// has to be added to what is imported.
func (a *Approver) comesAlong(ctx context.Context, b *Bundle, g *layout.Graph, root layout.Name, one *approval) error {
	place, _ := g.Place(root.Reference.Repository, root.Descriptor.Digest)
	for _, e := range place.Attached[:min(len(place.Attached), maxLooked)] {
		same, err := a.same(ctx, b.source, root.Reference.Repository, g.Nodes[e.Digest].Descriptor, one)
		if err != nil {
			return err
		}
		if same {
			one.says.Manifest, one.says.Present = e.Digest, true
			return nil
		}
	}
	return nil
}

// Limits of the search for an approval that says the same. One that is not found
// costs nothing but a second one.
const (
	maxLooked        = 1000
	maxApprovalBytes = 1 << 20
)

// same says whether what is attached is an approval that says the same, by the
// same key. What cannot be read as one is none: it is not ours to judge.
func (a *Approver) same(ctx context.Context, src opener, repo string, d layout.Descriptor, one *approval) (bool, error) {
	if t := d.ArtifactType; t != "" && t != one.Artifact.Manifest.ArtifactType || d.MediaType != one.Artifact.Manifest.MediaType {
		return false, nil
	}
	raw, err := readAttached(ctx, src, repo, d)
	if err != nil || raw == nil {
		return false, err
	}
	m, err := layout.ParseManifest(d, raw)
	if err != nil || len(m.Layers) != 1 || m.Subject == nil || m.Subject.Digest != one.Subject ||
		m.Layers[0].MediaType != one.Artifact.Manifest.ArtifactType || m.Layers[0].Size > maxApprovalBytes {
		return false, nil
	}
	layer := m.Layers[0]
	layer.Annotations = nil
	data, err := readAttached(ctx, src, repo, layer)
	if err != nil || data == nil {
		return false, err
	}
	return a.made(data, one), nil
}

// made says whether data is a summary that a's key signed and that says the same.
func (a *Approver) made(data []byte, one *approval) bool {
	env, err := sigstore.ParseBundle(bytes.Clone(data))
	if err != nil {
		return false
	}
	signed, err := env.Verify(one.Subject, sigstore.Material{}, sigstore.Want{Key: a.Key.Public(), NoLog: true})
	if err != nil || signed.PredicateType != signing.PredicateVerificationSummary {
		return false
	}
	s, err := signing.ParseVerificationSummary(signed.Predicate)
	return err == nil && s.Same(one.summary)
}

// readAttached reads a small piece; nil if it is not there whole.
func readAttached(ctx context.Context, src opener, repo string, d layout.Descriptor) ([]byte, error) {
	var rc io.ReadCloser
	rc, err := src.Open(ctx, repo, d)
	var data []byte
	if err == nil {
		data, err = layout.ReadAll(rc, d)
	}
	for _, sentinel := range []error{layout.ErrNotFound, layout.ErrCorrupt, layout.ErrLimit, layout.ErrUnsupported} {
		if errors.Is(err, sentinel) {
			return nil, nil
		}
	}
	return data, err
}

// results lists what was attached, by name.
func results(all []*approval) []Approval {
	var out []Approval
	for _, one := range all {
		out = append(out, *one.says)
	}
	slices.SortStableFunc(out, func(a, b Approval) int { return cmp.Compare(a.Destination, b.Destination) })
	return out
}
