package serve

import (
	"fmt"
	"testing"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// However many manifests there are, and whatever they say, what is remembered has an end.
func TestDescribedHasAnEnd(t *testing.T) {
	var m described
	for i := range 3 * maxDescribed / 1000 {
		m.add(referrer{layout.Descriptor{Digest: digest.FromString(fmt.Sprint(i)), Size: 1}, 1000})
		held := 0
		for _, r := range m.all {
			held += r.bytes
		}
		if held > maxDescribed || held != m.bytes {
			t.Fatalf("after %d: %d bytes are held, %d counted", i, held, m.bytes)
		}
	}
	huge := layout.Descriptor{Digest: digest.FromString("huge"), Size: 1}
	m.add(referrer{huge, maxDescribed + 1})
	if _, ok := m.find(huge); ok {
		t.Error("one that is too large is remembered")
	}
}

// The bytes alone do not say what a manifest is: it is read by its media type.
func TestDescribedByMediaType(t *testing.T) {
	var m described
	d := layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString("x"), Size: 1}
	m.add(referrer{d, 10})
	if _, ok := m.find(d); !ok {
		t.Error("it is not remembered")
	}
	for _, other := range []layout.Descriptor{{MediaType: layout.MediaTypeIndex, Digest: d.Digest, Size: 1}, {MediaType: d.MediaType, Digest: d.Digest, Size: 2}} {
		if _, ok := m.find(other); ok {
			t.Errorf("%+v is taken for %+v", other, d)
		}
	}
}
