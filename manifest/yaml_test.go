package manifest_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/roomenv/roomenv/manifest"
)

func TestYAMLValues(t *testing.T) {
	withDefault := func(p manifest.Part, s string) manifest.Part {
		p.Reference.Default = &s
		return p
	}
	all := ref("a b")
	all.Reference.Group, all.Reference.Params, all.Reference.Field = "prod", "type=t%2Bu&name=n&delegated_to=p", "/x"
	all.Reference.Optional, all.Reference.Base64 = true, true
	of := func(t manifest.Target) manifest.Part { return manifest.Part{Reference: &manifest.Reference{Target: t}} }
	for _, test := range []struct {
		text string
		want manifest.Expr
	}{
		{"b c", value(lit("b c"))},
		{`"b\n\"c"`, value(lit("b\n\"c"))},
		{`'it''s \n'`, value(lit(`it's \n`))},
		{`""`, nil},
		{"|\n    b\n    ${C}\n", value(lit("b\n"), variable("C", ""), lit("\n"))},
		{">-\n    b\n    c\n", value(lit("b c"))},
		{"b\n    c", value(lit("b c"))},
		{"8080", value(lit("8080"))},
		{"1.10", value(lit("1.10"))},
		{"0x1F", value(lit("0x1F"))},
		{"1_000", value(lit("1_000"))},
		{"-5", value(lit("-5"))},
		{".inf", value(lit(".inf"))},
		{"true", value(lit("true"))},
		{"False", value(lit("False"))},
		{"yes", value(lit("yes"))},
		{"2026-11-23", value(lit("2026-11-23"))},
		{"", value(variable("A", ""))},
		{"null", value(variable("A", ""))},
		{"~", value(variable("A", ""))},
		{"room:secret/db#user # c", value(field("db", "user"))},
		{`"room:secret/db"`, value(ref("db"))},
		{"'room:secret/db'", value(ref("db"))},
		{"x ${room:secret/db} $B $$ ${C:-d}", value(lit("x "), ref("db"), lit(" "), variable("B", ""), lit(" $ "), variable("C", ":-", lit("d")))},
		{`b\$C`, value(lit(`b\`), variable("C", ""))},
		{"{value: \"room:secret/x $B ${C}\"}", value(lit("room:secret/x $B ${C}"))},
		{"{value: 1.10}", value(lit("1.10"))},
		{"{value: \"\"}", nil},
		{"{secret: db}", value(ref("db"))},
		{"\n    secret: db\n", value(ref("db"))},
		{`{secret: "room:$x"}`, value(ref("room:$x"))},
		{"{secret: db, default: 1.10}", value(withDefault(ref("db"), "1.10"))},
		{"{secret: db, default: \"\"}", value(withDefault(ref("db"), ""))},
		{"{secret: db, optional: false}", value(ref("db"))},
		{"{oauth: github}", value(of(manifest.Target{Scheme: manifest.SchemeRoom, Path: "oauth/github"}))},
		{"{oauth: github, room: r, delegated_to: a, delegated_by: b, from: c}", value(of(manifest.Target{Scheme: manifest.SchemeRoom, Group: "r", Path: "oauth/github", Params: "delegated_to=a&delegated_by=b&from=c"}))},
		{"{request: {from: alice, url: https://stripe.com, type: text/plain}}", value(of(manifest.Target{Scheme: manifest.SchemeRoom, Path: "request/alice", Params: "url=https%3A%2F%2Fstripe.com&type=text%2Fplain"}))},
		{"\n    default: x\n    request:\n      type: git\n      url: u\n      from: alice\n      delegate_to: b\n      timeout: 60\n", value(withDefault(of(manifest.Target{Scheme: manifest.SchemeRoom, Path: "request/alice", Params: "url=u&type=git&delegate_to=b&timeout=60"}), "x"))},
		{"{secret: a b, room: prod, type: t+u, name: n, delegated_to: p, field: /x, optional: true, encoding: base64}", value(all)},
	} {
		entries, errs := manifest.Parse("m.yaml", "version: 1\nenv:\n  A: "+test.text)
		if errs != nil {
			t.Errorf("%s: %v", test.text, errs)
			continue
		}
		want := []manifest.Entry{{Name: "A", Value: test.want, Pos: manifest.Position{File: "m.yaml", Line: 3, Column: 3}}}
		if !reflect.DeepEqual(entries, want) {
			t.Errorf("%s: got %s, want %s", test.text, show(entries[0].Value), show(test.want))
		}
	}
}

const clientJSON = `{"client_id": "c", "client_secret": "room:secret/s", "authorization_endpoint": "https://a/b?c", "token_endpoint": "http://127.0.0.1:1/t",
	"scopes": ["a", "b:c"], "redirect_uri": "http://127.0.0.1:8765/callback", "no_pkce": false, "from": "alice"}`

type structure struct {
	valid bool
	text  string
}

// Samples of the structure, on which the parser and the schema agree.
var structures = []structure{
	{true, "version: 1"},
	{true, "---\nversion: 1\n"},
	{true, "# c\n---\nversion: 1\n...\n"},
	{true, "version: 1.0"},
	{true, "version: 1\nenv: {}"},
	{true, `{"version": 1, "env": {"A": "b", "B": null, "C": {"secret": "x"}}}`},
	{true, "{\"version\": 1,\n\t\"env\": {\n\t\t\"A\": \"b\"\n\t}\n}"},
	{true, "version: 1\nenv: {A: 1, B: 1.5, C: true, D: ~, E: text, _f9: x}"},
	{true, "version: 1\nenv: {A: {value: x}}"},
	{true, "version: 1\nenv: {A: {value: 1}, B: {value: false}}"},
	{true, "version: 1\nenv: {A: {secret: x, type: t, name: n, delegated_to: p, room: r-1, field: f, optional: true, default: 0, encoding: base64}}"},
	{true, "version: 1\nenv: {A: {secret: x, field: /a~1b/~0, default: \"\"}}"},
	{true, "version: 1\nenv: {A: {secret: x, field: /, default: true}}"},
	{false, "env: {}"},
	{false, "text"},
	{false, "1"},
	{false, "null"},
	{false, "{}"},
	{false, "version: 2"},
	{false, "version: \"1\""},
	{false, "version: true"},
	{false, "version: ~"},
	{false, "version: {a: 1}"},
	{false, "version: 1\nenvv: {}"},
	{false, "version: 1\nenv: text"},
	{false, "version: 1\nenv:"},
	{false, "version: 1\nenv: 1"},
	{false, "version: 1\nenv: {a-b: x}"},
	{false, "version: 1\nenv: {1: x}"},
	{false, "version: 1\nenv: {\"\": x}"},
	{false, "version: 1\nenv: {ä: x}"},
	{false, "version: 1\nenv: {A: {}}"},
	{false, "version: 1\nenv: {A: {type: t}}"},
	{false, "version: 1\nenv: {A: {value: x, secret: x}}"},
	{false, "version: 1\nenv: {A: {value: x, optional: true}}"},
	{false, "version: 1\nenv: {A: {value: ~}}"},
	{false, "version: 1\nenv: {A: {value: {a: b}}}"},
	{false, "version: 1\nenv: {A: {secret: 1}}"},
	{false, "version: 1\nenv: {A: {secret: ~}}"},
	{false, "version: 1\nenv: {A: {secret: \"\"}}"},
	{false, "version: 1\nenv: {A: {secret: x, type: \"\"}}"},
	{false, "version: 1\nenv: {A: {secret: x, name: true}}"},
	{false, "version: 1\nenv: {A: {secret: x, delegated_to: \"\"}}"},
	{false, "version: 1\nenv: {A: {secret: x, room: Prod}}"},
	{false, "version: 1\nenv: {A: {secret: x, room: \"\"}}"},
	{false, "version: 1\nenv: {A: {secret: x, field: \"\"}}"},
	{false, "version: 1\nenv: {A: {secret: x, field: /a~b}}"},
	{false, "version: 1\nenv: {A: {secret: x, optional: \"true\"}}"},
	{false, "version: 1\nenv: {A: {secret: x, optional: 1}}"},
	{false, "version: 1\nenv: {A: {secret: x, default: ~}}"},
	{false, "version: 1\nenv: {A: {secret: x, default: {a: b}}}"},
	{false, "version: 1\nenv: {A: {secret: x, encoding: hex}}"},
	{true, "version: 1\nenv: {A: {oauth: x, delegated_to: a, delegated_by: b, from: c, room: r, field: f, optional: true, default: 0, encoding: base64}}\noauth: {x: " + clientJSON + "}"},
	{true, "version: 1\nenv: {A: {request: {from: alice, url: u, type: t, delegate_to: d, timeout: 3600}, room: r, field: f, optional: true, default: 0, encoding: base64}}"},
	{true, "version: 1\noauth: {}"},
	{true, "version: 1\noauth: {x: {connector: {server_url: https://mcp.example.com, client_secret_id: i}, scopes: []}}"},
	{true, "version: 1\noauth:\n  x:\n    connector:\n      openai_connector_id: connector_gmail\n    scopes:\n    - a\n    - b\n    no_pkce: true"},
	{true, `{"version": 1, "oauth": {"x": {"connector": {"server_url": "http://127.0.0.1:8080"}, "scopes": ["a"], "from": "bob", "redirect_uri": "app:cb"}}}`},
	{false, "version: 1\nenv: {A: {secret: x, oauth: x}}"},
	{false, "version: 1\nenv: {A: {oauth: x, type: t}}"},
	{false, "version: 1\nenv: {A: {oauth: \"\"}}"},
	{false, "version: 1\nenv: {A: {request: alice}}"},
	{false, "version: 1\nenv: {A: {request: {}}}"},
	{false, "version: 1\nenv: {A: {request: {from: alice, url: u}}}"},
	{false, "version: 1\nenv: {A: {request: {url: u, type: t}}}"},
	{false, "version: 1\nenv: {A: {request: {from: alice, url: u, type: \"\"}}}"},
	{false, "version: 1\nenv: {A: {request: {from: alice, url: u, type: t, timeout: 0}}}"},
	{false, "version: 1\nenv: {A: {request: {from: alice, url: u, type: t, timeout: 3601}}}"},
	{false, "version: 1\nenv: {A: {request: {from: alice, url: u, type: t, timeout: \"60\"}}}"},
	{false, "version: 1\nenv: {A: {request: {from: alice, url: u, type: t, timeout: 1.5}}}"},
	{false, "version: 1\nenv: {A: {request: {from: alice, url: u, type: t, optional: true}}}"},
	{false, "version: 1\nenv: {A: {request: {from: alice, url: u, type: t}, url: u}}"},
	{false, "version: 1\noauth:"},
	{false, "version: 1\noauth: {x: {}}"},
	{false, "version: 1\noauth: {x: text}"},
	{false, "version: 1\noauth: {\"\": {connector: {server_url: https://mcp}}}"},
	{false, "version: 1\noauth: {x: {client_id: c, token_endpoint: https://t}}"},
	{false, "version: 1\noauth: {x: {client_id: c, authorization_endpoint: https://a, token_endpoint: ftp://t}}"},
	{false, "version: 1\noauth: {x: {client_id: c, authorization_endpoint: https://a, token_endpoint: /t}}"},
	{false, "version: 1\noauth: {x: {connector: {client_secret_id: i}}}"},
	{false, "version: 1\noauth: {x: {connector: {}}}"},
	{false, "version: 1\noauth: {x: {connector: {server_url: text}}}"},
	{false, "version: 1\noauth: {x: {connector: {server_url: https://mcp}, client_secret: hunter2}}"},
	{false, "version: 1\noauth: {x: {connector: {server_url: https://mcp}, client_secret: \"room:oauth/x\"}}"},
	{false, "version: 1\noauth: {x: {connector: {server_url: https://mcp}, from: alice}}"},
	{false, "version: 1\noauth: {x: {connector: {server_url: https://mcp}, from: alice, redirect_uri: /cb}}"},
	{false, "version: 1\noauth: {x: {connector: {server_url: https://mcp}, no_pkce: 1}}"},
	{false, "version: 1\noauth: {x: {connector: {server_url: https://mcp}, scopes: a}}"},
	{false, "version: 1\noauth: {x: {connector: {server_url: https://mcp}, scopes: [1]}}"},
	{false, "version: 1\noauth: {x: {connector: {server_url: https://mcp}, scopes: [a b]}}"},
	{false, "version: 1\noauth: {x: {connector: {server_url: https://mcp}, scopes: [[a]]}}"},
	{false, "version: 1\noauth:\n  x:\n    connector: {server_url: https://mcp}\n    scopes:\n    - - a"},
	{false, "version: 1\nenv: {scopes: [a]}"},
	{true, "version: 1\nexec: {}"},
	{true, "version: 1\nexec: {mask: true, pristine: false, strip: [A, _b], allow: [], stop_signal: TERM, stop_timeout: 1m30.5s}"},
	{true, "version: 1\nexec:\n  strip:\n  - A\n  - B\n  allow:\n    - C\n  mask: false"},
	{true, `{"version": 1, "exec": {"strip": ["A"], "stop_signal": "15", "stop_timeout": "500ms"}}`},
	{false, "version: 1\nexec:"},
	{false, "version: 1\nexec: text"},
	{false, "version: 1\nexec: [mask]"},
	{false, "version: 1\nexec: {once: true}"},
	{false, "version: 1\nexec: {mask: \"true\"}"},
	{false, "version: 1\nexec: {mask: ~}"},
	{false, "version: 1\nexec: {pristine: 1}"},
	{false, "version: 1\nexec: {strip: A}"},
	{false, "version: 1\nexec: {strip: ~}"},
	{false, "version: 1\nexec: {strip: [a-b]}"},
	{false, "version: 1\nexec: {strip: [\"\"]}"},
	{false, "version: 1\nexec: {strip: [1]}"},
	{false, "version: 1\nexec: {strip: [{A: b}]}"},
	{false, "version: 1\nexec: {allow: [[A]]}"},
	{false, "version: 1\nexec: {allow: [A=b]}"},
	{false, "version: 1\nexec:\n  allow:\n  - - A"},
	{false, "version: 1\nexec: {stop_signal: 15}"},
	{false, "version: 1\nexec: {stop_signal: \"\"}"},
	{false, "version: 1\nexec: {stop_signal: [TERM]}"},
	{false, "version: 1\nexec: {stop_timeout: 10}"},
	{false, "version: 1\nexec: {stop_timeout: \"10\"}"},
	{false, "version: 1\nexec: {stop_timeout: 0s}"},
	{false, "version: 1\nexec: {stop_timeout: -1s}"},
	{false, "version: 1\nexec: {stop_timeout: soon}"},
	{false, "version: 1\nenv: {strip: [a]}"},
	{false, "version: 1\nenv: {A: [x]}"},
	{false, "version: 1\nenv:\n  A:\n  - x"},
	{false, "- version: 1"},
}

// asJSON returns value with the keys of mappings as text.
func asJSON(value any) any {
	switch value := value.(type) {
	case map[any]any:
		mapping := map[string]any{}
		for k, v := range value {
			mapping[fmt.Sprint(k)] = asJSON(v)
		}
		return mapping
	case map[string]any:
		for k, v := range value {
			value[k] = asJSON(v)
		}
	case []any:
		for i, v := range value {
			value[i] = asJSON(v)
		}
	}
	return value
}

func TestSchemaAgreesWithParser(t *testing.T) {
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(manifest.Schema())))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("schema.json") // checks it against 2020-12
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range slices.Concat(structures, fileStructures, keepingStructures) {
		var sample any
		if err := yaml.Load([]byte(test.text), &sample); err != nil {
			t.Fatalf("%s: %v", test.text, err)
		}
		if err := schema.Validate(asJSON(sample)); (err == nil) != test.valid {
			t.Errorf("schema on %q, valid %t: %v", test.text, test.valid, err)
		}
		if _, errs := manifest.Parse("m.yaml", test.text); (errs == nil) != test.valid {
			t.Errorf("parser on %q, valid %t: %v", test.text, test.valid, errs)
		}
	}
	var back map[string]any
	copied := manifest.Schema()
	copied[0] = 'x'
	if err := json.Unmarshal(manifest.Schema(), &back); err != nil {
		t.Errorf("Schema does not return a copy: %v", err)
	}
}

// What YAML has and this format has not, and what no schema sees.
func TestYAMLRefuses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"version: 1\nenv: {A: &x b}", "m.yaml:2:10: anchors"},
		{"version: 1\nenv: {A: *x}", "m.yaml:2:10: anchors"},
		{"version: 1\nenv:\n  <<: {}", "m.yaml:3:3: anchors"},
		{"version: 1\nenv: {A: !!str 1}", "m.yaml:2:10: tags"},
		{"%YAML 1.2\n---\nversion: 1", "m.yaml:1:1: YAML directives"},
		{"version: 1\n---\nversion: 1", "m.yaml:2:1: a second document"},
		{"version: 1\nenv:\n  ? A\n  : b", `m.yaml:3:3: keys with "?"`},
		{"version: 1\nversion: 1", "m.yaml:2:1: duplicate key"},
		{"version: 1\nenv:\n  A: b\n  A: c", "m.yaml:4:3: duplicate key"},
		{"version: 1\nenv: {A: {secret: x, secret: y}}", "m.yaml:2:22: duplicate key"},
		{"version: 1\nenv: {? A : b}", `m.yaml:2:7: keys with "?"`},
		{"version: 1\nenv:\n  B: # why?\n  ?\n    A\n  : b", `keys with "?"`},
		{"version: 1\nenv:\n  [A]: b", "m.yaml:3:3: a key is not a name"},
		{"version: 1\nenv:\n  A: \x01", "m.yaml:3:6: a control character"},
		{"version: 1\nenv: {A: {{{{{{b}}}}}}}", "invalid YAML: too many {"},
		{"version: 1\nenv: {A: ${B:-c}}", "invalid YAML"},
		{"version: 1\nenv:\n  A: b: c", `m.yaml:3:7: invalid YAML: unexpected ":"`},
		{"version: 1\nenv:\n  A: b\n   c: d", "m.yaml:4:5: invalid YAML"},
		{"version: 1\nenv:\n  A: \"b", "m.yaml:3:6: invalid YAML"},
		{"version: 1\nenv:\n\tA: b", "invalid YAML"},
		{"version: 1\nenv: {A: \"\\0\"}", "m.yaml:2:10: a NUL character"},
		{"version: 1\nenv: {A: {value: \"\\x00\"}}", "a NUL character"},
		{"version: 1\nenv:\n  Ä: 1\n  A: é room:secret/x ${room:secrt/x}", "m.yaml:4:30: unknown kind"},
		{"version: 1\nenv:\n  A: \"é ${room:secrt/x}\"", "m.yaml:3:17: unknown kind"},
		{"version: 1\nenv:\n  A: \"\\n ${room:secrt/x}\"", "m.yaml:3:6: unknown kind"},
		{"version: 1\nenv:\n  A: room:secret/", "m.yaml:3:18: missing ID"},
		{"version: 1\nenv:\n  A: \"x\u2028 y\u0085 z\r w\"\n  B: room:secrt/x", "m.yaml:4:11: unknown kind"},
		{"version: 1\nenv:\n  A: |\n    ${B", `m.yaml:3:6: "${" is not closed`},
	} {
		_, errs := manifest.Parse("m.yaml", test.text)
		if errs == nil || !strings.Contains(errs.Error(), test.want) {
			t.Errorf("%q: got %v, want %s", test.text, errs, test.want)
		}
	}
}
