//go:build interop && linux

package interop

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path"

	"github.com/klauspost/compress/zstd"
)

func plainBytes(data []byte) []byte { return data }

func gzipOf(data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(data)
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // into memory
	}
	return buf.Bytes()
}

func zstdOf(data []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(data, nil)
}

// packer has a tool of the system's compress.
func packer(tool string) func([]byte) []byte {
	return func(data []byte) []byte {
		out, err := the.do(invocation{tool: tool, args: []string{"-c"}, in: data})
		if err != nil {
			panic(err) // the test needs it
		}
		return []byte(out)
	}
}

// packedForms are compressed in other ways than they say.
func packedForms() []form {
	packed := func(what, as string, pack func([]byte) []byte, mediaType string) form {
		return form{name: what + " as " + as, change: func(im *formImage) { im.pack, im.layerType = pack, mediaType }}
	}
	members := func(data []byte) []byte {
		return append(gzipOf(data[:len(data)/2]), gzipOf(data[len(data)/2:])...)
	}
	junk := func(data []byte) []byte { return append(gzipOf(data), "and more behind"...) }
	nulls := func(data []byte) []byte { return append(gzipOf(data), make([]byte, 100)...) }
	return []form{
		packed("tar", "tar", plainBytes, typeTar),
		packed("tar", "octet-stream", plainBytes, typeOctets),
		packed("tar", "gzip", plainBytes, typeGzip),
		packed("gzip", "tar", gzipOf, typeTar),
		packed("xz", "tar", packer("xz"), typeTar),
		packed("bzip2", "tar", packer("bzip2"), typeTar),
		packed("xz", "octet-stream", packer("xz"), typeOctets),
		packed("bzip2", "in-toto", packer("bzip2"), typeInToto),
		packed("zstd", "octet-stream", zstdOf, typeOctets),
		packed("zstd", "zstd", zstdOf, typeZstd),
		packed("zstd", "gzip", zstdOf, typeGzip),
		packed("zstd", "tar", zstdOf, typeTar),
		packed("gzip of many members", "gzip", members, typeGzip),
		packed("gzip with junk behind", "gzip", junk, typeGzip),
		packed("gzip with NULs behind", "gzip", nulls, typeGzip),
	}
}

const (
	tarHeader   = 512
	tarSumStart = 148
	tarSumEnd   = 156
)

// tarOf is a tar of one program.
func tarOf(name string, content []byte) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Format: tar.FormatUSTAR})
	if err == nil {
		_, err = w.Write(content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // into memory
	}
	return buf.Bytes()
}

// sums adds up a header with blanks for the sum.
func sums(data []byte) (unsigned, signed int) {
	for i, c := range data[:tarHeader] {
		if i >= tarSumStart && i < tarSumEnd {
			c = ' '
		}
		unsigned, signed = unsigned+int(c), signed+int(int8(c))
	}
	return unsigned, signed
}

// tarForms have headers as few programs write them, and text that is a tar.
func tarForms() []form {
	var all []form
	for _, x := range []struct {
		name   string
		change func(header []byte)
	}{
		{"sum without zeros", func(h []byte) { resum(h, "%o\x00 ") }},
		{"sum with spaces", func(h []byte) { resum(h, " %o \x00") }},
		{"sum, NUL first", func(h []byte) { resum(h, "\x00%06o ") }},
		{"sum, 8 digits", func(h []byte) { resum(h, "%08o") }},
		{"V7", func(h []byte) { clear(h[257:tarHeader]); resum(h, "%06o\x00 ") }},
		{"signed sum", func(h []byte) {
			copy(h[265:], "\xc3\xa9\xc3\xa9")
			_, signed := sums(h)
			copy(h[tarSumStart:tarSumEnd], fmt.Sprintf("%06o\x00 ", signed))
		}},
	} {
		for _, mediaType := range []string{typeTar, typeOctets} {
			all = append(all, form{name: x.name + ", as " + mediaType, change: func(im *formImage) {
				x.change(im.tar)
				im.pack, im.layerType = plainBytes, mediaType
			}})
		}
	}
	for _, mediaType := range []string{typeTar, typeInToto} {
		statement := func(name string, text func() []byte) form {
			return form{name: name + ", as " + mediaType, volume: true, change: func(im *formImage) {
				im.tar, im.pack, im.layerType = text(), plainBytes, mediaType
			}}
		}
		all = append(all, statement("statement that is a tar", statementTar), statement("statement that is a tar, no sum", statementTarWithoutSum))
	}
	return all
}

func resum(header []byte, format string) {
	unsigned, _ := sums(header)
	copy(header[tarSumStart:tarSumEnd], "        ")
	copy(header[tarSumStart:tarSumEnd], fmt.Sprintf(format, unsigned))
}

// volumeFile is what the file in a statement that is a tar is called.
func volumeFile() string { return path.Clean(string(statementTar()[:100])) }

// statementTar is an in-toto statement in JSON, all of it text, that is a tar of one
// file with the greeting.
func statementTar() []byte {
	text := bytes.Repeat([]byte("a"), 4*tarHeader)
	copy(text, `{"_type":"https://in-toto.io/Statement/v0.1","x":"`)
	number := func(from, to int, format string, n int) { copy(text[from:to], fmt.Sprintf(format, n)) }
	number(100, 108, "%07o ", 0o755)
	number(108, 116, "%07o ", 0)
	number(116, 124, "%07o ", 0)
	number(124, 136, "%011o ", 3*tarHeader)
	number(136, 148, "%011o ", 0)
	text[156] = '0'
	copy(text[tarHeader:], "#!/bin/sh; echo "+greeting)
	copy(text[len(text)-2:], `"}`)
	resum(text, "%07o ")
	if !json.Valid(text) {
		panic("no JSON")
	}
	return text
}

// statementTarWithoutSum is the like for those who add up signed bytes, which come to
// nought here, and take blanks for nought.
func statementTarWithoutSum() []byte {
	text := statementTar()
	copy(text[tarSumStart:tarSumEnd], "        ")
	for i := 158; i < 510; i += 2 {
		copy(text[i:], "é")
	}
	_, signed := sums(text)
	const pair = 2*'a' + (0x100 - 0xc3) + (0x100 - 0xa9)
	i := 158
	for ; signed <= -pair; i, signed = i+2, signed+pair {
		copy(text[i:], "aa")
	}
	for i--; signed < 0; i-- {
		more := min(-signed, 'z'-'a')
		text[i], signed = text[i]+byte(more), signed+more
	}
	return text
}

// greeter is a program for linux/amd64 that prints the greeting, and what it is called;
// no two are the same, and they are so small that a hundred of them are nothing.
func greeter(name string) []byte {
	text := []byte(greeting + "\n")
	code := []byte{
		0xb8, 1, 0, 0, 0, // mov eax, 1 (write)
		0x89, 0xc7, // mov edi, eax
		0x48, 0x8d, 0x35, 16, 0, 0, 0, // lea rsi, [rip+16]
		0xba, byte(len(text)), 0, 0, 0, // mov edx, the length
		0x0f, 0x05, // syscall
		0xb8, 60, 0, 0, 0, // mov eax, 60 (exit)
		0x31, 0xff, // xor edi, edi
		0x0f, 0x05, // syscall
	}
	const headers, address = 64 + 56, 0x400000
	code = append(append(code, text...), name...)
	size := uint64(headers + len(code))
	out := append([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, make([]byte, 9)...)
	for _, v := range []any{
		uint16(2), uint16(62), uint32(1), uint64(address + headers), uint64(64), uint64(0), uint32(0), // executable, x86-64
		uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(address), uint64(address), size, size, uint64(0x1000), // one segment, to read and run
	} {
		var err error
		if out, err = binary.Append(out, binary.LittleEndian, v); err != nil {
			panic(err) // numbers of fixed size
		}
	}
	return append(out, code...)
}
