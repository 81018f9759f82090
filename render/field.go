package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Errors about a field. Those of encoding/json quote their input, so none is
// wrapped.
var (
	errNotJSON = errors.New("the value is not JSON, so it has no fields")
	errNoField = errors.New("the path continues where the value has neither an object nor an array")
)

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// field returns the part of a JSON value that path names: a JSON Pointer
// (RFC 6901) when it starts with "/", else a key of the top level. A string gives
// its text, a number its digits unchanged, an object or array its compact form.
// What does not exist or is null is not found.
func field(value []byte, path string) (text []byte, found bool, err error) {
	if !utf8.Valid(value) || !json.Valid(value) {
		return nil, false, errNotJSON
	}
	keys := []string{path}
	if strings.HasPrefix(path, "/") {
		keys = strings.Split(path[1:], "/")
		for i, k := range keys {
			keys[i] = unescape.Replace(k)
		}
	}
	part := json.RawMessage(bytes.TrimSpace(value))
	for _, k := range keys {
		if part, err = child(part, k); part == nil {
			return nil, false, err
		}
	}
	switch part[0] {
	case 'n':
		return nil, false, nil
	case '"':
		var s string
		if json.Unmarshal(part, &s) != nil {
			return nil, false, errNotJSON
		}
		return []byte(s), true, nil
	default:
		var b bytes.Buffer
		if json.Compact(&b, part) != nil {
			return nil, false, errNotJSON
		}
		return b.Bytes(), true, nil
	}
}

// child returns what key names in a valid JSON value, nil if there is nothing.
func child(value json.RawMessage, key string) (json.RawMessage, error) {
	switch value[0] {
	case '{':
		var object map[string]json.RawMessage
		if json.Unmarshal(value, &object) != nil {
			return nil, errNotJSON
		}
		return object[key], nil
	case '[':
		var array []json.RawMessage
		if json.Unmarshal(value, &array) != nil {
			return nil, errNotJSON
		}
		i, err := strconv.ParseUint(key, 10, 32)
		if err != nil || key != strconv.FormatUint(i, 10) || i >= uint64(len(array)) {
			return nil, nil
		}
		return array[i], nil
	case 'n':
		return nil, nil
	}
	return nil, errNoField
}
