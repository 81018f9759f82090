package render

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"text/template"

	"github.com/roomenv/roomenv/manifest"
)

// execute runs a template of the manifest, which names no value that is not
// among values; one that is absent is the empty text.
func execute(text string, values []Variable) ([]byte, error) {
	texts := make(map[string]string, len(values))
	for _, v := range values {
		texts[v.Name] = string(v.Value.Reveal())
	}
	value := func(function string) func(string) string {
		return func(argument string) string { return texts[manifest.Call(function, argument)] }
	}
	// What functions make counts too: {{ $b := print $a $a }}, {{ $c := print $b
	// $b }}, …
	left := maxTotal
	take := func(s string, err error) (string, error) {
		if left -= len(s); left < 0 {
			return "", errTooLarge
		}
		return s, err
	}
	t, err := template.New("").Funcs(template.FuncMap{
		"secret":   value("secret"),
		"oauth":    value("oauth"),
		"env":      value("env"),
		"json":     func(s string) (string, error) { return take(jsonString([]byte(s))) },
		"b64enc":   func(s string) (string, error) { return take(base64.StdEncoding.EncodeToString([]byte(s)), nil) },
		"urlquery": func(s string) (string, error) { return take(url.QueryEscape(s), nil) },
		"print":    func(s ...string) (string, error) { return take(strings.Join(s, ""), nil) },
	}).Parse(text)
	if err != nil {
		return nil, errors.New("invalid template") // the manifest has seen that it can
	}
	var b limited
	if err := t.Execute(&b, nil); err != nil {
		return nil, templateError(err)
	}
	return b.Bytes(), nil
}

// templateError keeps of an error where it is, and the reason only if it is
// ours: those of text/template may quote a value.
func templateError(err error) error {
	reason := errors.New("invalid argument of a function")
	for _, ours := range []error{errNotText, errTooLarge} {
		if errors.Is(err, ours) {
			reason = ours
		}
	}
	place, _, found := strings.Cut(strings.TrimPrefix(err.Error(), "template: :"), ": ")
	if !found || errors.Is(reason, errTooLarge) {
		return reason
	}
	return fmt.Errorf("line %s of the template: %w", place, reason)
}

// A limited buffer takes no more than all values may be.
type limited struct{ bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > maxTotal {
		return 0, errTooLarge
	}
	return l.Buffer.Write(b)
}
