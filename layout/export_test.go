package layout

import "io"

// What the tests in package layout_test need from inside.

// AppendHeader is appendHeader.
func AppendHeader(b []byte, name string, size int64) []byte { return appendHeader(b, name, size) }

// IndexTar opens a tar with a limit of its own on the number of entries.
func IndexTar(r io.ReaderAt, size int64, limit int) error {
	a := newArchive("test", r)
	a.limit = limit
	return a.open(size)
}

// WithLimits returns o with lower limits.
func (o WalkOptions) WithLimits(manifests, attached int) WalkOptions {
	o.maxManifests, o.maxAttached = manifests, attached
	return o
}

// MayBeManifest is mayBeManifest.
func MayBeManifest(head []byte) bool { return mayBeManifest(head) }
