package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Names of the Notary Project signature specification
// (notaryproject/specifications, specs/signature-specification.md).
const (
	artifactTypeNotary      = "application/vnd.cncf.notary.signature"
	payloadNotary           = "application/vnd.cncf.notary.payload.v1+json"
	annotationNotaryChain   = "io.cncf.notary.x509chain.thumbprint#S256"
	reservedNotaryPrefix    = "io.cncf.notary"
	notarySigningAgent      = "airgap"
	notarySigningTimeFormat = time.RFC3339
)

// A NotaryFormat is one of the two envelopes a Notary signature comes in. The
// zero value is JWS, which is also the default of notation.
type NotaryFormat int

// Envelope formats.
const (
	NotaryJWS  NotaryFormat = iota // JSON
	NotaryCOSE                     // CBOR
)

// mediaType is the layer's media type, by which verifiers pick a parser.
func (f NotaryFormat) mediaType() (string, error) {
	switch f {
	case NotaryJWS:
		return jws.MediaTypeEnvelope, nil
	case NotaryCOSE:
		return cose.MediaTypeEnvelope, nil
	}
	return "", fmt.Errorf("%w: there is no Notary envelope format %d; use NotaryJWS or NotaryCOSE", ErrContent, f)
}

// NotaryOptions vary a Notary signature. The zero value is a JWS envelope,
// signed now, that never expires.
type NotaryOptions struct {
	// Format is the envelope.
	Format NotaryFormat
	// SigningTime is signed, to the second. Zero means now.
	SigningTime time.Time
	// Expiry is signed, to the second: a verifier refuses the signature from
	// then on. Zero means never.
	Expiry time.Time
	// Metadata is signed, as `notation sign -m` does. May be nil.
	Metadata map[string]string
	// TypeInConfig says what the manifest is in config.mediaType and not in
	// artifactType. The current specification wants the latter, but notation 1.3
	// still writes the former, and finds nothing else in an OCI layout.
	TypeInConfig bool
}

// notaryPayload is what is signed.
type notaryPayload struct {
	TargetArtifact ocispec.Descriptor `json:"targetArtifact"`
}

// Notary signs subject with a certificate chain, as `notation sign` does. The
// chain must satisfy the "Certificate Requirements" of the specification, and
// be valid at the signing time.
func Notary(subject ocispec.Descriptor, chain Chain, opts NotaryOptions) (Artifact, error) {
	mediaType, err := opts.Format.mediaType()
	if err != nil {
		return Artifact{}, err
	}
	if opts.SigningTime.IsZero() {
		opts.SigningTime = time.Now()
	}
	payload, err := newNotaryPayload(subject, opts.Metadata)
	if err != nil {
		return Artifact{}, err
	}
	envelope, err := signEnvelope(mediaType, payload, chain, opts)
	if err != nil {
		return Artifact{}, err
	}
	annotations, err := notaryAnnotations(chain, opts.SigningTime)
	if err != nil {
		return Artifact{}, err
	}
	p := packing{
		artifactType: artifactTypeNotary,
		config:       emptyConfig(),
		layers:       []Blob{newBlob(mediaType, envelope)},
		subject:      &subject,
		annotations:  annotations,
	}
	if opts.TypeInConfig {
		p.artifactType = ""
		p.config.Desc.MediaType = artifactTypeNotary
	}
	return pack(p)
}

// newNotaryPayload writes what is signed: the bare descriptor, with the metadata
// as its annotations.
func newNotaryPayload(subject ocispec.Descriptor, metadata map[string]string) ([]byte, error) {
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	target := bareDescriptor(subject)
	for k := range metadata {
		if strings.HasPrefix(k, reservedNotaryPrefix) {
			return nil, fmt.Errorf("%w: metadata key %q: the prefix %s is reserved by the Notary Project; rename the key",
				ErrContent, k, reservedNotaryPrefix)
		}
	}
	target.Annotations = metadata
	return marshal(notaryPayload{TargetArtifact: target})
}

// signEnvelope signs payload and reads the result back: an envelope that would
// not verify, because of a device that misbehaves, is not handed out.
func signEnvelope(mediaType string, payload []byte, chain Chain, opts NotaryOptions) ([]byte, error) {
	signer, err := newNotarySigner(chain)
	if err != nil {
		return nil, err
	}
	env, err := signature.NewEnvelope(mediaType)
	if err != nil {
		return nil, err
	}
	raw, err := env.Sign(&signature.SignRequest{
		Payload:       signature.Payload{ContentType: payloadNotary, Content: payload},
		Signer:        signer,
		SigningTime:   opts.SigningTime,
		Expiry:        opts.Expiry,
		SigningScheme: signature.SigningSchemeX509,
		SigningAgent:  notarySigningAgent,
	})
	if err != nil {
		return nil, fmt.Errorf("signing for the Notary Project with certificate %q: %w", chain.Certs[0].Subject, err)
	}
	if _, err := env.Verify(); err != nil {
		return nil, fmt.Errorf("%w: the Notary signature just made does not verify: %w", ErrKey, err)
	}
	return raw, nil
}

// notaryAnnotations tells registries and people who signed and when, without
// opening the envelope. Neither is signed.
func notaryAnnotations(chain Chain, signed time.Time) (map[string]string, error) {
	var prints []string
	for _, c := range chain.Certs {
		sum := sha256.Sum256(c.Raw)
		prints = append(prints, hex.EncodeToString(sum[:]))
	}
	list, err := marshal(prints)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		annotationNotaryChain:     string(list),
		ocispec.AnnotationCreated: signed.UTC().Format(notarySigningTimeFormat),
	}, nil
}
