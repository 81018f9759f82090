package manifest

import "iter"

// References yields the references of t, in order, and whether each is inside
// the word of a variable, where it may not be needed. The word of ? is a
// message, which shows no values.
func (t Expr) References() iter.Seq2[*Reference, bool] {
	return func(yield func(*Reference, bool) bool) { t.visit(false, yield) }
}

func (t Expr) visit(inWord bool, yield func(*Reference, bool) bool) bool {
	for _, p := range t {
		switch v := p.Variable; {
		case p.Reference != nil:
			if !yield(p.Reference, inWord) {
				return false
			}
		case v != nil && v.Operator != "?" && v.Operator != ":?":
			if !v.Operand.visit(true, yield) {
				return false
			}
		}
	}
	return true
}
