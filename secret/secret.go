// Package secret holds the one type that secret bytes live in.
package secret

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what every printed form of a [Value] says.
const Redacted = "[redacted]"

// A Value is a run of secret bytes that does not print: fmt, log/slog,
// encoding/json and encoding.TextMarshaler users all get [Redacted].
// [Value.Reveal] is the only way to the bytes.
//
// The bytes are behind a closure because fmt does not call methods on
// unexported struct fields: a Value inside such a field prints as an address.
// (A pointer would not do: fmt follows one when the verb does not fit it.)
//
// The zero Value is empty. Values may be copied and used by several
// goroutines.
type Value struct{ reveal func() []byte }

// New returns a Value that owns b; the caller does not use b again.
func New(b []byte) Value { return Value{func() []byte { return b }} }

// Reveal returns the bytes themselves. The caller does not modify them.
func (v Value) Reveal() []byte {
	if v.reveal == nil {
		return nil
	}
	return v.reveal()
}

// Len returns the length in bytes.
func (v Value) Len() int { return len(v.Reveal()) }

// Equal reports whether v and o have the same bytes. Its time depends on their lengths
// only.
func (v Value) Equal(o Value) bool {
	return subtle.ConstantTimeCompare(v.Reveal(), o.Reveal()) == 1
}

// String returns [Redacted].
func (Value) String() string { return Redacted }

// GoString returns [Redacted].
func (Value) GoString() string { return Redacted }

// Format writes [Redacted] for every verb and flag.
func (Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// LogValue returns [Redacted].
func (Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText returns [Redacted]; encoding/json uses it too.
func (Value) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// UnmarshalText makes v own a copy of text. What MarshalText wrote does not come
// back: this is for configuration that is read and never written.
func (v *Value) UnmarshalText(text []byte) error {
	*v = New(bytes.Clone(text))
	return nil
}

// GobEncode fails: a Value is not for storing in the clear.
func (Value) GobEncode() ([]byte, error) {
	return nil, errors.New("encode secret value: seal it first")
}
