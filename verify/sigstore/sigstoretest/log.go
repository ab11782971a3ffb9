package sigstoretest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/digitorus/timestamp"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekortiles "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	rekornote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/rekor/pkg/types"
	_ "github.com/sigstore/rekor/pkg/types/dsse/v0.0.1"         // a kind of entry
	_ "github.com/sigstore/rekor/pkg/types/hashedrekord/v0.0.1" // a kind of entry
	_ "github.com/sigstore/rekor/pkg/types/intoto/v0.0.1"       // a kind of entry
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"
)

// logIndex is where an entry is in the whole log; the proof is about a part of
// the log that has that entry alone.
const logIndex = 1000

// log makes an entry and has the log sign it.
func (s *Sigstore) log(b *protobundle.Bundle, by signedBy, sum, sig []byte, o Signing) (*protorekor.TransparencyLogEntry, error) {
	if o.LogV2 {
		return s.logV2(by, sum, sig)
	}
	kind, version, body, err := entryBody(b, by, sum, sig, o)
	if err != nil {
		return nil, err
	}
	e, err := s.logged(kind, version, body, or(o.LoggedAt, o.at()))
	if err != nil {
		return nil, err
	}
	signer, err := signature.LoadECDSASigner(s.rekor, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	root := leafHash(body)
	checkpoint, err := util.CreateAndSignCheckpoint(context.Background(), rekorHost, 1, 1, root, signer)
	if err != nil {
		return nil, err
	}
	e.InclusionProof = proof(root, string(checkpoint))
	return e, nil
}

// logged is an entry that the log promises to include.
func (s *Sigstore) logged(kind, version string, body []byte, at time.Time) (*protorekor.TransparencyLogEntry, error) {
	id, err := keyID(s.rekor.Public())
	if err != nil {
		return nil, err
	}
	e := &protorekor.TransparencyLogEntry{
		LogIndex: logIndex, LogId: &protocommon.LogId{KeyId: id}, KindVersion: &protorekor.KindVersion{Kind: kind, Version: version},
		IntegratedTime: at.Unix(), CanonicalizedBody: body,
	}
	promise, err := s.promise(e)
	if err != nil {
		return nil, err
	}
	e.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	return e, nil
}

// LogAnything has the log promise a body that no honest log would take, and
// returns it as cosign's annotation "dev.sigstore.cosign/bundle".
func (s *Sigstore) LogAnything(kind, version string, body []byte, at time.Time) (string, error) {
	e, err := s.logged(kind, version, body, at)
	if err != nil {
		return "", err
	}
	return annotateEntry(e)
}

// leafHash is the root of a tree of one leaf (RFC 6962, 2.1).
func leafHash(body []byte) []byte {
	sum := sha256.Sum256(append([]byte{0}, body...))
	return sum[:]
}

func proof(root []byte, checkpoint string) *protorekor.InclusionProof {
	return &protorekor.InclusionProof{TreeSize: 1, RootHash: root, Checkpoint: &protorekor.Checkpoint{Envelope: checkpoint}}
}

// entryBody writes the entry for what is signed, as the log would.
func entryBody(b *protobundle.Bundle, by signedBy, sum, sig []byte, o Signing) (kind, version string, body []byte, err error) {
	ctx := context.Background()
	kind, version = "hashedrekord", "0.0.1"
	props := types.ArtifactProperties{PKIFormat: "x509", PublicKeyBytes: [][]byte{by.pem()}, SignatureBytes: sig}
	if env := b.GetDsseEnvelope(); env != nil {
		kind = "dsse"
		if o.OldEntry {
			kind = "intoto"
		}
		if props.ArtifactBytes, err = envelopeJSON(env); err != nil {
			return "", "", nil, err
		}
	} else {
		props.ArtifactHash = hex.EncodeToString(sum)
	}
	proposed, err := types.NewProposedEntry(ctx, kind, version, props)
	if err != nil {
		return "", "", nil, fmt.Errorf("log entry: %w", err)
	}
	entry, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		return "", "", nil, fmt.Errorf("log entry: %w", err)
	}
	body, err = types.CanonicalizeEntry(ctx, entry)
	return kind, version, body, err
}

// promise is the signed entry timestamp, over the canonical JSON of four fields.
func (s *Sigstore) promise(e *protorekor.TransparencyLogEntry) ([]byte, error) {
	text, err := json.Marshal(struct {
		Body           string `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogIndex       int64  `json:"logIndex"`
		LogID          string `json:"logID"`
	}{base64.StdEncoding.EncodeToString(e.GetCanonicalizedBody()), e.GetIntegratedTime(), e.GetLogIndex(), hex.EncodeToString(e.GetLogId().GetKeyId())})
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil {
		return nil, err
	}
	// A map is written in the order of its keys.
	if text, err = json.Marshal(fields); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return ecdsa.SignASN1(rand.Reader, s.rekor, sum[:])
}

// logV2 is the second version of the log: everything is a hashedrekord, there is
// a proof and no promise, and no time.
func (s *Sigstore) logV2(by signedBy, sum, sig []byte) (*protorekor.TransparencyLogEntry, error) {
	verifier := &rekortiles.Verifier{KeyDetails: protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256}
	if by.cert != nil {
		verifier.Verifier = &rekortiles.Verifier_X509Certificate{X509Certificate: &protocommon.X509Certificate{RawBytes: by.cert}}
	} else {
		verifier.Verifier = &rekortiles.Verifier_PublicKey{PublicKey: &rekortiles.PublicKey{RawBytes: by.key}}
	}
	raw, err := protojson.Marshal(&rekortiles.Entry{Kind: "hashedrekord", ApiVersion: "0.0.2", Spec: &rekortiles.Spec{
		Spec: &rekortiles.Spec_HashedRekordV002{HashedRekordV002: &rekortiles.HashedRekordLogEntryV002{
			Data:      &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum},
			Signature: &rekortiles.Signature{Content: sig, Verifier: verifier},
		}},
	}})
	if err != nil {
		return nil, err
	}
	var fields any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	id, err := keyID(s.rekor2.Public())
	if err != nil {
		return nil, err
	}
	root := leafHash(body)
	checkpoint, err := s.checkpoint(root)
	if err != nil {
		return nil, err
	}
	return &protorekor.TransparencyLogEntry{
		LogId: &protocommon.LogId{KeyId: id}, KindVersion: &protorekor.KindVersion{Kind: "hashedrekord", Version: "0.0.2"},
		CanonicalizedBody: body, InclusionProof: proof(root, checkpoint),
	}, nil
}

// checkpoint says how large the second log is and what its root is
// (C2SP, tlog-checkpoint).
func (s *Sigstore) checkpoint(root []byte) (string, error) {
	signer, err := signature.LoadECDSASigner(s.rekor2, crypto.SHA256)
	if err != nil {
		return "", err
	}
	by, err := rekornote.NewNoteSigner(context.Background(), rekor2Host, signer)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%s\n1\n%s\n", rekor2Host, base64.StdEncoding.EncodeToString(root))
	signed, err := note.Sign(&note.Note{Text: text}, by)
	return string(signed), err
}

// Timestamp is what the timestamp authority says of a signature (RFC 3161).
func (s *Sigstore) Timestamp(sig []byte, at time.Time) ([]byte, error) {
	sum := sha256.Sum256(sig)
	return (&timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: at,
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}, AddTSACertificate: true,
	}).CreateResponseWithOpts(s.tsa.cert, s.tsa.key, crypto.SHA256)
}
