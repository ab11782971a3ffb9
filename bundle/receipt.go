package bundle

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"
	"unicode/utf8"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// ReceiptType is the payload type of a receipt's envelope.
const ReceiptType = "application/vnd.airgap.receipt.v1+json"

// Limits of receipts.
const (
	// MaxReceiptBytes is how large a receipt, in its envelope, may be: enough for
	// a million blobs with sha256.
	MaxReceiptBytes = 64 << 20
	// maxHolder and maxReceiptCheckpoint are what a name and a signed note need.
	maxHolder            = 4096
	maxReceiptCheckpoint = 16 << 10
	receiptVersion       = 1
)

// ErrReceipt says that something is no receipt, or none that can be relied on.
var ErrReceipt = errors.New("not a receipt")

// Receipt says which blobs somebody holds, so that nobody sends them again. It does
// not change.
type Receipt struct {
	// Holder is who holds them, as they call themselves; may be empty.
	Holder string
	// Time is when, by the holder's clock; to the second, in UTC.
	Time time.Time
	// Checkpoint is the state of the holder's ledger, a signed note, if there is
	// one.
	Checkpoint string
	// Digest is that of the statement, without its envelope.
	Digest digest.Digest
	// Standing is how far it can be relied on, and Key the name of the pinned key
	// that signed it.
	Standing BaseStanding
	Key      string

	statement []byte
	held      receiptBlobs
}

// receiptJSON is the statement.
type receiptJSON struct {
	Version    int          `json:"version"`
	Holder     string       `json:"holder,omitempty"`
	Time       time.Time    `json:"time"`
	Checkpoint string       `json:"checkpoint,omitempty"`
	Blobs      receiptBlobs `json:"blobs"`
}

// receiptBlobs has the hashes of each algorithm, sorted, one behind the other.
type receiptBlobs struct {
	SHA256 []byte `json:"sha256,omitempty"`
	SHA512 []byte `json:"sha512,omitempty"`
}

// NewReceipt states that holder has blobs, in any order, at a time. Its error matches
// ErrReceipt.
func NewReceipt(holder string, at time.Time, checkpoint string, blobs []digest.Digest) (*Receipt, error) {
	r := receiptJSON{Version: receiptVersion, Holder: holder, Time: at.UTC().Truncate(time.Second), Checkpoint: checkpoint}
	sorted := slices.Compact(slices.Sorted(slices.Values(blobs)))
	for _, d := range sorted {
		if _, err := layout.ParseDigest(string(d)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrReceipt, err)
		}
		raw, err := hex.DecodeString(d.Encoded())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrReceipt, err)
		}
		to := &r.Blobs.SHA256
		if d.Algorithm() == digest.SHA512 {
			to = &r.Blobs.SHA512
		}
		*to = append(*to, raw...)
	}
	statement, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	return parseReceipt(statement)
}

// parseReceipt reads a statement in exactly the form in which it is written.
func parseReceipt(statement []byte) (*Receipt, error) {
	var r receiptJSON
	dec := json.NewDecoder(bytes.NewReader(statement))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	if again, err := json.Marshal(r); err != nil || !bytes.Equal(again, statement) {
		return nil, fmt.Errorf("%w: it is not in the form in which it is written", ErrReceipt)
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return &Receipt{
		Holder: r.Holder, Time: r.Time, Checkpoint: r.Checkpoint, Digest: digest.FromBytes(statement), Standing: BaseClaimed,
		statement: statement, held: r.Blobs,
	}, nil
}

func (r *receiptJSON) check() error {
	switch {
	case r.Version != receiptVersion:
		return fmt.Errorf("%w: version %d, this airgap reads version %d", ErrReceipt, r.Version, receiptVersion)
	case r.Time.IsZero() || r.Time.Location() != time.UTC || r.Time.Nanosecond() != 0:
		return fmt.Errorf("%w: want a time in UTC, to the second", ErrReceipt)
	case len(r.Holder) > maxHolder || !utf8.ValidString(r.Holder):
		return fmt.Errorf("%w: a holder of %d bytes; at most %d of UTF-8 are accepted", ErrReceipt, len(r.Holder), maxHolder)
	case len(r.Checkpoint) > maxReceiptCheckpoint:
		return fmt.Errorf("%w: a checkpoint of %d bytes, at most %d are accepted", ErrReceipt, len(r.Checkpoint), maxReceiptCheckpoint)
	}
	if err := rising(r.Blobs.SHA256, digest.SHA256.Size()); err != nil {
		return err
	}
	return rising(r.Blobs.SHA512, digest.SHA512.Size())
}

// rising says whether hashes of size bytes are sorted, each once.
func rising(hashes []byte, size int) error {
	if len(hashes)%size != 0 {
		return fmt.Errorf("%w: %d bytes are no hashes of %d each", ErrReceipt, len(hashes), size)
	}
	for at := size; at < len(hashes); at += size {
		if bytes.Compare(hashes[at-size:at], hashes[at:at+size]) >= 0 {
			return fmt.Errorf("%w: hash %d is there twice, or not in its place", ErrReceipt, at/size)
		}
	}
	return nil
}

// Len is how many blobs it lists.
func (r *Receipt) Len() int {
	return len(r.held.SHA256)/digest.SHA256.Size() + len(r.held.SHA512)/digest.SHA512.Size()
}

// Holds says whether it lists a blob.
func (r *Receipt) Holds(d digest.Digest) bool {
	if _, err := layout.ParseDigest(string(d)); err != nil {
		return false
	}
	hashes, size := r.held.SHA256, digest.SHA256.Size()
	if d.Algorithm() == digest.SHA512 {
		hashes, size = r.held.SHA512, digest.SHA512.Size()
	}
	want, err := hex.DecodeString(d.Encoded())
	_, found := sort.Find(len(hashes)/size, func(i int) int { return bytes.Compare(want, hashes[i*size:(i+1)*size]) })
	return found && err == nil
}

// Seal writes the receipt, signed with key or, if that is nil, as a claim.
func (r *Receipt) Seal(key crypto.Signer) ([]byte, error) {
	out, err := signing.SealEnvelope(ReceiptType, r.statement, key)
	if err == nil && len(out) > MaxReceiptBytes {
		err = fmt.Errorf("%w: it would have %d bytes, at most %d are accepted", ErrReceipt, len(out), MaxReceiptBytes)
	}
	return out, err
}

// OpenReceipt reads a receipt. If there are keys, one of them must have signed it, or
// the error matches ErrReceipt; without keys it is a claim, signed or not.
func OpenReceipt(data []byte, keys []custody.Key) (*Receipt, error) {
	if len(data) > MaxReceiptBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrReceipt, len(data), MaxReceiptBytes)
	}
	env, err := signing.OpenEnvelope(data, ReceiptType)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	key := custody.Key{}
	if len(keys) > 0 {
		i := slices.IndexFunc(keys, func(k custody.Key) bool { return env.SignedBy(k.Public) })
		switch {
		case i < 0 && env.Signed():
			return nil, fmt.Errorf("%w that can be relied on: no key that is trusted has signed it", ErrReceipt)
		case i < 0:
			return nil, fmt.Errorf("%w that can be relied on: nobody has signed it", ErrReceipt)
		}
		key = keys[i]
	}
	r, err := parseReceipt(env.Payload)
	if err == nil && len(keys) > 0 {
		r.Standing, r.Key = BaseStated, key.Name
	}
	return r, err
}
