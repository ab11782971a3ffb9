package policy

import (
	"encoding/json"
	"errors"
	"fmt"

	"airgap/verify/predicate"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/interpreter"
)

// Limits of conditions: what they look at was signed by somebody, not written by
// us.
const (
	maxConditions     = 100
	maxConditionBytes = 4096
	// conditionCost is how much work one condition may do, in the units of CEL's
	// cost model: about that many comparisons.
	conditionCost = 1_000_000
	// maxConditionValues is how many values the JSON may hold that conditions look at:
	// CEL works on all of them in memory, at some hundred bytes each. SBOMs of tens of
	// megabytes have fewer than a million.
	maxConditionValues = 2 << 20
)

// about is what conditions are about: the name of the variable that holds it.
type about string

// A predicate of SLSA provenance is also there as `build`, in one form whatever its
// version; see [predicate.Build].
const (
	aboutPredicate about = "predicate"
	aboutContent   about = "content"
	variableBuild        = "build"
)

func (a about) variables() []cel.EnvOption {
	out := []cel.EnvOption{cel.Variable(string(a), cel.DynType)}
	if a == aboutPredicate {
		out = append(out, cel.Variable(variableBuild, cel.DynType))
	}
	return out
}

// values gives the variables what data says, which is JSON.
func (a about) values(predicateType string, data []byte) (map[string]any, error) {
	var v any
	if err := strictJSON(data, &v); err != nil {
		return nil, err
	}
	out := map[string]any{string(a): v}
	if a != aboutPredicate {
		return out, nil
	}
	build := map[string]any{} // a condition about what is not there does not hold
	if b := predicate.ParseBuild(predicateType, data); b != nil {
		raw, err := json.Marshal(b)
		if err == nil {
			err = json.Unmarshal(raw, &build)
		}
		if err != nil {
			return nil, err
		}
	}
	out[variableBuild] = build
	return out, nil
}

// condition is a compiled CEL expression.
type condition struct {
	text    string
	program cel.Program
}

// compile reads conditions about some JSON. Each has to give a boolean.
func compile(about about, texts []string) ([]*condition, error) {
	if len(texts) > maxConditions {
		return nil, fmt.Errorf("%d conditions, at most %d are accepted", len(texts), maxConditions)
	}
	env, err := cel.NewEnv(about.variables()...)
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
		out = append(out, &condition{text, prg})
	}
	return out, nil
}

// ErrCondition says that a condition does not hold.
var ErrCondition = errors.New("condition does not hold")

// ErrCost says that nobody knows whether it does: to find out takes more work than is
// done for one. An error that matches it has a method Undecided.
var ErrCost = errors.New("condition takes too much work to check")

// tooCostly marks an error as one of not being able to check.
type tooCostly struct{ error }

func (t *tooCostly) Unwrap() error   { return t.error }
func (t *tooCostly) Undecided() bool { return true }

// evaluated sorts the errors of an evaluation.
func evaluated(text string, err error) error {
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) {
		return &tooCostly{fmt.Errorf("%s: %v: %w", text, err, ErrCost)}
	}
	return fmt.Errorf("%s: %v: %w", text, err, ErrCondition)
}

// Holds says whether every condition of an attestation or an artifact holds for
// data, which is JSON. One that cannot be evaluated, as about a field that is not
// there, does not hold; of one that takes too much work nobody knows (ErrCost). A
// verification summary has to say PASSED, whatever the conditions
// ([predicate.ErrNotPassed]).
func (r *Requirement) Holds(data []byte) error {
	var list []*condition
	var about about
	var typ string
	switch {
	case r.Attestation != nil:
		list, about, typ = r.Attestation.conditions, aboutPredicate, r.Attestation.PredicateType
	case r.Artifact != nil:
		list, about = r.Artifact.conditions, aboutContent
	case r.BuildKit != nil:
		list, about, typ = r.BuildKit.conditions, aboutPredicate, r.BuildKit.PredicateType
	}
	if err := predicate.Passed(typ, data); err != nil {
		return err
	}
	if len(list) == 0 {
		return nil
	}
	if n := countValues(data, maxConditionValues); n > maxConditionValues {
		return &tooCostly{fmt.Errorf("it holds more than %d values: %w", maxConditionValues, ErrCost)}
	}
	values, err := about.values(typ, data)
	if err != nil {
		return fmt.Errorf("what the conditions are about: %v: %w", err, ErrCondition)
	}
	for _, c := range list {
		out, _, err := c.program.Eval(values)
		if err != nil {
			return evaluated(c.text, err)
		}
		if ok, is := out.Value().(bool); !is || !ok {
			return fmt.Errorf("%s: %w", c.text, ErrCondition)
		}
	}
	return nil
}

// countValues counts the values in JSON, or a few more, up to one beyond most.
func countValues(data []byte, most int) int {
	n, quoted := 1, false
	for i := 0; i < len(data) && n <= most; i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '[' || c == '{'):
			n++
		}
	}
	return n
}
