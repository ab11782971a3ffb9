package layout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
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
	if err := checkSyntax(raw); err != nil {
		return err
	}
	// What is left to find in valid JSON are the strings and what they are in. Statements
	// of tens of megabytes pass here, so it is not read token by token.
	var stack []level
	for i := 0; i < len(raw); {
		top := len(stack) - 1
		switch raw[i] {
		case '{', '[':
			stack = push(stack, raw[i] == '{', !strict || top >= 0 && (stack[top].free || stack[top].key == "annotations"))
		case '}', ']':
			stack = stack[:top]
		case ',':
			stack[top].want = stack[top].object
		case '"':
			end := stringEnd(raw, i)
			if top >= 0 && stack[top].want {
				if err := stack[top].take(raw[i:end]); err != nil {
					return err
				}
			}
			i = end
			continue
		}
		i++
	}
	return nil
}

// checkSyntax refuses what is not one JSON value, and nesting beyond MaxJSONDepth.
func checkSyntax(raw []byte) error {
	depth := 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			if depth++; depth > MaxJSONDepth {
				return fmt.Errorf("JSON: nested more than %d deep: %w", MaxJSONDepth, ErrLimit)
			}
		case '}', ']':
			depth--
		case '"':
			i = stringEnd(raw, i) - 1
		}
	}
	if !json.Valid(raw) {
		err := json.Unmarshal(raw, new(json.RawMessage)) // which says where
		return fmt.Errorf("JSON: %v: %w", err, ErrCorrupt)
	}
	return nil
}

// stringEnd is where the string ends that begins at i, or the end of raw.
func stringEnd(raw []byte, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// level is one open object or array.
type level struct {
	object bool
	keys   []string        // of an object, the first fewKeys
	more   map[string]bool // the others
	free   bool            // below "annotations"
	key    string          // the key whose value comes next
	want   bool            // a key comes next
}

// fewKeys is how many keys are compared one by one: most objects have fewer, and a map
// for each costs more than all else.
const fewKeys = 16

// push opens an object or array, in the memory of one that was closed if there is any.
func push(stack []level, object, free bool) []level {
	if len(stack) < cap(stack) {
		stack = stack[:len(stack)+1]
	} else {
		stack = append(stack, level{})
	}
	l := &stack[len(stack)-1]
	*l = level{object: object, keys: l.keys[:0], free: free, want: object}
	return stack
}

// take notes a key, as it is written in the document.
func (l *level) take(quoted []byte) error {
	key := string(quoted[1 : len(quoted)-1])
	if bytes.IndexFunc(quoted, func(r rune) bool { return r == '\\' || r >= utf8.RuneSelf }) >= 0 {
		if err := json.Unmarshal(quoted, &key); err != nil {
			return fmt.Errorf("JSON: %v: %w", err, ErrCorrupt)
		}
	}
	if slices.Contains(l.keys, key) || l.more[key] {
		return fmt.Errorf("JSON: key %.100q twice in one object: %w", key, ErrCorrupt)
	}
	if !l.free && !known[key] {
		if want, ok := knownFolded[fold(key)]; ok {
			return fmt.Errorf("JSON: key %.100q should be %q: %w", key, want, ErrCorrupt)
		}
	}
	switch {
	case len(l.keys) < fewKeys:
		l.keys = append(l.keys, key)
	default:
		if l.more == nil {
			l.more = map[string]bool{}
		}
		l.more[key] = true
	}
	l.key, l.want = key, false
	return nil
}
