package layout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// known lists the field names of manifests, indexes, descriptors and layout
// files. encoding/json matches names without regard to case, other parsers do
// not: a document that spells one of these in another case means different
// things to different readers, and is refused.
var known = func() map[string]string {
	m := map[string]string{}
	for _, k := range []string{
		"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "blobs",
		"subject", "annotations", "digest", "size", "urls", "data", "platform", "fsLayers",
		"architecture", "os", "variant", "os.version", "os.features", "imageLayoutVersion",
	} {
		m[strings.ToLower(k)] = k
	}
	return m
}()

// CheckJSON refuses JSON that two parsers could read differently: duplicate
// keys, a known field in another case, trailing data, and nesting beyond
// MaxJSONDepth. Keys below "annotations" are free text and only have to be
// unique.
func CheckJSON(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := checkValue(dec); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("JSON: data after the end: %w", ErrCorrupt)
	}
	return nil
}

// level is one open object or array.
type level struct {
	keys map[string]bool // nil for an array
	free bool            // below "annotations"
	key  string          // the key whose value comes next
	want bool            // a key comes next
}

func checkValue(dec *json.Decoder) error {
	var stack []level
	for {
		tok, err := dec.Token()
		if err != nil {
			return fmt.Errorf("JSON: %v: %w", err, ErrCorrupt)
		}
		top := len(stack) - 1
		if delim, ok := tok.(json.Delim); ok {
			switch delim {
			case '{', '[':
				if top+1 >= MaxJSONDepth {
					return fmt.Errorf("JSON: nested more than %d deep: %w", MaxJSONDepth, ErrLimit)
				}
				l := level{free: top >= 0 && (stack[top].free || stack[top].key == "annotations")}
				if delim == '{' {
					l.keys, l.want = map[string]bool{}, true
				}
				stack = append(stack, l)
				continue
			default:
				stack = stack[:top]
			}
		} else if top >= 0 && stack[top].want {
			if err := stack[top].take(tok.(string)); err != nil {
				return err
			}
			continue
		}
		// A value just ended.
		if top = len(stack) - 1; top < 0 {
			return nil
		}
		stack[top].want = stack[top].keys != nil
	}
}

func (l *level) take(key string) error {
	if l.keys[key] {
		return fmt.Errorf("JSON: key %.100q twice in one object: %w", key, ErrCorrupt)
	}
	if want, ok := known[strings.ToLower(key)]; ok && want != key && !l.free {
		return fmt.Errorf("JSON: key %.100q should be %q: %w", key, want, ErrCorrupt)
	}
	l.keys[key], l.key, l.want = true, key, false
	return nil
}
