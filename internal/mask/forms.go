package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// forms yields the ways in which programs write v, without surrounding quotes. Some
// are yielded twice.
func forms(v []byte) iter.Seq[string] {
	s := string(v)
	return func(yield func(string) bool) {
		for _, list := range [][]string{lines(s), quoted(s), escapedURL(s), shell(s), base64Forms(v)} {
			for _, form := range list {
				// A terminal turns LF into CRLF, in quotes too.
				if !yield(form) || strings.Contains(form, "\n") && !yield(strings.ReplaceAll(form, "\n", "\r\n")) {
					return
				}
			}
		}
	}
}

func lines(s string) []string {
	return []string{s, strings.ReplaceAll(s, "\r\n", "\n")}
}

// quoted is s inside double quotes, of JSON and of Go's %q and %+q. Encoders of
// JSON differ: some escape HTML, some what is not ASCII, some the slash.
func quoted(s string) []string {
	list := []string{unquote(strconv.Quote(s)), unquote(strconv.QuoteToASCII(s))}
	for _, html := range []bool{false, true} {
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(html)
		if encoder.Encode(s) != nil {
			continue // never: it is a string
		}
		form := unquote(strings.TrimSuffix(b.String(), "\n"))
		ascii := jsonASCII(form)
		list = append(list, form, ascii, strings.ReplaceAll(form, "/", `\/`), strings.ReplaceAll(ascii, "/", `\/`))
	}
	return list
}

func unquote(s string) string { return s[1 : len(s)-1] }

func jsonASCII(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// escapedURL is s in a query, in a path, from encodeURIComponent of JavaScript and from
// quote of Python, and as the password of a URL.
func escapedURL(s string) []string {
	query := url.QueryEscape(s)
	component := strings.ReplaceAll(query, "+", "%20")
	return []string{
		query,
		component,
		url.PathEscape(s),
		strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(component),
		strings.ReplaceAll(component, "%2F", "/"),
		strings.TrimPrefix(url.UserPassword("", s).String(), ":"),
	}
}

// shell is s inside single quotes, with the two common ways to write a quote there, of
// sh and of Python's shlex, and inside the double quotes of `export -p` of bash.
func shell(s string) []string {
	return []string{
		strings.ReplaceAll(s, `'`, `'\''`),
		strings.ReplaceAll(s, `'`, `'"'"'`),
		strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(s),
	}
}

// base64Forms is, for each of the three positions of v in groups of three bytes, the
// characters that depend on v alone.
func base64Forms(v []byte) []string {
	var list []string
	for before := range 3 {
		padded := append(make([]byte, before, before+len(v)), v...)
		first, end := (before*8+5)/6, len(padded)*8/6
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			list = append(list, encoding.EncodeToString(padded)[first:end])
		}
	}
	return list
}
