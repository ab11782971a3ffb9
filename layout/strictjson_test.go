package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// FuzzCheckKeys holds checkKeys against one that reads token by token, as slowly as
// encoding/json does.
func FuzzCheckKeys(f *testing.F) {
	for _, seed := range []string{
		``, ` `, `{}`, `[]`, `null`, `"a"`, `1`, `{"a":1,"a":2}`, `{"a":{"a":1},"b":[{"a":1,"a":2}]}`, `{"\u0061":1,"a":2}`, `{"Size":1}`, `{"ſize":1}`,
		`{"annotations":{"Size":1,"x":{"Size":1}}}`, `{"annotations":[{"Size":1}]}`, `{"a":"\"","a":1}`, `{"a":"{\"a\":1"}`, `{"a":[1,"a",{"b":"a"}],"c":"a"}`, `{} {}`, `{}x`, `{"a":1,}`,
		"{\"\xff\":1,\"\xfe\":2}", `{"\ud800":1,"\udfff":2}`, strings.Repeat("[", 65) + strings.Repeat("]", 65), strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat(`{"a":`, 20000),
		`{` + manyKeys(40) + `}`, `{` + manyKeys(40) + `,"k3":1}`, `{` + manyKeys(40) + `,"k39":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, strict := range []bool{true, false} {
			got, want := checkKeys(raw, strict), tokenKeys(raw, strict)
			if (got == nil) != (want == nil) {
				t.Fatalf("%q, strict %v: %v, want %v", raw, strict, got, want)
			}
			if got != nil && !errors.Is(got, ErrCorrupt) && !errors.Is(got, ErrLimit) {
				t.Fatalf("%q: %v", raw, got)
			}
		}
	})
}

func manyKeys(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"k%d":%d`, i, i))
	}
	return strings.Join(all, ",")
}

func tokenKeys(raw []byte, strict bool) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := tokenValue(dec, !strict); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("JSON: data after the end: %w", ErrCorrupt)
	}
	return nil
}

// tokenLevel is one open object or array.
type tokenLevel struct {
	keys map[string]bool // nil for an array
	free bool            // below "annotations"
	key  string          // the key whose value comes next
	want bool            // a key comes next
}

func tokenValue(dec *json.Decoder, free bool) error {
	var stack []tokenLevel
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
				l := tokenLevel{free: free || top >= 0 && (stack[top].free || stack[top].key == "annotations")}
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

func (l *tokenLevel) take(key string) error {
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
