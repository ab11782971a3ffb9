package layout

import (
	"bytes"
	"fmt"
)

// The one header form that a bundle of ours has: GNU tar (as in GNU tar's
// manual, "Basic Tar Format"), every field fixed but name, size and checksum.
//
//	offset size field     value
//	     0  100 name      NUL-padded; a longer one as below
//	   100    8 mode      "0000644\0"
//	   108    8 uid       "0000000\0"
//	   116    8 gid       "0000000\0"
//	   124   12 size      11 octal digits and NUL; from 8 GiB on 0x80 and 11 bytes big-endian
//	   136   12 mtime     "00000000000\0"
//	   148    8 checksum  6 octal digits, NUL, space
//	   156    1 typeflag  '0', or 'L' before a long name
//	   157  100 linkname  zero
//	   257    8 magic     "ustar  \0"
//	   265   32 uname     "airgap"
//	   297  215 the rest  zero
//
// A name of more than 100 bytes (only blobs/sha512/… is that long) comes in an
// entry of its own before the header, named "././@LongLink", type 'L', holding
// the name and a NUL; the header then has the name's first 100 bytes.
const (
	blockSize   = 512
	nameSize    = 100
	longLink    = "././@LongLink"
	markerUname = "airgap"
	octalLimit  = 1 << 33 // sizes from here on need the base-256 form
	endBlocks   = 2       // zero blocks that end the archive
)

// headerSize is how many bytes stand before an entry's data.
func headerSize(name string) int64 {
	if len(name) > nameSize {
		return 3 * blockSize
	}
	return blockSize
}

// appendHeader appends an entry's header in canonical form.
func appendHeader(b []byte, name string, size int64) []byte {
	if len(name) > nameSize {
		b = appendBlock(b, longLink, int64(len(name)+1), 'L')
		var data [blockSize]byte
		copy(data[:], name)
		b = append(b, data[:]...)
		name = name[:nameSize]
	}
	return appendBlock(b, name, size, '0')
}

func appendBlock(b []byte, name string, size int64, typeflag byte) []byte {
	var h [blockSize]byte
	copy(h[0:], name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	if size < octalLimit {
		copy(h[124:], fmt.Sprintf("%011o\x00", size))
	} else {
		h[124] = 0x80
		for i, s := 135, size; i > 124 && s > 0; i, s = i-1, s>>8 {
			h[i] = byte(s)
		}
	}
	copy(h[136:], "00000000000\x00")
	copy(h[148:], "        ")
	h[156] = typeflag
	copy(h[257:], "ustar  \x00")
	copy(h[265:], markerUname)
	copy(h[148:], fmt.Sprintf("%06o\x00 ", checksum(h[:])))
	return append(b, h[:]...)
}

// checksum is the sum of all bytes with the checksum field taken as spaces.
func checksum(h []byte) int64 {
	sum := int64(8 * ' ')
	for i, c := range h {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	return sum
}

// padding is how many zero bytes follow size bytes of data.
func padding(size int64) int64 { return -size & (blockSize - 1) }

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
