package layout_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Tools to make archives, good and bad.

const layoutJSON = `{"imageLayoutVersion":"1.0.0"}`

// member is one entry of a tar. raw, if set, stands for the whole of it.
type member struct {
	name string
	data []byte
	kind byte // '0' if zero
	link string
	pax  map[string]string
	raw  []byte
}

// ustar makes an entry as it stands in a file, byte by byte: nothing that is
// asked for is refused.
func ustar(name string, kind byte, size []byte, link string, data []byte) []byte {
	h := make([]byte, 512, 512+len(data)+511)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	copy(h[124:136], size)
	copy(h[136:], "14000000000\x00")
	h[156] = kind
	copy(h[157:257], link)
	copy(h[257:], "ustar\x0000")
	seal(h)
	h = append(h, data...)
	return append(h, make([]byte, -len(data)&511)...)
}

// seal sets a header's checksum.
func seal(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h[:512] {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
}

func octal(n int) []byte { return fmt.Appendf(nil, "%011o\x00", n) }

// base256 is a size in GNU's binary form.
func base256(n int64) []byte {
	b := make([]byte, 12)
	if n < 0 {
		copy(b, "\xff\xff\xff\xff")
	}
	binary.BigEndian.PutUint64(b[4:], uint64(n))
	b[0] |= 0x80
	return b
}

// entry makes a plain file.
func entry(name string, data []byte) []byte { return ustar(name, '0', octal(len(data)), "", data) }

func (m member) bytes(t testing.TB) []byte {
	t.Helper()
	switch {
	case m.raw != nil:
		return m.raw
	case m.pax != nil:
		var records []byte
		for k, v := range m.pax {
			records = append(records, paxRecord(k, v)...)
		}
		return append(ustar("PaxHeaders.0/x", 'x', octal(len(records)), "", records), m.plain()...)
	case len(m.name) > 100:
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		if err := w.WriteHeader(&tar.Header{Name: m.name, Size: int64(len(m.data)), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.data); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	return m.plain()
}

func (m member) plain() []byte {
	kind := m.kind
	if kind == 0 {
		kind = '0'
	}
	return ustar(m.name, kind, octal(len(m.data)), m.link, m.data)
}

func paxRecord(k, v string) []byte {
	n := len(k) + len(v) + 3
	for {
		s := fmt.Sprintf("%d %s=%s\n", n, k, v)
		if len(s) == n {
			return []byte(s)
		}
		n = len(s)
	}
}

// pack makes a tar of members, with two zero blocks.
func pack(t testing.TB, members ...member) []byte {
	t.Helper()
	var out []byte
	for _, m := range members {
		out = append(out, m.bytes(t)...)
	}
	return append(out, make([]byte, 1024)...)
}

// indexJSON makes an index.json of descriptors.
func indexJSON(t testing.TB, ds ...layout.Descriptor) []byte {
	t.Helper()
	data, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: layout.MediaTypeIndex, Manifests: ds})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// named adds a name as other tools write it.
func named(d layout.Descriptor, name string) layout.Descriptor {
	d.Annotations = map[string]string{layout.AnnotationRefName: name}
	return d
}

// blobs makes members of all content.
func blobs(content layouttest.Content) []member {
	var out []member
	have := map[string]bool{}
	for _, repo := range content.Sorted() {
		for _, item := range content.Repositories[repo] {
			if name := layout.BlobPath(item.Descriptor.Digest); !have[name] {
				have[name] = true
				out = append(out, member{name: name, data: item.Bytes})
			}
		}
	}
	return out
}

// simple is the smallest archive that is worth attacking: one image.
func simple(t testing.TB) []member {
	t.Helper()
	b := layouttest.New("reg.example/app")
	image := b.Image("simple", b.Blob(layerType, []byte("layer")))
	return append([]member{
		{name: "oci-layout", data: []byte(layoutJSON)},
		{name: "index.json", data: indexJSON(t, named(image, "reg.example/app:v1"))},
	}, blobs(b.Content())...)
}

func openBytes(data []byte) (*layout.Reader, error) {
	return layout.OpenTar("test.tar", bytes.NewReader(data), int64(len(data)))
}
