//go:build unix

package disk

func (l *LockFile) tryShared() error { return lockShared(l.f.Fd()) }

func (l *LockFile) tryAlone() error { return lock(l.f.Fd()) }

func (l *LockFile) unlock() error { return unlock(l.f.Fd()) }
