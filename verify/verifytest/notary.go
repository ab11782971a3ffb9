package verifytest

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"testing"
	"time"

	"airgap/layout"
	"airgap/verify/signing"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/opencontainers/go-digest"
)

// NotaryOptions vary a Notary signature. The zero value is a JWS envelope, signed
// now, without expiry and timestamp.
type NotaryOptions struct {
	Format      signing.NotaryFormat
	SigningTime time.Time
	Expiry      time.Time
	// TSA stamps it. May be nil.
	TSA *TSA
	// PayloadType is what is said to be signed; empty for what should be.
	PayloadType string
}

// Names of the Notary Project signature specification.
const (
	typeNotary    = "application/vnd.cncf.notary.signature"
	payloadNotary = "application/vnd.cncf.notary.payload.v1+json"
)

// Notary signs subject with the signer of notation-core-go.
func Notary(t testing.TB, subject layout.Descriptor, c signing.Chain, o NotaryOptions) signing.Artifact {
	t.Helper()
	mediaType := jws.MediaTypeEnvelope
	if o.Format == signing.NotaryCOSE {
		mediaType = cose.MediaTypeEnvelope
	}
	payload := got(json.Marshal(map[string]any{"targetArtifact": map[string]any{
		"mediaType": subject.MediaType, "digest": subject.Digest, "size": subject.Size,
	}}))(t)
	env := got(signature.NewEnvelope(mediaType))(t)
	req := &signature.SignRequest{
		Payload: signature.Payload{ContentType: cmp.Or(o.PayloadType, payloadNotary), Content: payload},
		Signer:  got(signature.NewLocalSigner(c.Certs, c.Key))(t), SigningScheme: signature.SigningSchemeX509,
		SigningTime: or(o.SigningTime, time.Now()), Expiry: o.Expiry,
	}
	if o.TSA != nil {
		req.Timestamper, req.TSARootCAs = o.TSA, x509.NewCertPool()
		req.TSARootCAs.AddCert(o.TSA.Root())
	}
	raw := got(env.Sign(req))(t)
	return got(signing.Referrer(subject, signing.Document{ArtifactType: typeNotary, MediaType: mediaType, Data: raw}))(t)
}

// Envelope is what an artifact of one layer carries.
func Envelope(a signing.Artifact) (data []byte, mediaType string) {
	b := a.Blobs[len(a.Blobs)-1]
	return b.Data, b.Desc.MediaType
}

// Subject is the descriptor of a manifest that need not exist.
func Subject(label string) layout.Descriptor {
	return layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString(label), Size: int64(len(label))}
}
