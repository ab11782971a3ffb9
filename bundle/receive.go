package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify"
	"airgap/verify/signing"
	"airgap/verify/sigstore"

	"github.com/opencontainers/go-digest"
)

// Reception says how an import is recorded.
type Reception struct {
	// Recording has the key, who and why. Without a key the records are claims.
	Recording
	// Verifier is what the verdict names; its ID may be empty for a claim.
	Verifier signing.Verifier
	// Media is what the bundle was carried on; may be nil.
	Media *custody.Media
	// To is the kind of the destination.
	To custody.PlaceKind
}

// RecordMade is a record that an import attached.
type RecordMade struct {
	Act         custody.Act   `json:"act"`
	Destination string        `json:"destination"`
	Digest      digest.Digest `json:"digest"`   // of the image
	Manifest    digest.Digest `json:"manifest"` // of what is attached to it
	Signed      bool          `json:"signed"`
	// Standing is how far it can be relied on here: what came along may be signed by
	// a key that is not pinned.
	Standing custody.Standing `json:"standing"`
	Present  bool             `json:"present"` // it, or an equal one, was there already
}

// madeRecord is a record that is made and not yet where it belongs.
type madeRecord struct {
	arriving
	says RecordMade
}

// exported are the records of the export, to be attached to the images at last.
func (i *importing) exported() ([]*madeRecord, error) {
	if i.head == nil {
		return nil, nil
	}
	var out []*madeRecord
	for n, root := range i.g.Roots {
		r, ok := i.head.Roots[root.Reference.String()]
		if !ok || r.Subject != root.Descriptor.Digest {
			return nil, i.fail(fmt.Errorf("%w: %s has none", ErrRecords, root.Reference))
		}
		a, err := r.Artifact(root.Descriptor)
		if err != nil {
			return nil, err
		}
		one := i.about(custody.Export, n, a, true, func(data []byte) bool { return bytes.Equal(data, r.sealed) })
		one.says.Standing = r.Standing
		out = append(out, one)
	}
	return out, nil
}

// about is a record of the n-th root.
func (i *importing) about(act custody.Act, n int, a signing.Artifact, signed bool, equal func([]byte) bool) *madeRecord {
	root, at, standing := i.g.Roots[n], i.to.names[n].Reference, custody.Claimed
	if signed {
		standing = custody.Verified // by our own key
	}
	return &madeRecord{
		arriving{Addition: Addition{at.Repository, root.Descriptor.Digest, a}, subject: bare(root.Descriptor), equal: equal},
		RecordMade{Act: act, Destination: at.String(), Digest: root.Descriptor.Digest, Signed: signed, Standing: standing},
	}
}

// received makes the record of each image's reception. It names what was recorded
// before, exported among it.
func (i *importing) received(ctx context.Context, exported []*madeRecord) ([]*madeRecord, error) {
	r := i.o.Reception
	if r == nil {
		return nil, nil
	}
	keys := slices.Concat(Pinned(i.o.Judge), i.o.Keys, r.own())
	var out []*madeRecord
	for n, root := range i.g.Roots {
		before, err := custody.Of(ctx, i.source, i.g, root.Reference.Repository, root.Descriptor.Digest, keys)
		if err != nil {
			return nil, err
		}
		if len(exported) > 0 {
			last := i.head.Roots[root.Reference.String()].Found
			last.Manifest = exported[n].Artifact.Manifest.Digest
			before = append(before, last)
		}
		rec := r.record()
		rec.Reference = i.to.names[n].Reference.String()
		rec.From = &custody.Place{Kind: custody.InBundle, Digest: i.exportRecord}
		rec.To = &custody.Place{Kind: r.To, Name: i.to.names[n].Reference.Repository}
		rec.Media, rec.Policy, rec.Previous = r.Media, i.policy(), custody.Heads(before)
		if i.report != nil {
			rec.Result = custody.Passed // else it were not among the roots
		}
		one, err := i.recorded(custody.Receive, n, rec)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

// overridden makes a record for each image of what was overridden to let it in, after
// those of its reception.
func (i *importing) overridden(received []*madeRecord) ([]*madeRecord, error) {
	r, what := i.o.Reception, i.overriding()
	if r == nil || len(what) == 0 {
		return nil, nil
	}
	var out []*madeRecord
	for n, at := range i.to.names[:len(i.g.Roots)] {
		rec := r.record()
		rec.Reference = at.Reference.String()
		rec.To = &custody.Place{Kind: r.To, Name: at.Reference.Repository}
		rec.Policy, rec.Previous = i.policy(), []digest.Digest{received[n].Artifact.Manifest.Digest}
		rec.Reason = shorten(strings.Join(what, "; "))
		one, err := i.recorded(custody.Override, n, rec)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

// maxOverrides is how much of what was overridden a record tells; the ledger has each
// thing by itself.
const maxOverrides = 2048

func shorten(s string) string {
	if len(s) > maxOverrides {
		s = strings.ToValidUTF8(s[:maxOverrides], "") + "…"
	}
	return s
}

// overriding is what is overridden, each with the reason that was given.
func (i *importing) overriding() []string {
	var out []string
	if i.o.InsecureSkipVerify {
		out = append(out, "--insecure-skip-verify: no policy was asked")
	}
	out = append(out, i.overrides...)
	if i.o.Reason != "" {
		for n := range out {
			out[n] += "; because: " + i.o.Reason
		}
	}
	return out
}

// recorded is a record of the n-th root, signed if there is a key.
func (i *importing) recorded(act custody.Act, n int, rec custody.Record) (*madeRecord, error) {
	root, key := i.g.Roots[n], i.o.Reception.Key
	a, err := rec.Artifact(act, root.Descriptor, root.Reference.String(), key)
	if err != nil {
		return nil, err
	}
	return i.about(act, n, a, key != nil, i.sameRecord(act, rec, root.Descriptor.Digest)), nil
}

// sameRecord says whether a record tells of the same act, by the same key: all but the
// time, the tool and what was there before is as in rec.
func (i *importing) sameRecord(act custody.Act, rec custody.Record, subject digest.Digest) func([]byte) bool {
	mediaType, keys := custody.StatementType, []custody.Key(nil)
	if k := i.o.Reception.Key; k != nil {
		mediaType, keys = signing.MediaTypeRecord, []custody.Key{{Public: k.Public()}}
	}
	return func(data []byte) bool {
		f := custody.Read("", subject, mediaType, bytes.Clone(data), keys)
		if f == nil || f.Act != act || (keys != nil) != (f.Standing == custody.Verified) {
			return false
		}
		return f.Record.Same(&rec)
	}
}

// policy is the digest of the policy that was asked, if any.
func (i *importing) policy() digest.Digest {
	if i.report == nil {
		return ""
	}
	return digest.Digest(i.report.Policy.Digest)
}

func (i *importing) logEntry(e custody.Entry) error {
	data, err := e.Bytes()
	if err != nil {
		return err
	}
	return i.o.Memory.Log(data)
}

// entry is what every line about this bundle has.
func (i *importing) entry(act custody.Act) custody.Entry {
	e := custody.Entry{At: i.now, Act: act, Policy: i.policy()}
	e.Bundle = i.exportRecord
	if i.head != nil && i.head.Bundle.Standing == custody.Verified {
		e.Line = i.head.Bundle.Record.Line
	}
	if i.report != nil {
		e.Result = string(i.report.State)
	}
	if r := i.o.Reception; r != nil {
		e.By = r.By
		if r.Key != nil {
			if name, err := sigstore.Fingerprint(r.Key.Public()); err == nil {
				e.Key = name
			}
		}
	}
	return e
}

// made lists what was attached.
func made(all []*madeRecord) []RecordMade {
	var out []RecordMade
	for _, r := range all {
		r.says.Manifest, r.says.Present = r.manifest(), r.present
		out = append(out, r.says)
	}
	return out
}

// records are the manifests of all that was made, by the name and the digest of what it
// is about.
func (i *importing) records() map[string][]digest.Digest {
	out := map[string][]digest.Digest{}
	for _, r := range i.made {
		k := r.says.Destination + " " + string(r.Subject)
		out[k] = append(out[k], r.manifest())
	}
	for _, a := range i.approvals {
		k := a.says.Destination + " " + string(a.Subject)
		out[k] = append(out[k], a.manifest())
	}
	return out
}

// logImport writes the ledger: a line for each thing that was overridden, and one for
// each image.
func (i *importing) logImport(ctx context.Context) error {
	if i.o.Memory == nil {
		return nil
	}
	for _, what := range i.overriding() {
		e := i.entry(custody.Override)
		e.Result, e.Reason = "", what
		if err := i.logEntry(e); err != nil {
			return err
		}
	}
	if i.report != nil {
		for _, v := range i.report.Verdicts {
			if v.State == verify.Passed {
				continue
			}
			e := i.entry(custody.Refuse)
			e.Reference, e.Digest, e.Result = v.Reference, v.Digest, string(v.State)
			if err := i.logEntry(e); err != nil {
				return err
			}
		}
	}
	records, absences := i.records(), i.absences()
	for n, root := range i.g.Roots {
		e := i.entry(custody.Import)
		var err error
		if e.Absent, err = absences.of(ctx, n); err != nil {
			return i.damaged(err)
		}
		if _, isStore := i.dst.(knowsIndexes); !isStore { // the store of the ledger has it not
			e.To = &custody.Place{Kind: custody.InRegistry}
		}
		e.Reference, e.Digest = i.to.names[n].Reference.String(), root.Descriptor.Digest
		e.Source = sourceOf(e, root.Reference)
		if e.Result = ""; i.report != nil {
			e.Result = string(verify.Passed) // else it were not among the roots
		}
		e.Records = records[e.Reference+" "+string(e.Digest)]
		if err := i.logEntry(e); err != nil {
			return err
		}
	}
	return nil
}

// sourceOf is the source reference of an imported index that a ledger has to keep; see
// [custody.Entry].
func sourceOf(e custody.Entry, ref layout.Reference) string {
	if len(e.Absent) == 0 || ref.String() == e.Reference {
		return ""
	}
	return ref.String()
}

// refusals are the errors that say something of the bundle, or of what is to become of
// it, and so belong in the ledger. That a disk is full does not.
var refusals = []error{ErrRefused, ErrUndecided, ErrRollback, ErrRecords, ErrMissing, ErrMoves, layout.ErrCorrupt}

// logRefusal writes to the ledger, if there is one, that something was not let in.
func (i *importing) logRefusal(ctx context.Context, err error) error {
	is := func(sentinel error) bool { return errors.Is(err, sentinel) }
	if i.o.Memory == nil || !slices.ContainsFunc(refusals, is) {
		return nil
	}
	e := i.entry(custody.Refuse)
	e.Reason = err.Error()
	data, err := e.Bytes()
	if err != nil {
		return err
	}
	return i.o.Memory.Append(ctx, data)
}
