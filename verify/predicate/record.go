package predicate

// Types of a signed custody record: a DSSE envelope, in one layer of an artifact, that
// holds an in-toto statement under a payload type of its own. The payload type is
// signed. cosign, policy-controller and Kyverno take any in-toto statement in a Sigstore
// bundle for a signature of the image, and what is signed under another type can be put
// into no bundle that they accept (DSSE v1, protocol.md: the signature is over type and
// payload).
const (
	// RecordMediaType is that of the artifact, and of its layer.
	RecordMediaType = "application/vnd.airgap.record.v1+json"
	// RecordPayloadType is that of the statement in the envelope.
	RecordPayloadType = "application/vnd.airgap.statement.v1+json"
)
