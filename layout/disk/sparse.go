package disk

import "bytes"

// SparseWriter writes to a file from Off on and leaves runs of zeros out. Where
// it writes, the file has to read as zeros already, as a new one does; then the
// content is the same, and zeros take no space on the disk.
type SparseWriter struct {
	File File
	Off  int64
}

// sparseRun is the size of the runs that are looked at, a multiple of every
// common block size.
const sparseRun = 64 << 10

var zeros [sparseRun]byte

// Write implements [io.Writer]. What lies between two runs of zeros goes out in
// one piece.
func (w *SparseWriter) Write(p []byte) (int, error) {
	begun := 0
	flush := func(end int) error {
		n := 0
		var err error
		if begun < end {
			n, err = w.File.WriteAt(p[begun:end], w.Off)
		}
		begun += n
		w.Off += int64(n)
		return err
	}
	for done := 0; done < len(p); {
		end := min(done+sparseRun, len(p))
		if bytes.Equal(p[done:end], zeros[:end-done]) {
			if err := flush(done); err != nil {
				return begun, err
			}
			begun = end
			w.Off += int64(end - done)
		}
		done = end
	}
	err := flush(len(p))
	return begun, err
}

// Finish gives a file that ends with what was written its full size.
func (w *SparseWriter) Finish() error { return w.File.Truncate(w.Off) }
