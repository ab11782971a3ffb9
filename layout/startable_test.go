package layout_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

const statementJSON = `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://slsa.dev/provenance/v0.2"}`

// polyglot is text that Go's archive/tar, GNU tar and containers/storage read as a tar:
// an in-toto statement whose bytes from 148 hold the sum of the first block.
func polyglot(t testing.TB) []byte {
	t.Helper()
	text := []byte(`{"_type":"https://in-toto.io/Statement/v0.1","x":"` + strings.Repeat("a", 2000) + `"}`)
	number := func(from, to int, format string, n int64) { copy(text[from:to], fmt.Sprintf(format, n)) }
	number(100, 108, "%07o ", 0o755)
	number(108, 116, "%07o ", 0)
	number(116, 124, "%07o ", 0)
	number(124, 136, "%011o ", 1024)
	number(136, 148, "%011o ", 0)
	copy(text[148:156], "        ")
	text[156] = '0'
	var sum int64
	for _, c := range text[:512] {
		sum += int64(c)
	}
	number(148, 156, "%07o ", sum)
	if _, err := tar.NewReader(bytes.NewReader(text)).Next(); err != nil {
		t.Fatalf("the polyglot is no tar: %v", err)
	}
	if !json.Valid(text) {
		t.Fatal("the polyglot is no JSON")
	}
	return text
}

// blankPolyglot is the like without any sum, which is right for readers that add signed
// bytes: these come to nought.
func blankPolyglot(t testing.TB) []byte {
	t.Helper()
	text := polyglot(t)
	copy(text[148:156], "        ")
	for i := 158; i < 510; i += 2 {
		copy(text[i:], "é")
	}
	var sum int
	for _, c := range text[:512] {
		sum += int(int8(c))
	}
	const pair = 'a' + 'a' - (0xc3 - 0x100) - (0xa9 - 0x100)
	i := 158
	for ; sum <= -pair; i, sum = i+2, sum+pair {
		copy(text[i:], "aa")
	}
	for i--; sum < 0; i-- {
		more := min(-sum, 'z'-'a')
		text[i], sum = text[i]+byte(more), sum+more
	}
	if _, err := tar.NewReader(bytes.NewReader(text)).Next(); err != nil || !json.Valid(text) {
		t.Fatalf("it is no tar, or no JSON: %d, %v", sum, err)
	}
	return text
}

// tarWith is a tar of one file whose header was changed and summed up anew.
func tarWith(t testing.TB, change func(header []byte), sum string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := w.WriteHeader(&tar.Header{Name: "run", Mode: 0o755, Size: 3, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = io.WriteString(w, "hi\n")
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	data := buf.Bytes()
	change(data)
	copy(data[148:156], "        ")
	n := 0
	for _, c := range data[:512] {
		n += int(c)
	}
	copy(data[148:156], fmt.Sprintf(sum, n))
	return data
}

// contents opens what it holds.
type contents map[digest.Digest][]byte

func (b contents) open(d layout.Descriptor) (io.ReadCloser, error) {
	data, ok := b[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", d.Digest, layout.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (b contents) add(mediaType string, data []byte) layout.Descriptor {
	d := layout.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	b[d.Digest] = data
	return d
}

// asManifest parses a manifest of a config and layers.
func asManifest(t testing.TB, config *layout.Descriptor, layers ...layout.Descriptor) *layout.Manifest {
	t.Helper()
	doc := layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: config, Layers: layers}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	d := layout.Descriptor{MediaType: doc.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	m, err := layout.ParseManifest(d, raw)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What engines were seen to start can be started, whatever its media types say.
func TestStartableLayers(t *testing.T) {
	plain := func([]byte) {}
	v7 := func(h []byte) { clear(h[257:345]) }
	layer := tarWith(t, plain, "%06o\x00 ")
	for what, test := range map[string]struct {
		data      []byte
		startable bool
	}{
		"an in-toto statement": {[]byte(statementJSON), false},
		"JSON over a block":    {[]byte(`{"a":"` + strings.Repeat("é", 5000) + `"}`), false},
		"XML":                  {[]byte("<?xml version=\"1.0\"?>\r\n\t<bom/>\n"), false},
		"nothing":              {nil, false},
		"COSE_Sign1":           {append([]byte{0xd2, 0x84, 0x43, 0xa1, 0x01, 0x26, 0xa0, 0x41, 0x78, 0x41}, 'y'), false},
		"COSE with more behind": {append([]byte{0xd2, 0x84, 0x43, 0xa1, 0x01, 0x26, 0xa0, 0x41, 0x78, 0x41, 'y'},
			layer...), true},
		"a tar":                       {layer, true},
		"a tar, V7":                   {tarWith(t, v7, "%06o\x00 "), true},
		"a tar, sum without zeros":    {tarWith(t, plain, "%o\x00 "), true},
		"a tar, sum behind spaces":    {tarWith(t, plain, " %o \x00"), true},
		"a tar, NUL first":            {tarWith(t, plain, "\x00%06o "), true},
		"a tar, eight digits":         {tarWith(t, plain, "%08o"), true},
		"a tar, a byte behind NUL":    {tarWith(t, plain, "%06o\x00x"), true},
		"a tar, a byte behind space":  {tarWith(t, plain, "%06o x"), true},
		"a tar that is a statement":   {polyglot(t), true},
		"… whose sum is nought":       {blankPolyglot(t), true},
		"a chain ID's text":           {[]byte("sha256:" + elsewhereHex + " sha256:" + elsewhereHex), true},
		"… of longer digests":         {[]byte("sha512:" + elsewhereHex + elsewhereHex + " sha512:" + elsewhereHex + elsewhereHex), true},
		"a layer ID's text":           {[]byte(elsewhereHex + "+" + elsewhereHex), true},
		"… with a table of contents":  {[]byte(elsewhereHex + "+@TOC=" + elsewhereHex), true},
		"JSON of digests":             {[]byte(`{"a":"sha256:` + elsewhereHex + `"}`), false},
		"lines of digests":            {[]byte(elsewhereHex + "  run\n"), false},
		"gzip":                        {gzipped(t, layer), true},
		"gzip of text":                {gzipped(t, []byte("hello")), true},
		"bzip2":                       {[]byte("BZh91AY&SY0000"), true},
		"zstd":                        {[]byte("\x28\xb5\x2f\xfd\x00"), true},
		"xz":                          {[]byte("\xfd7zXZ\x00"), true},
		"WebAssembly":                 {[]byte("\x00asm\x01\x00\x00\x00"), true},
		"ELF":                         {[]byte("\x7fELF\x02"), true},
		"text, then a NUL":            {append(bytes.Repeat([]byte("text\n"), 50_000), 0), true},
		"text, then half a character": {append(bytes.Repeat([]byte("é"), 40_000), 0xc3), true},
		"control characters":          {[]byte("a\x1b[31m"), true},
	} {
		b := contents{}
		config := b.add(layout.MediaTypeEmpty, []byte("{}"))
		for _, mediaType := range []string{"application/vnd.in-toto+json", "text/plain", "application/octet-stream"} {
			m := asManifest(t, &config, b.add(mediaType, test.data))
			why, err := new(layout.Inspector).Startable(m, b.open)
			if err != nil || (why != "") != test.startable {
				t.Errorf("%s as %s: %q, %v, want startable: %v", what, mediaType, why, err, test.startable)
			}
		}
	}
}

// elsewhereHex is the digest of something.
var elsewhereHex = strings.Repeat("0123456789abcdef", 4)

// What annotations of a layer say is taken for its files.
func TestStartableAnnotations(t *testing.T) {
	b := contents{}
	config, text := b.add(layout.MediaTypeEmpty, []byte("{}")), b.add("text/plain", []byte("hello"))
	for key, startable := range map[string]bool{
		"org.opencontainers.image.title":                      false,
		"io.github.containers.zstd-chunked.manifest-checksum": true,
		"containerd.io/snapshot/stargz/toc.digest":            true,
		"containerd.io/snapshot/nydus-bootstrap":              true,
	} {
		l := text
		l.Annotations = map[string]string{key: "sha256:" + elsewhereHex}
		why, err := new(layout.Inspector).Startable(asManifest(t, &config, l), b.open)
		if err != nil || (why != "") != startable {
			t.Errorf("%s: %q, %v", key, why, err)
		}
	}
}

// containerd takes the file system from the config, of any media type, and not from the
// layers, if the node has it already.
func TestStartableConfigs(t *testing.T) {
	b := contents{}
	text, more := b.add("application/vnd.in-toto+json", []byte(statementJSON)), b.add("text/plain", []byte("hello"))
	const elsewhere = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	ids := func(all ...digest.Digest) string {
		out, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for what, test := range map[string]struct {
		config    string
		layers    []layout.Descriptor
		startable bool
	}{
		"empty":                    {`{}`, []layout.Descriptor{text}, false},
		"empty, no layers":         {`{}`, nil, false},
		"as BuildKit writes it":    {`{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":` + ids(text.Digest) + `}}`, []layout.Descriptor{text}, false},
		"what to run":              {`{"config":{"Cmd":["/proc/self/exe"]}}`, nil, true},
		"what to run, and layers":  {`{"Config":{"Env":[]},"rootfs":{"type":"layers","diff_ids":` + ids(text.Digest) + `}}`, []layout.Descriptor{text}, true},
		"of another kind":          {`{"name":"chart","version":"1.2"}`, []layout.Descriptor{text}, false},
		"its own layers":           {`{"rootfs":{"type":"layers","diff_ids":` + ids(text.Digest, more.Digest) + `}}`, []layout.Descriptor{text, more}, false},
		"in another order":         {`{"rootfs":{"type":"layers","diff_ids":` + ids(more.Digest, text.Digest) + `}}`, []layout.Descriptor{text, more}, true},
		"one is missing":           {`{"rootfs":{"type":"layers","diff_ids":` + ids(text.Digest) + `}}`, []layout.Descriptor{text, more}, true},
		"layers of others":         {`{"rootfs":{"type":"layers","diff_ids":["` + elsewhere + `"]}}`, []layout.Descriptor{text}, true},
		"layers of others, none":   {`{"rootfs":{"type":"layers","diff_ids":["` + elsewhere + `"]}}`, nil, true},
		"an empty file system":     {`{"rootfs":{"type":"layers","diff_ids":[]}}`, nil, true},
		"another spelling":         {`{"RootFS":{"type":"layers","diff_ids":["` + elsewhere + `"]}}`, []layout.Descriptor{text}, true},
		"a long s":                 {`{"rootfſ":{"type":"layers","diff_ids":["` + elsewhere + `"]}}`, []layout.Descriptor{text}, true},
		"another spelling of ids":  {`{"rootfs":{"type":"layers","Diff_IDs":["` + elsewhere + `"]}}`, []layout.Descriptor{text}, true},
		"both spellings of ids":    {`{"rootfs":{"type":"layers","diff_ids":` + ids(text.Digest) + `,"Diff_IDs":["` + elsewhere + `"]}}`, []layout.Descriptor{text}, true},
		"ids instead of the type":  {`{"rootfs":{"DIFF_IDS":["` + elsewhere + `"],"diff_ids":` + ids(text.Digest) + `}}`, []layout.Descriptor{text}, true},
		"twice":                    {`{"rootfs":{"type":"layers","diff_ids":["` + elsewhere + `"]},"rootfs":{"type":"layers","diff_ids":` + ids(text.Digest) + `}}`, []layout.Descriptor{text}, true},
		"data behind":              {`{} {"rootfs":{"type":"layers","diff_ids":["` + elsewhere + `"]}}`, []layout.Descriptor{text}, true},
		"no object":                {`null`, []layout.Descriptor{text}, true},
		"a list":                   {`[]`, []layout.Descriptor{text}, true},
		"no JSON":                  {`name: x`, []layout.Descriptor{text}, true},
		"nothing":                  {``, []layout.Descriptor{text}, true},
		"a rootfs that is no list": {`{"rootfs":"x"}`, []layout.Descriptor{text}, true},
	} {
		for _, mediaType := range []string{layout.MediaTypeImageConfig, layout.MediaTypeDockerConfig, layout.MediaTypeEmpty, "application/vnd.in-toto+json", "application/json"} {
			config := b.add(mediaType, []byte(test.config))
			m := asManifest(t, &config, test.layers...)
			why, err := new(layout.Inspector).Startable(m, b.open)
			typed := layout.HasImageTypes(m) // no layers, or none but image layers
			if err != nil || (why != "") != (test.startable || typed) {
				t.Errorf("%s as %s: %q, %v, want startable: %v", what, mediaType, why, err, test.startable)
			}
		}
	}
}

// What is not here, or not what it should be, could be anything. Once it is here, it is
// looked at again.
func TestStartableMissing(t *testing.T) {
	b := contents{}
	config := b.add(layout.MediaTypeEmpty, []byte("{}"))
	text := b.add("text/plain", []byte("hello"))
	m := asManifest(t, &config, text)
	var i layout.Inspector
	if why, err := i.Startable(m, contents{config.Digest: b[config.Digest]}.open); why == "" || err != nil {
		t.Errorf("not there yet: %q, %v", why, err)
	}
	for _, d := range []layout.Descriptor{config, text} {
		good := b[d.Digest]
		for what, bad := range map[string][]byte{"missing": nil, "damaged": append([]byte("x"), good[1:]...), "short": good[:1], "long": append(bytes.Clone(good), ' ')} {
			if b[d.Digest] = bad; bad == nil {
				delete(b, d.Digest)
			}
			why, err := new(layout.Inspector).Startable(m, b.open)
			if why == "" || err != nil {
				t.Errorf("%s of %s: %q, %v", what, d.MediaType, why, err)
			}
		}
		b[d.Digest] = good
		if why, err := i.Startable(m, b.open); why != "" || err != nil {
			t.Errorf("there again: %q, %v", why, err)
		}
	}
	failed := errors.New("I/O error")
	_, err := new(layout.Inspector).Startable(m, func(layout.Descriptor) (io.ReadCloser, error) { return nil, failed })
	if !errors.Is(err, failed) {
		t.Errorf("%v, want %v", err, failed)
	}
	huge := text
	huge.Size = layout.MaxInertBytes + 1
	if why, err := new(layout.Inspector).Startable(asManifest(t, &config, huge), b.open); why == "" || err != nil {
		t.Errorf("a huge layer: %q, %v", why, err)
	}
}

// An attestation of BuildKit's is in-toto statements and nothing else.
func TestIsAttestation(t *testing.T) {
	b := contents{}
	config := b.add(layout.MediaTypeEmpty, []byte("{}"))
	const typ = "application/vnd.in-toto+json"
	for what, test := range map[string]struct {
		layers []string
		is     bool
	}{
		"a statement":            {[]string{statementJSON}, true},
		"two":                    {[]string{statementJSON, strings.Replace(statementJSON, "v0.1", "v1", 1)}, true},
		"with more in it":        {[]string{`{"subject":[{"_type":"x"}],"_type":"https://in-toto.io/Statement/v1","predicate":{"_type":1,"a":[[],{}]}}`}, true},
		"none":                   {nil, false},
		"one is text":            {[]string{statementJSON, "hello"}, false},
		"JSON of another type":   {[]string{`{"_type":"https://example.com"}`}, false},
		"the type inside":        {[]string{`{"a":{"_type":"https://in-toto.io/Statement/v1"}}`}, false},
		"the type as a value":    {[]string{`{"a":"_type","b":"https://in-toto.io/Statement/v1"}`}, false},
		"the type twice":         {[]string{`{"_type":"https://in-toto.io/Statement/v1","_type":"https://in-toto.io/Statement/v1"}`}, false},
		"a list":                 {[]string{`["_type","https://in-toto.io/Statement/v1"]`}, false},
		"two documents":          {[]string{statementJSON + statementJSON}, false},
		"cut off":                {[]string{statementJSON[:len(statementJSON)-1]}, false},
		"a tar at the same time": {[]string{string(polyglot(t))}, false},
	} {
		var layers []layout.Descriptor
		for _, l := range test.layers {
			layers = append(layers, b.add(typ, []byte(l)))
		}
		is, err := new(layout.Inspector).IsAttestation(asManifest(t, &config, layers...), b.open)
		if err != nil || is != test.is {
			t.Errorf("%s: %v, %v, want %v", what, is, err, test.is)
		}
	}
}

// What Go's archive/tar takes for a header is never found to be harmless.
func FuzzStartable(f *testing.F) {
	f.Add(polyglot(f))
	f.Add(blankPolyglot(f))
	f.Add([]byte(statementJSON))
	f.Add(tarWith(f, func([]byte) {}, "%06o\x00 "))
	f.Add(tarWith(f, func(h []byte) { clear(h[257:345]) }, "%o\x00 "))
	b := contents{}
	config := b.add(layout.MediaTypeEmpty, []byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Most of what is tried has a wrong sum: try it with the right one, too.
		for _, form := range []string{"", "%06o\x00 ", "%07o ", "%o   ", "blank"} {
			data := bytes.Clone(data)
			if form != "" && len(data) >= 512 {
				copy(data[148:156], "        ")
				sum := 0
				for _, c := range data[:512] {
					sum += int(c)
				}
				if form != "blank" {
					copy(data[148:156], fmt.Sprintf(form, sum))
				}
			}
			_, err := tar.NewReader(bytes.NewReader(data)).Next()
			b := contents{config.Digest: b[config.Digest]}
			why, serr := new(layout.Inspector).Startable(asManifest(t, &config, b.add("text/plain", data)), b.open)
			if serr != nil || err == nil && why == "" {
				t.Fatalf("a tar is harmless: %q, %v", why, serr)
			}
		}
	})
}
