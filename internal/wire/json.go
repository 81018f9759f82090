package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/roomenv/roomenv/secret"
)

// checkObject accepts UTF-8 JSON objects that nest no deeper than [MaxDepth].
func checkObject(b []byte) error {
	switch {
	case !utf8.Valid(b):
		return violation("a header is not UTF-8")
	case depth(b) > MaxDepth:
		return violation("a header nests deeper than %d", MaxDepth)
	case !json.Valid(b):
		return violation("a header is not JSON")
	case !isObject(b):
		return violation("a header is not a JSON object")
	}
	return nil
}

// isObject reports whether valid JSON is an object.
func isObject(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && b[0] == '{'
}

// depth counts brackets outside strings, so it bounds the nesting of valid
// JSON before a recursive parser sees it.
func depth(b []byte) (deepest int) {
	open, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			open++
			deepest = max(deepest, open)
		case c == '}' || c == ']':
			open--
		}
	}
	return deepest
}

// EncodeJSON returns v as JSON. Unlike [json.Marshal] it does not escape for HTML: text
// of peers must not grow past the limits.
func EncodeJSON(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Nullable is a string that is null on the wire if it is empty.
type Nullable string

// MarshalJSON writes null for the empty string. It rejects invalid UTF-8: encoding/json
// would replace bytes, and select a different secret.
func (n Nullable) MarshalJSON() ([]byte, error) {
	switch {
	case n == "":
		return []byte("null"), nil
	case !utf8.ValidString(string(n)):
		return nil, errors.New("a name is not UTF-8")
	}
	return json.Marshal(string(n))
}

// List is a list that is never null on the wire: clients fail on null.
type List[T any] []T

// MarshalJSON writes [] for nil.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// A Secret is a string on the wire that does not print, like [secret.Value]. It is null
// if it is empty.
type Secret struct{ secret.Value }

// MarshalJSON writes the string. It rejects invalid UTF-8.
func (s Secret) MarshalJSON() ([]byte, error) { return Nullable(s.Reveal()).MarshalJSON() }

// UnmarshalJSON reads a string or null.
func (s *Secret) UnmarshalJSON(b []byte) error {
	var n Nullable
	if json.Unmarshal(b, &n) != nil {
		// A JSON error can quote its input, which may be secret.
		return errors.New("a secret is not a string")
	}
	*s = Secret{secret.New([]byte(n))}
	return nil
}
