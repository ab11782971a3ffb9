package layout_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"testing"
	"unicode/utf8"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// classified says whether an error tells the caller what kind it is.
func classified(err error) bool {
	return errors.Is(err, layout.ErrCorrupt) || errors.Is(err, layout.ErrLimit) ||
		errors.Is(err, layout.ErrUnsupported) || errors.Is(err, layout.ErrNotFound)
}

// What passes CheckJSON is JSON, and a reader that minds case sees in it what
// encoding/json sees.
func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `null`, `{"a":1,"a":2}`, `{"size":1,"ſize":2}`, `{"annotations":{"Size":"1"}}`, `{"a":[1,2.5e3,{"b":"\u0000"}]}`,
		"{\"a\":\"\xff\"}", `{}{}`, `[[[[`, `{"mediaType":"x","MediaType":"y"}`, image(""), `{"schemaVersion":2,"manifests":[` + childAt(sumA) + `]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		err := layout.CheckJSON(raw)
		if err != nil {
			if !classified(err) {
				t.Errorf("error without a kind: %v", err)
			}
			return
		}
		if !json.Valid(raw) || !utf8.Valid(raw) {
			t.Fatalf("passes what is no JSON: %q", raw)
		}
		var lax layout.Descriptor
		var exact map[string]json.RawMessage
		if json.Unmarshal(raw, &lax) != nil || json.Unmarshal(raw, &exact) != nil {
			return
		}
		var size int64
		if s, ok := exact["size"]; ok && json.Unmarshal(s, &size) != nil || size != lax.Size {
			t.Errorf("size is %d or %d, by reader: %q", size, lax.Size, raw)
		}
	})
}

// What ParseManifest accepts is inside the grammar, has one meaning, and is the
// same when its own fields are written out and read again.
func FuzzParseManifest(f *testing.F) {
	for _, content := range []layouttest.Content{layouttest.Everything("a/b"), layouttest.SHA512("a/b")} {
		for _, items := range content.Repositories {
			for _, item := range items {
				for i, mediaType := range layout.ManifestTypes {
					if item.Descriptor.MediaType == mediaType {
						f.Add(byte(i), item.Bytes)
					}
				}
			}
		}
	}
	for name, body := range bodies {
		f.Add(byte(len(name)), []byte("{"+body+"}"))
	}
	f.Fuzz(func(t *testing.T, kind byte, raw []byte) {
		mediaType := layout.ManifestTypes[int(kind)%len(layout.ManifestTypes)]
		d := layout.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		m, err := layout.ParseManifest(d, raw)
		if err != nil {
			if m != nil || !classified(err) {
				t.Errorf("%v, %v", m, err)
			}
			return
		}
		all := append(m.Blobs(), m.Manifests...)
		if m.Subject != nil {
			all = append(all, *m.Subject)
		}
		for _, d := range all {
			if err := layout.CheckDescriptor(d); err != nil {
				t.Errorf("accepts %v", err)
			}
		}
		if layout.IsIndex(mediaType) && len(m.Layers) > 0 || !layout.IsIndex(mediaType) && len(m.Opaque) > 0 || !layout.IsIndex(mediaType) && len(m.Manifests) > 0 {
			t.Error("is an index and a manifest")
		}
		layout.KindOf(m)
		again, err := layout.ParseManifest(d, raw)
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("read again: %v", err)
		}
	})
}

// No archive makes the reader panic, run away or hand out content that does not
// match; and what passes for ours is, in every header byte, what we would write.
func FuzzOpenTar(f *testing.F) {
	mine, _ := bundled(f, tiny())
	f.Add(mine)
	f.Add(pack(f, simple(f)...))
	f.Add(pack(f, dockerSave(f)...))
	f.Add(own(simple(f)...))
	f.Add(make([]byte, 1024))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := openBytes(data)
		if err != nil {
			if r != nil || !classified(err) {
				t.Errorf("%v, %v", r, err)
			}
			return
		}
		if r.Own() && !bytes.Equal(again(t, data), data) {
			t.Errorf("passes for ours and is not what we write")
		}
		err = readReader(t, r)
		if err != nil && !classified(err) {
			t.Errorf("error without a kind: %v", err)
		}
		err = r.Blobs(func(d digest.Digest, size int64) error {
			_, err := layout.ParseDigest(string(d))
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// again reads an archive with another reader and writes it in our form.
func again(t *testing.T, data []byte) []byte {
	var members []member
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return own(members...)
		}
		if err != nil {
			t.Fatalf("passes for ours and is not readable: %v", err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, member{name: h.Name, data: body})
	}
}

// A reference that was read writes itself out in a form that reads the same.
func FuzzParseReference(f *testing.F) {
	hex := sumA[len(`"sha256:`) : len(sumA)-1]
	for _, seed := range []string{
		"ubuntu", "ubuntu:22.04", "docker.io/library/ubuntu:latest", "reg.example:5000/a/b:v1", "reg.example/a@sha256:" + hex,
		"a/b:v1@sha256:" + hex, "localhost/x", "[::1]:5000/x:y", "", ":", "@", "/", "a//b", "A/b", "a:b:c", "a@sha256:" + hex + "@sha256:" + hex,
		"../../etc/passwd", "a@md5:d41d8cd98f00b204e9800998ecf8427e", "a@sha256:../..", hex, "http://a/b", "a b", "a\x00b", "x@sha512:" + hex + hex,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := layout.ParseReference(s)
		if err != nil {
			return
		}
		if ref.Digest != "" {
			if _, err := layout.ParseDigest(string(ref.Digest)); err != nil {
				t.Errorf("%q has digest %v", s, err)
			}
		}
		if ref.Repository == "" || ref.Registry() == "" || ref.Tag == "" && ref.Digest == "" {
			t.Errorf("%q is read as %+v", s, ref)
		}
		for _, written := range []string{ref.String(), ref.Name()} {
			again, err := layout.ParseReference(written)
			if err != nil || again.Repository != ref.Repository || again.Tag != ref.Tag {
				t.Errorf("%q is written as %q, and that is read as %+v, %v", s, written, again, err)
			}
		}
		if again, _ := layout.ParseReference(ref.String()); again != ref {
			t.Errorf("%q is %+v, and then %+v", s, ref, again)
		}
	})
}
