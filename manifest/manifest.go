// Package manifest reads what the user asked for: which variables and files a
// child gets and where their values come from. It knows neither network nor values.
package manifest

import (
	"io/fs"
	"time"
)

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

// Kinds of references.
const (
	KindSecret  = "secret"  // room:secret/ID
	KindOAuth   = "oauth"   // room:oauth/CLIENT
	KindRequest = "request" // room:request/PARTICIPANT
)

// A Reference names a value that a room holds: room:KIND/ID?QUERY#FIELD, or
// room://ROOM/KIND/ID for a room that is not the default one.
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

// A Target is the part of a [Reference] that decides what is fetched: two
// references with equal targets are fetched once.
type Target struct {
	Room string // "" is the default room
	Kind string
	ID   string // of a secret; the name of a client or of a participant
	// Type and Name narrow a secret, as in get_secret; Type is also that of
	// what is requested.
	Type, Name string
	// DelegatedTo is for whom a value is, and DelegatedBy whose token it is:
	// delegated_to and delegated_by; of a request, delegate_to.
	DelegatedTo, DelegatedBy string
	// URL is what a request is for.
	URL string
	// From is who is asked for a token that there is not yet; "" is who the
	// client names.
	From string
	// Timeout is how long who is asked may take; 0 is the room's default.
	Timeout time.Duration
}
