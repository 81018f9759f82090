// Package manifest reads manifests: which environment variables and files a command gets,
// and where their values come from. It uses no network and holds no values.
package manifest

import (
	"cmp"
	"fmt"
	"iter"
	"strings"
)

// A Manifest is the validated sum of its layers.
type Manifest struct {
	// Entries are in the order of their first appearance, one for each Name.
	Entries []Entry
	// Files are one for each Path.
	Files []File
	// OAuth are the clients that references of [KindOAuth] name.
	OAuth   map[string]OAuthClient
	Refresh Refresh
	Exec    Exec
}

// An Entry is one environment variable.
type Entry struct {
	Name  string
	Value Expr
	Unset bool // the variable is unset, also if it is inherited
	Pos   Position
	UpdatePolicy
}

// Inherits reports whether the value of e is only the [Variable] of its own
// name, without an operator. Such an entry is unset if the variable is not inherited.
func (e Entry) Inherits() bool {
	if len(e.Value) != 1 {
		return false
	}
	v := e.Value[0].Variable
	return v != nil && v.Name == e.Name && v.Operator == ""
}

// A Position is where an entry was written. Line and Column count from 1, in
// bytes; they are 0 for a variable of the environment, whose File is
// "environment".
type Position struct {
	File         string
	Line, Column int
}

// String returns FILE:LINE:COLUMN, or FILE alone where there are no lines.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// An Expr is the parts of a value, in order; their texts are joined.
type Expr []Part

// A Part is one of a literal, a reference, a variable, a file (the path of one
// of the manifest's Files, which stands for where it is) and when the token of a
// target expires, which is unset if that is unknown.
type Part struct {
	Literal   string
	Reference *Reference
	Variable  *Variable
	File      string
	Expiry    *Target
}

// A Variable stands for the value of another entry or of an inherited
// variable: ${NAME}, or with an operator of the POSIX shell's parameter
// expansion, one of "-", ":-", "+", ":+", "?" and ":?", and its word.
type Variable struct {
	Name     string
	Operator string
	Operand  Expr
}

// References yields the references of t, in order, and whether each is inside
// the operand of a variable, where it may not be needed. The operand of ? is a
// message, which shows no values.
func (t Expr) References() iter.Seq2[*Reference, bool] {
	return func(yield func(*Reference, bool) bool) {
		for p, within := range t.parts(false) {
			if p.Reference != nil && !yield(p.Reference, within != nil) {
				return
			}
		}
	}
}

// parts yields all parts of t, and the outermost variable in whose operand each is. It
// leaves out messages unless they are asked for.
func (t Expr) parts(messages bool) iter.Seq2[*Part, *Variable] {
	return func(yield func(*Part, *Variable) bool) { t.visit(nil, messages, yield) }
}

func (t Expr) visit(within *Variable, messages bool, yield func(*Part, *Variable) bool) bool {
	for i := range t {
		p := &t[i]
		if !yield(p, within) {
			return false
		}
		v := p.Variable
		if v != nil && (messages || !strings.HasSuffix(v.Operator, "?")) && !v.Operand.visit(cmp.Or(within, v), messages, yield) {
			return false
		}
	}
	return true
}

// SchemeRoom is the scheme of references to a room. Other schemes are those of
// the sources that a program adds, see [Load].
const SchemeRoom = "room"

// A Kind says what a reference names within its scheme.
type Kind string

// Kinds of [SchemeRoom].
const (
	KindSecret  Kind = "secret"  // room:secret/ID
	KindOAuth   Kind = "oauth"   // room:oauth/CLIENT
	KindRequest Kind = "request" // room:request/PARTICIPANT
)
