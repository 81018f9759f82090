package manifest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/manifest"
)

const oneFile = "version: 1\nfiles: {p: "

// Samples of files, on which the parser and the schema agree.
var fileStructures = []structure{
	{true, "version: 1\nfiles: {}"},
	{true, `{"version": 1, "files": {"a/b": {"format": "json", "entries": {"A": {"secret": "x"}, "B": "b"}}}}`},
	{true, "version: 1\nfiles: {a: text, b/c.d: \"room:secret/x\", ..a/.b/...: \"\"}"},
	{true, oneFile + "{secret: x, mode: \"0640\", env: P}}"},
	{true, oneFile + "{secret: x, type: t, name: n, delegated_to: p, room: r, field: f, optional: true, default: 0, encoding: base64}}"},
	{true, oneFile + "{oauth: o, delegated_to: p, delegated_by: q, from: f, room: r, field: f, optional: true, default: 0, encoding: base64, mode: \"0400\"}}\noauth: {o: " + clientJSON + "}"},
	{true, oneFile + "{request: {from: p, url: u, type: t, timeout: 5}, field: f, optional: true, env: P, memfd: true}}"},
	{true, `{"version": 1, "files": {"p": {"format": "json", "entries": {"A": {"request": {"from": "p", "url": "u", "type": "t"}}}}}}`},
	{true, oneFile + "{value: 1, env: P}}"},
	{true, oneFile + "{template: \"{{ secret \\\"x\\\" | json }}\", mode: \"0400\", env: P}}"},
	{true, oneFile + "{template: \"\"}}"},
	{true, oneFile + "{format: shell, entries: {}, mode: \"0600\", env: P}}"},
	{true, "version: 1\nenv: {A: {secret: x, file: a/b, mode: \"0400\"}}"},
	{true, "version: 1\nenv: {A: {secret: x, file: true}}"},
	{true, "version: 1\nenv: {A: {oauth: o, file: a, mode: \"0400\"}, B: {request: {from: p, url: u, type: t}, file: true}}\noauth: {o: " + clientJSON + "}"},
	{false, "version: 1\nenv: {A: {oauth: o, mode: \"0400\"}}\noauth: {o: " + clientJSON + "}"},
	{false, "version: 1\nenv: {A: {request: {from: p, url: u, type: t, file: a}}}"},
	{false, "version: 1\nenv: {A: {value: x, file: a}}"},
	{false, oneFile + "{oauth: o, type: t}}\noauth: {o: " + clientJSON + "}"},
	{false, oneFile + "{oauth: o, file: q}}\noauth: {o: " + clientJSON + "}"},
	{false, oneFile + "{request: {from: p, url: u, type: t}, delegated_to: q}}"},
	{false, oneFile + "{request: {from: p}}}"},
	{false, oneFile + "{oauth: o, secret: x}}\noauth: {o: " + clientJSON + "}"},
	{false, oneFile + "{request: {from: p, url: u, type: t}, template: x}}"},
	{true, oneFile + "{secret: x, memfd: true}, q: {template: \"\", memfd: false}}"},
	{false, oneFile + "{secret: x, memfd: 1}}"},
	{false, "version: 1\nfiles: text"},
	{false, "version: 1\nfiles:"},
	{false, "version: 1\nfiles: {/a: x}"},
	{false, "version: 1\nfiles: {a/: x}"},
	{false, "version: 1\nfiles: {a//b: x}"},
	{false, "version: 1\nfiles: {./a: x}"},
	{false, "version: 1\nfiles: {a/./b: x}"},
	{false, "version: 1\nfiles: {a/../b: x}"},
	{false, "version: 1\nfiles: {..: x}"},
	{false, "version: 1\nfiles: {\"\": x}"},
	{false, "version: 1\nfiles: {\"a\\nb\": x}"},
	{false, "version: 1\nfiles: {" + strings.Repeat("a/", 127) + "bc: x}"},
	{false, oneFile + "1}"},
	{false, oneFile + "~}"},
	{false, oneFile + "{}}"},
	{false, oneFile + "{mode: \"0400\"}}"},
	{false, oneFile + "{secret: x, value: y}}"},
	{false, oneFile + "{secret: x, template: y}}"},
	{false, oneFile + "{value: x, template: y}}"},
	{false, oneFile + "{secret: x, file: y}}"},
	{false, oneFile + "{secret: x, mode: 0400}}"},
	{false, oneFile + "{secret: x, mode: \"400\"}}"},
	{false, oneFile + "{secret: x, mode: \"0200\"}}"},
	{false, oneFile + "{secret: x, mode: \"0800\"}}"},
	{false, oneFile + "{secret: x, mode: \"04000\"}}"},
	{false, oneFile + "{secret: x, env: a-b}}"},
	{false, oneFile + "{secret: x, env: 1}}"},
	{false, oneFile + "{secret: x, owner: root}}"},
	{false, oneFile + "{format: json}}"},
	{false, oneFile + "{entries: {}}}"},
	{false, oneFile + "{format: toml, entries: {}}}"},
	{false, oneFile + "{format: json, entries: {a-b: x}}}"},
	{false, oneFile + "{format: json, entries: {}, secret: x}}"},
	{false, oneFile + "{format: json, entries: {}, template: x}}"},
	{false, oneFile + "{template: 1}}"},
	{false, oneFile + "[x]}"},
	{false, "version: 1\nenv: {A: {secret: x, mode: \"0400\"}}"},
	{false, "version: 1\nenv: {A: {secret: x, file: /a}}"},
	{false, "version: 1\nenv: {A: {secret: x, file: false}}"},
	{false, "version: 1\nenv: {A: {value: x, file: a}}"},
}

func showFile(f manifest.File) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %#o %q", f.Path, f.Mode, f.Format)
	for _, e := range f.Entries {
		fmt.Fprintf(&b, " %s=%s", e.Name, show(e.Value))
	}
	return b.String()
}

func TestFiles(t *testing.T) {
	write(t, map[string]string{
		"m.env": "KEY=room:secret/tls-key?file=tls/key.pem&mode=0440\n" +
			"ARGS=\"--ca ${room:secret/ca?file=tls/ca.pem&optional=true#pem} -v\"\n" +
			"TOKEN=room:secret/token?file=true\n" +
			"GONE=room:secret/gone?file=gone\n",
		"m.yaml": `version: 1
env:
  GONE: here
  OWN: {secret: own, file: true, mode: "0600"}
  YAML: {secret: y, file: y.yaml}
files:
  raw: user=${room:secret/u} ${HOME}
  key: {secret: k, field: /a, mode: "0444", env: KEY_PATH}
  literal: {value: "$A"}
  app.json:
    template: |
      {{- with secret "a#b" }}{{ json . }}{{ end }}
      {{ if eq (env "B") "x" }}{{ secret "a#b" | b64enc }}{{ secret "c?default=d" }}{{ end }}
  app.sh: {format: shell, env: APP_SH, entries: {A: "room:secret/a", B: , C: {value: $}}}
`,
		"last.yaml": "version: 1\nfiles: {literal: replaced}\n",
	})
	m, err := manifest.Load([]string{"m.env", "m.yaml", "last.yaml"}, []string{"INHERITED=room:secret/i?file=i"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range m.Entries {
		value := show(e.Value)
		if e.Unset {
			value = "unset"
		}
		got = append(got, e.Name+"="+value)
	}
	for _, f := range m.Files {
		got = append(got, showFile(f))
	}
	want := []string{
		"INHERITED=file:i",
		"KEY=file:tls/key.pem",
		"ARGS=[--ca ]file:tls/ca.pem[ -v]",
		"TOKEN=unset", "TOKEN_FILE=file:TOKEN",
		"GONE=[here]",
		"OWN=unset", "OWN_FILE=file:OWN",
		"YAML=file:y.yaml",
		"KEY_PATH=file:key",
		"APP_SH=file:app.sh",
		`raw 0400 "" =[user=]<room:secret/u#>[ ]{HOME}`,
		`key 0444 "" =<room:secret/k#/a>`,
		`literal 0400 "" =[replaced]`,
		`app.json 0400 "template" secret "a#b"=<room:secret/a#b> env "B"={B} secret "c?default=d"=<room:secret/c#>`,
		`app.sh 0400 "shell" A=<room:secret/a#> B={B} C=[$]`,
		`i 0400 "" =<room:secret/i#>`,
		`tls/key.pem 0440 "" =<room:secret/tls-key#>`,
		`tls/ca.pem 0400 "" =<room:secret/ca#pem>`,
		`TOKEN 0400 "" =<room:secret/token#>`,
		`OWN 0600 "" =<room:secret/own#>`,
		`y.yaml 0400 "" =<room:secret/y#>`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestFilesRefused(t *testing.T) {
	const head = "version: 1\nfiles:\n  p:\n    template: "
	for _, test := range []struct{ text, want string }{
		{"version: 1\nenv: {A: \"room:secret/a?file=p\", B: \"room:secret/a?file=p\"}", `m.yaml:2:34: file "p" is defined twice`},
		{"version: 1\nenv: {A: \"room:secret/a?file=p\"}\nfiles: {p: x}", `m.yaml:2:7: file "p" is defined twice`},
		{"version: 1\nfiles: {a/b: x, a/b/c: y}", `m.yaml:2:17: file "a/b/c": "a/b" is a file and cannot be a directory`},
		{"version: 1\nenv: {A: \"room:secret/a?file=b/c\"}\nfiles: {b: x}", `"b" is a file and cannot be a directory`},
		{"version: 1\nenv: {A: x}\nfiles: {b: {value: x, env: A}}", "m.yaml:3:28: A is set twice"},
		{"version: 1\nfiles: {b: {value: x, env: A}, c: {value: x, env: A}}", "A is set twice"},
		{"version: 1\nenv: {A: \"room:secret/a?file=true\", A_FILE: x}", "A_FILE is set twice"},
		{"version: 1\nenv: {A: \"x${room:secret/a?file=true}\"}", "file=true is not the whole value"},
		{"version: 1\nenv: {A: \"${B:-${C:-room:secret/a?file=p}}\"}", "file= or expires_at= within ${B:-…}"},
		{"version: 1\nfiles: {p: \"room:secret/a?file=q\"}", `file "p": file= or expires_at= in the content of a file`},
		{"version: 1\nfiles: {p: {format: json, entries: {A: {secret: x, file: q}}}}", `file "p": file= or expires_at= in the content of a file`},
		{"version: 1\nenv: {A: \"room:secret/a?mode=0400\"}", "m.yaml:2:25: mode requires file"},
		{"version: 1\nenv: {A: \"room:oauth/o?file=p\"}", `m.yaml:2:7: file "p": the OAuth client is not defined`},
		{"version: 1\nfiles: {p: \"room:oauth/o\"}", `m.yaml:2:9: file "p": the OAuth client is not defined`},
		{"version: 1\nfiles: {p: {format: json, entries: {A: \"${B:-${room:oauth/o}}\"}}}", `file "p": the OAuth client is not defined`},
		{head + `'{{ oauth "o" }}'`, `m.yaml:3:3: file "p": the OAuth client is not defined`},
		{head + `'{{ oauth "o?from=a" }}'` + "\noauth: {o: {client_id: c, authorization_endpoint: \"https://a\", token_endpoint: \"https://t\"}}", "from requires that the OAuth client has a redirect_uri"},
		{head + `'{{ request "alice?url=u&type=t" }}'`, "unknown function"},
		{"version: 1\nenv: {A: \"room:secret/a?file=../p\"}", "m.yaml:2:30: invalid file: want a relative path"},
		{"version: 1\nenv: {A: \"room:secret/a?file=p&mode=777\"}", "m.yaml:2:37: invalid mode: want four octal digits"},
		{head + `"{{ secrt \"x\" }}"`, "m.yaml:4:15: unknown function"},
		{head + `'{{ secrt "x" }}'`, "m.yaml:4:19: unknown function"},
		{head + `'{{ secret (env "A") }}'`, "secret requires one argument"},
		{head + `'{{ "a" | secret }}'`, "secret requires one argument"},
		{head + `'{{ print secret }}'`, "secret requires one argument"},
		{head + `'{{ secret "a" "b" }}'`, "secret requires one argument"},
		{head + `'{{ with $x := secret }}{{ end }}'`, "secret requires one argument"},
		{head + `'{{ secret "a b" }}'`, "m.yaml:4:26: invalid character in a reference"},
		{head + `'{{ secret "a?file=b" }}'`, `file= or expires_at= in the content of a file`},
		{head + `'{{ env "a-b" }}'`, "invalid name"},
		{head + `'{{ range 5 }}{{ end }}'`, "range is not supported"},
		{head + `'{{ define "x" }}{{ end }}'`, "define and block are not supported"},
		{head + `'{{ template "x" }}'`, "template is not supported"},
		{head + `'{{ call "x" }}'`, "unknown function"},
		{head + `'{{ printf "x" }}'`, `did you mean "print"?`},
		{head + `'{{ "hunter2" '`, "line 1 of the template: unclosed action"},
		{head + "|\n      {\n      {{ if }}\n", "line 2 of the template: missing value for if"},
		{head + `'{{ (("hunter2" }}'`, "line 1 of the template: unclosed left paren"},
		{head + `'{{ hunter2" }}'`, "line 1 of the template: bad character\n"},
		{head + `'{{ $hunter2 }}'`, "line 1 of the template: undefined variable"},
	} {
		write(t, map[string]string{"m.yaml": test.text})
		_, err := manifest.Load([]string{"m.yaml"}, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.text, err, test.want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error holds a value: %v", err)
		}
	}
}

// Two layers may give a variable and a file with its path.
func TestFilesLayers(t *testing.T) {
	write(t, map[string]string{
		"a.yaml": "version: 1\nfiles: {p: {value: x, env: A}}",
		"b.yaml": "version: 1\nfiles: {p: {value: y, env: A}}",
	})
	m, err := manifest.Load([]string{"a.yaml", "b.yaml"}, nil)
	if err != nil || len(m.Entries) != 1 || len(m.Files) != 1 || show(m.Files[0].Entries[0].Value) != "[y]" {
		t.Errorf("got %+v, %v", m, err)
	}
	if values := m.Values(); len(values) != 2 || values[1].Name != "p" {
		t.Errorf("got %+v", values)
	}
}
