package sigstore

// Limits on what is read, beside those of sigstore-go itself: 32 log entries, 32
// timestamps, 1024 subjects.
const (
	// MaxEnvelopeBytes is how large a bundle or a DSSE envelope may be. An SBOM
	// of tens of megabytes is in one, in base64.
	MaxEnvelopeBytes = 64 << 20
	// MaxPayloadBytes is how large a simple signing payload may be. Real ones
	// have some hundred bytes.
	MaxPayloadBytes = 1 << 20
	// MaxAnnotationBytes is how large one annotation of a layer may be. The log
	// entry of an attestation is the largest, at some kilobytes; those with the
	// whole attestation in them are refused.
	MaxAnnotationBytes = 4 << 20
	// MaxSignatures is how many signatures a DSSE envelope may have.
	MaxSignatures = 16
	// MaxRoots is how many trusted roots may be pinned at once.
	MaxRoots = 64
)
