package store

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"syscall"

	"airgap/layout/disk"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// A database needs space even to forget something. A file with nothing of value in it keeps
// some: who frees space, or keeps content from being served, gives it up when the disk is
// full, and makes it again afterwards.
const (
	reserveName  = "reserve"
	reserveBytes = 1 << 20
)

// makeReserve makes the reserve, unless it is there. Without one nothing is worse than it
// was, so that errors do not count. The publication is held.
func (s *Store) makeReserve() {
	if there, err := disk.Exists(s.fs, reserveName); there || err != nil {
		return
	}
	const temp = ingestDir + "/" + reserveName
	if err := s.fillReserve(temp); err != nil || s.fs.Rename(temp, reserveName) != nil {
		_ = s.fs.Remove(temp)
	}
}

// fillReserve writes bytes that no file system makes smaller.
func (s *Store) fillReserve(temp string) error {
	f, err := s.fs.Open(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	noise := rand.NewChaCha8([32]byte{})
	data := make([]byte, reserveBytes)
	_, _ = noise.Read(data) // it never fails
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// giveReserve gives the reserve up; it returns false if there is none. The publication is
// held.
func (s *Store) giveReserve() (bool, error) {
	err := s.fs.Remove(reserveName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// isFull reports whether an error says that the disk, or the database, has no room.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, berrors.ErrMaxSizeReached)
}

// change changes the database, all or nothing. If it fails and the disk may have something
// of it all the same, the store has to be opened again. The publication is held.
func (s *Store) change(fn func(*bbolt.Tx) error) error {
	if s.changeFails != nil {
		if err := s.changeFails(); err != nil {
			return err
		}
	}
	recorded, state := false, 0
	err := s.update(func(tx *bbolt.Tx) error {
		err := fn(tx)
		recorded, state = err == nil, tx.ID()
		return err
	})
	if recorded && err != nil && !s.undone(err, state) { // else nothing was written
		s.lost("database", err)
	}
	return err
}

// changeFreeing is change for what frees space, or keeps content from being served: if the
// disk is full it is done with the reserve. fn may be called twice.
func (s *Store) changeFreeing(fn func(*bbolt.Tx) error) error {
	err := s.change(fn)
	if !isFull(err) || s.usable() != nil {
		return err
	}
	given, gerr := s.giveReserve()
	if !given {
		return errors.Join(err, gerr)
	}
	return s.change(fn)
}
