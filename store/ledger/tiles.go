package ledger

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// tileHeight is that of c2sp.org/tlog-tiles.
const tileHeight = 8

// File is one of those that a log of some size consists of, as a folder of tiles
// (c2sp.org/tlog-tiles, but for the checkpoint, which has to be signed): tile/<level>/<n>
// and tile/entries/<n>, each with .p/<width> where it is not full yet.
type File struct {
	Name string
	tile tlog.Tile // of hashes, if it has a width
	from int64     // else the first entry, and how many
	w    int
}

// Files lists those of a log of that size.
func Files(size int64) []File {
	var out []File
	// Partial tiles of no full level below are of this size alone.
	for _, t := range tlog.NewTiles(tileHeight, 0, size) {
		out = append(out, File{Name: tilePath(fmt.Sprint(t.L), t.N, t.W), tile: t})
	}
	const width = 1 << tileHeight
	for from := int64(0); from < size; from += width {
		w := int(min(width, size-from))
		out = append(out, File{Name: tilePath("entries", from/width, w), from: from, w: w})
	}
	return out
}

// Read gives the bytes of a file. The log may have grown since.
func (l Log) Read(f File) ([]byte, error) {
	if f.tile.W > 0 {
		return tlog.ReadTileData(f.tile, tlog.HashReaderFunc(l.hashes))
	}
	return l.entryBundle(f.from, f.w)
}

// entryBundle is w entries, each after its length in two bytes.
func (l Log) entryBundle(from int64, w int) ([]byte, error) {
	var out []byte
	for n := from; n < from+int64(w); n++ {
		data, err := l.Entry(n)
		if err != nil {
			return nil, err
		}
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(data))), data...)
	}
	return out, nil
}

// tilePath is the path of a tile: n in groups of three digits, of which all but the
// last begin with an x.
func tilePath(level string, n int64, w int) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	if w < 1<<tileHeight {
		path += fmt.Sprintf(".p/%d", w)
	}
	return strings.Join([]string{"tile", level, path}, "/")
}

// ReadEntries reads the entries of a log of that size out of a folder of tiles, of which
// get gives the files. That they are those of a log is for its root to say.
func ReadEntries(size int64, get func(name string) ([]byte, error)) ([][]byte, error) {
	var out [][]byte
	const width = 1 << tileHeight
	for from := int64(0); from < size; from += width {
		w := int(min(width, size-from))
		name := tilePath("entries", from/width, w)
		data, err := get(name)
		if err != nil {
			return nil, err
		}
		for range w {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("%s: it has not %d entries: %w", name, w, ErrDamaged)
			}
			n := 2 + int(binary.BigEndian.Uint16(data))
			out, data = append(out, data[2:n]), data[n:]
		}
		if len(data) > 0 {
			return nil, fmt.Errorf("%s: it has more than %d entries: %w", name, w, ErrDamaged)
		}
	}
	return out, nil
}
