package custody_test

import (
	"bytes"
	"os"
	"testing"

	"airgap/bundle/custody"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func schema(t *testing.T, at string) *jsonschema.Schema {
	t.Helper()
	f, err := os.Open("../../docs/custody.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("custody.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("custody.json" + at)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, data []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// The published schema takes what is written of every act.
func TestSchemaTakes(t *testing.T) {
	s := schema(t, "")
	for act, att := range attestations(t) {
		if err := validate(t, s, statement(t, image, att)); err != nil {
			t.Errorf("%s: %v", act, err)
		}
	}
	least := custody.Record{At: then, Clock: custody.ClockHost, Tool: custody.Tool{Name: "airgap"}}
	att, err := least.Attestation(custody.Export, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, s, statement(t, image, att)); err != nil {
		t.Error(err)
	}
	for what, e := range entries() {
		data, err := e.Bytes()
		if err == nil {
			err = validate(t, schema(t, "#/$defs/entry"), data)
		}
		if err != nil {
			t.Errorf("entry %s: %v", what, err)
		}
	}
}

// And it refuses what Parse refuses, as far as a schema can tell.
func TestSchemaRefuses(t *testing.T) {
	s := schema(t, "#/$defs/promote")
	inSchema, _ := broken()
	for what, text := range inSchema {
		if validate(t, s, []byte(text)) == nil {
			t.Errorf("%s: taken", what)
		}
	}
	whole := schema(t, "")
	for act, att := range attestations(t) {
		data := statement(t, image, att)
		for what, change := range map[string][2]string{
			"another predicate type": {"/v1\",\"predicate\"", "/v2\",\"predicate\""}, "another version": {":v1\",\"predicate\"", ":v2\",\"predicate\""}, "another statement type": {"Statement/v1", "Statement/v0.1"},
			"no subject": {`"subject"`, `"object"`}, "no predicate": {`"predicate":`, `"says":`},
		} {
			changed := bytes.Replace(data, []byte(change[0]), []byte(change[1]), 1)
			if !bytes.Equal(changed, data) && validate(t, whole, changed) == nil {
				t.Errorf("%s: %s: taken", act, what)
			}
		}
	}
	entry := schema(t, "#/$defs/entry")
	for what, text := range brokenEntries() {
		if what != "twice" && what != "order" && what != "two lines" && what != "endless" && validate(t, entry, []byte(text)) == nil {
			t.Errorf("entry %s: taken", what)
		}
	}
}
