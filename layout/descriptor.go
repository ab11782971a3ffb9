package layout

import (
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Descriptor names content by media type, digest and size (OCI image-spec,
// "OCI Content Descriptors").
type Descriptor = ocispec.Descriptor

// Platform says what an image runs on.
type Platform = ocispec.Platform

// ParseDigest checks s against the grammar of the two registered algorithms,
// sha256 and sha512, in lower-case hex, and nothing else. Only a digest that
// passed may become part of a path or a URL.
func ParseDigest(s string) (digest.Digest, error) {
	alg, enc, ok := strings.Cut(s, ":")
	want := map[string]int{"sha256": 64, "sha512": 128}[alg]
	if !ok || want == 0 {
		return "", fmt.Errorf("digest %.80q: want sha256:… or sha512:…: %w", s, ErrCorrupt)
	}
	if len(enc) != want || strings.Trim(enc, "0123456789abcdef") != "" {
		return "", fmt.Errorf("digest %.150q: want %d lower-case hex digits: %w", s, want, ErrCorrupt)
	}
	return digest.Digest(s), nil
}

// CheckDescriptor refuses a digest outside the grammar, a size outside
// 0…MaxBlobBytes (MaxManifestBytes for a manifest), and embedded data that is not the
// content (OCI image-spec, "Embedded Content").
func CheckDescriptor(d Descriptor) error {
	if _, err := ParseDigest(string(d.Digest)); err != nil {
		return err
	}
	limit := int64(MaxBlobBytes)
	if IsManifest(d.MediaType) {
		limit = MaxManifestBytes
	}
	switch {
	case d.Size < 0:
		return fmt.Errorf("%s: size %d: %w", d.Digest, d.Size, ErrCorrupt)
	case d.Size > limit:
		return fmt.Errorf("%s: size %d, at most %d is accepted: %w", d.Digest, d.Size, limit, ErrLimit)
	}
	if d.Data != nil && (int64(len(d.Data)) != d.Size || d.Digest.Algorithm().FromBytes(d.Data) != d.Digest) {
		return fmt.Errorf("%s: the data embedded in its descriptor is something else: %w", d.Digest, ErrCorrupt)
	}
	return nil
}

// BlobPath returns the name of a blob in a layout. dgst must be valid.
func BlobPath(dgst digest.Digest) string {
	return "blobs/" + dgst.Algorithm().String() + "/" + dgst.Encoded()
}

// Verify returns a reader of rc that ends in EOF only if rc held exactly d.Size
// bytes with digest d.Digest, and in ErrCorrupt otherwise. It never reads more
// than one byte past d.Size. A descriptor that CheckDescriptor refuses gives a
// reader of nothing but that error.
//
// A reader that Verify made for the same descriptor, and of which nothing was
// read yet, is returned as it is, even through wrappers that are a [Conduit]: so
// a sink checks what it is given, and what a source has checked is not hashed
// twice.
func Verify(rc io.ReadCloser, d Descriptor) io.ReadCloser {
	if verified(rc, d) {
		return rc
	}
	v := &verifier{rc: rc, desc: d, left: d.Size, err: CheckDescriptor(d)}
	if v.err == nil {
		v.hash = d.Digest.Algorithm().Hash()
	}
	return v
}

// Conduit is a reader that hands on the bytes and the errors of another one, all
// of them and unchanged. Whoever implements it promises that.
type Conduit interface{ Conduit() io.Reader }

// NopCloser is [io.NopCloser] as a [Conduit].
func NopCloser(r io.Reader) io.ReadCloser { return nopCloser{r} }

type nopCloser struct{ io.Reader }

func (nopCloser) Close() error         { return nil }
func (n nopCloser) Conduit() io.Reader { return n.Reader }

// verified says whether all of r passes through a fresh verifier for d.
func verified(r io.Reader, d Descriptor) bool {
	for {
		switch v := r.(type) {
		case *verifier:
			return v.err == nil && v.desc.Digest == d.Digest && v.desc.Size == d.Size && v.left == d.Size
		case Conduit:
			r = v.Conduit()
		default:
			return false
		}
	}
}

// maxIdle is how many reads in a row may give neither bytes nor an error, as in
// bufio.
const maxIdle = 100

type verifier struct {
	rc   io.ReadCloser
	desc Descriptor
	hash hash.Hash
	left int64
	idle int
	eof  bool
	err  error
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	if v.left == 0 {
		v.err = v.finish()
		return 0, v.err
	}
	if int64(len(p)) > v.left {
		p = p[:v.left]
	}
	n, err := v.progress(p)
	v.hash.Write(p[:n])
	v.left -= int64(n)
	switch {
	case err == io.EOF && v.left > 0:
		v.err = fmt.Errorf("%s: ends %d bytes early, %d expected: %w", v.desc.Digest, v.left, v.desc.Size, ErrCorrupt)
		return n, v.err
	case err == io.EOF:
		v.eof = true
		return n, nil // finish on the next call
	case err != nil:
		v.err = err
	}
	return n, err
}

// progress reads, and fails if that leads nowhere.
func (v *verifier) progress(p []byte) (int, error) {
	n, err := v.rc.Read(p)
	if n > 0 || err != nil || len(p) == 0 {
		v.idle = 0
	} else if v.idle++; v.idle > maxIdle {
		err = io.ErrNoProgress
	}
	return n, err
}

func (v *verifier) finish() error {
	var one [1]byte
	for !v.eof {
		n, err := v.progress(one[:])
		if n > 0 {
			return fmt.Errorf("%s: longer than the %d bytes its descriptor says: %w", v.desc.Digest, v.desc.Size, ErrCorrupt)
		}
		if err != nil && err != io.EOF {
			return err
		}
		v.eof = err == io.EOF
	}
	if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.desc.Digest.Encoded() {
		return fmt.Errorf("%s: the bytes have digest %s:%s: %w", v.desc.Digest, v.desc.Digest.Algorithm(), got, ErrCorrupt)
	}
	return io.EOF
}

func (v *verifier) Close() error { return v.rc.Close() }

// ReadAll reads content of at most MaxManifestBytes and checks it.
func ReadAll(rc io.ReadCloser, d Descriptor) ([]byte, error) {
	defer rc.Close()
	if d.Size > MaxManifestBytes {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read into memory: %w", d.Digest, d.Size, MaxManifestBytes, ErrLimit)
	}
	// The size is only a claim, so memory grows with what is there.
	data, err := io.ReadAll(Verify(rc, d))
	if err != nil {
		return nil, err
	}
	return data, nil
}

// CheckBytes says whether data is what d describes.
func CheckBytes(data []byte, d Descriptor) error {
	if err := CheckDescriptor(d); err != nil {
		return err
	}
	if int64(len(data)) != d.Size {
		return fmt.Errorf("%s: %d bytes, its descriptor says %d: %w", d.Digest, len(data), d.Size, ErrCorrupt)
	}
	if got := d.Digest.Algorithm().FromBytes(data); got != d.Digest {
		return fmt.Errorf("%s: the bytes have digest %s: %w", d.Digest, got, ErrCorrupt)
	}
	return nil
}
