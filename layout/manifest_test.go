package layout_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

var (
	sumA = `"sha256:` + strings.Repeat("a", 64) + `"`
	sumB = `"sha256:` + strings.Repeat("b", 64) + `"`
)

// parse reads raw as a manifest of a media type.
func parse(mediaType, raw string) (*layout.Manifest, error) {
	d := layout.Descriptor{MediaType: mediaType, Digest: digest.FromString(raw), Size: int64(len(raw))}
	return layout.ParseManifest(d, []byte(raw))
}

// refusesManifest parses raw as an image manifest and wants an error that is want.
func refusesManifest(t *testing.T, what, mediaType, raw string, want error) {
	t.Helper()
	_, err := parse(mediaType, raw)
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v\n%.300s", what, err, want, raw)
	} else if len(err.Error()) > 2000 {
		t.Errorf("%s: an error of %d bytes", what, len(err.Error()))
	}
}

const (
	blobDesc  = `{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%s,"size":1}`
	childDesc = `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%s,"size":1}`
)

func blobAt(sum string) string  { return fmt.Sprintf(blobDesc, sum) }
func childAt(sum string) string { return fmt.Sprintf(childDesc, sum) }

// bodies are the fields of each family of documents.
var bodies = map[string]string{
	"image":       `"schemaVersion":2,"config":` + blobAt(sumA) + `,"layers":[` + blobAt(sumB) + `]`,
	"index":       `"schemaVersion":2,"manifests":[` + childAt(sumA) + `]`,
	"artifact":    `"blobs":[` + blobAt(sumA) + `],"subject":` + childAt(sumB),
	"empty":       `"schemaVersion":2`,
	"image+index": `"schemaVersion":2,"config":` + blobAt(sumA) + `,"layers":[],"manifests":[` + childAt(sumA) + `]`,
	"index+blobs": `"schemaVersion":2,"manifests":[],"blobs":[` + blobAt(sumA) + `]`,
	"image+blobs": `"schemaVersion":2,"config":` + blobAt(sumA) + `,"blobs":[]`,
	"layers only": `"schemaVersion":2,"layers":[` + blobAt(sumB) + `]`,
	"schema1":     `"schemaVersion":1,"name":"a","tag":"b","fsLayers":[{"blobSum":` + sumA + `}]`,
	"schema2of1":  `"schemaVersion":2,"config":` + blobAt(sumA) + `,"layers":[],"fsLayers":[]`,
}

// family says which bodies a media type may have.
var family = map[string][]string{
	layout.MediaTypeManifest:         {"image"},
	layout.MediaTypeDockerManifest:   {"image"},
	layout.MediaTypeIndex:            {"index", "empty"},
	layout.MediaTypeDockerList:       {"index", "empty"},
	layout.MediaTypeArtifactManifest: {"artifact", "empty"},
	layout.MediaTypeORASManifest:     {"artifact", "empty"},
}

// Every media type of a descriptor × every embedded media type × every shape.
func TestManifestTypeMatrix(t *testing.T) {
	described := append(slices.Clone(layout.ManifestTypes),
		layout.MediaTypeDockerSchema1, layout.MediaTypeDockerSchema1Sig, layout.MediaTypeImageConfig, layerType, "", "application/json")
	accepted := 0
	for _, mediaType := range described {
		for _, embedded := range append(slices.Clone(described), "absent", "null") {
			for name, body := range bodies {
				raw := `{` + body + `}`
				switch embedded {
				case "absent":
				case "null":
					raw = `{"mediaType":null,` + body + `}`
				default:
					raw = `{"mediaType":"` + embedded + `",` + body + `}`
				}
				silent := embedded == "absent" || embedded == "null" || embedded == ""
				artifact := mediaType == layout.MediaTypeArtifactManifest || mediaType == layout.MediaTypeORASManifest
				want := slices.Contains(family[mediaType], name) && (embedded == mediaType || silent && !artifact)
				m, err := parse(mediaType, raw)
				if (err == nil) != want {
					t.Errorf("described as %q, says %q, is %s: %v", mediaType, embedded, name, err)
				}
				if err != nil && !errors.Is(err, layout.ErrCorrupt) && !errors.Is(err, layout.ErrUnsupported) {
					t.Errorf("described as %q, says %q, is %s: %v has no kind", mediaType, embedded, name, err)
				}
				if err == nil {
					accepted++
					if m.MediaType != mediaType {
						t.Errorf("%s was read as %s", mediaType, m.MediaType)
					}
				}
			}
		}
	}
	if accepted < 20 {
		t.Errorf("only %d of the matrix were accepted: the test is broken", accepted)
	}
}

// No document is valid as two families.
func TestNoManifestIsTwoThings(t *testing.T) {
	for name, body := range bodies {
		var families []string
		for _, mediaType := range layout.ManifestTypes {
			if _, err := parse(mediaType, `{`+body+`}`); err == nil {
				families = append(families, strings.Join(family[mediaType], " "))
			}
		}
		slices.Sort(families)
		if families = slices.Compact(families); len(families) > 1 {
			t.Errorf("%s can be read as %q", name, families)
		}
	}
}

func image(fields string) string {
	return `{"schemaVersion":2,"config":` + blobAt(sumA) + `,"layers":[]` + fields + `}`
}

func TestManifestSizes(t *testing.T) {
	for size, want := range map[string]error{
		"-1": layout.ErrCorrupt, "-9223372036854775808": layout.ErrCorrupt, "9223372036854775807": layout.ErrLimit,
		"17592186044417": layout.ErrLimit, "9223372036854775808": layout.ErrCorrupt, "18446744073709551615": layout.ErrCorrupt,
		"1.0": layout.ErrCorrupt, "1.5": layout.ErrCorrupt, "1e3": layout.ErrCorrupt, "1E+2": layout.ErrCorrupt, "1e999": layout.ErrCorrupt,
		`"1"`: layout.ErrCorrupt, "true": layout.ErrCorrupt, "[1]": layout.ErrCorrupt, "{}": layout.ErrCorrupt,
		"01": layout.ErrCorrupt, "+1": layout.ErrCorrupt, "0x10": layout.ErrCorrupt, "NaN": layout.ErrCorrupt, "- 1": layout.ErrCorrupt,
	} {
		d := strings.Replace(blobAt(sumA), `"size":1`, `"size":`+size, 1)
		refusesManifest(t, "config of size "+size, layout.MediaTypeManifest, `{"schemaVersion":2,"config":`+d+`}`, want)
		refusesManifest(t, "layer of size "+size, layout.MediaTypeManifest, strings.Replace(image(""), "[]", "["+d+"]", 1), want)
		refusesManifest(t, "subject of size "+size, layout.MediaTypeManifest, image(`,"subject":`+d), want)
		c := strings.Replace(childAt(sumA), `"size":1`, `"size":`+size, 1)
		refusesManifest(t, "child of size "+size, layout.MediaTypeIndex, `{"schemaVersion":2,"manifests":[`+c+`]}`, want)
		refusesManifest(t, "artifact's blob of size "+size, layout.MediaTypeORASManifest,
			`{"mediaType":"`+layout.MediaTypeORASManifest+`","blobs":[`+d+`]}`, want)
	}
	big := strings.Replace(childAt(sumA), `"size":1`, `"size":4194305`, 1)
	refusesManifest(t, "child of 4 MiB + 1", layout.MediaTypeIndex, `{"schemaVersion":2,"manifests":[`+big+`]}`, layout.ErrLimit)
}

func TestManifestDigests(t *testing.T) {
	for _, bad := range []string{
		`""`, `null`, `1`, `"sha256"`, `"sha256:"`, `"md5:d41d8cd98f00b204e9800998ecf8427e"`, `"sha256:../../etc/passwd"`,
		strings.ToUpper(sumA), sumA[:len(sumA)-2] + `"`, sumA[:len(sumA)-1] + `a"`, sumA[:len(sumA)-1] + `\u0000"`, sumA[:len(sumA)-1] + `\n"`,
	} {
		refusesManifest(t, "config "+bad, layout.MediaTypeManifest, strings.Replace(image(""), sumA, bad, 1), layout.ErrCorrupt)
		refusesManifest(t, "layer "+bad, layout.MediaTypeManifest, strings.Replace(image(""), "[]", "["+blobAt(bad)+"]", 1), layout.ErrCorrupt)
		refusesManifest(t, "subject "+bad, layout.MediaTypeManifest, image(`,"subject":`+blobAt(bad)), layout.ErrCorrupt)
		refusesManifest(t, "child "+bad, layout.MediaTypeIndex, `{"schemaVersion":2,"manifests":[`+childAt(bad)+`]}`, layout.ErrCorrupt)
	}
	refusesManifest(t, "a child that is a manifest and none", layout.MediaTypeIndex, `{"schemaVersion":2,"manifests":[`+blobAt(sumA)+`,`+childAt(sumA)+`]}`, layout.ErrCorrupt)
	refusesManifest(t, "a child that is of schema 1 and a manifest", layout.MediaTypeIndex,
		`{"schemaVersion":2,"manifests":[`+strings.Replace(childAt(sumA), layout.MediaTypeManifest, layout.MediaTypeDockerSchema1, 1)+`,`+childAt(sumA)+`]}`, layout.ErrCorrupt)
}

// What Go writes for an empty list is null, and has to stay readable.
func TestManifestNulls(t *testing.T) {
	for raw, mediaType := range map[string]string{
		`{"schemaVersion":2,"manifests":null}`:                                          layout.MediaTypeIndex,
		`{"schemaVersion":2,"config":` + blobAt(sumA) + `,"layers":null}`:               layout.MediaTypeManifest,
		image(`,"subject":null,"annotations":null,"manifests":null,"mediaType":null`):   layout.MediaTypeManifest,
		`{"schemaVersion":2,"manifests":[],"layers":null,"config":null,"subject":null}`: layout.MediaTypeIndex,
	} {
		if _, err := parse(mediaType, raw); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
	for raw, mediaType := range map[string]string{
		`null`: layout.MediaTypeIndex,
		`{"schemaVersion":2,"config":null,"layers":[]}`:                            layout.MediaTypeManifest,
		`{"schemaVersion":null,"manifests":[]}`:                                    layout.MediaTypeIndex,
		`{"schemaVersion":2,"manifests":[null]}`:                                   layout.MediaTypeIndex,
		`{"schemaVersion":2,"config":{},"layers":[]}`:                              layout.MediaTypeManifest,
		image(`,"subject":{}`):                                                     layout.MediaTypeManifest,
		image(`,"fsLayers":null`):                                                  layout.MediaTypeManifest,
		`{"mediaType":"` + layout.MediaTypeORASManifest + `","blobs":[null]}`:      layout.MediaTypeORASManifest,
		`{"mediaType":"` + layout.MediaTypeORASManifest + `","schemaVersion":"2"}`: layout.MediaTypeORASManifest,
	} {
		refusesManifest(t, "null", mediaType, raw, layout.ErrCorrupt)
	}
	for _, mediaType := range layout.ManifestTypes {
		for _, raw := range []string{"", " ", "null", "true", "0", `""`, "[]", "[{}]", "{}", "nul", "{", `{"`, "\xef\xbb\xbf{}"} {
			refusesManifest(t, "read as "+mediaType, mediaType, raw, layout.ErrCorrupt)
		}
	}
}

func TestManifestLimits(t *testing.T) {
	pad := func(n int) string { return image(`,"annotations":{"a":"` + strings.Repeat("x", n) + `"}`) }
	room := layout.MaxManifestBytes - len(pad(0))
	if _, err := parse(layout.MediaTypeManifest, pad(room)); err != nil {
		t.Errorf("4 MiB: %v", err)
	}
	refusesManifest(t, "4 MiB + 1", layout.MediaTypeManifest, pad(room+1), layout.ErrLimit)

	list := func(n int) string {
		return `{"schemaVersion":2,"manifests":[` + strings.TrimSuffix(strings.Repeat(childAt(sumA)+",", n), ",") + `]}`
	}
	if _, err := parse(layout.MediaTypeIndex, list(layout.MaxDescriptors)); err != nil {
		t.Errorf("%d children: %v", layout.MaxDescriptors, err)
	}
	refusesManifest(t, "one child too many", layout.MediaTypeIndex, list(layout.MaxDescriptors+1), layout.ErrLimit)
	layers := strings.TrimSuffix(strings.Repeat(blobAt(sumA)+",", layout.MaxDescriptors+1), ",")
	refusesManifest(t, "one layer too many", layout.MediaTypeManifest, strings.Replace(image(""), "[]", "["+layers+"]", 1), layout.ErrLimit)
}

func TestManifestReads(t *testing.T) {
	m, err := parse(layout.MediaTypeManifest, image(`,"artifactType":"a/b","subject":`+childAt(sumB)+`,"annotations":{"Digest":"free","digest":"text"}`))
	if err != nil {
		t.Fatal(err)
	}
	if m.ArtifactType != "a/b" || m.Subject == nil || len(m.Blobs()) != 1 || m.Annotations["Digest"] != "free" {
		t.Errorf("read as %+v", m)
	}
	if m, err = parse(layout.MediaTypeManifest, image("")); err != nil || m.ArtifactType != layerType {
		t.Errorf("artifact type %q of a manifest without: want the config's media type", m.ArtifactType)
	}
}

func TestCheckJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for raw, want := range map[string]error{
		`{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}`:                                  nil,
		`{"annotations":{"Size":"1","size":"2","sIze":"3"}}`:                         nil,
		`{"annotations":{"x":{"Digest":1}},"y":[{"annotations":{"MediaType":"x"}}]}`: nil,
		` {"a":"é 中 \ud83d\ude00"} ` + "\n":                                          nil,
		deep(layout.MaxJSONDepth):                                                    nil,
		deep(layout.MaxJSONDepth + 1):                                                layout.ErrLimit,
		strings.Repeat(`{"a":`, 1<<20):                                               layout.ErrLimit,
		strings.Repeat(`[`, 4<<20):                                                   layout.ErrLimit,

		// Twice the same key.
		`{"a":1,"a":1}`:                              layout.ErrCorrupt,
		`{"a":1,"\u0061":2}`:                         layout.ErrCorrupt,
		`{"":1,"":2}`:                                layout.ErrCorrupt,
		`{"a":{"b":1,"b":2}}`:                        layout.ErrCorrupt,
		`[[{"b":1,"c":{},"b":2}]]`:                   layout.ErrCorrupt,
		`{"annotations":{"a":"1","a":"2"}}`:          layout.ErrCorrupt,
		`{"annotations":{},"x":{},"annotations":{}}`: layout.ErrCorrupt,
		`{"annotations":{"x":{"a":1,"a":1}}}`:        layout.ErrCorrupt,
		"{\"a\xff\":1,\"a\xfe\":2}":                  layout.ErrCorrupt,
		`{"a\ud800":1,"a\udbff":2}`:                  layout.ErrCorrupt, // both U+FFFD to Go
		`{"schemaVersion":2,"manifests":[],"manifests":[` + childAt(sumA) + `]}`: layout.ErrCorrupt,

		// A known field in another spelling.
		`{"Size":1}`:                       layout.ErrCorrupt,
		`{"SIZE":1}`:                       layout.ErrCorrupt,
		`{"size":1,"ſize":2}`:              layout.ErrCorrupt, // long s: encoding/json takes it for s
		`{"digeſt":1}`:                     layout.ErrCorrupt,
		`{"\u017fize":1}`:                  layout.ErrCorrupt,
		`{"Annotations":{}}`:               layout.ErrCorrupt,
		`{"a":[{"b":{"mediatype":"x"}}]}`:  layout.ErrCorrupt,
		`{"OS.Version":1}`:                 layout.ErrCorrupt,
		`{"annotations":{},"Layers":[]}`:   layout.ErrCorrupt,
		`{"annotations":[],"a":{"OS":""}}`: layout.ErrCorrupt,
		`{"annotations":1,"Size":1}`:       layout.ErrCorrupt,

		// Not one JSON value.
		``: layout.ErrCorrupt, ` `: layout.ErrCorrupt, `{}{}`: layout.ErrCorrupt, `{} x`: layout.ErrCorrupt, `{}]`: layout.ErrCorrupt,
		"{}\x00": layout.ErrCorrupt, `{"a":1,}`: layout.ErrCorrupt, `[1,]`: layout.ErrCorrupt, `{"a" 1}`: layout.ErrCorrupt, `{a:1}`: layout.ErrCorrupt,
		`{"a":1]`: layout.ErrCorrupt, `[1}`: layout.ErrCorrupt, `{1:2}`: layout.ErrCorrupt, `[`: layout.ErrCorrupt, `{"a":`: layout.ErrCorrupt,
		`{} // comment`: layout.ErrCorrupt, `{"a":'b'}`: layout.ErrCorrupt, `{"a":.5}`: layout.ErrCorrupt, `{"a":"` + "\n" + `"}`: layout.ErrCorrupt,

		// Bytes that are no text.
		"{\"a\":\"\xff\"}": layout.ErrCorrupt, "{\"a\":\"\xc0\x80\"}": layout.ErrCorrupt, "{\"a\":\"\xed\xa0\x80\"}": layout.ErrCorrupt,
		"\xff\xfe{\x00}\x00": layout.ErrCorrupt,
	} {
		err := layout.CheckJSON([]byte(raw))
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("CheckJSON(%.80q) = %v, want %v", raw, err, want)
		}
		if err == nil && !json.Valid([]byte(raw)) {
			t.Errorf("CheckJSON(%.80q) passes what is no JSON", raw)
		}
	}
}

// Every key that a descriptor has, spelled in every case, in every place.
func TestCheckJSONEverySpelling(t *testing.T) {
	for _, key := range []string{
		"schemaVersion", "mediaType", "artifactType", "config", "layers", "blobs", "manifests", "subject", "annotations",
		"digest", "size", "urls", "data", "platform", "architecture", "os", "os.version", "os.features", "variant", "fsLayers",
	} {
		for i := range key {
			flipped := []byte(key)
			if flipped[i] ^= 0x20; !bytes.EqualFold(flipped, []byte(key)) {
				continue // the dot
			}
			for _, form := range []string{`{"%s":null}`, `{"x":{"%s":1}}`, `[[{"%s":[]}]]`, `{"annotations":{"x":""},"%s":1}`} {
				if err := layout.CheckJSON(fmt.Appendf(nil, form, flipped)); !errors.Is(err, layout.ErrCorrupt) {
					t.Errorf("%q for %q: %v", flipped, key, err)
				}
				if err := layout.CheckJSON(fmt.Appendf(nil, form, key)); err != nil && form != `{"annotations":{"x":""},"%s":1}` {
					t.Errorf("%q: %v", key, err)
				}
			}
		}
	}
}
