// Package manifest reads what the user asked for: which variables and files a
// child gets and where their values come from. It knows neither network nor values.
package manifest

import "io/fs"

// A Manifest is the validated sum of its layers.
type Manifest struct {
	// Entries are in the order of their first appearance, one for each Name.
	Entries []Entry
	// Files are one for each Path.
	Files []File
	// OAuth are the clients that references of the kind [OAuth] name.
	OAuth   map[string]OAuthClient
	Refresh Refresh
	Exec    Exec
}

// An Entry is one environment variable.
type Entry struct {
	Name  string
	Value Expr
	Unset bool // the variable is absent, whatever the environment has
	Pos   Position
	UpdatePolicy
}

// Inherits reports whether the value of e is only the [Variable] of its own
// name, without an operator. Such an entry is absent if the environment does
// not have it.
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

// A Expr is the parts of a value, in order; their texts are joined.
type Expr []Part

// A Part is one of a literal, a reference, a variable, a file (the path of one
// of the manifest's Files, which stands for where it is) and when the token of a
// target expires, which is absent if that is not known.
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

// A Reference names a value of a source: SCHEME:KIND/ID?QUERY#FIELD, or
// SCHEME://GROUP/KIND/ID for a group that is not the default one, such as another
// room.
type Reference struct {
	Target
	Field    string  // path into a JSON value, "" for the value itself
	Optional bool    // absent rather than an error when missing
	Default  *string // in place of a missing value
	Base64   bool    // encode the value as standard base64
	// File and Mode ask for a file with the value, in the place of which its path
	// stands. [Load] makes a [Part] and a [File] of them.
	File string
	Mode fs.FileMode
	// ExpiresAt asks for NAME_EXPIRES_AT beside NAME. [Load] makes an [Entry] of
	// it, whose value is an Expiry.
	ExpiresAt bool
	// UpdatePolicy is that of the value or the file that the reference is in, to which
	// [Load] gives it. A MaxStale of 0 that is written is below 0 here.
	UpdatePolicy
}
