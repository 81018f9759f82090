package render_test

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files")

// room is a Source that holds values by id.
type room map[string]string

func (r room) Resolve(_ context.Context, t manifest.Target) (secret.Value, error) {
	v, ok := r[t.ID()]
	switch {
	case t.ID() == "rejected":
		return secret.Value{}, fetch.ErrRejected
	case !ok:
		return secret.Value{}, fetch.ErrMissing
	}
	return secret.New([]byte(v)), nil
}

func (r room) render(t testing.TB, m *manifest.Manifest, inherited ...string) (*render.Result, error) {
	t.Helper()
	s, err := fetch.Resolve(t.Context(), m, fetch.Mux{manifest.SchemeRoom: r})
	if err != nil {
		t.Fatal(err)
	}
	dir := ""
	if len(m.Files) > 0 {
		dir = "/run/dir"
	}
	return render.Policy{}.Render(m, s, inherited, dir)
}

type template = manifest.Expr

func text(s string) manifest.Part { return manifest.Part{Literal: s} }

func ref(id string, options ...func(*manifest.Reference)) manifest.Part {
	r := &manifest.Reference{Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/" + id}}
	for _, set := range options {
		set(r)
	}
	return manifest.Part{Reference: r}
}

func optional(r *manifest.Reference) { r.Optional = true }
func encoded(r *manifest.Reference)  { r.Base64 = true }

func fallback(value string) func(*manifest.Reference) {
	return func(r *manifest.Reference) { r.Default = &value }
}

func at(field string) func(*manifest.Reference) {
	return func(r *manifest.Reference) { r.Field = field }
}

// is ${NAME}, or with an operator and its word.
func is(name string, word ...manifest.Part) manifest.Part {
	name, operator, _ := strings.Cut(name, " ")
	return manifest.Part{Variable: &manifest.Variable{Name: name, Operator: operator, Operand: word}}
}

func entry(name string, value ...manifest.Part) manifest.Entry {
	return manifest.Entry{Name: name, Value: value}
}

// file is a manifest with an entry on each line.
func file(entries ...manifest.Entry) *manifest.Manifest {
	for i := range entries {
		entries[i].Pos = manifest.Position{File: ".env.room", Line: i + 1, Column: 1}
	}
	return &manifest.Manifest{Entries: entries}
}

func TestLayers(t *testing.T) {
	inherited := []string{
		"PATH=/bin", "TWICE=first", "HOME=/root", "TWICE=last", "EMPTY=", "OVER=inherited", "WITH=a=b",
		"MESHAGENT_TOKEN=token", "MESHAGENT_API_KEY=key", "MESHAGENT_SECRET=secret", "ROOMENV_ROOM_KEY=key", "ROOMENV_=x",
		"MESHAGENT_API_URL=https://x", "ROOMENVY=y", "BASH_FUNC_f%%=() { :; }",
		"no equals sign", "", "=no name",
		"GONE=room:secret/gone?optional=true", "REFERENCE=room:secret/a",
	}
	m := file(
		entry("GONE", ref("missing", optional)),
		entry("REFERENCE", ref("a")),
		entry("NEW", text("new")),
		entry("OVER", text("manifest")),
		entry("NEVER", ref("missing", optional)),
		entry("PATH", is("PATH"), text(":/opt/bin")),
		entry("STOLEN", is("MESHAGENT_API_KEY"), is("ROOMENV_ROOM_KEY")),
		entry("ROOMENV_LOG", text("set by the manifest")),
	)
	g, err := room{"a": "value of a"}.render(t, m, inherited...)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"PATH=/bin:/opt/bin", "TWICE=last", "HOME=/root", "EMPTY=", "OVER=manifest", "WITH=a=b",
		"MESHAGENT_TOKEN=token", "MESHAGENT_API_URL=https://x", "ROOMENVY=y", "BASH_FUNC_f%%=() { :; }",
		"REFERENCE=value of a", "NEW=new", "STOLEN=", "ROOMENV_LOG=set by the manifest",
	}
	if got := g.Environ(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Each case is the value of an entry X. An empty want of a case in absent says
// that there is no X.
func TestTemplates(t *testing.T) {
	r := room{
		"a": "alpha", "empty": "", "binary": "\x00\xff", "crlf": "a\r\nb\n", "utf8": "£€",
		"json": ` {"s":"a\"b\u00e9\n","n":12345678901234567890.10,"e":1e400,"t":true,"f":false,"z":null,"zero":"",
			"o": {"b": 1, "a": [1, {"x": "<&>"} ]}, "a/b~c": "escaped", "": "no name", "~1": "tilde one", "/": "slash",
			"l": ["x", "y"], "d": 1, "d": 2} `,
		"list": `["x", null]`, "scalar": `"only"`,
	}
	inherited := []string{"X=inherited x", "SET=set", "BLANK="}
	for name, test := range map[string]struct {
		value template
		want  string
	}{
		"nothing":              {nil, ""},
		"literal":              {template{text("plain")}, "plain"},
		"reference":            {template{ref("a")}, "alpha"},
		"joined":               {template{text("<"), ref("a"), text("|"), ref("a"), text(">")}, "<alpha|alpha>"},
		"bytes as they are":    {template{ref("crlf"), ref("utf8")}, "a\r\nb\n£€"},
		"empty value":          {template{ref("empty")}, ""},
		"empty is not missing": {template{ref("empty", fallback("default"))}, ""},
		"default":              {template{ref("missing", fallback("default"))}, "default"},
		"empty default":        {template{ref("missing", fallback(""), optional)}, ""},
		"rejected":             {template{ref("rejected", fallback("x"))}, "x"},
		"base64":               {template{ref("binary", encoded)}, base64.StdEncoding.EncodeToString([]byte("\x00\xff"))},
		"base64 of nothing":    {template{ref("empty", encoded)}, ""},
		"base64 of a default":  {template{ref("missing", encoded, fallback("a"))}, "YQ=="},
		"base64 of a field":    {template{ref("json", encoded, at("t"))}, "dHJ1ZQ=="},

		"string":             {template{ref("json", at("s"))}, "a\"bé\n"},
		"number":             {template{ref("json", at("n"))}, "12345678901234567890.10"},
		"number past floats": {template{ref("json", at("/e"))}, "1e400"},
		"true":               {template{ref("json", at("t"))}, "true"},
		"false":              {template{ref("json", at("f"))}, "false"},
		"empty string":       {template{ref("json", at("zero"), fallback("default"))}, ""},
		"null":               {template{ref("json", at("z"), fallback("default"))}, "default"},
		"below null":         {template{ref("json", at("/z/a"), fallback("default"))}, "default"},
		"no such key":        {template{ref("json", at("S"), fallback("default"))}, "default"},
		"object":             {template{ref("json", at("o"))}, `{"b":1,"a":[1,{"x":"<&>"}]}`},
		"array":              {template{ref("json", at("/o/a"))}, `[1,{"x":"<&>"}]`},
		"pointer":            {template{ref("json", at("/o/a/1/x"))}, "<&>"},
		"pointer escapes":    {template{ref("json", at("/a~1b~0c"))}, "escaped"},
		"pointer, ~01":       {template{ref("json", at("/~01"))}, "tilde one"},
		"pointer, ~1":        {template{ref("json", at("/~1"))}, "slash"},
		"pointer to no name": {template{ref("json", at("/"))}, "no name"},
		"key with a slash":   {template{ref("json", at("a/b~c"))}, "escaped"},
		"last duplicate":     {template{ref("json", at("d"))}, "2"},
		"index":              {template{ref("json", at("/l/1"))}, "y"},
		"index past the end": {template{ref("json", at("/l/2"), fallback("default"))}, "default"},
		"index -":            {template{ref("json", at("/l/-"), fallback("default"))}, "default"},
		"index 01":           {template{ref("json", at("/l/01"), fallback("default"))}, "default"},
		"index of a list":    {template{ref("list", at("/0"))}, "x"},
		"null in a list":     {template{ref("list", at("/1"), fallback("default"))}, "default"},

		"itself is inherited": {template{is("X"), text("+")}, "inherited x+"},
		"unset":               {template{is("UNSET")}, ""},
		"other":               {template{is("Y"), is("Y")}, "yy"},
		"absent is unset":     {template{is("ABSENT -", text("none"))}, "none"},
		"-, set":              {template{is("SET -", text("word"))}, "set"},
		"-, blank":            {template{is("BLANK -", text("word"))}, ""},
		"-, unset":            {template{is("UNSET -", text("word"))}, "word"},
		":-, set":             {template{is("SET :-", text("word"))}, "set"},
		":-, blank":           {template{is("BLANK :-", text("word"))}, "word"},
		":-, unset":           {template{is("UNSET :-", text("word"))}, "word"},
		"+, set":              {template{is("SET +", text("word"))}, "word"},
		"+, blank":            {template{is("BLANK +", text("word"))}, "word"},
		"+, unset":            {template{is("UNSET +", text("word"))}, ""},
		":+, set":             {template{is("SET :+", text("word"))}, "word"},
		":+, blank":           {template{is("BLANK :+", text("word"))}, ""},
		":+, unset":           {template{is("UNSET :+", text("word"))}, ""},
		"?, set":              {template{is("SET ?", text("word"))}, "set"},
		"?, blank":            {template{is("BLANK ?", text("word"))}, ""},
		":?, set":             {template{is("SET :?", text("word"))}, "set"},
		"word of words":       {template{is("UNSET :-", is("BLANK :-", text("<"), ref("a"), text(">")))}, "<alpha>"},
		"word not needed":     {template{is("SET -", ref("missing"), is("UNSET ?"))}, "set"},
	} {
		t.Run(name, func(t *testing.T) {
			m := file(entry("X", test.value...), entry("Y", text("y")), entry("ABSENT", ref("missing", optional)))
			g, err := r.render(t, m, inherited...)
			if err != nil {
				t.Fatal(err)
			}
			if got := g.Environ(); !slices.Contains(got, "X="+test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}

	for name, value := range map[string]template{
		"optional":                 {ref("missing", optional)},
		"optional, rejected":       {ref("rejected", optional)},
		"optional among others":    {text("a"), ref("missing", optional), ref("a")},
		"optional field":           {ref("json", at("nothing"), optional)},
		"optional null":            {ref("json", at("z"), optional)},
		"optional in a word":       {is("UNSET -", ref("missing", optional))},
		"optional base64 of field": {ref("json", at("z"), optional, encoded)},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := r.render(t, file(entry("X", value...)), inherited...)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := g.Environ(), []string{"SET=set", "BLANK="}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	const canary = "hunter2-canary"
	r := room{
		"text": canary, "nul": canary + "\x00", "list": `["` + canary + `"]`, "number": "1",
		"json":      `{"user": "` + canary + `", "nul": "` + canary + `\u0000", "deep": {"er": "` + canary + `"}}`,
		"truncated": `{"user": "` + canary + `"`, "twice": `{"user": "` + canary + `"} {}`, "invalid": "{\"user\": \"" + canary + "\xff\"}",
		"nested": strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000),
	}
	for name, entries := range map[string][]manifest.Entry{
		"fields": {
			entry("TEXT", ref("text", at("user"))),
			entry("TRUNCATED", ref("truncated", at("user"))),
			entry("TWICE", ref("twice", at("/user"))),
			entry("INVALID", ref("invalid", at("user"))),
			entry("NESTED", ref("nested", at("/0"))),
			entry("MISSING", ref("json", at("password"))),
			entry("PAST", ref("json", at("/user/name"), optional)),
			entry("NUMBER", ref("number", at("x"))),
			entry("LIST", ref("list", at("x"))),
			entry("FINE", ref("json", at("user"))),
		},
		"NUL": {
			entry("VALUE", ref("nul")),
			entry("FIELD", text(canary), ref("json", at("nul"))),
			entry("DEFAULT", ref("missing", fallback("\x00"))),
			entry("LITERAL", text("\x00")),
			entry("ENCODED", ref("nul", encoded)),
		},
		"variables": {
			entry("QUESTION", is("UNSET ?", text("set it to "), ref("text"), text(" or "), is("HOME"))),
			entry("COLON", is("EMPTY :?"), is("UNSET :?", text("and this"))),
			entry("WORD", is("UNSET -", ref("missing"))),
			entry("EMPTY"),
		},
		"one cause, one line": {
			entry("A", is("B"), is("B"), is("B -", ref("missing"))),
			entry("B", is("C")),
			entry("C", ref("text", at("x")), ref("list", at("x")), is("A")),
			entry("D", is("A :-", is("C"))),
		},
		"cycles": {
			entry("A", is("B")),
			entry("B", is("UNSET :-", is("A"))),
			entry("SELF", is("SELF")),
		},
		"names": {entry("", text("x")), entry("A=B"), entry("A\x00")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.render(t, file(entries...), "HOME="+canary)
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), canary) {
				t.Error("the error holds a value")
			}
			golden(t, err.Error())
		})
	}
}

// golden compares text with the file named after the test.
func golden(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(strings.ReplaceAll(t.Name(), " ", "_"))+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text+"\n" != string(want) {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// Little text that would take all memory, the stack or all time.
func TestBombs(t *testing.T) {
	laughs := []manifest.Entry{entry("V0", text("ha"))}
	chain := []manifest.Entry{}
	for i := range 8 { // 200 MB, where nothing bounds it
		v := is(fmt.Sprint("V", i))
		laughs = append(laughs, entry(fmt.Sprint("V", i+1), v, v, v, v, v, v, v, v, v, v))
	}
	for i := range 100_000 {
		chain = append(chain, entry(fmt.Sprint("V", i), is(fmt.Sprint("V", i+1))))
	}
	deep := text("x")
	for range 100_000 {
		deep = is("UNSET -", deep)
	}
	for name, test := range map[string]struct {
		entries []manifest.Entry
		want    string
	}{
		"laughs": {laughs, "exceed 64 MiB"},
		"chain":  {chain, "deeper than 1000"},
		"words":  {[]manifest.Entry{entry("A", deep)}, "deeper than 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := room{}.render(t, file(test.entries...))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A memo that is not one would take 2^40 steps here.
func TestEntriesAreEvaluatedOnce(t *testing.T) {
	entries := []manifest.Entry{entry("V0", is("UNSET"))}
	for i := range 40 {
		v := is(fmt.Sprint("V", i))
		entries = append(entries, entry(fmt.Sprint("V", i+1), v, v))
	}
	slices.Reverse(entries)
	if _, err := (room{}).render(t, file(entries...)); err != nil {
		t.Fatal(err)
	}
}

func TestNoReferences(t *testing.T) {
	g, err := render.Policy{}.Render(new(manifest.Manifest), new(fetch.Snapshot), []string{"A=1"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(g.Environ(), []string{"A=1"}) {
		t.Errorf("got %q", g.Environ())
	}
}
