package bundle

import (
	"bytes"
	"cmp"
	"crypto"
	"fmt"
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
	arriving
	says Approval
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
	subject := bare(n.Descriptor)
	artifact, err := signing.BundleAttestation(subject, att, a.Key)
	if err != nil {
		return nil, err
	}
	one := &approval{arriving: arriving{Addition: Addition{at.Repository, subject.Digest, artifact}, subject: subject,
		equal: func(data []byte) bool { return a.made(data, subject.Digest, s) }}}
	one.says = Approval{Destination: at.String(), Digest: subject.Digest, Verifier: a.Verifier.ID}
	return one, one.check()
}

// made says whether data is a summary that a's key signed and that says the same of
// subject.
func (a *Approver) made(data []byte, subject digest.Digest, summary signing.VerificationSummary) bool {
	env, err := sigstore.ParseBundle(bytes.Clone(data))
	if err != nil {
		return false
	}
	signed, err := env.Verify(subject, sigstore.Material{}, sigstore.Want{Key: a.Key.Public(), NoLog: true})
	if err != nil || signed.PredicateType != signing.PredicateVerificationSummary {
		return false
	}
	s, err := signing.ParseVerificationSummary(signed.Predicate)
	return err == nil && s.Same(summary)
}

// results lists what was attached, by name.
func results(all []*approval) []Approval {
	var out []Approval
	for _, one := range all {
		one.says.Manifest, one.says.Present = one.manifest(), one.present
		out = append(out, one.says)
	}
	slices.SortStableFunc(out, func(a, b Approval) int { return cmp.Compare(a.Destination, b.Destination) })
	return out
}
