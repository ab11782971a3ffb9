package bundle

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify"
	"airgap/verify/notary"
	"airgap/verify/predicate"
	"airgap/verify/sigstore"

	"github.com/opencontainers/go-digest"
)

// Media types of layers that hold signatures (SIGNATURE_SPEC of cosign,
// protobuf-specs of Sigstore).
const (
	typeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	typeDSSE          = "application/vnd.dsse.envelope.v1+json"
	bundlePrefix      = "application/vnd.dev.sigstore.bundle"
)

func isSigned(mediaType string) bool {
	return mediaType == predicate.RecordMediaType || mediaType == typeSimpleSigning || mediaType == typeDSSE || strings.HasPrefix(mediaType, bundlePrefix) || slices.Contains(notary.MediaTypes, mediaType)
}

// attached fills in what is attached beside records.
func (s *scene) attached(ctx context.Context, p *Provenance) error {
	records := map[digest.Digest]bool{}
	for _, h := range p.Hops {
		records[h.Manifest] = true
	}
	place, _ := s.g.Place(s.repo, p.Digest)
	for _, e := range place.Attached {
		if records[e.Digest] {
			continue
		}
		if err := s.one(ctx, p, s.g.Nodes[e.Digest]); err != nil {
			return err
		}
	}
	p.sort()
	return nil
}

// one looks at one thing that is attached.
func (s *scene) one(ctx context.Context, p *Provenance, n *layout.Node) error {
	layers, err := s.signedLayers(ctx, n)
	if err != nil {
		return err
	}
	for _, l := range layers {
		v, content, err := s.vouch(ctx, p.Digest, n, l, len(layers) == 1)
		if err != nil {
			return err
		}
		p.add(v, content)
	}
	if len(layers) > 0 {
		return nil
	}
	v := Vouched{Manifest: n.Descriptor.Digest, Kind: string(n.Kind), Says: n.Descriptor.ArtifactType, Standing: custody.Claimed, Reason: "nobody signed it"}
	if v.Signatures, err = s.signaturesOf(ctx, n.Descriptor.Digest); err != nil {
		return err
	}
	if n.Subject != p.Digest && len(v.Signatures) > 0 {
		// By its tag alone: what was signed does not say what it is about.
		v.Standing, v.Reason = custody.Unknown, "it does not name this manifest as its subject"
		p.Documents = append(p.Documents, v)
		return nil
	}
	for _, sig := range v.Signatures {
		if sig.Standing == custody.Verified {
			v.Standing, v.By, v.Fingerprint, v.Reason = sig.Standing, sig.By, sig.Fingerprint, ""
			break
		}
		v.Standing, v.Reason = sig.Standing, "its signature: "+sig.Reason
	}
	p.Documents = append(p.Documents, v)
	return nil
}

// signaturesOf are the plain signatures on something.
func (s *scene) signaturesOf(ctx context.Context, d digest.Digest) ([]Vouched, error) {
	var out []Vouched
	place, _ := s.g.Place(s.repo, d)
	for _, e := range place.Attached {
		n := s.g.Nodes[e.Digest]
		layers, err := s.signedLayers(ctx, n)
		if err != nil {
			return nil, err
		}
		for _, l := range layers {
			v, content, err := s.vouch(ctx, d, n, l, len(layers) == 1)
			if err != nil {
				return nil, err
			}
			if content.signature {
				out = append(out, v)
			}
		}
	}
	slices.SortStableFunc(out, rank)
	return out, nil
}

// signedLayers are those layers of an artifact that hold signatures.
func (s *scene) signedLayers(ctx context.Context, n *layout.Node) ([]layout.Descriptor, error) {
	if why, err := s.g.Startable(ctx, s.src, &s.starts, s.repo, n.Descriptor.Digest); err != nil || why != "" {
		return nil, err // an image that is attached vouches for nothing
	}
	raw, err := s.g.ReadManifest(ctx, s.src, n.Descriptor.Digest)
	if err != nil {
		return nil, err
	}
	m, err := layout.ParseManifest(n.Descriptor, raw)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(m.Layers, func(l layout.Descriptor) bool { return !isSigned(l.MediaType) }), nil
}

// said is what a signed thing says.
type said struct {
	signature     bool // it is a plain signature
	predicateType string
	predicate     []byte
}

// add sorts by what is said.
func (p *Provenance) add(v Vouched, c said) {
	if c.signature {
		p.Signatures = append(p.Signatures, v)
		return
	}
	switch kind := predicate.KindOf(c.predicateType); {
	case kind == predicate.Provenance:
		p.addBuild(v, predicate.ParseBuild(c.predicateType, c.predicate))
	case kind == predicate.Summary && predicate.Passed(c.predicateType, c.predicate) == nil:
		p.Approvals = append(p.Approvals, v)
	default:
		p.Documents = append(p.Documents, v)
	}
}

// vouch finds out who stands for one layer; alone says that it is the only one that
// its manifest has. An error is one of the source.
func (s *scene) vouch(ctx context.Context, subject digest.Digest, n *layout.Node, l layout.Descriptor, alone bool) (Vouched, said, error) {
	v := Vouched{Manifest: n.Descriptor.Digest, Standing: custody.Unknown}
	data, why, err := s.read(ctx, l)
	if err != nil {
		return v, said{}, err
	}
	if why != nil {
		v.Kind, v.Reason = string(n.Kind), why.Error()
		return v, said{}, nil
	}
	var met *verify.Evidence
	if alone {
		met = s.evidence(subject, n)
	}
	if slices.Contains(notary.MediaTypes, l.MediaType) {
		v.Kind = "Notary signature"
		s.notary(ctx, &v, subject, data, l.MediaType, met)
		return v, said{signature: true}, ctx.Err()
	}
	env, err := parseSigned(l, data)
	if err != nil {
		v.Kind, v.Reason = string(n.Kind), err.Error()
		return v, said{signature: l.MediaType == typeSimpleSigning}, nil
	}
	c := s.sigstore(&v, subject, env, met)
	if l.MediaType == typeDSSE && v.Standing != custody.Verified {
		c.signature = c.predicateType == predicate.CosignSign // an envelope of something else is no signature
	}
	v.describe(c)
	return v, c, ctx.Err()
}

// describe says what it is.
func (v *Vouched) describe(c said) {
	if c.signature {
		v.Kind = "cosign signature"
		return
	}
	v.Kind, v.Says, v.Summary = string(predicate.KindOf(c.predicateType)), c.predicateType, predicate.Describe(c.predicateType, c.predicate)
	if act, ok := custody.ActOf(c.predicateType); ok && act != custody.Import {
		v.Summary = "a record (" + string(act) + ") that is not in the form of one, or of another image"
	}
}

func parseSigned(l layout.Descriptor, data []byte) (*sigstore.Envelope, error) {
	switch l.MediaType {
	case typeSimpleSigning:
		return sigstore.ParseSimpleSigning(data, l.Annotations)
	case typeDSSE:
		return sigstore.ParseDSSE(data, l.Annotations)
	case predicate.RecordMediaType:
		return sigstore.ParseRecord(data)
	}
	return sigstore.ParseBundle(data)
}

// read reads a layer; why says for what reason it is not looked at.
func (s *scene) read(ctx context.Context, l layout.Descriptor) (data []byte, why, err error) {
	s.bytes += max(l.Size, 0)
	switch {
	case l.Size > verify.MaxEvidenceBytes:
		return nil, fmt.Errorf("%d bytes, at most %d are looked at: %w", l.Size, int64(verify.MaxEvidenceBytes), layout.ErrLimit), nil
	case s.bytes > maxProvenanceBytes:
		return nil, fmt.Errorf("more than %d bytes are attached; not looked at: %w", int64(maxProvenanceBytes), layout.ErrLimit), nil
	}
	var rc io.ReadCloser
	if rc, err = s.src.Open(ctx, s.repo, bare(l)); err != nil {
		return nil, nil, err
	}
	data, err = layout.ReadAll(rc, bare(l))
	return data, nil, err
}

// sigstore holds an envelope against pinned keys, what met the policy, and the
// identity that it claims. It returns what was signed or, of what is not verified,
// what it says.
func (s *scene) sigstore(v *Vouched, subject digest.Digest, env *sigstore.Envelope, met *verify.Evidence) said {
	claimed := env.Claimed()
	st, isStatement := env.Says()
	c := said{signature: !isStatement}
	if isStatement {
		isSignature, _, _ := env.Kind()
		c = said{isSignature, st.PredicateType, st.Predicate}
	}
	v.Reason = custody.NotPinned(claimed, s.o.Keys)
	if claimed != (sigstore.Signer{}) {
		v.By = claimed.String()
	}
	if isStatement && !st.About(subject) {
		v.Reason = "it speaks of another image"
		return c
	}
	for _, k := range s.o.Keys {
		signed, err := env.Verify(subject, sigstore.Material{}, sigstore.Want{Key: k.Public, NoLog: true})
		if err == nil {
			return v.verified(k.Name, signed)
		}
	}
	if met != nil {
		v.Standing, v.By, v.Reason, v.SignedAt, v.Clock = custody.Verified, met.Signer, "", met.SignedAt, met.Clock
		return c
	}
	if claimed.Identity == "" {
		return c
	}
	return s.identity(v, subject, env, claimed, c)
}

// verified fills in who signed, and returns what.
func (v *Vouched) verified(by string, signed *sigstore.Signed) said {
	v.Standing, v.By, v.Fingerprint, v.Reason = custody.Verified, by, signed.Signer.KeyFingerprint, ""
	if !signed.Time.IsZero() {
		at := signed.Time.UTC().Truncate(time.Second)
		v.SignedAt, v.Clock = &at, signed.TimeSource
	}
	return said{signed.IsSignature, signed.PredicateType, signed.Predicate}
}

// identity looks whether who it claims to be did sign it, and whether that is
// somebody whose signature met the policy: anybody can get a certificate.
func (s *scene) identity(v *Vouched, subject digest.Digest, env *sigstore.Envelope, claimed sigstore.Signer, c said) said {
	signed, err := env.Verify(subject, s.roots(), sigstore.Want{Identity: claimed.Identity, Issuer: claimed.Issuer})
	if err != nil {
		v.Reason = err.Error()
		return c
	}
	if s.accepted[signed.Signer.String()] {
		return v.verified(signed.Signer.String(), signed)
	}
	v.By, v.Reason = signed.Signer.String(), "the signature is good, and no requirement of a policy was met by its signer"
	return c
}

// roots are the pinned ones of Sigstore.
func (t *tracer) roots() sigstore.Material {
	var m sigstore.Material
	if t.o.Trust != nil {
		m.Roots = t.o.Trust.Roots()
	}
	if t.o.Judge != nil {
		m.Roots = append(m.Roots, t.o.Judge.Roots...)
	}
	return m
}

// notary fills in who signed. Whose signatures count under a pinned authority is for
// a policy to say.
func (s *scene) notary(ctx context.Context, v *Vouched, subject digest.Digest, envelope []byte, mediaType string, met *verify.Evidence) {
	if met != nil {
		v.Standing, v.By, v.SignedAt, v.Clock = custody.Verified, met.Signer, met.SignedAt, met.Clock
		return
	}
	v.Reason = "no policy was asked whose signatures count"
	if s.o.Judge != nil {
		v.Reason = "it met no requirement of the policy"
	}
	if s.o.Trust == nil || len(s.o.Trust.Stores()) == 0 {
		return
	}
	want := notary.Want{Identities: []string{"*"}}
	for _, st := range s.o.Trust.Stores() {
		want.Stores = append(want.Stores, string(st.Type)+":"+st.Name)
	}
	d := s.g.Nodes[subject].Descriptor
	signed, err := notary.Verify(ctx, envelope, mediaType, bare(d), want, notary.Trust{Store: s.o.Trust, CRLs: s.o.Trust.CRLs()})
	if err != nil {
		v.Reason = err.Error()
		return
	}
	v.By, v.Fingerprint = signed.Signer.Subject, signed.Signer.Fingerprint
	v.Reason = "the signature is good under a pinned authority; " + v.Reason
}

// buildkit adds what an index, with its signatures told in above, lists about one of
// its images beside it.
func (s *scene) buildkit(ctx context.Context, p, above *Provenance, index *layout.Node) error {
	for _, c := range index.Children {
		if !c.BuildKit || c.About != p.Digest { // first what costs least: it is asked for each image
			continue
		}
		if _, here := s.g.Place(s.repo, c.Digest); !here {
			continue
		}
		if is, err := s.isAttestation(ctx, c); err != nil {
			return err
		} else if !is {
			continue
		}
		if err := s.listed(ctx, p, above, index, c.Digest); err != nil {
			return err
		}
	}
	p.sort()
	return nil
}

// listed adds the statements of one manifest that an index lists.
func (s *scene) listed(ctx context.Context, p, above *Provenance, index *layout.Node, d digest.Digest) error {
	raw, err := s.g.ReadManifest(ctx, s.src, d)
	if err != nil {
		return err
	}
	m, err := layout.ParseManifest(s.g.Nodes[d].Descriptor, raw)
	if err != nil {
		return err
	}
	for _, l := range m.Layers {
		if l.MediaType != custody.StatementType {
			continue
		}
		data, why, err := s.read(ctx, l)
		if err != nil {
			return err
		}
		v := Vouched{Manifest: d, Standing: custody.Claimed, Reason: "nobody signed the index that lists it", Through: index.Descriptor.Digest}
		for _, sig := range above.Signatures {
			if sig.Standing == custody.Verified {
				v.Standing, v.By, v.Fingerprint, v.Reason = sig.Standing, sig.By, sig.Fingerprint, ""
				break
			}
			v.Standing, v.Reason = sig.Standing, "the index that lists it: "+sig.Reason
		}
		c := said{}
		if why == nil {
			c, why = statementAbout(data, p.Digest)
		}
		if why != nil {
			v.Standing, v.By, v.Fingerprint, v.Reason = custody.Unknown, "", "", why.Error()
		}
		v.describe(c)
		p.add(v, c)
	}
	return nil
}

// statementAbout reads a statement that nobody signed by itself.
func statementAbout(data []byte, subject digest.Digest) (said, error) {
	st, err := sigstore.ParseStatement(data)
	if err != nil {
		return said{}, err
	}
	c := said{false, st.PredicateType, st.Predicate}
	if !st.About(subject) {
		return c, fmt.Errorf("it speaks of another image")
	}
	return c, nil
}
