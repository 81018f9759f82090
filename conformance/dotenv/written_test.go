package dotenv

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
)

// TestWritten demands that every parser that is here reads what roomenv writes as a
// dotenv file, and that no value becomes more than the value of its variable.
func TestWritten(t *testing.T) {
	const alphabet = "a'\"\\$`\n\r\t #{}()=:;&|<>%!~*-é\u0085\u2028\ufeff\U0001f511\x01\x7f"
	all := []string{
		"", "it's", `it's "so"`, "it's `touch pwned`", "$(touch pwned)", "$HOME", "${HOME}", "${A:-b}", `C:\temp\new`, `\\host\share`,
		"-----BEGIN KEY-----\nMIIE==\n-----END KEY-----\n", "\nB=injected\n", "'\nB=injected\n'", "\"\nB=injected\nC=\"", "`\nB=injected\nC=`",
		`x'\`, `x\'`, "room:secret/other", "${room:secret/other}", " x ", "#x", "x #y", "export B=injected", "x\nexport B='injected", "x' #",
	}
	for _, a := range alphabet {
		for _, b := range alphabet {
			all = append(all, string(a)+string(b))
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	runes := []rune(alphabet)
	for range 1000 {
		var b strings.Builder
		for range random.IntN(20) {
			b.WriteRune(runes[random.IntN(len(runes))])
		}
		all = append(all, b.String())
	}

	// Each file has two values, which could conspire.
	var texts []string
	var want []outcome
	refused := 0
	for i, value := range all {
		other := all[random.IntN(len(all))]
		text, err := written(value, other)
		switch {
		case err == nil:
			texts = append(texts, text)
			want = append(want, set("A", value, "B", other))
		case strings.Contains(err.Error(), "in different ways"):
			refused++
		default:
			t.Fatalf("%d: %q: %v", i, value, err)
		}
	}
	if !utf8.ValidString(strings.Join(all, "")) {
		t.Fatal("a value is not text")
	}
	t.Logf("%d files, %d refused", len(texts), refused)

	compare := func(parser string, got []outcome) {
		bad := 0
		for i, text := range texts {
			if !got[i].equal(want[i]) {
				if bad++; bad <= 5 {
					t.Errorf("%s reads %q as %v", parser, text, got[i])
				}
			}
		}
		t.Logf("%s reads %d of %d as written", parser, len(texts)-bad, len(texts))
	}
	compare("roomenv", each(texts, func(text string) outcome { return readOurs(t, text) }))
	compare("compose", each(texts, readCompose))
	compare("godotenv", each(texts, readGodotenv))
	if node, npm, missing := readNode(t, texts); missing == "" {
		compare("node", node)
		compare("npm dotenv", npm)
	} else {
		t.Logf("without Node: %s", missing)
	}
	var python []outcome
	if missing := read(t, texts, &python, ".venv/bin/python", ".venv/bin/python", "testdata/parse.py"); missing == "" {
		compare("python-dotenv", python)
	} else {
		t.Logf("without python-dotenv: %s", missing)
	}
	for _, shell := range []string{"sh", "bash", "dash", "busybox"} {
		if path, err := exec.LookPath(shell); err == nil {
			compare(shell, readShell(t, path, texts))
		} else {
			t.Logf("without %s: %v", shell, err)
		}
	}
}

// readShell has a shell read each file as it is documented, and returns what it sets and
// exports. A command that runs has no program to find.
func readShell(t *testing.T, path string, texts []string) (all []outcome) {
	dir := t.TempDir()
	var names []string
	for i, text := range texts {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	args := []string{"-c", `for f do (set -a; . "$f"; exec "$ENV" -0 -u PWD -u OLDPWD -u _ -u SHLVL -u ENV); printf '\0'; done`, "sh"}
	if filepath.Base(path) == "busybox" {
		args = append([]string{"sh"}, args...)
	}
	env, err := exec.LookPath("env")
	if err != nil {
		t.Fatal(err)
	}
	for some := range slices.Chunk(names, 500) {
		cmd := exec.Command(path, append(slices.Clone(args), some...)...)
		cmd.Dir, cmd.Env, cmd.Stderr = dir, []string{"ENV=" + env, "PATH=/none"}, os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, variables := range bytes.Split(bytes.TrimSuffix(out, []byte("\x00\x00")), []byte("\x00\x00")) {
			o := set()
			for v := range bytes.SplitSeq(variables, []byte{0}) {
				name, value, _ := strings.Cut(string(v), "=")
				o.Values[name] = value
			}
			maps.DeleteFunc(o.Values, func(name, value string) bool { return name == "PATH" && value == "/none" })
			all = append(all, o)
		}
	}
	if len(all) != len(texts) {
		t.Fatalf("%s reads %d of %d files", path, len(all), len(texts))
	}
	return all
}

// written renders a file with the variables A and B.
func written(a, b string) (string, error) {
	m := &manifest.Manifest{Files: []manifest.File{{Path: "p", Format: manifest.FormatDotenv, Entries: []manifest.Entry{literal("A", a), literal("B", b)}}}}
	g, err := render.Policy{}.Render(m, new(fetch.Snapshot), nil, "")
	if err != nil {
		return "", err
	}
	return string(g.Files[0].Content.Reveal()), nil
}

func literal(name, value string) manifest.Entry {
	e := manifest.Entry{Name: name}
	if value != "" {
		e.Value = manifest.Expr{{Literal: value}}
	}
	return e
}
