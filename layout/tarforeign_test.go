package layout_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// readAll opens an archive and reads everything that its roots lead to.
func readAll(t testing.TB, data []byte) error {
	t.Helper()
	r, err := openBytes(data)
	if err != nil {
		return err
	}
	return readReader(t, r)
}

func readReader(t testing.TB, r *layout.Reader) error {
	t.Helper()
	g, err := walkReader(t, r)
	if err != nil {
		return err
	}
	for _, n := range g.Manifests() {
		for _, d := range n.Blobs {
			rc, err := r.Open(t.Context(), n.Repository, d.Descriptor())
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, rc)
			rc.Close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func walkReader(t testing.TB, r *layout.Reader) (*layout.Graph, error) {
	t.Helper()
	roots, err := r.Roots()
	if err != nil {
		return nil, err
	}
	var refs []layout.Reference
	for _, n := range roots {
		refs = append(refs, n.Reference)
	}
	return layout.Walk(t.Context(), r, refs, layout.WalkOptions{MayMiss: mayMiss})
}

// sentinel makes a tree, goes there, and checks at the end that nothing in it or
// beside it was touched.
func sentinel(t *testing.T) {
	t.Helper()
	base := t.TempDir()
	work := filepath.Join(base, "a", "b", "work")
	for _, dir := range []string{"a/b/work/blobs/sha256", "a/b/work/etc", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"etc/passwd", "a/b/work/index.json", "a/b/work/etc/passwd", "a/b/index.json"} {
		if err := os.WriteFile(filepath.Join(base, file), []byte("untouched"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := tree(t, base)
	t.Chdir(work)
	t.Cleanup(func() {
		if after := tree(t, base); !slices.Equal(before, after) {
			t.Errorf("the files around changed:\n%q\n%q", before, after)
		}
	})
}

func tree(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		out = append(out, fmt.Sprint(path, info.Mode(), info.ModTime().UnixNano(), info.Size()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// hostileNames have no place in an archive, whatever their type.
func hostileNames() []string {
	sum := digest.FromString("hostile").Encoded()
	names := []string{
		"..", "../", "../x", "../../etc/passwd", "/etc/passwd", "//etc/passwd", "/", "///", "./../x", "././index.json", ".//index.json",
		"x/../index.json", "blobs/../index.json", "index.json/", "index.json/x", "index.json/..", "./index.json/.", "index.json.", "index.json ", " index.json",
		"Index.json", "INDEX.JSON", "index.JSON", "oci-Layout", "OCI-LAYOUT", "oci-layout.", "oci_layout", "Manifest.json", "manifest.json.tmp",
		"\\etc\\passwd", "..\\x", "C:\\x", "C:x", "con", "nul", "a", "README", ".", "./", "~/.ssh/authorized_keys", "$HOME", "-rf", "--help", "|id", ";id", "`id`",
		"index.json\n", "index.json\r", "index.json\t", "in\x01dex.json", "\x1b[2Jindex.json", "index.json\x7f", "\xff\xfe", "\xc0\xae\xc0\xae/x", "ind\u200bex.json",
		"\u202enosj.xedni", "ｉndex.json", "index.jsоn", "indeх.json", strings.Repeat("a", 100), strings.Repeat("../", 33), strings.Repeat("a/", 50),
		"blobs", "blobs/", "blobs/x", "blobs/sha256", "blobs/sha256/", "blobs//sha256/" + sum, "blobs/./sha256/" + sum, "blobs/sha256/./" + sum, "blobs/sha256/../sha256/" + sum,
		"blobs/sha256/" + sum + "/", "blobs/sha256/" + sum + "/x", "blobs/sha256/" + sum + "/..", "blobs/sha256/" + sum + "x", "blobs/sha256/" + sum[1:], "blobs/sha256/" + sum + ".tmp",
		"blobs/sha256/" + strings.ToUpper(sum), "blobs/sha256/" + sum[:1] + strings.ToUpper(sum[1:2]) + sum[2:], "blobs/SHA256/" + sum, "Blobs/sha256/" + sum, "blobs/sha512/" + sum,
		"blobs/md5/d41d8cd98f00b204e9800998ecf8427e", "blobs/sha1/" + sum[:40], "blobs/sha384/" + sum, "blobs/sha256:" + sum, "blobs/sha256-" + sum, "sha256/" + sum, sum,
		"x/blobs/sha256/" + sum, "/blobs/sha256/" + sum, "../blobs/sha256/" + sum, "blobs/sha256/" + strings.Repeat("g", 64), "blobs/sha256/" + sum[:63] + "é"[:1],
		"layer.tar", "x/layer.tar", sum + "/layer.tar/", sum + "/../layer.tar", "../" + sum + ".tar", sum + ".tar.xz", sum + ".TAR", strings.ToUpper(sum) + "/layer.tar", sum + "/VERSION/", sum + "/version",
		"sha256:" + sum + "/x", "sha512:" + sum, sum + ".json/", "repositories/", "repositories.json", "ingest/x", ".wh.x", "pax_global_header",
		"GNUSparseFile.0/x", "././@LongLink", "PaxHeaders.0/x", "lost+found", "dev/null", "proc/self/mem",
	}
	for i := range names {
		if len(names[i]) > 100 {
			names[i] = names[i][:100]
		}
	}
	return names
}

// every type of entry: the POSIX ones, GNU's, star's, and some that are none. x, L
// and K are no entries but headers of the next one; they have tests of their own.
var kinds = []byte("\x000123456789SgDVMNAXEI!\xff")

// Each hostile name under each type, in the middle and at the end of a good archive.
// One that could lead out of the archive is refused, and so is a type of which readers
// make different things; any other is passed over, for nothing is extracted.
func TestForeignTarNamesAndTypes(t *testing.T) {
	sentinel(t)
	good := simple(t)
	if err := readAll(t, pack(t, good...)); err != nil {
		t.Fatalf("the archive without an attack: %v", err)
	}
	tried := 0
	for _, name := range hostileNames() {
		for _, kind := range kinds {
			for _, link := range []string{"", "../../../etc/passwd"} {
				bad := member{raw: ustar(name, kind, octal(0), link, nil)}
				for _, at := range []int{1, len(good)} {
					err := readAll(t, pack(t, slices.Insert(slices.Clone(good), at, bad)...))
					if (err == nil) != harmless(name, kind) {
						t.Errorf("%q of type %q, link %q, as entry %d: %v", name, kind, link, at, err)
					} else if err != nil && (!classified(err) || !printable(err)) {
						t.Errorf("%q of type %q, link %q, as entry %d: error without a kind, or not fit to print: %q", name, kind, link, at, err)
					}
					tried++
				}
			}
		}
	}
	t.Logf("%d archives", tried)
}

// printable says whether an error can be shown on a terminal: names out of an
// archive come escaped.
func printable(err error) bool {
	return utf8.ValidString(err.Error()) && !strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) })
}

// harmless says whether an entry that no layout has a place for is passed over.
func harmless(name string, kind byte) bool {
	folder := kind == '5' || kind == 0 && strings.HasSuffix(name, "/")
	name = strings.ToValidUTF8(strings.TrimPrefix(name, "./"), "?")
	if folder {
		name = strings.TrimSuffix(name, "/")
	}
	switch kind {
	case 'g': // a global header without records; its name is nobody's
		return true
	case 0, '0', '1', '2', '3', '4', '5', '6':
		return fs.ValidPath(name) || folder && name == ""
	}
	return false
}

// Names that are in the list, under types that are not: an index.json that is a
// link, a blob that is a device.
func TestForeignTarGoodNamesBadTypes(t *testing.T) {
	sentinel(t)
	good := simple(t)
	for i, m := range good {
		for _, kind := range kinds {
			for _, link := range []string{"", "index.json", "../../../etc/passwd", "/etc/passwd", good[len(good)-1].name, m.name} {
				for _, data := range [][]byte{nil, m.data} {
					bad := slices.Clone(good)
					bad[i] = member{raw: ustar(m.name, kind, octal(len(data)), link, data)}
					err := readAll(t, pack(t, bad...))
					regular := (kind == '0' || kind == 0) && len(data) > 0
					if regular != (err == nil) {
						t.Errorf("%s of type %q with %d bytes, link %q: %v", m.name, kind, len(data), link, err)
					}
				}
			}
		}
	}
}

// What has the name of a blob, or of one of the three files, is a regular file, or the
// archive is refused, though nobody asks for it.
func TestForeignTarUnlisted(t *testing.T) {
	good := simple(t)
	sum := digest.FromString("unlisted")
	for _, name := range []string{layout.BlobPath(sum), "manifest.json"} {
		for _, kind := range kinds {
			extra := member{raw: ustar(name, kind, octal(0), good[len(good)-1].name, nil)}
			_, err := openBytes(pack(t, append(slices.Clone(good), extra)...))
			if fine := kind == '0' || kind == 0 || kind == '5' || kind == 'g'; fine != (err == nil) {
				t.Errorf("an unlisted %s of type %q: %v", name, kind, err)
			}
		}
	}
}

func TestForeignTarDuplicates(t *testing.T) {
	good := simple(t)
	for i, m := range good {
		other := []byte(`{"schemaVersion":2,"manifests":[]}`)
		for what, again := range map[string]member{
			"same":             m,
			"other content":    {name: m.name, data: other},
			"empty":            {name: m.name},
			"behind ./":        {name: "./" + m.name, data: other},
			"by a PAX path":    {name: "blobs/x", pax: map[string]string{"path": m.name}, data: other},
			"by a long name":   {raw: append(ustar("././@LongLink", 'L', octal(len(m.name)+1), "", []byte(m.name+"\x00")), entry("x", other)...)},
			"by a prefix":      {raw: split(m.name, other)},
			"old regular file": {raw: ustar(m.name, 0, octal(len(other)), "", other)},
			"NUL behind":       {raw: ustar(m.name+"\x00x", '0', octal(len(other)), "", other)},
		} {
			for _, at := range []int{0, i, len(good)} {
				data := pack(t, slices.Insert(slices.Clone(good), at, again)...)
				if what == "by a prefix" && !strings.Contains(m.name, "/") {
					continue
				}
				if err := readAll(t, data); !errors.Is(err, layout.ErrCorrupt) {
					t.Errorf("%s twice, %s, as entry %d: %v, want ErrCorrupt", m.name, what, at, err)
				}
			}
		}
	}
}

// split puts the folder of a name in the header's prefix field.
func split(name string, data []byte) []byte {
	dir, file := filepath.Split(name)
	h := ustar(file, '0', octal(len(data)), "", data)
	copy(h[345:500], strings.TrimSuffix(dir, "/"))
	seal(h)
	return h
}

// Extended headers say one thing and the header another.
func TestForeignTarExtendedHeaders(t *testing.T) {
	good := simple(t)
	index := good[1]
	for what, bad := range map[string]member{
		"larger size":        {name: index.name, data: index.data, pax: map[string]string{"size": fmt.Sprint(len(index.data) + 512)}},
		"smaller size":       {name: index.name, data: index.data, pax: map[string]string{"size": "1"}},
		"size 0":             {name: index.name, data: index.data, pax: map[string]string{"size": "0"}},
		"negative size":      {name: index.name, data: index.data, pax: map[string]string{"size": "-1"}},
		"huge size":          {name: index.name, data: index.data, pax: map[string]string{"size": "9223372036854775807"}},
		"larger than that":   {name: index.name, data: index.data, pax: map[string]string{"size": "92233720368547758070"}},
		"size 2^62":          {name: index.name, data: index.data, pax: map[string]string{"size": "4611686018427387904"}},
		"size with a blank":  {name: index.name, data: index.data, pax: map[string]string{"size": " 1"}},
		"path outside":       {name: index.name, data: index.data, pax: map[string]string{"path": "../index.json"}},
		"absolute path":      {name: index.name, data: index.data, pax: map[string]string{"path": "/index.json"}},
		"NUL in path":        {name: index.name, data: index.data, pax: map[string]string{"path": "index.json\x00x"}},
		"GNU sparse 0.0":     {name: index.name, data: index.data, pax: map[string]string{"GNU.sparse.size": "10", "GNU.sparse.numblocks": "0"}},
		"GNU sparse 0.1":     {name: index.name, data: index.data, pax: map[string]string{"GNU.sparse.map": "0,1", "GNU.sparse.size": "10", "GNU.sparse.numblocks": "1"}},
		"GNU sparse 1.0":     {name: index.name, data: index.data, pax: map[string]string{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "index.json", "GNU.sparse.realsize": "9"}},
		"GNU sparse name":    {name: index.name, data: index.data, pax: map[string]string{"GNU.sparse.name": "../x"}},
		"no record":          {raw: append(ustar("x", 'x', octal(5), "", []byte("99 a=")), index.plain()...)},
		"record of nothing":  {raw: append(ustar("x", 'x', octal(4), "", []byte("0 =\n")), index.plain()...)},
		"global header":      {raw: append(ustar("x", 'g', octal(len(paxRecord("path", "x"))), "", paxRecord("path", "x")), index.plain()...)},
		"long name outside":  {raw: append(ustar("././@LongLink", 'L', octal(14), "", []byte("../index.json\x00")), index.plain()...)},
		"long name, nothing": {raw: append(ustar("././@LongLink", 'L', octal(0), "", nil), entry("x", index.data)...)},
		"long link":          {raw: append(ustar("././@LongLink", 'K', octal(14), "", []byte("../index.json\x00")), ustar("index.json", '2', octal(0), "", nil)...)},
		"old GNU sparse":     {raw: ustar("index.json", 'S', octal(len(index.data)), "", index.data)},
		"two PAX headers":    {raw: append(member{name: "a", pax: map[string]string{"path": "b"}}.bytes(t), member{name: "c", pax: map[string]string{"path": "d"}}.bytes(t)...)},
		"folder with bytes":  {raw: append(ustar("blobs/", '5', octal(len(index.data)), "", index.data), index.plain()...)},
		"folder with a size": {raw: append(ustar("blobs/", '5', octal(512), "", nil), index.plain()...)},
		"folder, PAX size":   {raw: append(member{name: "blobs/", kind: '5', pax: map[string]string{"size": "512"}}.bytes(t), index.plain()...)},
		"header alone":       {raw: member{name: "index.json", pax: map[string]string{"path": "x"}}.bytes(t)[:1024]},
	} {
		t.Run(what, func(t *testing.T) {
			attacked := slices.Clone(good)
			attacked[1] = bad
			if err := readAll(t, pack(t, attacked...)); err == nil || !classified(err) {
				t.Errorf("in the middle: %v", err)
			}
			last := append(slices.Delete(slices.Clone(good), 1, 2), bad)
			if err := readAll(t, pack(t, last...)); err == nil || !classified(err) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

// What PAX and GNU headers are for is read.
func TestForeignTarExtendedHeadersInUse(t *testing.T) {
	good := simple(t)
	for i, m := range good {
		good[i] = member{name: "x", data: m.data, pax: map[string]string{"path": m.name, "mtime": "1.5", "size": fmt.Sprint(len(m.data))}}
	}
	good = append([]member{{name: "./", kind: '5'}, {name: "blobs/", kind: '5'}, {name: "./blobs/sha256/", kind: '5'}, {name: "ingest/", kind: '5'}}, good...)
	if err := readAll(t, pack(t, good...)); err != nil {
		t.Error(err)
	}
	b := layouttest.SHA512("reg.example/app")
	var root layout.Descriptor
	for _, n := range b.Names {
		root = n.Descriptor
	}
	long := append([]member{{name: "oci-layout", data: []byte(layoutJSON)}, {name: "index.json", data: indexJSON(t, named(root, "v1"))}}, blobs(b)...)
	if err := readAll(t, pack(t, long...)); err != nil {
		t.Error(err)
	}
}

func TestForeignTarSizes(t *testing.T) {
	good := simple(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for what, size := range map[string][]byte{
		"-1": base256(-1), "-512": base256(-512), "-2^63": base256(-1 << 63), "2^63-1": base256(1<<63 - 1), "2^62": base256(1 << 62), "2^44": base256(1 << 44),
		"2^40": base256(1 << 40), "8 GiB - 1": []byte("77777777777\x00"), "8 GiB, no end": []byte("777777777777"), "blank": []byte("            "),
		"letters": []byte("0000000000g\x00"), "minus": []byte("-0000000001\x00"), "all ones": bytes.Repeat([]byte{0xff}, 12), "wide": append([]byte{0x80, 1}, make([]byte, 10)...),
		"decimal": []byte("00000000089\x00"), "one over": octal(len(good[1].data) + 1), "a block over": octal(len(good[1].data) + 512), "one short": octal(len(good[1].data) - 1),
		"zero": octal(0), "empty": make([]byte, 12),
	} {
		for i, m := range good {
			bad := slices.Clone(good)
			bad[i] = member{raw: ustar(m.name, '0', size, "", m.data)}
			if err := readAll(t, pack(t, bad...)); err == nil {
				if what != "one over" && what != "one short" || i == 0 {
					t.Errorf("%s of size %s is read", m.name, what)
				} else {
					t.Errorf("%s of size %s is read, though its digest cannot be right", m.name, what)
				}
			}
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
		t.Errorf("false sizes made the reader allocate %d bytes", got)
	}
}

// Every truncation is refused, but for the zeros that some tools pad with.
func TestForeignTarTruncated(t *testing.T) {
	data := pack(t, simple(t)...)
	for n := range data {
		err := readAll(t, data[:n])
		if n < 512 && errors.Is(err, layout.ErrNotBundle) {
			continue // too little to tell
		}
		if !errors.Is(err, layout.ErrIncomplete) || !errors.Is(err, layout.ErrCorrupt) || strings.Contains(err.Error(), "damaged") {
			t.Errorf("cut after %d of %d bytes: %v, want ErrIncomplete", n, len(data), err)
		}
	}
	for _, pad := range []int{0, 512, 8192, 1<<20 - 1024} {
		if err := readAll(t, append(bytes.Clone(data), make([]byte, pad)...)); err != nil {
			t.Errorf("%d zeros behind: %v", pad, err)
		}
	}
}

func TestForeignTarTrailingData(t *testing.T) {
	data := pack(t, simple(t)...)
	for what, tail := range map[string][]byte{
		"a byte": {1}, "a late byte": append(make([]byte, 10_000), 1), "another archive": data, "an entry": entry("index.json", []byte("{}")),
		"an entry after zeros": append(make([]byte, 4096), entry("index.json", []byte("{}"))...), "2 MiB of zeros": make([]byte, 2<<20),
	} {
		if err := readAll(t, append(bytes.Clone(data), tail...)); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%s behind the end: %v, want ErrCorrupt", what, err)
		}
	}
	body := data[:len(data)-1024]
	one := append(bytes.Clone(body), make([]byte, 512)...)
	for what, bad := range map[string][]byte{
		"no end": body, "one zero block": one, "one zero block, then an entry": append(bytes.Clone(one), entry("x", nil)...),
		"an end in the middle": slices.Concat(body[:1024], make([]byte, 1024), body[1024:], make([]byte, 1024)),
	} {
		if err := readAll(t, bad); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", what, err)
		}
	}
}

func TestTarIsNoTar(t *testing.T) {
	for what, data := range map[string][]byte{
		"nothing": nil, "a byte": {0}, "511 bytes": make([]byte, 511), "a block of zeros": make([]byte, 512), "an empty archive": make([]byte, 1024),
		"ten zero blocks": make([]byte, 10240), "text": bytes.Repeat([]byte("no tar "), 1000), "JSON": append([]byte(layoutJSON), make([]byte, 2000)...),
	} {
		if _, err := openBytes(data); err == nil || !classified(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for magic, tool := range map[string]string{"\x1f\x8b\x08": "gzip", "\x28\xb5\x2f\xfd": "zstd"} {
		_, err := openBytes(append([]byte(magic), bytes.Repeat([]byte{1}, 5000)...))
		if err == nil || !strings.Contains(layout.Hint(err), tool) {
			t.Errorf("a compressed archive: %v, hint %q, want %q", err, layout.Hint(err), tool)
		}
	}
}

func TestTarEntryLimit(t *testing.T) {
	data := pack(t, simple(t)...)
	n := len(simple(t))
	if err := layout.IndexTar(bytes.NewReader(data), int64(len(data)), n); err != nil {
		t.Errorf("%d entries, limit %d: %v", n, n, err)
	}
	if err := layout.IndexTar(bytes.NewReader(data), int64(len(data)), n-1); !errors.Is(err, layout.ErrLimit) {
		t.Errorf("%d entries, limit %d: %v, want ErrLimit", n, n-1, err)
	}
	var links []member
	for i := range 10 {
		hex := digest.FromString(fmt.Sprint(i)).Encoded()
		links = append(links, member{name: hex + "/layer.tar", kind: '2', link: "../" + digest.FromString("x").Encoded() + "/layer.tar"})
	}
	data = pack(t, links...)
	if err := layout.IndexTar(bytes.NewReader(data), int64(len(data)), 9); !errors.Is(err, layout.ErrLimit) {
		t.Errorf("10 links, limit 9: %v, want ErrLimit", err)
	}
}
