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

// Write implements [io.Writer].
func (w *SparseWriter) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		run := p[done:min(done+sparseRun, len(p))]
		if !bytes.Equal(run, zeros[:len(run)]) {
			if n, err := w.File.WriteAt(run, w.Off); err != nil {
				w.Off += int64(n)
				return done + n, err
			}
		}
		w.Off += int64(len(run))
		done += len(run)
	}
	return len(p), nil
}

// Finish gives a file that ends with what was written its full size.
func (w *SparseWriter) Finish() error { return w.File.Truncate(w.Off) }
