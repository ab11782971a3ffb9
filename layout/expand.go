package layout

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// Limits on what is decompressed: an archive that was compressed as a whole, and
// layers of a docker-archive whose digest nothing states. Bundles and layers are never
// decompressed to verify them.
const (
	// MaxExpandRatio is how many bytes may come out for each byte that went in,
	// beyond the first MinExpand (archives of images come to 1 to 10).
	MaxExpandRatio = 200
	// MinExpand is how many bytes may come out whatever the ratio: 256 MiB.
	MinExpand = 256 << 20
	// MaxExpandBytes is how much may come out of one file: 4 TiB.
	MaxExpandBytes = 4 << 40
	// MaxExpandWindow is the largest window or dictionary of zstd and xz, all of it
	// in memory: 128 MiB, as zstd has with --long and more than xz has with -9.
	MaxExpandWindow = 128 << 20
)

// Compression is a format in which a whole file may be compressed.
type Compression string

// The formats that are read.
const (
	CompressionNone  Compression = ""
	CompressionGzip  Compression = "gzip"
	CompressionZstd  Compression = "zstd"
	CompressionXZ    Compression = "xz"
	CompressionBzip2 Compression = "bzip2"
)

// SniffSize is how many bytes of a file tell its compression.
const SniffSize = 6

var compressionMagic = []struct {
	format Compression
	magic  string
}{
	{CompressionGzip, "\x1f\x8b"},
	{CompressionZstd, "\x28\xb5\x2f\xfd"},
	{CompressionXZ, "\xfd7zXZ\x00"},
	{CompressionBzip2, "BZh"},
}

// SniffCompression tells the format by the first bytes of a file (RFC 1952, RFC 8878,
// the .xz file format 1.2.1, bzip2).
func SniffCompression(head []byte) Compression {
	for _, m := range compressionMagic {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.format
		}
	}
	return CompressionNone
}

// Expand decompresses r, whose format is f. Its reader fails with ErrLimit when more
// comes out than the limits above allow, and with ErrCorrupt where the compressed data
// is not what its own checks say, or ends early. An error of r is returned as it is.
func Expand(r io.Reader, f Compression) (io.ReadCloser, error) {
	in := &countingInput{r: r}
	e := &expander{in: in, format: f}
	err := e.start()
	if err != nil {
		return nil, e.explain(err)
	}
	return e, nil
}

// countingInput counts what went in, and keeps an error of reading.
type countingInput struct {
	r   io.Reader
	n   int64
	err error
}

func (c *countingInput) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

type expander struct {
	in     *countingInput
	format Compression
	r      io.Reader
	close  func()
	n      int64 // came out
	err    error
}

func (e *expander) start() (err error) {
	buffered := bufio.NewReaderSize(e.in, 64<<10)
	switch e.format {
	case CompressionGzip:
		e.r, err = gzip.NewReader(buffered)
	case CompressionZstd:
		var d *zstd.Decoder
		d, err = zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(MaxExpandWindow), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err == nil {
			e.r, e.close = d, d.Close
		}
	case CompressionXZ:
		e.r, err = xz.NewReader(buffered, MaxExpandWindow)
	case CompressionBzip2:
		e.r = bzip2.NewReader(buffered)
	default:
		err = fmt.Errorf("compression %.20q: %w", e.format, ErrUnsupported)
	}
	return err
}

func (e *expander) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.r.Read(p)
	e.n += int64(n)
	switch {
	case e.n > MaxExpandBytes:
		err = fmt.Errorf("it expands to more than %d bytes: %w", int64(MaxExpandBytes), ErrLimit)
	case e.n > MinExpand+MaxExpandRatio*e.in.n:
		err = fmt.Errorf("%d compressed bytes expand to more than %d, at most %d for each are accepted: %w", e.in.n, e.n, MaxExpandRatio, ErrLimit)
	case err != nil && err != io.EOF:
		err = e.explain(err)
	}
	e.err = err
	return n, err
}

// explain sorts what a decoder failed with: reading, limits, damage.
func (e *expander) explain(err error) error {
	switch {
	case e.in.err != nil:
		return e.in.err
	case errors.Is(err, ErrUnsupported):
		return err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, xz.ErrMemlimit):
		return fmt.Errorf("%s needs more than %d bytes of memory to be decompressed: %w", e.format, MaxExpandWindow, ErrLimit)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, xz.ErrBuf):
		return fmt.Errorf("%w: the %s data ends early, after %d bytes", ErrIncomplete, e.format, e.in.n)
	}
	return fmt.Errorf("%s: %v: %w", e.format, err, ErrCorrupt)
}

// Close implements [io.Closer]. It does not close what was given to Expand.
func (e *expander) Close() error {
	if e.close != nil {
		e.close()
	}
	return nil
}
