package layout

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// tarEntry is one file of an archive, as its header says.
type tarEntry struct {
	name string
	data int64 // offset of the content
	size int64
	// A docker-archive's reference to an equal layer: the name it leads to.
	isLink bool
	link   string
	// odd is why it is no file, folder or link; usually empty.
	odd string
}

// end is where the next header begins.
func (e tarEntry) end() int64 { return e.data + e.size + padding(e.size) }

// scanTar reads the headers of an archive of our own form and calls fn for each
// entry. It reads no content. Every byte that is no content is compared with
// what it has to be: headers, padding, the end. It does not look for duplicates.
func scanTar(r io.ReaderAt, size int64, fn func(tarEntry) error) error {
	win := &window{r: r, size: size}
	for at := int64(0); ; {
		head, err := win.bytes(at, blockSize)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = cutAt(size, at+endBlocks*blockSize, false)
		}
		if err != nil {
			return err
		}
		if allZero(head) {
			return scanEnd(win, at)
		}
		e, err := parseHeader(win, at, head)
		if err != nil {
			return fmt.Errorf("header at byte %d: %w", at, err)
		}
		if e.end() > size {
			return cutAt(size, e.end()+endBlocks*blockSize, false)
		}
		pad, err := win.bytes(e.data+e.size, padding(e.size))
		if err != nil {
			return err
		}
		if !allZero(pad) {
			return fmt.Errorf("%.200q: the padding behind it is not zero: %w", e.name, ErrCorrupt)
		}
		if err := fn(e); err != nil {
			return err
		}
		at = e.end()
	}
}

// cutAt says that a file of size bytes is the beginning of one of want bytes, or of more
// if that is not all that is known to be missing.
func cutAt(size, want int64, exact bool) error {
	more := " or more"
	if exact {
		more = ""
	}
	return fmt.Errorf("%w: %d of %d bytes%s", ErrIncomplete, size, want, more)
}

func scanEnd(win *window, at int64) error {
	if win.size < at+endBlocks*blockSize {
		return cutAt(win.size, at+endBlocks*blockSize, true)
	}
	if win.size != at+endBlocks*blockSize {
		return fmt.Errorf("%d bytes after the last file, want %d: %w", win.size-at, endBlocks*blockSize, ErrCorrupt)
	}
	end, err := win.bytes(at, endBlocks*blockSize)
	if err == nil && !allZero(end) {
		err = fmt.Errorf("the blocks that end it are not zero: %w", ErrCorrupt)
	}
	return err
}

// parseHeader takes name and size from a header and demands that all of it is
// what appendHeader makes of these.
func parseHeader(win *window, at int64, head []byte) (tarEntry, error) {
	name, err := headerName(head)
	if err != nil {
		return tarEntry{}, err
	}
	total := int64(blockSize)
	if name == longLink {
		total *= 3
		if head, err = win.bytes(at, total); err != nil {
			return tarEntry{}, cutShort(err, win.size, at+total)
		}
		long, _, ok := bytes.Cut(head[blockSize:2*blockSize], []byte{0})
		if !ok || len(long) <= nameSize {
			return tarEntry{}, fmt.Errorf("a long name that is none: %w", ErrCorrupt)
		}
		name = string(long)
	}
	size, err := headerSizeField(head[total-blockSize:])
	if err != nil {
		return tarEntry{}, err
	}
	if !bytes.Equal(appendHeader(nil, name, size), head) {
		return tarEntry{}, fmt.Errorf("%.150q is not in the one form that airgap writes: %w", name, ErrCorrupt)
	}
	return tarEntry{name: name, data: at + total, size: size}, nil
}

// cutShort says that the file ends too early. An error of reading stays what it is:
// nothing was found out.
func cutShort(err error, size, want int64) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return cutAt(size, want, false)
	}
	return err
}

func headerName(head []byte) (string, error) {
	name, _, _ := bytes.Cut(head[:nameSize], []byte{0})
	if len(name) == 0 {
		return "", fmt.Errorf("no name: %w", ErrCorrupt)
	}
	return string(name), nil
}

func headerSizeField(head []byte) (int64, error) {
	field := head[124:136]
	if field[0] == 0x80 {
		var n uint64
		for _, c := range field[4:] {
			n = n<<8 | uint64(c)
		}
		if n > MaxBlobBytes {
			return 0, fmt.Errorf("size %d, at most %d is accepted: %w", n, int64(MaxBlobBytes), ErrLimit)
		}
		return int64(n), nil
	}
	n, err := strconv.ParseInt(strings.TrimRight(string(field), "\x00"), 8, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("size field %q: %w", field, ErrCorrupt)
	}
	return n, nil
}

// window reads small pieces at rising offsets through one buffer, so that a
// head of many small files costs few system calls and a layer costs one.
type window struct {
	r    io.ReaderAt
	size int64
	buf  []byte
	at   int64
}

const windowSize = 16 << 10

// bytes returns n bytes at off, valid until the next call.
func (w *window) bytes(off, n int64) ([]byte, error) {
	if off < 0 || off+n > w.size {
		return nil, io.ErrUnexpectedEOF
	}
	if off < w.at || off+n > w.at+int64(len(w.buf)) {
		if w.buf == nil {
			w.buf = make([]byte, windowSize)
		}
		w.buf = w.buf[:min(windowSize, w.size-off)]
		w.at = off
		if got, err := w.r.ReadAt(w.buf, off); got < len(w.buf) {
			w.buf = w.buf[:0]
			if err == io.EOF { // the file shrank
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return w.buf[off-w.at : off-w.at+n], nil
}

// scanForeign reads the headers of an archive that another tool wrote, with Go's
// reader, as docker, skopeo and oras do. What that reader lets pass and we do
// not: duplicates (refused by the caller), sparse files, sizes of what has no
// content, global headers that change other entries, names that lead out of the
// archive, a missing end, anything but zeros after it.
func scanForeign(r io.ReaderAt, size int64, fn func(tarEntry) error) error {
	pos := &countingReader{r: r, size: size}
	tr := tar.NewReader(pos)
	end := int64(0)
	for first := true; ; first = false {
		h, err := tr.Next()
		if err == io.EOF {
			return foreignEnd(r, end, size)
		}
		if err != nil {
			return foreignHeader(pos, err, first)
		}
		e := tarEntry{name: strings.TrimPrefix(h.Name, "./"), data: pos.off, size: h.Size}
		if e.size < 0 || e.end() < e.data {
			return fmt.Errorf("%.200q: a size of %d bytes: %w", h.Name, e.size, ErrCorrupt)
		}
		if e.end() > size {
			return cutAt(size, e.end()+endBlocks*blockSize, false)
		}
		end = e.end()
		if err := foreignType(h, &e); err != nil {
			return err
		}
		if h.Typeflag != tar.TypeDir {
			if err := fn(e); err != nil {
				return err
			}
		}
	}
}

// foreignHeader says what it means that a header could not be read.
func foreignHeader(pos *countingReader, err error, first bool) error {
	switch {
	case pos.err != nil:
		return pos.err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return cutAt(pos.size, pos.size+endBlocks*blockSize, false)
	case first && !isTar(pos.r, pos.size):
		return fmt.Errorf("%w: no tar archive", ErrNotBundle)
	}
	return fmt.Errorf("the tar archive cannot be read at byte %d: %v: %w", pos.off, err, ErrCorrupt)
}

// isTar says whether a file begins as a tar archive does, damaged or not: with the magic
// of POSIX and GNU, or the name that is first in a bundle.
func isTar(r io.ReaderAt, size int64) bool {
	head := make([]byte, min(size, blockSize))
	if n, _ := r.ReadAt(head, 0); n < blockSize {
		return false
	}
	return bytes.HasPrefix(head[257:], []byte("ustar")) || bytes.HasPrefix(head, []byte("oci-layout\x00"))
}

// globalKeys are the records of a global header that change nothing in other entries
// that matters here; git archive writes a comment.
var globalKeys = map[string]bool{"comment": true, "mtime": true, "atime": true, "ctime": true, "uid": true, "gid": true, "uname": true, "gname": true}

func foreignType(h *tar.Header, e *tarEntry) error {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse") {
			return fmt.Errorf("%.200q: a sparse file: %w", h.Name, ErrUnsupported)
		}
		if h.Typeflag == tar.TypeXGlobalHeader && !globalKeys[k] {
			return fmt.Errorf("a global header with %.80q, which readers take in different ways: %w", k, ErrUnsupported)
		}
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		e.name, e.odd = "pax_global_header", "a global header"
		return nil
	}
	name := strings.ToValidUTF8(e.name, "?")
	if h.Typeflag == tar.TypeDir {
		name = cmp.Or(strings.TrimSuffix(name, "/"), ".")
	}
	if !fs.ValidPath(name) {
		return fmt.Errorf("%.200q: a name that could lead out of the archive: %w", h.Name, ErrUnsupported)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return nil
	case tar.TypeDir:
	case tar.TypeSymlink:
		// Only a docker-archive's layers may link, and only to each other;
		// the archive's reader checks that. Nothing is ever extracted.
		e.isLink, e.link = true, path.Join(path.Dir(e.name), h.Linkname)
	case tar.TypeLink:
		e.isLink, e.link = true, path.Clean(h.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		e.odd = "a device or a pipe"
	default:
		return fmt.Errorf("%.200q: an entry of type %q: %w", h.Name, h.Typeflag, ErrUnsupported)
	}
	if h.Size != 0 { // some readers skip that much, others nothing
		return fmt.Errorf("%.200q: a folder or link with %d bytes: %w", h.Name, h.Size, ErrCorrupt)
	}
	return nil
}

// foreignEnd demands at least two zero blocks, and nothing but zeros, from end on.
func foreignEnd(r io.ReaderAt, end, size int64) error {
	if size < end+endBlocks*blockSize {
		return cutAt(size, end+endBlocks*blockSize, false)
	}
	if size > end+1<<20 {
		return fmt.Errorf("%d bytes after the end of the archive: %w", size-end, ErrCorrupt)
	}
	rest := make([]byte, size-end)
	if n, err := r.ReadAt(rest, end); n < len(rest) {
		return fmt.Errorf("after the last file: %w", err)
	}
	if !allZero(rest) {
		return fmt.Errorf("data after the end of the archive: %w", ErrCorrupt)
	}
	return nil
}

// countingReader is a section that knows its offset; the tar reader seeks over
// content with it.
type countingReader struct {
	r    io.ReaderAt
	off  int64
	size int64
	err  error // of reading, not of what was read
}

func (c *countingReader) Read(p []byte) (int, error) {
	if c.off >= c.size {
		return 0, io.EOF
	}
	n, err := c.r.ReadAt(p[:min(int64(len(p)), c.size-c.off)], c.off)
	c.off += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

func (c *countingReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.off
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d", offset)
	}
	c.off = offset
	return offset, nil
}

// digestOfPath is the inverse of BlobPath, for names out of archives.
func digestOfPath(name string) (digest.Digest, bool) {
	alg, enc, ok := strings.Cut(strings.TrimPrefix(name, "blobs/"), "/")
	if !ok || !strings.HasPrefix(name, "blobs/") {
		return "", false
	}
	d, err := ParseDigest(alg + ":" + enc)
	return d, err == nil
}
