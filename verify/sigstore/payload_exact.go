package sigstore

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// checkExact says whether containers/image would read a simple signing payload, which
// is JSON without a field twice (containers/image, signature/internal/
// sigstore_payload.go; containers-signature(5)): each object has the fields of the
// format and no other, but for what a signer added to "optional". A payload whose
// critical part says more than a reader knows is one whose limits that reader would
// not keep.
func checkExact(raw []byte) error {
	top, err := exactFields(raw, "", "critical", "optional")
	if err != nil {
		return err
	}
	critical, err := exactFields(top["critical"], "critical", "type", "image", "identity")
	if err != nil {
		return err
	}
	if _, err := exactFields(critical["image"], "critical.image", "docker-manifest-digest"); err != nil {
		return err
	}
	if _, err := exactFields(critical["identity"], "critical.identity", "docker-reference"); err != nil {
		return err
	}
	return checkOptional(top["optional"])
}

// exactFields reads an object that has each of the names as a field, and no other.
func exactFields(raw json.RawMessage, path string, names ...string) (map[string]json.RawMessage, error) {
	where := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return nil, fmt.Errorf("%s is not an object", cmp.Or(path, "it"))
	}
	left := len(fields)
	for _, name := range names {
		if _, ok := fields[name]; !ok {
			return nil, fmt.Errorf("no field %s", where(name))
		}
		left--
	}
	if left > 0 {
		for name := range fields {
			if !slices.Contains(names, name) {
				return nil, fmt.Errorf("field %.100q, which the format does not have", where(name))
			}
		}
	}
	return fields, nil
}

// checkOptional reads what the signer added: null, or an object whose creator is a
// string and whose timestamp is a whole number.
func checkOptional(raw json.RawMessage) error {
	if string(raw) == "null" {
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return fmt.Errorf("optional is not an object")
	}
	if c, ok := fields["creator"]; ok {
		var s string
		if err := json.Unmarshal(c, &s); err != nil {
			return fmt.Errorf("optional.creator is not a string")
		}
	}
	if t, ok := fields["timestamp"]; ok {
		var at float64
		if err := json.Unmarshal(t, &at); err != nil || at != math.Trunc(at) || math.Abs(at) >= 1<<63 {
			return fmt.Errorf("optional.timestamp is not a whole number")
		}
	}
	return nil
}
