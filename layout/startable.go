package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"github.com/opencontainers/go-digest"
)

// MaxInertBytes is the largest blob that can be found to be harmless. A larger one is
// taken for something that can be started: nobody attaches that much text.
const MaxInertBytes = 256 << 20

// Inspector finds out what can be started. The zero value is ready to use; it remembers
// what it found in layers, by their digests. All methods are safe for concurrent use.
type Inspector struct {
	mu     sync.Mutex
	layers map[digest.Digest]string // why each could be started, or ""
}

// maxInspected is how many layers an Inspector remembers, about 40 MB of them; then it
// begins anew.
const maxInspected = 1 << 18

// Startable says why a container engine could start something from m; it is empty if
// nothing can be. The whole project asks this one method.
//
// Engines do not go by what a manifest says of itself. podman unpacks a tar of any media
// type; containerd takes the file system from the config's diff_ids and does not look
// at the layers, if it has unpacked the same ones before; containerd and podman find
// layers that they have by a digest of text, and that text can be a layer. So a manifest
// is harmless only if its structure and its bytes show it:
//
//   - it is no index;
//   - its config, if it has one, is a JSON object that says nothing of what to run
//     (no "config", or an empty one), and names no layers (no "rootfs"), or exactly its
//     own layers by their digests, as BuildKit and cosign write it;
//   - every layer is text (JSON, XML, an SBOM), or a COSE signature (RFC 9052,
//     COSE_Sign1), and no tar, which text can be, too, and not the name of layers;
//   - no layer's annotations tell an engine to take its files from elsewhere.
//
// Everything else can be started: what is not here, what is larger than MaxInertBytes,
// and what has a form that this function does not know.
//
// open opens the content of a descriptor. An error of it that matches ErrNotFound or
// ErrCorrupt means that the content is not here; any other is returned.
func (i *Inspector) Startable(m *Manifest, open func(Descriptor) (io.ReadCloser, error)) (why string, err error) {
	switch {
	case IsIndex(m.MediaType):
		return "it is an index", nil
	case HasImageTypes(m):
		return "it is an image", nil
	}
	for _, l := range m.Layers {
		if key := fileSystemAnnotation(l); key != "" {
			return fmt.Sprintf("%s has the annotation %.100q, by which engines find file systems", l.Digest, key), nil
		}
		if why, err := i.layer(l, open); why != "" || err != nil {
			return why, err
		}
	}
	if m.Config == nil {
		return "", nil
	}
	raw, why, err := readSmall(*m.Config, open)
	if why != "" || err != nil {
		return why, err
	}
	return startableConfig(m, raw), nil
}

// IsAttestation says whether m is what BuildKit lists in an index beside an image
// (moby/buildkit, docs/attestations/attestation-storage.md), by its bytes: nothing can be
// started from it, and every layer, of at least one, is an in-toto statement. open is as
// for [Inspector.Startable].
func (i *Inspector) IsAttestation(m *Manifest, open func(Descriptor) (io.ReadCloser, error)) (bool, error) {
	if why, err := i.Startable(m, open); why != "" || err != nil {
		return false, err
	}
	for _, l := range m.Layers {
		if ok, err := isStatement(l, open); !ok || err != nil {
			return false, err
		}
	}
	return len(m.Layers) > 0, nil
}

// HasImageTypes says whether m has the media types of a container image, all of them.
// That is for people and for tools that go by types; what can be started is for
// [Inspector.Startable] to say.
func HasImageTypes(m *Manifest) bool {
	if m.Config == nil || m.Config.MediaType != MediaTypeImageConfig && m.Config.MediaType != MediaTypeDockerConfig {
		return false
	}
	for _, l := range m.Layers {
		if !strings.HasPrefix(l.MediaType, "application/vnd.oci.image.layer.") &&
			!strings.HasPrefix(l.MediaType, "application/vnd.docker.image.rootfs.") {
			return false
		}
	}
	return true
}

// fileSystemAnnotation returns the annotation of a layer by which engines find a file
// system that they have, or parts of it, without reading the layer: the table of contents
// of containers/storage (pkg/chunked/toc) and of eStargz, and what other remote
// snapshotters of containerd are told.
func fileSystemAnnotation(d Descriptor) string {
	for key := range d.Annotations {
		for _, prefix := range []string{"io.github.containers.zstd-chunked.", "io.containers.zstd-chunked.", "containerd.io/snapshot/"} {
			if strings.HasPrefix(key, prefix) {
				return key
			}
		}
	}
	return ""
}

// startableConfig says what a container could be made of by this config, whose layers
// are known to be no file systems.
func startableConfig(m *Manifest, raw []byte) string {
	var fields map[string]json.RawMessage
	if err := CheckJSON(raw); err != nil {
		return fmt.Sprintf("its config cannot be read in one way only: %v", err)
	}
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return "its config is no JSON object"
	}
	rootfs, ok := fields["rootfs"]
	delete(fields, "rootfs")
	for name, value := range fields { // encoding/json takes "RootFS" for it
		switch fold(name) {
		case fold("rootfs"):
			return fmt.Sprintf("its config has a field %.100q", name)
		case fold("config"): // containerd needs no files to start a container
			var run map[string]json.RawMessage
			if json.Unmarshal(value, &run) != nil || len(run) > 0 {
				return "its config says what to run"
			}
		}
	}
	if !ok {
		return ""
	}
	var parts map[string]json.RawMessage
	var ids []string
	if json.Unmarshal(rootfs, &parts) != nil || len(parts) != 2 || parts["type"] == nil || json.Unmarshal(parts["diff_ids"], &ids) != nil {
		return "its config has a rootfs that is not one of type and diff_ids"
	}
	own := make([]string, len(m.Layers))
	for i, l := range m.Layers {
		own[i] = string(l.Digest)
	}
	if len(own) == 0 || !slices.Equal(ids, own) {
		return "its config names layers that are not its own"
	}
	return ""
}

// readSmall reads content of at most MaxManifestBytes; why says why that cannot be done.
func readSmall(d Descriptor, open func(Descriptor) (io.ReadCloser, error)) (raw []byte, why string, err error) {
	if d.Size > MaxManifestBytes {
		return nil, fmt.Sprintf("%s has %d bytes", d.Digest, d.Size), nil
	}
	rc, err := open(d)
	if err == nil {
		raw, err = ReadAll(rc, d)
	}
	if why := unreadable(d.Digest, err); why != "" {
		return nil, why, nil
	}
	return raw, "", err
}

// unreadable says that content is not here, or not what it should be.
func unreadable(dgst digest.Digest, err error) string {
	switch {
	case errors.Is(err, ErrCorrupt):
		return fmt.Sprintf("%s is damaged", dgst)
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrLimit), errors.Is(err, ErrUnsupported):
		return fmt.Sprintf("%s is not here", dgst)
	}
	return ""
}

// layer is startableLayer, remembered. That a layer is missing or damaged is not.
func (i *Inspector) layer(d Descriptor, open func(Descriptor) (io.ReadCloser, error)) (string, error) {
	i.mu.Lock()
	why, known := i.layers[d.Digest]
	i.mu.Unlock()
	if known {
		return why, nil
	}
	why, here, err := startableLayer(d, open)
	if err != nil || !here {
		return why, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.layers == nil || len(i.layers) >= maxInspected {
		i.layers = map[digest.Digest]string{}
	}
	i.layers[d.Digest] = why
	return why, nil
}

// startableLayer says why a layer could be a file system or a program, and whether it was
// there to be looked at.
func startableLayer(d Descriptor, open func(Descriptor) (io.ReadCloser, error)) (why string, here bool, err error) {
	if d.Size > MaxInertBytes {
		return fmt.Sprintf("%s has %d bytes", d.Digest, d.Size), false, nil // that is what the manifest says
	}
	rc, err := open(d)
	if err == nil {
		why, err = inspect(Verify(rc, d), d)
		err = errors.Join(err, rc.Close())
	}
	if lacks := unreadable(d.Digest, err); lacks != "" {
		return lacks, false, nil
	}
	return why, err == nil, err
}

// inspect reads a layer, as far as that is needed.
func inspect(r io.Reader, d Descriptor) (why string, err error) {
	head := make([]byte, min(d.Size, tarBlock))
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	rest := io.MultiReader(bytes.NewReader(head), r)
	ok := false
	switch {
	case maybeTar(head):
		return fmt.Sprintf("%s could be read as a tar", d.Digest), nil
	case bytes.HasPrefix(head, bzip2Magic):
		return fmt.Sprintf("%s could be read as bzip2", d.Digest), nil
	case bytes.HasPrefix(head, coseSign1):
		ok, err = isCOSE(rest, d.Size)
	case d.Size <= tarBlock && namesLayers(head):
		return fmt.Sprintf("%s could be read as the name of layers that a node has", d.Digest), nil
	default:
		ok, err = isText(rest, d.Size)
	}
	if err == nil && !ok {
		why = fmt.Sprintf("%s is neither text nor a signature", d.Digest)
	}
	return why, err
}

// longHex is a SHA-256 digest, or the most of a longer one.
var longHex = regexp.MustCompile("[0-9a-f]{64}")

// namesLayers says whether a short text could be what an engine hashes to name a layer
// with all that is below it. Such a text is a layer, too, with that name for its digest,
// and the engine has files for it without reading it. Examples are
// "sha256:HEX sha256:HEX" (OCI image-spec, config.md, "Layer ChainID") and "HEX+HEX"
// (containers/image, storage/storage_dest.go). It is not JSON or XML, and has one line.
func namesLayers(text []byte) bool {
	return !bytes.ContainsAny(text, "{<\r\n") && longHex.Match(text)
}

// bzip2Magic is the one mark of a compressed stream that is text.
var bzip2Magic = []byte("BZh")

// coseSign1 is how a tagged COSE_Sign1 begins: tag 18, an array of four (RFC 9052, 4.2).
var coseSign1 = []byte{0xd2, 0x84}

func isCOSE(r io.Reader, size int64) (bool, error) {
	if size > MaxManifestBytes {
		return false, nil
	}
	data, err := io.ReadAll(r)
	return err == nil && cbor.Wellformed(data) == nil, err
}

// isText says whether r holds UTF-8 without control characters but tabs and ends of
// lines. No archive, compressed stream, file system image or program is without them.
func isText(r io.Reader, size int64) (bool, error) {
	buf := make([]byte, min(max(size, tarBlock), 64<<10))
	kept := 0 // an incomplete character, from the last read
	for {
		n, err := r.Read(buf[kept:])
		text := buf[:kept+n]
		for len(text) > 0 {
			if b := text[0]; b >= ' ' && b < 0x7f { // most are
				text = text[1:]
				continue
			}
			c, size := utf8.DecodeRune(text)
			if c == utf8.RuneError && size == 1 {
				if err == nil && !utf8.FullRune(text) {
					break
				}
				return false, nil
			}
			if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c >= 0x7f && c < 0xa0 {
				return false, nil
			}
			text = text[size:]
		}
		kept = copy(buf, text)
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// A tar begins with a header, which holds the sum of its own bytes (POSIX.1-2017, pax,
// "ustar Interchange Format").
const (
	tarBlock    = 512
	tarSumStart = 148
	tarSumEnd   = 156
)

// maybeTar says whether any reader of tar could take block for a header. Readers differ
// in what they take for a number: leading spaces and zeros, a sign, what stands behind
// it, a binary form. So it is enough that the sum stands there, in octal or in binary.
func maybeTar(block []byte) bool {
	if len(block) < tarBlock {
		return false
	}
	field := block[tarSumStart:tarSumEnd]
	var unsigned, signed int64 // old programs add the one, older ones the other
	for i, c := range block[:tarBlock] {
		if i >= tarSumStart && i < tarSumEnd {
			c = ' '
		}
		unsigned, signed = unsigned+int64(c), signed+int64(int8(c))
	}
	for _, sum := range []int64{unsigned, signed} {
		if sum == 0 && len(bytes.Trim(field, " \x00")) == 0 {
			return true // no number is nought
		}
		if bytes.Contains(field, fmt.Appendf(nil, "%o", max(sum, -sum))) {
			return true
		}
		if field[0]&0x80 != 0 && binarySum(field, sum) {
			return true
		}
	}
	return false
}

// binarySum says whether the low bytes of a field in base 256 are those of sum.
func binarySum(field []byte, sum int64) bool {
	for i := range 3 {
		if field[len(field)-1-i] != byte(sum>>(8*i)) {
			return false
		}
	}
	return true
}

// statementPrefix is how the types of in-toto statements begin (in-toto attestation
// spec, "Statement").
const statementPrefix = "https://in-toto.io/Statement/"

// isStatement says whether a layer is one JSON object that says it is an in-toto
// statement. It is read as it comes: SBOMs in statements are large.
func isStatement(d Descriptor, open func(Descriptor) (io.ReadCloser, error)) (bool, error) {
	rc, err := open(d)
	if err != nil {
		return false, err
	}
	defer rc.Close()
	dec := json.NewDecoder(Verify(rc, d))
	depth, isKey, typed, found := 0, false, false, false
	for n := 0; ; n++ {
		tok, err := dec.Token()
		if err == io.EOF {
			return found && depth == 0, nil
		}
		var bad *json.SyntaxError
		if errors.As(err, &bad) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrCorrupt) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if n == 0 && tok != json.Delim('{') || n > 0 && depth == 0 {
			return false, nil
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			depth++
			isKey = true
			if depth > MaxJSONDepth {
				return false, nil
			}
			continue
		case json.Delim('}'), json.Delim(']'):
			depth--
			isKey = true
			continue
		}
		if depth != 1 {
			continue
		}
		text, _ := tok.(string)
		switch {
		case isKey:
			typed, isKey = text == "_type", false
		default:
			if typed && (found || !strings.HasPrefix(text, statementPrefix)) {
				return false, nil // it says so twice, or something else
			}
			found, typed, isKey = found || typed, false, true
		}
	}
}
