package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/roomenv/roomenv/manifest"
)

// What a format cannot hold.
var (
	errNotText = errors.New("the value is not UTF-8: add encoding=base64 to the reference")
	errNUL     = errors.New("the value holds a NUL byte: add encoding=base64 to the reference")

	errAmbiguous = errors.New("programs read the value from a .env file in different ways: use format: shell or json, or add encoding=base64 to the reference")
)

// encode returns the content of f with values, which are those of its entries
// that are not absent. Its errors quote no value.
func encode(f *manifest.File, values []Variable) ([]byte, error) {
	switch f.Format {
	case manifest.FormatRaw:
		return values[0].Value.Reveal(), nil
	case manifest.FormatTemplate:
		return execute(f.Text, values)
	}
	var b bytes.Buffer
	if f.Format == manifest.FormatJSON {
		b.WriteByte('{')
	}
	for i, v := range values {
		value := v.Value.Reveal()
		text, err := "", error(nil)
		switch f.Format {
		case manifest.FormatDotenv:
			text, err = dotenvLine(v.Name, value)
		case manifest.FormatShell:
			text, err = shellLine(v.Name, value)
		case manifest.FormatYAML:
			text, err = yamlLine(v.Name, value)
		case manifest.FormatJSON:
			if i > 0 {
				b.WriteByte(',')
			}
			text, err = jsonMember(v.Name, value)
		default:
			err = fmt.Errorf("unknown format %q", f.Format)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Name, err)
		}
		b.WriteString(text)
	}
	switch {
	case f.Format == manifest.FormatJSON:
		b.WriteString("\n}\n")
	case f.Format == manifest.FormatYAML && len(values) == 0:
		b.WriteString("{}\n")
	}
	return b.Bytes(), nil
}

// dotenvLine writes what docker compose, npm dotenv, python-dotenv, our own parser and a
// shell read alike, and refuses what they do not: a value must not become another
// variable, or run in a shell. They agree on text between single quotes, and on text
// between double quotes if nothing in it has to be escaped. Even between single quotes,
// python-dotenv expands ${NAME} and takes two backslashes for one, npm dotenv reads
// \r as \n, and both take a backslash before the closing quote for an escape.
func dotenvLine(name string, value []byte) (string, error) {
	text := string(value)
	quote := "'"
	if strings.Contains(text, quote) {
		quote = `"`
	}
	switch {
	case !utf8.Valid(value):
		return "", errNotText
	case strings.Contains(text, "\x00"):
		return "", errNUL
	case strings.Contains(text, "\r"), strings.Contains(text, "${"), strings.Contains(text, `\\`), strings.HasSuffix(text, `\`),
		quote == `"` && strings.ContainsAny(text, "\"$`\\"):
		return "", errAmbiguous
	}
	return name + "=" + quote + text + quote + "\n", nil
}

// shellLine writes for the POSIX shell (POSIX.1-2024, 2.2.2 Single-Quotes),
// which takes any bytes but NUL.
func shellLine(name string, value []byte) (string, error) {
	if bytes.IndexByte(value, 0) >= 0 {
		return "", errNUL
	}
	return "export " + name + "='" + strings.ReplaceAll(string(value), "'", `'\''`) + "'\n", nil
}

func jsonMember(name string, value []byte) (string, error) {
	text, err := jsonString(value)
	return "\n  \"" + name + "\": " + text, err
}

// yamlLine writes a double-quoted scalar, whose escapes include those of JSON
// (YAML 1.2.2, 5.7). What YAML does not take verbatim (5.1) is escaped too.
// The name is quoted: it may be y, no or null.
func yamlLine(name string, value []byte) (string, error) {
	text, err := jsonString(value)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r < utf8.RuneSelf && r != 0x7f, unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return "\"" + name + "\": " + b.String() + "\n", nil
}

// jsonString writes a JSON string. Its error does not quote value, as those of
// encoding/json do.
func jsonString(value []byte) (string, error) {
	if !utf8.Valid(value) {
		return "", errNotText
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(string(value)) != nil {
		return "", errNotText
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
