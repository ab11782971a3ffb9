package custody

import (
	"context"
	"crypto"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"airgap/layout"
	"airgap/verify/signing"
	"airgap/verify/sigstore"

	"github.com/opencontainers/go-digest"
)

// Standing is how far a record can be relied on.
type Standing string

// The standings.
const (
	Verified Standing = "verified" // signed by a pinned key
	Unknown  Standing = "unknown"  // signed, by no key that is pinned, or wrongly
	Claimed  Standing = "claimed"  // not signed
)

// Key is one that is pinned.
type Key struct {
	Name   string
	Public crypto.PublicKey
}

// Found is a record that is attached to something.
type Found struct {
	Manifest digest.Digest `json:"manifest"`
	Subject  digest.Digest `json:"subject"`
	Act      Act           `json:"act"`
	Standing Standing      `json:"standing"`
	// Key names the pinned key that signed it, Fingerprint tells it from others;
	// of one that is not pinned there is only what it says of itself.
	Key         string `json:"key,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Reason      string `json:"reason,omitempty"` // why it is not verified
	// Record is what it says, Summary that of a verdict.
	Record  *Record                      `json:"record,omitempty"`
	Summary *signing.VerificationSummary `json:"summary,omitempty"`
}

// At is when, as the record says.
func (f *Found) At() time.Time {
	if f.Summary != nil {
		return f.Summary.TimeVerified
	}
	return f.Record.At
}

// Previous are the records that it says came directly before; of a verdict, what it
// says that it rests on.
func (f *Found) Previous() []digest.Digest {
	if f.Record != nil {
		return f.Record.Previous
	}
	var out []digest.Digest
	for _, in := range f.Summary.InputAttestations {
		for _, alg := range slices.Sorted(maps.Keys(in.Digest)) {
			// Others write summaries too, and name digests that are of no manifest.
			if d, err := layout.ParseDigest(alg + ":" + in.Digest[alg]); err == nil && !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
		if len(out) >= maxPrevious {
			break
		}
	}
	return out
}

// MaxRecords is how many attachments of one manifest are looked at for records.
const MaxRecords = 10_000

// Of finds the records that are attached to a manifest of a repository, in the order
// of their digests. What looks like a record and is none is not one: anybody can
// attach anything.
func Of(ctx context.Context, src layout.Source, g *layout.Graph, repo string, dgst digest.Digest, keys []Key) ([]Found, error) {
	place, ok := g.Place(repo, dgst)
	if !ok {
		return nil, fmt.Errorf("%s in %s: %w", dgst, repo, layout.ErrNotFound)
	}
	if len(place.Attached) > MaxRecords {
		return nil, fmt.Errorf("%s has %d things attached to it, at most %d are looked at: %w", dgst, len(place.Attached), MaxRecords, layout.ErrLimit)
	}
	var out []Found
	for _, e := range place.Attached {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := read(ctx, src, g, repo, e.Digest, dgst, keys)
		if err != nil {
			return nil, err
		}
		if f != nil {
			out = append(out, *f)
		}
	}
	return out, nil
}

// read returns nil for what is no record. Its error is one of the source.
func read(ctx context.Context, src layout.Source, g *layout.Graph, repo string, d, subject digest.Digest, keys []Key) (*Found, error) {
	n := g.Nodes[d]
	if n.Subject != subject || layout.IsIndex(n.Descriptor.MediaType) {
		return nil, nil
	}
	raw, err := g.ReadManifest(ctx, src, d)
	if err != nil {
		return nil, err
	}
	m, err := layout.ParseManifest(n.Descriptor, raw)
	if err != nil || len(m.Layers) != 1 || m.Layers[0].Size > MaxRecordBytes || !isRecord(m.Layers[0].MediaType) {
		return nil, err
	}
	l := layout.Descriptor{MediaType: m.Layers[0].MediaType, Digest: m.Layers[0].Digest, Size: m.Layers[0].Size}
	rc, err := src.Open(ctx, repo, l)
	if err != nil {
		return nil, err
	}
	data, err := layout.ReadAll(rc, l)
	if err != nil {
		return nil, err
	}
	return Read(d, subject, l.MediaType, data, keys), nil
}

const bundlePrefix = "application/vnd.dev.sigstore.bundle"

func isRecord(mediaType string) bool {
	return mediaType == statementType || mediaType == signing.MediaTypeRecord || strings.HasPrefix(mediaType, bundlePrefix)
}

// Read reads a record about subject: a sealed one, the statement of a claim, or a
// Sigstore bundle, as which earlier versions sealed records. It returns nil for what is
// none.
func Read(manifest, subject digest.Digest, mediaType string, data []byte, keys []Key) *Found {
	if len(data) > MaxRecordBytes {
		return nil
	}
	f := &Found{Manifest: manifest, Subject: subject, Standing: Claimed, Reason: "nobody signed it"}
	if mediaType == statementType {
		st, err := sigstore.ParseStatement(data)
		if err != nil || !st.About(subject) || !f.says(st.PredicateType, st.Predicate) {
			return nil
		}
		return f
	}
	parse := sigstore.ParseBundle
	if mediaType == signing.MediaTypeRecord {
		parse = sigstore.ParseRecord
	}
	env, err := parse(data)
	if err != nil {
		return nil
	}
	st, ok := env.Says()
	if !ok || !st.About(subject) || !f.says(st.PredicateType, st.Predicate) {
		return nil
	}
	f.Standing, f.Reason = Unknown, NotPinned(env.Claimed(), keys)
	for _, k := range keys {
		signed, err := env.Verify(subject, sigstore.Material{}, sigstore.Want{Key: k.Public, NoLog: true})
		if err != nil {
			continue
		}
		// What is shown is what this key signed, and nothing read before.
		if !f.says(signed.PredicateType, signed.Predicate) {
			return nil
		}
		f.Standing, f.Key, f.Fingerprint, f.Reason = Verified, k.Name, signed.Signer.KeyFingerprint, ""
		return f
	}
	return f
}

// NotPinned says of what no pinned key signed whom it names. To name a pinned key is
// worse than to name another: somebody changed it, or forged it.
func NotPinned(claimed sigstore.Signer, keys []Key) string {
	for _, k := range keys {
		if name, err := sigstore.Fingerprint(k.Public); err == nil && name == claimed.KeyFingerprint {
			return "it names the pinned key " + k.Name + ", and that did not sign this"
		}
	}
	if claimed == (sigstore.Signer{}) {
		return "signed by no key that is pinned"
	}
	return "signed by no key that is pinned (it says: " + claimed.String() + ")"
}

// says reads the predicate; false means that it is no record's.
func (f *Found) says(predicateType string, predicate []byte) bool {
	act, ok := ActOf(predicateType)
	if !ok {
		return false
	}
	f.Act = act
	var err error
	if act == Import {
		var s signing.VerificationSummary
		s, err = signing.ParseVerificationSummary(predicate)
		f.Summary = &s
	} else {
		f.Record, err = Parse(act, predicate)
	}
	return err == nil
}

// Heads are the records that no verified one of them names as coming before it: what a
// new one names. What nobody vouches for takes none off, or the next record would not
// name what somebody then takes away. The verified ones come first, then the others by
// digest, as many as a record can name.
func Heads(all []Found) []digest.Digest {
	named := map[digest.Digest]bool{}
	for i := range all {
		if all[i].Standing != Verified {
			continue
		}
		for _, d := range all[i].Previous() {
			named[d] = true
		}
	}
	var out, others []digest.Digest
	for _, f := range all {
		switch {
		case named[f.Manifest]:
		case f.Standing == Verified:
			out = append(out, f.Manifest)
		default:
			others = append(others, f.Manifest)
		}
	}
	slices.Sort(others)
	out = append(out, others...)
	return out[:min(len(out), maxPrevious)]
}
