package sigstore

import (
	"airgap/layout"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
)

// Limits on what is read. Some are tight for a reason: the library checks the
// signature in a log entry, and in a timestamp, with the key that is in there
// before anyone asks whose it is, and with an RSA key of a million bits that takes
// half a minute.
const (
	// MaxEnvelopeBytes is how large a bundle or a DSSE envelope may be. An SBOM
	// of tens of megabytes is in one, in base64.
	MaxEnvelopeBytes = 64 << 20
	// MaxPayloadBytes is how large a simple signing payload may be. Real ones
	// have some hundred bytes.
	MaxPayloadBytes = 1 << 20
	// MaxAnnotationBytes is how large one annotation of a layer may be. Real
	// ones have some kilobytes.
	MaxAnnotationBytes = 1 << 20
	// MaxSignatures is how many signatures a DSSE envelope may have.
	MaxSignatures = 8
	// MaxLogEntries and MaxLogEntryBytes are how many log entries a signature
	// may have, and how large each may be. Real ones have one, of some
	// kilobytes.
	MaxLogEntries    = 4
	MaxLogEntryBytes = 32 << 10
	// MaxTimestamps and MaxTimestampBytes are the same for timestamps.
	MaxTimestamps     = 4
	MaxTimestampBytes = 32 << 10
	// MaxCertificateBytes is how large a certificate may be.
	MaxCertificateBytes = 32 << 10
	// MaxChain is how many certificates may stand beside the signer's.
	MaxChain = 8
	// MaxRoots is how many trusted roots may be pinned at once.
	MaxRoots = 64
)

// checkSizes refuses what costs too much to read.
func checkSizes(m *protobundle.VerificationMaterial) error {
	if n := len(m.GetTlogEntries()); n > MaxLogEntries {
		return failf(Malformed, "%d log entries, at most %d are accepted: %w", n, MaxLogEntries, layout.ErrLimit)
	}
	for _, e := range m.GetTlogEntries() {
		if n := len(e.GetCanonicalizedBody()); n > MaxLogEntryBytes {
			return tooLarge("log entry", n, MaxLogEntryBytes)
		}
	}
	stamps := m.GetTimestampVerificationData().GetRfc3161Timestamps()
	if n := len(stamps); n > MaxTimestamps {
		return failf(Malformed, "%d timestamps, at most %d are accepted: %w", n, MaxTimestamps, layout.ErrLimit)
	}
	for _, s := range stamps {
		if n := len(s.GetSignedTimestamp()); n > MaxTimestampBytes {
			return tooLarge("timestamp", n, MaxTimestampBytes)
		}
	}
	for _, c := range append(m.GetX509CertificateChain().GetCertificates(), m.GetCertificate()) {
		if n := len(c.GetRawBytes()); n > MaxCertificateBytes {
			return tooLarge("certificate", n, MaxCertificateBytes)
		}
	}
	return nil
}

func tooLarge(what string, n, most int) *Failure {
	return failf(Malformed, "%s of %d bytes, at most %d are accepted: %w", what, n, most, layout.ErrLimit)
}
