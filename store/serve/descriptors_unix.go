//go:build linux || darwin || freebsd

package serve

import "golang.org/x/sys/unix"

// descriptors returns how many files this process may have open; 0 means no limit, or one
// that is not known.
func descriptors() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur > maxDescriptors {
		return 0
	}
	return int(limit.Cur)
}
