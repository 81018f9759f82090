package manifest_test

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/roomenv/roomenv/manifest"
)

func FuzzDotenv(f *testing.F) {
	for _, text := range []string{
		"A=b\n", "export A='b' # c\n", "A=\"x ${room:secret/db?type=t#a} $B ${C:-${D}} $$ \\n\"\nB\nC: `x\ny`\n",
		"A=${", "A=\"b", "A=room:secret/a?default=x", "A=${A:-{}}", "=", "A=${vault:x}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkParse(t, "fuzz.env", text) })
}

func FuzzYAML(f *testing.F) {
	for _, text := range []string{
		"version: 1\nenv:\n  A: room:secret/db#user\n  B: {secret: x, default: 1}\n  C:\n",
		"{\"version\": 1, \"env\": {\"A\": \"x ${B:-y}\"}}", "a: *b", "- - -", "{{{{{{", "? a\n: b", "a: |\n  b\n", "\t", "a: \"\\x00\"", "a: 'b''c'",
		"version: 1\noauth:\n  x:\n    client_secret: room:secret/s\n    scopes: [a, b]\n    connector: {server_url: https://m}\n", "scopes:\n- a\n- - b\n", "scopes: [[",
		"version: 1\nfiles:\n  a/b: {template: '{{ with secret \"x\" }}{{ json . }}{{ end }}', mode: \"0400\", env: A}\n  c: {format: json, entries: {A: x}}",
		"version: 1\nexec:\n  mask: true\n  strip: [A, B]\n  allow:\n  - C\n  stop_signal: INT\n  stop_timeout: 10s\n",
		"version: 1\nrefresh: {max_stale: 0, on_revoked: keep}\nexec: {on_change: {command: [a, b]}, restart: overlap, ready: {tcp: \":1\", timeout: 1s}}\n" +
			"env:\n  A: {oauth: x, expires_at: true, on_change: {signal: HUP}, max_stale: 1m, then: stop}\n  B: room:secret/b?on_change=none\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkParse(t, "fuzz.yaml", text) })
}

// checkParse checks what holds for every text: entries and errors are in the
// file, names are valid, and no line that is printed is long or has control
// characters.
func checkParse(t *testing.T, file, text string) {
	if !utf8.ValidString(text) || strings.Contains(text, "\x00") || strings.Contains(text, "\r\n") {
		t.Skip("Load does not hand this to the parser")
	}
	entries, errs := manifest.Parse(file, text)
	lines := strings.Split(text, "\n")
	inside := func(p manifest.Position) {
		if p.File != file || p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len(lines[p.Line-1])+1 {
			t.Fatalf("%q: position %v is outside of the text", text, p)
		}
	}
	for _, e := range entries {
		inside(e.Pos)
		if !isName(e.Name) {
			t.Fatalf("%q: invalid name %q", text, e.Name)
		}
		if rest := lines[e.Pos.Line-1][e.Pos.Column-1:]; file == "fuzz.env" && !strings.HasPrefix(rest, e.Name) {
			t.Fatalf("%q: %s is not at %v", text, e.Name, e.Pos)
		}
		checkTemplate(t, e.Value)
	}
	for _, err := range errs {
		e := err.(*manifest.Error)
		inside(e.Pos)
		if e.Message == "" || utf8.RuneCountInString(e.Line) > 110 || strings.ContainsFunc(e.Line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("%q: bad error %q", text, e)
		}
	}
	// The same text gives the same again.
	again, _ := manifest.Parse(file, text)
	if len(again) != len(entries) {
		t.Fatalf("%q: %d entries, then %d", text, len(entries), len(again))
	}
}

func checkTemplate(t *testing.T, template manifest.Expr) {
	for _, p := range template {
		set := 0
		if p.Literal != "" {
			set++
		}
		if p.Reference != nil {
			set++
			if p.Reference.Path == "" {
				t.Fatalf("empty reference in %v", template)
			}
		}
		if p.Variable != nil {
			set++
			if !isName(p.Variable.Name) {
				t.Fatalf("invalid variable %q", p.Variable.Name)
			}
			checkTemplate(t, p.Variable.Operand)
		}
		if p.File != "" {
			set++
		}
		if p.Expiry != nil {
			set++
		}
		if set != 1 {
			t.Fatalf("a part is %d things: %v", set, p)
		}
	}
}

func isName(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// FuzzParseReference checks that a reference is a URI to net/url too, and that
// a target survives being written and read again.
func FuzzParseReference(f *testing.F) {
	for _, text := range []string{
		"room:secret/db", "room:oauth/x?expires_at=true&on_change=none&max_stale=1m&then=stop&on_revoked=keep", "room:secret/db?type=a%2Bb&name=n&delegated_to=p&optional=true&default=x&encoding=base64#/a/b",
		"room://my-room/secret/db%2Fx#a%20b", "room:oauth/github?from=a&delegated_by=b", "room:request/alice?url=u&type=t&delegate_to=d&timeout=60", "room:secret/", "file:token/a/b?x=1&x2=%26&optional=true#f", "file:token//etc/x?", "room:secret/x?type=", "room:secret/%ff", "room:secret/a:b@c",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := manifest.ParseReference(text)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without a text")
			}
			return
		}
		u, err := url.Parse(text)
		if err != nil {
			t.Fatalf("%q is no URI: %v", text, err)
		}
		if u.Scheme != r.Scheme || u.Host != r.Group || u.Fragment != r.Field {
			t.Fatalf("%q is %+v here and %+v to net/url", text, r, u)
		}
		q, err := url.ParseQuery(u.RawQuery)
		for _, key := range []string{"type", "name", "delegated_to", "delegate_to", "delegated_by", "from", "url", "x"} {
			if err != nil || q.Get(key) != r.Param(key) {
				t.Fatalf("%q is %+v here and %v to net/url: %v", text, r, q, err)
			}
		}
		again, err := manifest.ParseReference(r.Target.String())
		if err != nil || again.Target != r.Target {
			t.Fatalf("%q is %+v, written %s and read %+v: %v", text, r.Target, r.Target, again.Target, err)
		}
	})
}
