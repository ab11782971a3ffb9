//go:build !unix

package disk

func lock(uintptr) error { return nil }

func lockShared(uintptr) error { return nil }

func unlock(uintptr) error { return nil }
