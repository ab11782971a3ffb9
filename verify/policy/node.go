package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxNodes is how many values a policy of another tool may have.
const maxNodes = 100_000

type nodeKind string

const (
	kindObject nodeKind = "an object"
	kindList   nodeKind = "a list"
	kindText   nodeKind = "a string"
	kindBool   nodeKind = "true or false"
	kindNumber nodeKind = "a number"
	kindNull   nodeKind = "null"
)

// node is one value of a policy of another tool, in JSON or YAML, that knows where
// it stands. Objects have no key twice.
type node struct {
	kind   nodeKind
	path   string // as in transports.docker["x"][0]
	line   int
	keys   []string // in the order of the file
	fields map[string]*node
	items  []*node
	text   string // of a string; what else it is, as it stands there
}

// fail says where.
func (n *node) fail(format string, args ...any) error {
	where := n.path
	if where == "" {
		where = "the document"
	}
	return fmt.Errorf("line %d: %s: %w", n.line, where, fmt.Errorf(format, args...))
}

// is fails for any other kind.
func (n *node) is(kind nodeKind) error {
	if n.kind != kind {
		return n.fail("%s, want %s", n.kind, kind)
	}
	return nil
}

// only fails for fields that are not listed. Those in refused are known, and what
// they ask for cannot be done here; that is said of each.
func (n *node) only(refused map[string]string, known ...string) error {
	if err := n.is(kindObject); err != nil {
		return err
	}
	for _, key := range n.keys {
		if why, ok := refused[key]; ok {
			return n.fields[key].fail("%s", why)
		}
		if !slices.Contains(known, key) {
			return n.fields[key].fail("not a field that is known here")
		}
	}
	return nil
}

// string is a field that is a string and not empty; "" if it is not there.
func (n *node) string(key string) (string, error) {
	f := n.fields[key]
	if f == nil {
		return "", nil
	}
	if err := f.is(kindText); err != nil {
		return "", err
	}
	if f.text == "" {
		return "", f.fail("it is empty")
	}
	return f.text, nil
}

// list is the items of a list that is not empty.
func (n *node) list() ([]*node, error) {
	if err := n.is(kindList); err != nil {
		return nil, err
	}
	if len(n.items) == 0 {
		return nil, n.fail("an empty list")
	}
	return n.items, nil
}

func (n *node) add(key string, v *node) error {
	if _, twice := n.fields[key]; twice {
		return v.fail("given twice")
	}
	if n.fields == nil {
		n.fields = map[string]*node{}
	}
	n.keys, n.fields[key] = append(n.keys, key), v
	return nil
}

// member is the path of a field.
func member(path, key string) string {
	plain := key != "" && strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
	if !plain {
		return fmt.Sprintf("%s[%q]", path, key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// jsonReader makes nodes of JSON.
type jsonReader struct {
	dec   *json.Decoder
	data  []byte
	line  int
	seen  int64 // how far lines are counted
	count int
}

// readJSON reads one JSON document.
func readJSON(data []byte) (*node, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("no valid UTF-8")
	}
	r := &jsonReader{dec: json.NewDecoder(bytes.NewReader(data)), data: data, line: 1}
	r.dec.UseNumber()
	n, err := r.value("", 0)
	if err != nil {
		return nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("line %d: something stands behind its end", r.here())
	}
	return n, nil
}

// here is the line that has been read up to.
func (r *jsonReader) here() int {
	to := r.dec.InputOffset()
	r.line += bytes.Count(r.data[r.seen:to], []byte("\n"))
	r.seen = to
	return r.line
}

func (r *jsonReader) token() (json.Token, int, error) {
	t, err := r.dec.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, 0, fmt.Errorf("line %d: no JSON: %w", r.here(), err)
	}
	return t, r.here(), nil
}

func (r *jsonReader) value(path string, depth int) (*node, error) {
	t, line, err := r.token()
	if err != nil {
		return nil, err
	}
	n := &node{path: path, line: line}
	if r.count++; r.count > maxNodes || depth > 2*maxDepth {
		return nil, n.fail("more than %d values, or nested more than %d deep", maxNodes, 2*maxDepth)
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return n, r.object(n, depth)
		}
		return n, r.array(n, depth)
	case string:
		n.kind, n.text = kindText, t
	case json.Number:
		n.kind, n.text = kindNumber, t.String()
	case bool:
		n.kind, n.text = kindBool, fmt.Sprint(t)
	default:
		n.kind = kindNull
	}
	return n, nil
}

func (r *jsonReader) object(n *node, depth int) error {
	n.kind = kindObject
	for r.dec.More() {
		t, _, err := r.token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		v, err := r.value(member(n.path, key), depth+1)
		if err != nil {
			return err
		}
		if err := n.add(key, v); err != nil {
			return err
		}
	}
	_, _, err := r.token()
	return err
}

func (r *jsonReader) array(n *node, depth int) error {
	n.kind = kindList
	for r.dec.More() {
		v, err := r.value(fmt.Sprintf("%s[%d]", n.path, len(n.items)), depth+1)
		if err != nil {
			return err
		}
		n.items = append(n.items, v)
	}
	_, _, err := r.token()
	return err
}

// readYAML makes nodes of YAML: of what JSON has too. Aliases, merges and tags of
// its own are refused.
func readYAML(y *yaml.Node, path string, count *int, depth int) (*node, error) {
	n := &node{path: path, line: y.Line, text: y.Value}
	if *count++; *count > maxNodes || depth > 2*maxDepth {
		return nil, n.fail("more than %d values, or nested more than %d deep", maxNodes, 2*maxDepth)
	}
	switch y.Kind {
	case yaml.MappingNode:
		n.kind = kindObject
		for i := 0; i+1 < len(y.Content); i += 2 {
			if k := y.Content[i]; k.Kind != yaml.ScalarNode || k.ShortTag() == "!!merge" {
				return nil, n.fail("a key that is no plain string")
			}
			key := y.Content[i].Value
			v, err := readYAML(y.Content[i+1], member(path, key), count, depth+1)
			if err != nil {
				return nil, err
			}
			if err := n.add(key, v); err != nil {
				return nil, err
			}
		}
	case yaml.SequenceNode:
		n.kind = kindList
		for i, c := range y.Content {
			v, err := readYAML(c, fmt.Sprintf("%s[%d]", path, i), count, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, v)
		}
	case yaml.ScalarNode:
		kind, ok := map[string]nodeKind{"!!str": kindText, "!!bool": kindBool, "!!int": kindNumber, "!!float": kindNumber, "!!null": kindNull, "!!timestamp": kindText}[y.ShortTag()]
		if !ok {
			return nil, n.fail("tag %s", y.ShortTag())
		}
		n.kind = kind
	default:
		return nil, n.fail("an alias; write it out")
	}
	return n, nil
}
