package custody

import "reflect"

// StatementType is the media type of a claim.
const StatementType = statementType

// Same says whether two records tell of the same: all but the time, the tool and what
// came before them is alike. The same done again adds nothing.
func (r *Record) Same(o *Record) bool {
	plain := func(r *Record) Record {
		c := *r
		c.At, c.Clock, c.Tool, c.Previous = o.At, o.Clock, o.Tool, nil
		return c
	}
	a, b := plain(r), plain(o)
	return reflect.DeepEqual(a, b)
}
