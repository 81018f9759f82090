package wire

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
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
	case bytes.TrimLeft(b, " \t\r\n")[0] != '{':
		return violation("a header is not a JSON object")
	}
	return nil
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

// Nullable is a string whose empty value is null on the wire.
type Nullable string

// MarshalJSON writes null for the empty string.
func (n Nullable) MarshalJSON() ([]byte, error) {
	if n == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(n))
}
