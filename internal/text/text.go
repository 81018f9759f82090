// Package text prepares text for people: words of others, counts and reasons.
package text

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Printable escapes what does not print in s, such as control sequences of a
// terminal and marks that reverse the direction of writing, in the form of Go's
// string literals. It cuts s to limit bytes and marks the cut with "…"; a limit of
// 0 cuts nothing.
func Printable(s string, limit int) string {
	cut := limit > 0 && len(s) > limit
	if cut {
		s = strings.ToValidUTF8(s[:limit], "") // the last rune may be incomplete
	}
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	if cut {
		b.WriteString("…")
	}
	return b.String()
}

// JSON returns v as JSON and a newline, with indent for each level or, for "", on one
// line. Names are of other participants: it escapes what does not print, such as control
// sequences of a terminal and marks that reverse the direction of writing, and nothing
// for HTML.
func JSON(v any, indent string) ([]byte, error) {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", indent)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	var escaped []byte
	for _, r := range b.String() {
		switch {
		case r < 0x7f || strconv.IsPrint(r): // encoding/json escapes the first 32
			escaped = utf8.AppendRune(escaped, r)
		case r < 1<<16:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		default:
			r1, r2 := utf16.EncodeRune(r)
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, r1, r2)
		}
	}
	return escaped, nil
}

// Count returns n and its noun: "1 value", "2 values".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Reason returns err without the operation and the path that package os puts
// before it, for messages that name the path themselves.
func Reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
