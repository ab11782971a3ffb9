package layout

import (
	"context"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Source gives content. A registry, a bundle, a layout folder, a store and
// [Memory] are sources. All methods are safe for concurrent use.
//
// A repository is named in full, as in "reg.example:5000/team/app". A source
// that knows no repositories (a layout made by another tool) answers alike for
// every one.
type Source interface {
	// Resolve turns a name into the descriptor of its manifest, or
	// ErrNotFound. It is called once for each name; from then on only
	// digests are used.
	Resolve(ctx context.Context, ref Reference) (Descriptor, error)
	// Open reads content by digest. The reader ends in an error, never in
	// EOF, if the bytes do not match d. Content that the source does not
	// have is ErrNotFound.
	Open(ctx context.Context, repo string, d Descriptor) (io.ReadCloser, error)
	// Attached asks for what is attached to subject in repo, by every
	// convention the source knows. What it lists are claims: the caller
	// fetches each and checks its subject.
	Attached(ctx context.Context, repo string, subject Descriptor) (Attachments, error)
}

// Sink takes content. All methods but Commit are safe for concurrent use.
type Sink interface {
	// Resolve says what a name stands for at present, or ErrNotFound.
	Resolve(ctx context.Context, ref Reference) (Descriptor, error)
	// Has says whether repo already has d, so that Put can be left out.
	Has(ctx context.Context, repo string, d Descriptor) (bool, error)
	// Put stores what r holds, after checking it against d: a manifest if d
	// has a manifest's media type, else a blob. It is idempotent, and what
	// was put is not visible under any name before Commit. Everything that
	// a manifest lists, and its subject, is put before it.
	Put(ctx context.Context, repo string, d Descriptor, r io.Reader) error
	// Commit makes names stand for manifests that were put, and with them
	// everything attached. It comes last and is all or nothing where the
	// sink can be (a store and a file can; a registry can not).
	Commit(ctx context.Context, names []Name) error
}

// Mounter is a sink that can make a blob of one repository appear in another
// without its bytes being sent again.
type Mounter interface {
	// Mount reports whether repo has d afterwards.
	Mount(ctx context.Context, repo string, d Descriptor, from string) (bool, error)
}

// Prover is a sink whose Has and Mount only repeat what it was told: a registry can
// answer out of a cache for blobs that it has lost.
type Prover interface {
	// Prove says whether repo serves a blob, by reading of it at least the first
	// and the last byte. An error means that this could not be found out.
	Prove(ctx context.Context, repo string, d Descriptor) (bool, error)
}

// Name is a reference and the manifest it stands for.
type Name struct {
	Reference  Reference
	Descriptor Descriptor
	// Manifest holds the manifest's bytes while names are committed: a
	// registry wants them again with each tag. Where it is nil, Read may read them.
	Manifest []byte
	Read     func(context.Context) ([]byte, error)
}

// Form is a convention by which a manifest is attached to another.
type Form string

// The forms. A child of an index (a BuildKit attestation) needs no form: it is
// reached by walking down.
const (
	// FormReferrers is the referrers API (distribution-spec 1.1).
	FormReferrers Form = "referrers"
	// FormReferrersTag is an index under a tag made from the digest, kept by
	// clients where the API is missing (distribution-spec 1.1).
	FormReferrersTag Form = "referrersTag"
	// FormCosignSig, FormCosignAtt and FormCosignSBOM are the tags that
	// cosign derives from the subject's digest.
	FormCosignSig  Form = "cosignSig"
	FormCosignAtt  Form = "cosignAtt"
	FormCosignSBOM Form = "cosignSBOM"
	// FormLayout is a manifest in a layout whose subject field points here.
	FormLayout Form = "layout"
)

// CosignForms are the forms that are tags of their own.
var CosignForms = []Form{FormCosignSig, FormCosignAtt, FormCosignSBOM}

// maxTagEncoded is how much of a digest's hex a referrers tag has
// (distribution-spec, "Referrers Tag Schema").
const maxTagEncoded = 64

// Tag returns the tag under which form keeps what is attached to subject, and
// false if the form has none or the tag would be longer than the 128 characters
// a tag may have (as cosign's for a sha512 digest). The referrers tag of a sha512
// digest has only the first half of it, so two subjects may share one.
func (f Form) Tag(subject digest.Digest) (string, bool) {
	suffix, ok := map[Form]string{
		FormReferrersTag: "", FormCosignSig: ".sig", FormCosignAtt: ".att", FormCosignSBOM: ".sbom",
	}[f]
	encoded := subject.Encoded()
	if f == FormReferrersTag && len(encoded) > maxTagEncoded {
		encoded = encoded[:maxTagEncoded]
	}
	tag := subject.Algorithm().String() + "-" + encoded + suffix
	return tag, ok && len(tag) <= 128
}

// IsReferrersTag says whether tag is one under which a fallback index is kept.
func IsReferrersTag(tag string) bool {
	alg, encoded, _ := strings.Cut(tag, "-")
	_, err := ParseDigest("sha256:" + encoded)
	return err == nil && (alg == "sha256" || alg == "sha512")
}

// IsDerivedTag says whether tag is made from a digest, and so leads to what is
// attached to an image rather than to one.
func IsDerivedTag(tag string) bool {
	_, _, cosign := ParseCosignTag(tag)
	return cosign || IsReferrersTag(tag)
}

// TagSubject returns the manifest to which what a tag leads to is attached, if the tag
// is made from a digest. It is empty where the tag has only half of that.
func TagSubject(tag string) (subject digest.Digest, derived bool) {
	if subject, _, ok := ParseCosignTag(tag); ok {
		return subject, true
	}
	if !IsReferrersTag(tag) {
		return "", false
	}
	alg, encoded, _ := strings.Cut(tag, "-")
	subject, err := ParseDigest(alg + ":" + encoded)
	if err != nil {
		return "", true
	}
	return subject, true
}

// ParseCosignTag splits a cosign tag into its subject and form.
func ParseCosignTag(tag string) (digest.Digest, Form, bool) {
	for _, f := range CosignForms {
		for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
			head := alg.String() + "-"
			if len(tag) < len(head)+alg.Size()*2 || tag[:len(head)] != head {
				continue
			}
			d, err := ParseDigest(alg.String() + ":" + tag[len(head):len(head)+alg.Size()*2])
			if err != nil {
				continue
			}
			if want, ok := f.Tag(d); ok && want == tag {
				return d, f, true
			}
		}
	}
	return "", "", false
}

// Answer is what a source said when it was asked by one form. The zero value
// means it was not asked.
type Answer string

// The answers. "None" and "unsupported" are different facts: the first says
// that there is nothing, the second that this form can not tell.
const (
	AnswerFound       Answer = "found"
	AnswerNone        Answer = "none"
	AnswerUnsupported Answer = "unsupported"
)

// Inquiry is one question to a source, and its answer.
type Inquiry struct {
	Form   Form
	Answer Answer
	Found  []Descriptor // what it listed; not yet checked
	Note   string       // with AnswerNone: why what was there was set aside; else what the source said, for people
	// Doubt, with AnswerUnsupported: why that is less than certain. The source did
	// not answer as the form's specification has it, or was not asked.
	Doubt string
}

// Attachments is all that a source says is attached to one manifest.
type Attachments []Inquiry
