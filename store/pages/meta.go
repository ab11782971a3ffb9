// Package pages checks the pages of a bbolt database without bbolt, which panics, recurses
// without end or faults when they are damaged. The format is that of bbolt 1.x, package
// internal/common: version 2, in the byte order of the machine.
package pages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// ErrDamaged says that the pages of a database are not what bbolt has written.
var ErrDamaged = errors.New("damaged")

// Sizes and numbers of the format.
const (
	headerBytes  = 16 // of a page: id, type, count, overflow
	elementBytes = 16 // in a branch or leaf page
	metaBytes    = headerBytes + 64
	magic        = 0xED0CDAED
	version      = 2
	noFreelist   = ^uint64(0)

	minPageBytes = 1 << 10
	maxPageBytes = 16 << 20
)

// Meta is what one of the two meta pages says.
type Meta struct {
	PageSize  int
	Root      uint64 // page of the root bucket
	Freelist  uint64 // page with the list of free pages
	HighWater uint64 // number of pages
	TxID      uint64 // of the last transaction
	// Other is nil, or says why the other meta page is damaged: then the last change
	// may be missing.
	Other error
}

// ReadMeta reads the valid meta page of the later transaction, as bbolt does. size is that
// of the file. The error matches ErrDamaged if there is none, or if the file is shorter than
// it says.
func ReadMeta(f io.ReaderAt, size int64) (Meta, error) {
	pageSize, err := findPageSize(f, size)
	if err != nil {
		return Meta{}, err
	}
	first, err0 := parseMeta(f, 0)
	second, err1 := parseMeta(f, int64(pageSize))
	m := first
	switch {
	case err0 != nil && err1 != nil:
		return Meta{}, damaged("both meta pages: %v; %v", err0, err1)
	case err0 != nil:
		m = second
		m.Other = fmt.Errorf("meta page 0: %w", err0)
	case err1 != nil:
		m.Other = fmt.Errorf("meta page 1: %w", err1)
	case second.TxID > first.TxID:
		m = second
	}
	if m.PageSize != pageSize || m.HighWater > uint64(size)/uint64(pageSize) {
		return Meta{}, damaged("cut off after %d of %d bytes", size, m.HighWater*uint64(m.PageSize))
	}
	return m, nil
}

// findPageSize reads the page size from whichever meta page is valid.
func findPageSize(f io.ReaderAt, size int64) (int, error) {
	m, err := parseMeta(f, 0)
	if err == nil {
		return m.PageSize, nil
	}
	for at := int64(minPageBytes); at <= maxPageBytes && at < size; at *= 2 {
		if m, err := parseMeta(f, at); err == nil && int64(m.PageSize) == at {
			return m.PageSize, nil
		}
	}
	return 0, damaged("no meta page is valid: %v", err)
}

func parseMeta(f io.ReaderAt, at int64) (Meta, error) {
	var b [metaBytes]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return Meta{}, readError(err)
	}
	order := binary.NativeEndian
	sum := fnv.New64a()
	_, _ = sum.Write(b[headerBytes : metaBytes-8]) // a hash takes all
	m := Meta{
		PageSize: int(order.Uint32(b[24:])), Root: order.Uint64(b[32:]), Freelist: order.Uint64(b[48:]),
		HighWater: order.Uint64(b[56:]), TxID: order.Uint64(b[64:]),
	}
	switch {
	case order.Uint32(b[16:]) != magic:
		return Meta{}, damaged("it is none of bbolt's")
	case order.Uint32(b[20:]) != version:
		return Meta{}, damaged("version %d, want %d", order.Uint32(b[20:]), version)
	case order.Uint64(b[72:]) != sum.Sum64():
		return Meta{}, damaged("its checksum differs")
	case m.PageSize < minPageBytes || m.PageSize > maxPageBytes || m.PageSize&(m.PageSize-1) != 0:
		return Meta{}, damaged("pages of %d bytes", m.PageSize)
	}
	return m, nil
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrDamaged)
}

// readError makes an early end of the file damage. Other errors are the disk's.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("the file ends too early")
	}
	return err
}
