package policy

import (
	"errors"
	"fmt"

	"cel.dev/cel-go/cel"
)

// Limits of conditions: what they look at was signed by somebody, not written by
// us.
const (
	maxConditions     = 100
	maxConditionBytes = 4096
	// conditionCost is how much work one condition may do, in the units of CEL's
	// cost model: about that many comparisons.
	conditionCost = 1_000_000
)

// condition is a compiled CEL expression.
type condition struct {
	text    string
	about   string
	program cel.Program
}

// compile reads conditions about a variable of JSON. Each has to give a boolean.
func compile(about string, texts []string) ([]*condition, error) {
	if len(texts) > maxConditions {
		return nil, fmt.Errorf("%d conditions, at most %d are accepted", len(texts), maxConditions)
	}
	env, err := cel.NewEnv(cel.Variable(about, cel.DynType))
	if err != nil {
		return nil, err
	}
	var out []*condition
	for _, text := range texts {
		if len(text) > maxConditionBytes {
			return nil, fmt.Errorf("a condition of %d bytes, at most %d are accepted", len(text), maxConditionBytes)
		}
		ast, issues := env.Compile(text)
		if issues.Err() != nil {
			return nil, fmt.Errorf("condition %q: %w", text, issues.Err())
		}
		if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
			return nil, fmt.Errorf("condition %q gives a %s, want a boolean", text, t)
		}
		prg, err := env.Program(ast, cel.CostLimit(conditionCost))
		if err != nil {
			return nil, fmt.Errorf("condition %q: %w", text, err)
		}
		out = append(out, &condition{text, about, prg})
	}
	return out, nil
}

// ErrCondition says that a condition does not hold.
var ErrCondition = errors.New("condition does not hold")

// Holds says whether every condition of an attestation or an artifact holds for
// data, which is JSON. One that cannot be evaluated, as about a field that is not
// there, does not hold.
func (r *Requirement) Holds(data []byte) error {
	var list []*condition
	switch {
	case r.Attestation != nil:
		list = r.Attestation.conditions
	case r.Artifact != nil:
		list = r.Artifact.conditions
	}
	if len(list) == 0 {
		return nil
	}
	var v any
	if err := strictJSON(data, &v); err != nil {
		return fmt.Errorf("what the conditions are about: %v: %w", err, ErrCondition)
	}
	for _, c := range list {
		out, _, err := c.program.Eval(map[string]any{c.about: v})
		if err != nil {
			return fmt.Errorf("%s: %v: %w", c.text, err, ErrCondition)
		}
		if ok, is := out.Value().(bool); !is || !ok {
			return fmt.Errorf("%s: %w", c.text, ErrCondition)
		}
	}
	return nil
}
