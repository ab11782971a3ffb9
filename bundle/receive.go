package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"

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
	Present     bool          `json:"present"` // it, or an equal one, was there already
}

// receipt is a record that is made and not yet where it belongs.
type receipt struct {
	arriving
	says RecordMade
}

// exported are the records of the export, to be attached to the images at last.
func (i *importing) exported() ([]*receipt, error) {
	if i.head == nil {
		return nil, nil
	}
	var out []*receipt
	for n, root := range i.g.Roots {
		r, ok := i.head.Roots[root.Reference.String()]
		if !ok || r.Subject != root.Descriptor.Digest {
			return nil, i.fail(fmt.Errorf("%w: %s has none", ErrRecords, root.Reference))
		}
		a, err := r.Artifact(root.Descriptor)
		if err != nil {
			return nil, err
		}
		out = append(out, i.receipt(custody.Export, n, a, true, func(data []byte) bool { return bytes.Equal(data, r.sealed) }))
	}
	return out, nil
}

// receipt is a record of the n-th root.
func (i *importing) receipt(act custody.Act, n int, a signing.Artifact, signed bool, equal func([]byte) bool) *receipt {
	root, at := i.g.Roots[n], i.to.names[n].Reference
	return &receipt{
		arriving{Addition: Addition{at.Repository, root.Descriptor.Digest, a}, subject: bare(root.Descriptor), equal: equal},
		RecordMade{Act: act, Destination: at.String(), Digest: root.Descriptor.Digest, Signed: signed},
	}
}

// received makes the record of each image's reception. It names what was recorded
// before, exported among it.
func (i *importing) received(ctx context.Context, exported []*receipt) ([]*receipt, error) {
	r := i.o.Reception
	if r == nil {
		return nil, nil
	}
	var bundle digest.Digest
	if i.Own() {
		d, err := i.recordDescriptor()
		if err != nil {
			return nil, err
		}
		bundle = d.Digest
	}
	var out []*receipt
	for n, root := range i.g.Roots {
		before, err := custody.Of(ctx, i.source, i.g, root.Reference.Repository, root.Descriptor.Digest, nil)
		if err != nil {
			return nil, err
		}
		rec := r.record()
		rec.Reference = i.to.names[n].Reference.String()
		rec.From = &custody.Place{Kind: custody.InBundle, Digest: bundle}
		rec.To = &custody.Place{Kind: r.To, Name: i.to.names[n].Reference.Repository}
		rec.Media, rec.Policy, rec.Previous = r.Media, i.policy(), custody.Heads(before)
		if len(exported) > 0 {
			rec.Previous = []digest.Digest{exported[n].Artifact.Manifest.Digest}
		}
		a, err := rec.Artifact(custody.Receive, root.Descriptor, root.Reference.String(), r.Key)
		if err != nil {
			return nil, err
		}
		out = append(out, i.receipt(custody.Receive, n, a, r.Key != nil, i.sameReception(rec, root.Descriptor.Digest)))
	}
	return out, nil
}

// sameReception says whether a record tells of the same reception, by the same key:
// all but the time, the tool and what was there before is as in rec.
func (i *importing) sameReception(rec custody.Record, subject digest.Digest) func([]byte) bool {
	mediaType, keys := custody.StatementType, []custody.Key(nil)
	if k := i.o.Reception.Key; k != nil {
		mediaType, keys = signing.MediaTypeBundle, []custody.Key{{Public: k.Public()}}
	}
	return func(data []byte) bool {
		f := custody.Read("", subject, mediaType, bytes.Clone(data), keys)
		if f == nil || f.Act != custody.Receive || (keys != nil) != (f.Standing == custody.Verified) {
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
	if i.Own() {
		if d, err := i.recordDescriptor(); err == nil {
			e.Bundle = d.Digest
		}
	}
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
func made(all []*receipt) []RecordMade {
	var out []RecordMade
	for _, r := range all {
		r.says.Manifest, r.says.Present = r.manifest(), r.present
		out = append(out, r.says)
	}
	return out
}

// records are the manifests of all that was made of one root.
func (i *importing) records(at layout.Reference, d digest.Digest) []digest.Digest {
	var out []digest.Digest
	for _, r := range i.receipts {
		if r.Repository == at.Repository && r.Subject == d && r.says.Destination == at.String() {
			out = append(out, r.manifest())
		}
	}
	for _, a := range i.approvals {
		if a.Repository == at.Repository && a.Subject == d && a.says.Destination == at.String() {
			out = append(out, a.manifest())
		}
	}
	return out
}

// logImport writes the ledger: a line for each thing that was overridden, and one for
// each image.
func (i *importing) logImport() error {
	if i.o.Memory == nil {
		return nil
	}
	overrides := i.overrides
	if i.o.InsecureSkipVerify {
		overrides = append([]string{"--insecure-skip-verify: no policy was asked"}, overrides...)
	}
	for _, what := range overrides {
		e := i.entry(custody.Override)
		e.Result, e.Reason = "", what
		if i.o.Reason != "" {
			e.Reason += "; because: " + i.o.Reason
		}
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
	for n, root := range i.g.Roots {
		e := i.entry(custody.Import)
		e.Reference, e.Digest = i.to.names[n].Reference.String(), root.Descriptor.Digest
		if e.Result = ""; i.report != nil {
			e.Result = string(verify.Passed) // else it were not among the roots
		}
		e.Records = i.records(i.to.names[n].Reference, root.Descriptor.Digest)
		if err := i.logEntry(e); err != nil {
			return err
		}
	}
	return nil
}

// logRefusal writes to the ledger, if there is one, that something was not let in.
func (i *importing) logRefusal(ctx context.Context, err error) error {
	if i.o.Memory == nil || !errors.Is(err, ErrRefused) && !errors.Is(err, ErrUndecided) && !errors.Is(err, ErrRollback) {
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
