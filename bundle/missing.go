package bundle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// ErrMissing says that a delta counts on content that the destination does not have.
// The error is a [*MissingError].
var ErrMissing = errors.New("the destination lacks what the bundle does not carry")

// MissingError says what a delta counts on and the destination does not have.
type MissingError struct {
	List *MissingBlobs
	// Late: it was there when the import began.
	Late bool
}

// maxMissingShown is how many digests an error names.
const maxMissingShown = 5

func (e *MissingError) Error() string {
	n, size := len(e.List.Blobs), int64(0)
	text := ""
	for i, b := range e.List.Blobs {
		size += b.Size
		if i < maxMissingShown {
			text += "\n  " + string(b.Digest)
		}
	}
	if n > maxMissingShown {
		text += fmt.Sprintf("\n  and %d more", n-maxMissingShown)
	}
	what := ErrMissing.Error()
	if e.Late {
		what = "the destination had what the bundle does not carry, and has lost it"
	}
	blobs := "blobs"
	if n == 1 {
		blobs = "blob"
	}
	return fmt.Sprintf("%s: %d %s of %d bytes:%s", what, n, blobs, size, text)
}

func (e *MissingError) Unwrap() error { return ErrMissing }

// MissingBlobs lists layers that are to be sent after all.
type MissingBlobs struct {
	Version int `json:"version"`
	// Bundle is the export record's manifest of the delta that counts on them.
	Bundle digest.Digest `json:"bundle"`
	Blobs  []RecordBlob  `json:"blobs"` // sorted
}

// Limits of lists of missing blobs.
const (
	// MaxMissingBytes is how large a list may be: some 600,000 blobs.
	MaxMissingBytes = 64 << 20
	missingVersion  = 1
)

// ErrMissingList says that something is no list of missing blobs.
var ErrMissingList = errors.New("not a list of missing blobs")

// Marshal writes the list: JSON on one line.
func (m *MissingBlobs) Marshal() ([]byte, error) {
	out, err := json.Marshal(m)
	return append(out, '\n'), err
}

// ParseMissing reads a list in exactly the form in which it is written.
func ParseMissing(data []byte) (*MissingBlobs, error) {
	if len(data) > MaxMissingBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrMissingList, len(data), MaxMissingBytes)
	}
	var m MissingBlobs
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissingList, err)
	}
	if again, err := m.Marshal(); err != nil || !bytes.Equal(again, data) {
		return nil, fmt.Errorf("%w: it is not in the form in which it is written", ErrMissingList)
	}
	return &m, m.check()
}

func (m *MissingBlobs) check() error {
	if m.Version != missingVersion {
		return fmt.Errorf("%w: version %d, this airgap reads version %d", ErrMissingList, m.Version, missingVersion)
	}
	if _, err := layout.ParseDigest(string(m.Bundle)); err != nil {
		return fmt.Errorf("%w: %w", ErrMissingList, err)
	}
	if len(m.Blobs) == 0 {
		return fmt.Errorf("%w: nothing is missing", ErrMissingList)
	}
	for i, b := range m.Blobs {
		if err := layout.CheckDescriptor(layout.Descriptor{MediaType: unknownMediaType, Digest: b.Digest, Size: b.Size}); err != nil {
			return fmt.Errorf("%w: %w", ErrMissingList, err)
		}
		if i > 0 && m.Blobs[i-1].Digest >= b.Digest {
			return fmt.Errorf("%w: %s is there twice, or not in its place", ErrMissingList, b.Digest)
		}
	}
	return nil
}

const unknownMediaType = "application/octet-stream"

// Base leaves out every layer that the list does not name: whoever wrote it looked for
// all of them, and found the rest.
func (m *MissingBlobs) Base() (Base, error) {
	data, err := m.Marshal()
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return Base{}, err
	}
	b := Base{RecordBase: RecordBase{Kind: BaseList, Digest: digest.FromBytes(data), Standing: BaseClaimed}}
	for _, blob := range m.Blobs {
		b.wanted = append(b.wanted, blob.Digest)
	}
	b.Holds = func(d digest.Digest) bool {
		_, missing := slices.BinarySearch(b.wanted, d)
		return !missing
	}
	return b, nil
}

// missing is the error about stand-ins that were not found.
func (s *standIns) missing(all []*standIn, late bool) error {
	list := &MissingBlobs{Version: missingVersion, Bundle: s.record, Blobs: []RecordBlob{}}
	for _, one := range all {
		list.Blobs = append(list.Blobs, RecordBlob{one.blob.Digest, one.blob.Size})
	}
	slices.SortFunc(list.Blobs, func(a, b RecordBlob) int { return cmp.Compare(a.Digest, b.Digest) })
	hint := "nothing was written; --missing FILE writes the list, and airgap export with --only FILE sends what is on it"
	if late {
		hint = "no name was written; run the same command again"
	}
	return &layout.Error{Side: layout.SideDestination, Err: &MissingError{list, late}, Hint: hint}
}
