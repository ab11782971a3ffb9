package layout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// known lists the field names of manifests, indexes, descriptors and layout
// files. encoding/json matches names without regard to case, other parsers do
// not: a document that spells one of these in another case means different
// things to different readers, and is refused.
var known, knownFolded = func() (map[string]bool, map[string]string) {
	names, folded := map[string]bool{}, map[string]string{}
	for _, k := range []string{
		"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "blobs",
		"subject", "annotations", "digest", "size", "urls", "data", "platform", "fsLayers",
		"architecture", "os", "variant", "os.version", "os.features", "imageLayoutVersion",
	} {
		names[k], folded[fold(k)] = true, k
	}
	return names, folded
}()

// fold makes equal what encoding/json takes for the same name. That is more than
// upper and lower case: "ſize", with a long s, is "size" to it.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, key)
}

// CheckJSON refuses JSON that two parsers could read differently: duplicate
// keys, a known field in another case, invalid UTF-8, trailing data, and nesting
// beyond MaxJSONDepth. Keys below "annotations" are free text and only have to be
// unique.
func CheckJSON(raw []byte) error {
	if !utf8.Valid(raw) {
		return fmt.Errorf("JSON: invalid UTF-8: %w", ErrCorrupt)
	}
	return checkKeys(raw, true)
}

// checkKeys is CheckJSON, with fields in another case let through if strict is
// not set.
func checkKeys(raw []byte, strict bool) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := checkValue(dec, !strict); err != nil {
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

func checkValue(dec *json.Decoder, free bool) error {
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
				l := level{free: free || top >= 0 && (stack[top].free || stack[top].key == "annotations")}
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
	if !l.free && !known[key] {
		if want, ok := knownFolded[fold(key)]; ok {
			return fmt.Errorf("JSON: key %.100q should be %q: %w", key, want, ErrCorrupt)
		}
	}
	l.keys[key], l.key, l.want = true, key, false
	return nil
}
