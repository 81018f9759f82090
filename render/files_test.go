package render_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/roomenv/roomenv/manifest"
)

// load reads a YAML manifest.
func load(t testing.TB, text string) *manifest.Manifest {
	t.Helper()
	name := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(name, []byte("version: 1\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Load([]string{name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFiles(t *testing.T) {
	r := room{
		"bytes": "\x00\xff\n", "empty": "", "json": `{"user":"a\"b","n":1}`,
		"k": "it's \\ $HOME\n", "q": "it's\n", "c": "<&>", "github": "gho", "alice": "asked",
	}
	m := load(t, `env:
  KEY: {secret: bytes, file: key, mode: "0440"}
  ARGS: --config=${CONFIG} ${ROOMENV_FILES}
  OPTIONAL: room:secret/none?file=none&optional=true
  NESTED: x${OPTIONAL:-y}
  TOKEN: room:secret/c?file=true
  PLAIN: p
files:
  conf/app.conf: {template: "{{ with secret \"json#user\" }}{{ json . }}{{ end }} {{ secret \"c\" | json }} {{ env \"PLAIN\" | b64enc }}{{ env \"NONE\" }}{{ secret \"none?optional=true\" }}", env: CONFIG}
  text: "${room:secret/c}-$PLAIN-${INHERITED}-$$"
  empty: {secret: empty}
  gone: {secret: none, optional: true, env: GONE}
  literal: {value: "$PLAIN"}
  a.json: {format: json, entries: {A: "room:secret/k", PLAIN: , NONE: , INHERITED: , B: {secret: none, optional: true}, C: "${PLAIN}"}}
  a.env: {format: dotenv, entries: {A: "room:secret/q", C: "room:secret/c"}}
  a.sh: {format: shell, entries: {A: "room:secret/k"}}
  a.yaml: {format: yaml, entries: {no: "room:secret/k"}}
  none.json: {format: json, entries: {}}
  none.yaml: {format: yaml, entries: {}}
  none.env: {format: dotenv, entries: {}}
  nothing: {secret: none, optional: true, memfd: true, env: NOTHING}
  sealed: {secret: c, memfd: true, env: SEALED}
  hosts.yml: {template: "token {{ oauth \"github\" }}{{ oauth \"none?optional=true\" }}"}
  token: {oauth: github}
  alice: {request: {from: alice, url: u, type: text/plain}}
oauth:
  github: {connector: {server_url: "https://mcp"}}
  none: {connector: {server_url: "https://mcp"}}
`)
	g, err := r.render(t, m, "INHERITED=i", "TOKEN=room:secret/c?file=true", "GONE=old", "CREDENTIALS_DIRECTORY=/old")
	if err != nil {
		t.Fatal(err)
	}
	wantEnv := []string{
		"INHERITED=i", "CREDENTIALS_DIRECTORY=/old", "ROOMENV_FILES=/run/dir", "KEY=/run/dir/key",
		"ARGS=--config=/run/dir/conf/app.conf /run/dir",
		"NESTED=xy", "TOKEN_FILE=/run/dir/TOKEN", "PLAIN=p", "CONFIG=/run/dir/conf/app.conf", "SEALED=/proc/self/fd/4",
	}
	if got := g.Environ(); !slices.Equal(got, wantEnv) {
		t.Errorf("got  %q\nwant %q", got, wantEnv)
	}
	want := []string{
		`conf/app.conf 0400 "\"a\\\"b\" \"<&>\" cA=="`,
		`text 0400 "<&>-p-i-$"`,
		`empty 0400 ""`,
		`literal 0400 "$PLAIN"`,
		`a.json 0400 "{\n  \"A\": \"it's \\\\ $HOME\\n\",\n  \"PLAIN\": \"p\",\n  \"INHERITED\": \"i\",\n  \"C\": \"p\"\n}\n"`,
		`a.env 0400 "A=\"it's\n\"\nC='<&>'\n"`,
		`a.sh 0400 "export A='it'\\''s \\ $HOME\n'\n"`,
		`a.yaml 0400 "\"no\": \"it's \\\\ $HOME\\n\"\n"`,
		`none.json 0400 "{\n}\n"`,
		`none.yaml 0400 "{}\n"`,
		`none.env 0400 ""`,
		`sealed 0400 "<&>"`,
		`hosts.yml 0400 "token gho"`,
		`token 0400 "gho"`,
		`alice 0400 "asked"`,
		`key 0440 "\x00\xff\n"`,
		`TOKEN 0400 "<&>"`,
	}
	var got []string
	for _, f := range g.Files {
		got = append(got, fmt.Sprintf("%s %#o %q", f.Path, f.Mode, f.Content.Reveal()))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, f := range g.Files {
		if f.Descriptor != 0 && (f.Path != "sealed" || f.Descriptor != 4) {
			t.Errorf("%s is descriptor %d", f.Path, f.Descriptor)
		}
	}
}

func TestFileErrors(t *testing.T) {
	r := room{"binary": "CANARY\xff", "nul": "CANARY\x00", "text": "CANARY", "hostile": "it's `CANARY`"}
	for _, test := range []struct{ text, want string }{
		{`p: {format: json, entries: {A: {secret: binary}}}`, "write p (FILE:3:3): A: the value is not UTF-8: add encoding=base64"},
		{`p: {format: yaml, entries: {A: {secret: binary}}}`, "A: the value is not UTF-8"},
		{`p: {format: dotenv, entries: {A: {secret: binary}}}`, "A: the value is not UTF-8"},
		{`p: {format: dotenv, entries: {A: {secret: nul}}}`, "A: the value holds a NUL byte"},
		{`p: {format: dotenv, entries: {A: {secret: hostile}}}`, "A: programs read the value from a .env file in different ways: use format: shell or json, or add encoding=base64"},
		{`p: {format: shell, entries: {A: {secret: nul}}}`, "A: the value holds a NUL byte"},
		{`p: {template: "\n\n{{ secret \"binary\" | json }}"}`, "line 3:21 of the template: the value is not UTF-8"},
		{`p: {template: "{{ (secret \"text\").X }}"}`, "of the template: invalid argument of a function"},
		{`p: {template: "{{ index (secret \"text\") \"CANARY\" }}"}`, "of the template: invalid argument of a function"},
		{`p: {template: "{{ $x := env \"X\" }}` + strings.Repeat("{{ $x = print $x $x }}", 18) + `"}`, "the values exceed 64 MiB in total"},
		{`p: "${A:?needed}"`, "A is not set or empty: needed"},
		{`p: {secret: text, field: x}`, "the value is not JSON"},
	} {
		m := load(t, "files:\n {"+test.text+"}")
		_, err := r.render(t, m, "X="+strings.Repeat("x", 1000))
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), m.Files[0].Pos.File, "FILE"), test.want) {
			t.Errorf("%s: got %v, want %s", test.text, err, test.want)
		} else if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("the error holds a value: %v", err)
		}
	}
	m := load(t, "files: {q: {format: shell, env: Q, entries: {Q: }}}")
	if _, err := r.render(t, m); err == nil || !strings.Contains(err.Error(), "${Q} leads back to Q") {
		t.Errorf("got %v", err)
	}
}

// The bound is on all values and files together, and what a template writes is not
// made in memory beyond it.
func TestTotal(t *testing.T) {
	x := "X=" + strings.Repeat("x", 1<<20)
	write := func(times int) string { return `{template: '` + strings.Repeat(`{{ env "X" }}`, times) + `'}` }
	m := load(t, "files:\n  a: "+write(20)+"\n  b: "+write(20)+"\n")
	if _, err := (room{}).render(t, m, x); err != nil {
		t.Errorf("of 42 MiB: %v", err)
	}
	m = load(t, "files:\n  a: "+write(20)+"\n  b: "+write(20)+"\n  c: "+write(20)+"\n  d: "+write(20)+"\n")
	if _, err := (room{}).render(t, m, x); err == nil || !strings.Contains(err.Error(), "exceed 64 MiB in total") {
		t.Errorf("of 84 MiB: %v", err)
	}
	m = load(t, "files:\n  a: "+write(1000)+"\n")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := (room{}).render(t, m, x); err == nil || !strings.Contains(err.Error(), "exceed 64 MiB in total") {
		t.Errorf("of 1000 MiB: %v", err)
	}
	runtime.ReadMemStats(&after)
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 500 {
		t.Errorf("1000 MiB that are refused took %d MiB", took)
	}
}

// values are texts that encoders get wrong: all short ones over the bytes that
// mean something anywhere, and random ones.
func values(t *testing.T, ok func(string) bool) map[string]string {
	const alphabet = "a'\"\\$`\n\r\t #{}%=:-~!?*&|>@,[]\x00\x01\x1b\x7fé\u0085\u00a0\u2028\ufeff\uffff\U0001f511\U000e0001\xff"
	all := map[string]string{}
	add := func(s string) {
		if ok(s) {
			all[fmt.Sprintf("V%d", len(all))] = s
		}
	}
	add("")
	for _, a := range alphabet {
		add(string(a))
		for _, b := range alphabet {
			add(string(a) + string(b))
			add("x" + string(a) + string(b) + "x")
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	runes := []rune(alphabet)
	for range 2000 {
		var b strings.Builder
		for range random.IntN(20) {
			if random.IntN(3) == 0 {
				b.WriteByte(byte(random.Uint32()))
			} else {
				b.WriteRune(runes[random.IntN(len(runes))])
			}
		}
		add(b.String())
	}
	for _, s := range []string{"null", "true", "0x1f", "1e3", "- a", "a: b", "<<", "=", "---\n", "$(id)", "`id`", "\\n", "%s", " x ", "\n\nx\n\n", "${A:-b}", "#x", "x #y"} {
		add(s)
	}
	return all
}

// write renders values in a format and returns the name of the file.
func write(t *testing.T, format manifest.Format, values map[string]string) string {
	t.Helper()
	f := manifest.File{Path: "p", Format: format}
	for name := range values {
		f.Entries = append(f.Entries, entry(name, ref(name)))
	}
	g, err := room(values).render(t, &manifest.Manifest{Files: []manifest.File{f}})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "written")
	if err := os.WriteFile(name, g.Files[0].Content.Reveal(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func compare(t *testing.T, consumer string, got, want map[string]string) {
	t.Helper()
	bad := 0
	for name, value := range want {
		if read, ok := got[name]; !ok || read != value {
			if bad++; bad < 10 {
				t.Errorf("%s reads %q as %q", consumer, value, read)
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s reads %d of %d values", consumer, len(got), len(want))
	}
}

func noNUL(s string) bool { return !strings.Contains(s, "\x00") }

func TestShellReads(t *testing.T) {
	want := values(t, noNUL)
	name := write(t, manifest.FormatShell, want)
	for _, shell := range []string{"sh", "bash", "dash"} {
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("no %s here: %v", shell, err)
			continue
		}
		script := `. "$1"; for n in ` + strings.Join(slices.Collect(maps.Keys(want)), " ") + `; do eval "printf '%s\\0%s\\0' $n \"\$$n\""; done`
		cmd := exec.Command(path, "-c", script, "sh", name)
		cmd.Env = []string{"LC_ALL=C"}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", shell, err)
		}
		got := map[string]string{}
		for pair := range slices.Chunk(strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"), 2) {
			got[pair[0]] = pair[1]
		}
		compare(t, shell, got, want)
	}
}

func TestDotenvReads(t *testing.T) {
	refused := 0
	want := values(t, func(s string) bool {
		_, err := dotenv(t, s)
		if err != nil {
			refused++
		}
		return err == nil
	})
	t.Logf("%d values are written and %d refused", len(want), refused)
	name := write(t, manifest.FormatDotenv, want)
	compare(t, "our parser", parse(t, name), want)
	for _, shell := range []string{"sh", "bash", "dash"} {
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("no %s here: %v", shell, err)
			continue
		}
		got := source(t, path, name)
		maps.DeleteFunc(got, func(name, _ string) bool { return !strings.HasPrefix(name, "V") })
		compare(t, shell, got, want)
	}
}

// What some program would expand, unescape, split or run is not written.
func TestDotenvLine(t *testing.T) {
	for value, want := range map[string]string{
		"": "V0=''\n", "#`$A\"; \n\\n": "V0='#`$A\"; \n\\n'\n", "it's # so\n": "V0=\"it's # so\n\"\n", "room:secret/x": "V0='room:secret/x'\n",
		"${A}": "", "a\r": "", `a\`: "", `\\a`: "", `it's \a`: "", "it's $A": "", "it's `a`": "", `it's "so"`: "",
	} {
		if got, err := dotenv(t, value); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", value, got, err, want)
		}
	}
}

// dotenv writes values in the format, with the names V0, V1, …
func dotenv(t *testing.T, values ...string) (content string, err error) {
	f := manifest.File{Path: "p", Format: manifest.FormatDotenv}
	r := room{}
	for i, v := range values {
		name := fmt.Sprint("V", i)
		r[name] = v
		f.Entries = append(f.Entries, entry(name, ref(name)))
	}
	g, err := r.render(t, &manifest.Manifest{Files: []manifest.File{f}})
	if err != nil {
		return "", err
	}
	return string(g.Files[0].Content.Reveal()), nil
}

// parse reads a .env file as a manifest.
func parse(t *testing.T, name string) map[string]string {
	t.Helper()
	m, err := manifest.Load([]string{name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := room{}.render(t, m)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range g.Env {
		got[v.Name] = string(v.Value.Reveal())
	}
	return got
}

// source has a shell read a .env file, and returns what it exports.
func source(t *testing.T, shell, name string) map[string]string {
	t.Helper()
	env, err := exec.LookPath("env")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(shell, "-c", `set -a; . "$1"; exec "$0" -0`, env, name)
	cmd.Env = []string{"PATH=/none"} // nothing to run
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %q", shell, err, out)
	}
	got := map[string]string{}
	for pair := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		name, value, _ := strings.Cut(pair, "=")
		got[name] = value
	}
	for _, own := range []string{"PATH", "PWD", "OLDPWD", "SHLVL", "_"} {
		delete(got, own)
	}
	return got
}

func TestJSONReads(t *testing.T) {
	want := values(t, utf8.ValidString)
	name := write(t, manifest.FormatJSON, want)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	compare(t, "encoding/json", got, want)

	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip(err)
	}
	out, err := exec.Command("jq", "-j", `to_entries[] | .key, "=", (.value | @base64), "\n"`, name).Output()
	if err != nil {
		t.Fatalf("jq: %v", err)
	}
	got = map[string]string{}
	for line := range bytes.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), "=")
		got[key] = decode(t, value)
	}
	compare(t, "jq", got, want)
}

func decode(t *testing.T, s string) string {
	t.Helper()
	var b []byte
	if err := json.Unmarshal([]byte(`"`+s+`"`), &b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestYAMLReads(t *testing.T) {
	want := values(t, utf8.ValidString)
	text, err := os.ReadFile(write(t, manifest.FormatYAML, want))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := yaml.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	compare(t, "go-yaml", got, want)

	if err := exec.Command("python3", "-c", "import yaml").Run(); err != nil {
		t.Skipf("no PyYAML: %v", err)
	}
	out, err := exec.Command("python3", "-c", "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1], encoding='utf-8')), sys.stdout)",
		write(t, manifest.FormatYAML, want)).Output()
	if err != nil {
		t.Fatalf("PyYAML: %v", err)
	}
	got = map[string]string{}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	compare(t, "PyYAML", got, want)
}

func BenchmarkTemplate(b *testing.B) {
	m := load(b, `files: {p: {template: "{{ json (secret \"a\") }}"}}`)
	r := room{"a": "x"}
	for b.Loop() {
		if _, err := r.render(b, m); err != nil {
			b.Fatal(err)
		}
	}
}
