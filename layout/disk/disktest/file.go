package disktest

import (
	"io/fs"
	"os"

	"airgap/layout/disk"
)

// file is an open file of a folder with a fault.
type file struct {
	disk.File
	fs   *FS
	name string // as it was opened
}

// Open implements [disk.FS].
func (f *FS) Open(name string, flag int, perm fs.FileMode) (disk.File, error) {
	op := OpOpen
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE) != 0 {
		op = OpCreate
	}
	var inner disk.File
	err := f.do(op, name, func() (err error) {
		existed := true
		if flag&os.O_CREATE != 0 {
			if existed, err = disk.Exists(f.inner, name); err != nil {
				return err
			}
		}
		if inner, err = f.inner.Open(name, flag, perm); err != nil {
			return err
		}
		if !existed {
			f.created[name] = true
		}
		if flag&os.O_TRUNC != 0 {
			f.dirty[name] = true
		}
		return nil
	}, nil)
	if err != nil {
		if inner != nil {
			inner.Close()
		}
		return nil, err
	}
	return &file{File: inner, fs: f, name: name}, nil
}

func (f *file) Read(p []byte) (n int, err error) {
	err = f.fs.do(OpRead, f.name, func() (err error) { n, err = f.File.Read(p); return err }, nil)
	return n, err
}

func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.fs.do(OpRead, f.name, func() (err error) { n, err = f.File.ReadAt(p, off); return err }, nil)
	return n, err
}

func (f *file) Write(p []byte) (n int, err error) {
	return f.write(p, f.File.Write)
}

func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	return f.write(p, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *file) write(p []byte, inner func([]byte) (int, error)) (n int, err error) {
	put := func(p []byte) func() error {
		return func() (err error) {
			f.fs.dirty[f.name] = true
			n, err = inner(p)
			return err
		}
	}
	err = f.fs.do(OpWrite, f.name, put(p), put(p[:len(p)/2]))
	return n, err
}

func (f *file) Stat() (info fs.FileInfo, err error) {
	err = f.fs.do(OpStat, f.name, func() (err error) { info, err = f.File.Stat(); return err }, nil)
	return info, err
}

func (f *file) ReadDir(n int) (list []fs.DirEntry, err error) {
	err = f.fs.do(OpReadDir, f.name, func() (err error) { list, err = f.File.ReadDir(n); return err }, nil)
	return list, err
}

func (f *file) Truncate(size int64) error {
	return f.fs.do(OpTruncate, f.name, func() error {
		f.fs.dirty[f.name] = true
		return f.File.Truncate(size)
	}, nil)
}

// Sync makes a file's content durable, and a folder's names.
func (f *file) Sync() error {
	return f.fs.do(OpSync, f.name, func() error {
		info, err := f.File.Stat()
		if err != nil {
			return err
		}
		delete(f.fs.dirty, f.name)
		if info.IsDir() {
			f.fs.keepNames(f.name)
		}
		return f.File.Sync()
	}, nil)
}

// Close always closes, so that no test runs out of files.
func (f *file) Close() error {
	closed := false
	err := f.fs.do(OpClose, f.name, func() error { closed = true; return f.File.Close() }, nil)
	if !closed {
		f.File.Close()
	}
	return err
}
