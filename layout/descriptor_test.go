package layout_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

const layerType = "application/vnd.oci.image.layer.v1.tar"

// Every byte of a digest, replaced by every other byte, left out, or doubled:
// what passes is in the grammar and stays inside blobs/.
func TestParseDigestEveryByte(t *testing.T) {
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		good := string(alg.FromString("content"))
		if _, err := layout.ParseDigest(good); err != nil {
			t.Fatal(err)
		}
		hexAt := strings.IndexByte(good, ':') + 1
		for i := range len(good) {
			for c := range 256 {
				bad := good[:i] + string([]byte{byte(c)}) + good[i+1:]
				hex := strings.IndexByte("0123456789abcdef", byte(c)) >= 0
				want := bad == good || i >= hexAt && hex
				if _, err := layout.ParseDigest(bad); (err == nil) != want {
					t.Errorf("ParseDigest(%q) = %v", bad, err)
				}
			}
			for _, bad := range []string{good[:i], good[:i] + good[i+1:], good[:i+1] + good[i:], good[i+1:], good[:i] + "/../" + good[i:]} {
				if _, err := layout.ParseDigest(bad); !errors.Is(err, layout.ErrCorrupt) {
					t.Errorf("ParseDigest(%q) = %v, want ErrCorrupt", bad, err)
				}
			}
		}
	}
}

func TestParseDigestRefuses(t *testing.T) {
	hex := strings.Repeat("a", 64)
	for _, bad := range []string{
		"", ":", "sha256", "sha256:", hex, ":" + hex, "sha256:" + hex + "\n", " sha256:" + hex, "sha256: " + hex[1:],
		"sha256:" + hex[:63], "sha256:" + hex + "a", "sha256:" + hex + hex, "sha512:" + hex, "SHA256:" + hex, "sha256:" + strings.ToUpper(hex),
		"sha256:" + strings.Repeat("A", 64), "md5:" + hex[:32], "sha1:" + hex[:40], "sha384:" + hex + hex[:32], "sha256+b64:" + hex,
		"sha256::" + hex[1:], "sha256:" + hex[:32] + ":" + hex[:31], "sha256:../" + hex[:61], "sha256:" + strings.Repeat("../", 21) + "a",
		"sha256:" + hex[:32] + "\x00" + hex[:31], "sha256:" + strings.Repeat("é", 32), "sha256\x00:" + hex, "blake3:" + hex, strings.Repeat("a", 1<<20),
	} {
		_, err := layout.ParseDigest(bad)
		if !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("ParseDigest(%.100q) = %v, want ErrCorrupt", bad, err)
		} else if len(err.Error()) > 1000 {
			t.Errorf("ParseDigest(%.20q…) writes an error of %d bytes", bad, len(err.Error()))
		}
	}
}

func TestCheckDescriptorSizes(t *testing.T) {
	for _, test := range []struct {
		mediaType string
		size      int64
		want      error
	}{
		{layerType, 0, nil},
		{layerType, 1, nil},
		{layerType, layout.MaxBlobBytes, nil},
		{layerType, layout.MaxBlobBytes + 1, layout.ErrLimit},
		{layerType, math.MaxInt64, layout.ErrLimit},
		{layerType, -1, layout.ErrCorrupt},
		{layerType, math.MinInt64, layout.ErrCorrupt},
		{layout.MediaTypeManifest, layout.MaxManifestBytes, nil},
		{layout.MediaTypeManifest, layout.MaxManifestBytes + 1, layout.ErrLimit},
		{layout.MediaTypeManifest, math.MaxInt64, layout.ErrLimit},
		{layout.MediaTypeManifest, -1, layout.ErrCorrupt},
		{layout.MediaTypeIndex, layout.MaxManifestBytes + 1, layout.ErrLimit},
		{layout.MediaTypeORASManifest, layout.MaxManifestBytes + 1, layout.ErrLimit},
	} {
		d := layout.Descriptor{MediaType: test.mediaType, Digest: digest.FromString(""), Size: test.size}
		if err := layout.CheckDescriptor(d); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("CheckDescriptor of %d bytes of %s = %v, want %v", test.size, test.mediaType, err, test.want)
		}
	}
}

func describe(data []byte) layout.Descriptor {
	return layout.Descriptor{MediaType: layerType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// shapes are honest readers of the same bytes, each with habits of its own.
var shapes = map[string]func(io.Reader) io.Reader{
	"plain":                     func(r io.Reader) io.Reader { return r },
	"one byte at a time":        iotest.OneByteReader,
	"half":                      iotest.HalfReader,
	"last bytes with EOF":       iotest.DataErrReader,
	"empty reads between":       func(r io.Reader) io.Reader { return &idler{r: r} },
	"EOF once, then an error":   func(r io.Reader) io.Reader { return &once{r: iotest.DataErrReader(r)} },
	"one byte, last with EOF":   func(r io.Reader) io.Reader { return iotest.DataErrReader(iotest.OneByteReader(r)) },
	"bytes together with error": iotest.DataErrReader,
}

// idler gives nothing every other time.
type idler struct {
	r io.Reader
	n int
}

func (i *idler) Read(p []byte) (int, error) {
	if i.n++; i.n%2 == 1 {
		return 0, nil
	}
	return i.r.Read(p)
}

// once says EOF one time.
type once struct {
	r    io.Reader
	done bool
}

func (o *once) Read(p []byte) (int, error) {
	if o.done {
		return 0, errors.New("read after EOF")
	}
	n, err := o.r.Read(p)
	o.done = err == io.EOF
	return n, err
}

func TestVerifyTakesWhatIsRight(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 513, 100_000} {
		data := bytes.Repeat([]byte("x"), size)
		for name, shape := range shapes {
			got, err := io.ReadAll(layout.Verify(io.NopCloser(shape(bytes.NewReader(data))), describe(data)))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s of %d bytes: %d bytes, %v", name, size, len(got), err)
			}
		}
	}
}

// Every byte flipped, every length that is wrong: never EOF.
func TestVerifyRefusesWhatIsWrong(t *testing.T) {
	data := []byte("the content of a small blob, whose every byte is going to be flipped")
	var wrong [][]byte
	for i := range data {
		for bit := range 8 {
			b := bytes.Clone(data)
			b[i] ^= 1 << bit
			wrong = append(wrong, b)
		}
		wrong = append(wrong, data[:i], append(bytes.Clone(data[:i]), data[i+1:]...), append(bytes.Clone(data[:i+1]), data[i:]...))
	}
	wrong = append(wrong, append(bytes.Clone(data), 0), append(bytes.Clone(data), data...))
	for name, shape := range shapes {
		for i, b := range wrong {
			v := layout.Verify(io.NopCloser(shape(bytes.NewReader(b))), describe(data))
			got, err := io.ReadAll(v)
			if !errors.Is(err, layout.ErrCorrupt) && !strings.Contains(fmt.Sprint(err), "after EOF") {
				t.Fatalf("%s, wrong bytes number %d: %v, want ErrCorrupt", name, i, err)
			}
			if len(got) > len(data) {
				t.Fatalf("%s, wrong bytes number %d: gives %d bytes, more than the descriptor's %d", name, i, len(got), len(data))
			}
			if _, again := v.Read(make([]byte, 1)); again == nil || again == io.EOF {
				t.Fatalf("%s, wrong bytes number %d: %v, and then %v", name, i, err, again)
			}
		}
	}
}

func TestVerifyPassesErrorsOn(t *testing.T) {
	data := bytes.Repeat([]byte("y"), 1000)
	broken := errors.New("broken")
	for _, n := range []int{0, 1, 500, 999, 1000} {
		for name, fails := range map[string]io.Reader{
			"after the bytes": io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken)),
			"with the bytes":  &together{data[:n], broken},
		} {
			if _, err := io.ReadAll(layout.Verify(io.NopCloser(fails), describe(data))); !errors.Is(err, broken) || errors.Is(err, layout.ErrCorrupt) {
				t.Errorf("an error %s, at byte %d: %v", name, n, err)
			}
		}
	}
}

// together gives its bytes and its error in one call.
type together struct {
	data []byte
	err  error
}

func (t *together) Read(p []byte) (int, error) {
	n := copy(p, t.data)
	if t.data = t.data[n:]; len(t.data) > 0 {
		return n, nil
	}
	return n, t.err
}

// A reader that never gives anything must not hold the program for ever, neither
// before the content nor behind it.
func TestVerifyGivesUpOnAnIdleReader(t *testing.T) {
	data := []byte("content")
	for _, n := range []int{0, 3, len(data)} {
		r := io.MultiReader(bytes.NewReader(data[:n]), idle{})
		if _, err := io.ReadAll(layout.Verify(io.NopCloser(r), describe(data))); !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("nothing more after %d bytes: %v, want ErrNoProgress", n, err)
		}
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestVerifyZeroLengthReads(t *testing.T) {
	data := []byte("content")
	v := layout.Verify(io.NopCloser(bytes.NewReader(data)), describe(data))
	for range 1000 {
		if n, err := v.Read(nil); n != 0 || err != nil {
			t.Fatalf("Read(nil) = %d, %v", n, err)
		}
	}
	if got, err := io.ReadAll(v); err != nil || string(got) != "content" {
		t.Errorf("then %q, %v", got, err)
	}
}

// It reads at most one byte more than it was promised, so that nothing endless
// is drained.
func TestVerifyReadsNoFurther(t *testing.T) {
	data := bytes.Repeat([]byte("z"), 1000)
	c := &counter{r: io.MultiReader(bytes.NewReader(data), endless{})}
	if _, err := io.ReadAll(layout.Verify(io.NopCloser(c), describe(data))); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("an endless reader: %v, want ErrCorrupt", err)
	}
	if c.n > 1001 {
		t.Errorf("read %d bytes for content of 1000", c.n)
	}
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Descriptors that no digest and no size come from are errors, not panics.
func TestVerifyRefusesDescriptors(t *testing.T) {
	good := describe([]byte("content"))
	for name, change := range map[string]func(*layout.Descriptor){
		"no digest":         func(d *layout.Descriptor) { d.Digest = "" },
		"no colon":          func(d *layout.Descriptor) { d.Digest = "sha256" },
		"unknown algorithm": func(d *layout.Descriptor) { d.Digest = "md5:d41d8cd98f00b204e9800998ecf8427e" },
		"negative size":     func(d *layout.Descriptor) { d.Size = -1 },
		"smallest size":     func(d *layout.Descriptor) { d.Size = math.MinInt64 },
		"largest size":      func(d *layout.Descriptor) { d.Size = math.MaxInt64 },
	} {
		d := good
		change(&d)
		c := &counter{r: strings.NewReader("content")}
		if n, err := layout.Verify(io.NopCloser(c), d).Read(make([]byte, 100)); n != 0 || err == nil || err == io.EOF {
			t.Errorf("%s: Verify reads %d, %v", name, n, err)
		}
		if _, err := layout.ReadAll(io.NopCloser(c), d); err == nil {
			t.Errorf("%s: ReadAll reads", name)
		}
		if err := layout.CheckBytes([]byte("content"), d); err == nil {
			t.Errorf("%s: CheckBytes agrees", name)
		}
		if c.n != 0 {
			t.Errorf("%s: %d bytes were read", name, c.n)
		}
	}
}

func TestReadAllLimit(t *testing.T) {
	data := make([]byte, layout.MaxManifestBytes)
	if got, err := layout.ReadAll(io.NopCloser(bytes.NewReader(data)), describe(data)); err != nil || len(got) != len(data) {
		t.Errorf("at the limit: %d bytes, %v", len(got), err)
	}
	over := describe(make([]byte, layout.MaxManifestBytes+1))
	c := &counter{r: endless{}}
	if _, err := layout.ReadAll(io.NopCloser(c), over); !errors.Is(err, layout.ErrLimit) || c.n != 0 {
		t.Errorf("one byte over: %v after %d bytes, want ErrLimit before any", err, c.n)
	}
	d := layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString(""), Size: layout.MaxManifestBytes}
	if _, err := layout.ReadAll(io.NopCloser(endless{}), d); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("endless: %v, want ErrCorrupt", err)
	}
}

// Many descriptors that claim 4 MiB and hold nothing cost nothing.
func TestReadAllDoesNotBelieveSizes(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range 200 {
		d := layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: layout.MaxManifestBytes}
		if _, err := layout.ReadAll(io.NopCloser(strings.NewReader("{}")), d); !errors.Is(err, layout.ErrCorrupt) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 20<<20 {
		t.Errorf("200 false claims of 4 MiB allocated %d bytes", got)
	}
}

func TestCheckBytes(t *testing.T) {
	data := []byte("content")
	if err := layout.CheckBytes(data, describe(data)); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]byte{nil, data[:6], append(bytes.Clone(data), 0), []byte("Content")} {
		if err := layout.CheckBytes(bad, describe(data)); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("CheckBytes(%q) = %v, want ErrCorrupt", bad, err)
		}
	}
}
