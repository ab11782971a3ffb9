package pages

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// The types of a page.
const (
	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10
)

// bucketEntry marks an element of a leaf page that is a bucket.
const bucketEntry = 0x01

// maxDepth is how deep branches and buckets may be nested. A database with 10⁹ keys has a
// depth of about 10.
const maxDepth = 64

// MaxProblems is how many problems Check reports.
const MaxProblems = 100

// Problem is one thing that is wrong.
type Problem struct {
	Page uint64
	Err  error // matches ErrDamaged, or is an error of the disk
	// Noticed: bbolt refuses the page by itself when it reads it. Of any other problem it
	// may know nothing: it finds less than there is, or never ends.
	Noticed bool
}

func (p Problem) Error() string { return fmt.Sprintf("page %d: %v", p.Page, p.Err) }

// Unwrap returns the error without the page.
func (p Problem) Unwrap() error { return p.Err }

// Check reads all branch and leaf pages that m leads to, once. For a database that is to be
// written it also reads the list of free pages: a page that is free and in use would be
// written over. It uses memory of one bit for each page, and a few pages.
func Check(f io.ReaderAt, m Meta, writable bool) []Problem {
	c := &checking{f: f, meta: m, seen: make([]uint64, m.HighWater/64+1)}
	c.mark(0, 2)
	c.page(m.Root, bounds{}, 0, true)
	if writable {
		if m.Other != nil {
			c.add(0, m.Other, false)
		}
		c.freelist()
	}
	return c.problems
}

type checking struct {
	f        io.ReaderAt
	meta     Meta
	seen     []uint64 // bits, by page
	problems []Problem
	buffers  [maxDepth + 1][]byte // for the page at each depth
}

func (c *checking) add(page uint64, err error, noticed bool) {
	if len(c.problems) < MaxProblems {
		c.problems = append(c.problems, Problem{page, err, noticed})
	}
}

func (c *checking) has(page uint64) bool { return c.seen[page/64]&(1<<(page%64)) != 0 }

// mark notes that pages are in use; it returns false if one was already.
func (c *checking) mark(page, n uint64) bool {
	fresh := true
	for i := page; i < page+n; i++ {
		fresh = fresh && !c.has(i)
		c.seen[i/64] |= 1 << (i % 64)
	}
	return fresh
}

// bounds are what the keys of a page have to be between: from, and before. nil is none.
type bounds struct{ from, before []byte }

// page is a page as it was read.
type page struct {
	id    uint64
	kind  uint16
	count int
	data  []byte // with the header, and what it overflows into
}

// read reads a page and its overflow, and marks them. It reports what is wrong. The data
// is good until another page of that depth is read.
func (c *checking) read(id uint64, depth int) (page, bool) {
	if id < 2 || id >= c.meta.HighWater {
		c.add(id, damaged("beyond the %d pages that there are", c.meta.HighWater), false)
		return page{}, false
	}
	var head [headerBytes]byte
	at := int64(id) * int64(c.meta.PageSize)
	if _, err := c.f.ReadAt(head[:], at); err != nil {
		c.add(id, readError(err), false)
		return page{}, false
	}
	order := binary.NativeEndian
	p := page{id: id, kind: order.Uint16(head[8:]), count: int(order.Uint16(head[10:]))}
	if got := order.Uint64(head[:]); got != id {
		c.add(id, damaged("it says that it is page %d", got), true)
		return page{}, false
	}
	n := uint64(order.Uint32(head[12:])) + 1
	if n > c.meta.HighWater-id {
		c.add(id, damaged("it has %d pages, and there are %d", n, c.meta.HighWater-id), false)
		return page{}, false
	}
	if !c.mark(id, n) {
		c.add(id, damaged("it is in use twice"), false)
		return page{}, false
	}
	size := int(n) * c.meta.PageSize
	if cap(c.buffers[depth]) < size {
		c.buffers[depth] = make([]byte, size)
	}
	p.data = c.buffers[depth][:size]
	if _, err := c.f.ReadAt(p.data, at); err != nil {
		c.add(id, readError(err), false)
		return page{}, false
	}
	return p, true
}

// page checks a branch or leaf page and what is below it.
func (c *checking) page(id uint64, in bounds, depth int, root bool) {
	if len(c.problems) >= MaxProblems {
		return
	}
	if depth > maxDepth {
		c.add(id, damaged("nested more than %d times", maxDepth), false)
		return
	}
	p, ok := c.read(id, depth)
	if !ok {
		return
	}
	switch p.kind {
	case branchPage:
		c.branch(p, in, depth)
	case leafPage:
		if p.count == 0 && !root {
			c.add(id, damaged("it is empty"), false)
		}
		c.leaf(p, p.data, in, depth, true)
	case metaPage, freelistPage:
		c.add(id, damaged("it is in a tree, and of type %#x", p.kind), false)
	default:
		c.add(id, damaged("its type is %#x", p.kind), true)
	}
}

// branch checks the keys of a branch page, and the pages that it leads to.
func (c *checking) branch(p page, in bounds, depth int) {
	if p.count == 0 || headerBytes+p.count*elementBytes > len(p.data) {
		c.add(p.id, damaged("a branch with %d elements", p.count), false)
		return
	}
	order := binary.NativeEndian
	keys, below := make([][]byte, p.count), make([]uint64, p.count)
	for i := range p.count {
		at := headerBytes + i*elementBytes
		e := p.data[at:]
		keys[i] = cut(p.data, uint64(at)+uint64(order.Uint32(e)), uint64(order.Uint32(e[4:])))
		below[i] = order.Uint64(e[8:])
		if keys[i] == nil {
			c.add(p.id, damaged("element %d is beyond its end", i), false)
			return
		}
	}
	if !c.ordered(p.id, keys, in) {
		return
	}
	for i, id := range below {
		next := bounds{keys[i], in.before}
		if i+1 < len(keys) {
			next.before = keys[i+1]
		}
		c.page(id, next, depth+1, false)
	}
}

// leaf checks the elements in data, a leaf page or an inline bucket of page p.
func (c *checking) leaf(p page, data []byte, in bounds, depth int, buckets bool) {
	order := binary.NativeEndian
	count := int(order.Uint16(data[10:]))
	if headerBytes+count*elementBytes > len(data) {
		c.add(p.id, damaged("a leaf with %d elements", count), false)
		return
	}
	keys := make([][]byte, count)
	for i := range count {
		at := headerBytes + i*elementBytes
		e := data[at:]
		flags, start := order.Uint32(e), uint64(at)+uint64(order.Uint32(e[4:]))
		keyBytes := uint64(order.Uint32(e[8:]))
		keys[i] = cut(data, start, keyBytes)
		value := cut(data, start+keyBytes, uint64(order.Uint32(e[12:])))
		switch {
		case keys[i] == nil || value == nil:
			c.add(p.id, damaged("element %d is beyond its end", i), false)
			return
		case flags == 0:
		case flags == bucketEntry && buckets:
			c.bucket(p, value, depth)
		default:
			c.add(p.id, damaged("element %d has the flags %#x", i, flags), false)
		}
	}
	c.ordered(p.id, keys, in)
}

// bucket checks a bucket: one that is inline, or has pages of its own.
func (c *checking) bucket(p page, value []byte, depth int) {
	if len(value) < headerBytes {
		c.add(p.id, damaged("a bucket of %d bytes", len(value)), false)
		return
	}
	root := binary.NativeEndian.Uint64(value)
	if root != 0 {
		c.page(root, bounds{}, depth+1, true)
		return
	}
	inline := value[headerBytes:]
	if len(inline) < headerBytes || binary.NativeEndian.Uint16(inline[8:]) != leafPage {
		c.add(p.id, damaged("an inline bucket that is no leaf"), false)
		return
	}
	c.leaf(p, inline, bounds{}, depth, false)
}

// ordered reports keys that are not in order, or not within their bounds.
func (c *checking) ordered(id uint64, keys [][]byte, in bounds) bool {
	for i, k := range keys {
		switch {
		case i > 0 && bytes.Compare(keys[i-1], k) >= 0:
			c.add(id, damaged("key %d is not after the one before it", i), false)
			return false
		case i == 0 && in.from != nil && bytes.Compare(in.from, k) > 0,
			i == len(keys)-1 && in.before != nil && bytes.Compare(k, in.before) >= 0:
			c.add(id, damaged("key %d does not belong there", i), false)
			return false
		}
	}
	return true
}

// cut returns n bytes of data from start on; nil if there are fewer.
func cut(data []byte, start, n uint64) []byte {
	if start > uint64(len(data)) || n > uint64(len(data))-start {
		return nil
	}
	return data[start : start+n : start+n]
}

// freelist checks that no free page is in use, and that each page is one or the other.
func (c *checking) freelist() {
	id := c.meta.Freelist
	if id == noFreelist {
		c.add(0, damaged("it has no list of free pages"), false)
		return
	}
	p, ok := c.read(id, 0)
	if !ok {
		return
	}
	order := binary.NativeEndian
	ids, count := p.data[headerBytes:], uint64(p.count)
	if p.count == 0xFFFF && len(ids) >= 8 {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if p.kind != freelistPage || count > uint64(len(ids)/8) {
		c.add(id, damaged("no list of free pages: type %#x, %d of them", p.kind, count), false)
		return
	}
	for i := range count {
		free := order.Uint64(ids[i*8:])
		if free < 2 || free >= c.meta.HighWater {
			c.add(id, damaged("free page %d is beyond the %d pages that there are", free, c.meta.HighWater), false)
		} else if !c.mark(free, 1) {
			c.add(id, damaged("page %d is free, and in use or free twice", free), false)
		}
	}
}

// Lost counts the pages that are neither in use nor free. They are wasted, and no danger.
func Lost(f io.ReaderAt, m Meta) (n int) {
	c := &checking{f: f, meta: m, seen: make([]uint64, m.HighWater/64+1)}
	c.mark(0, 2)
	c.page(m.Root, bounds{}, 0, true)
	c.freelist()
	for i := range m.HighWater {
		if !c.has(i) {
			n++
		}
	}
	return n
}
