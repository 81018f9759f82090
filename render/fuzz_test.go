package render_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
)

// FuzzField takes a field from any value. Errors never hold a part of the value,
// which carries a canary, and what is found in an array or object is JSON again.
func FuzzField(f *testing.F) {
	for _, field := range []string{"a", "/a", "/a/0", "/", "//", "/~0~1", "0", "/-", ""} {
		f.Add([]byte(`{"a":["CANARY",{"":null}],"":1,"~/":2}`), field, false)
		f.Add([]byte(`["CANARY",1.50,"\u0000"]`), field, true)
		f.Add([]byte("CANARY\x00\xff"), field, false)
	}
	f.Fuzz(func(t *testing.T, value []byte, field string, encode bool) {
		part := ref("id", at(field), optional)
		part.Reference.Base64 = encode
		g, err := room{"id": string(value)}.render(t, file(entry("X", part)))
		switch {
		case err != nil:
			if strings.Contains(err.Error(), "CANARY") && !strings.Contains(field, "CANARY") {
				t.Errorf("the error holds the value: %v", err)
			}
		case field == "" && !encode && len(g.Env) == 1:
			if !bytes.Equal(g.Env[0].Value.Reveal(), value) {
				t.Error("the value was changed")
			}
		case field != "" && !json.Valid(value) && len(g.Env) != 0:
			t.Error("a value that is not JSON has a field")
		}
	})
}

// FuzzDotenv writes two values, which could conspire: a shell and our own parser read
// both, and nothing else, or they are refused.
func FuzzDotenv(f *testing.F) {
	f.Add("it's `:`", "x")
	f.Add(`x'\`, "\"\nB=1\nC=\"")
	f.Add("$(:)${A}", "room:secret/x")
	shell, err := exec.LookPath("sh")
	if err != nil {
		f.Skip(err)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		content, err := dotenv(t, a, b)
		if err != nil {
			return
		}
		name := filepath.Join(t.TempDir(), "written")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"V0": a, "V1": b}
		if got := parse(t, name); !maps.Equal(got, want) {
			t.Errorf("our parser reads %q as %q", content, got)
		}
		if got := source(t, shell, name); !maps.Equal(got, want) {
			t.Errorf("a shell reads %q as %q", content, got)
		}
	})
}

// FuzzRender evaluates templates that a program of bytes builds, over entries
// that may refer to each other.
func FuzzRender(f *testing.F) {
	f.Add([]byte("r0v1w2-e"), "CANARY", "default")
	f.Add([]byte("v0:-r1|v1:?l|b2o3f0|v2+v0|"), "{\"a\":\"CANARY\"}", "")
	f.Add([]byte("v1|v2|v0"), "CANARY", "x\x00")
	f.Fuzz(func(t *testing.T, program []byte, value, fallback string) {
		// Ids A to D; half of them exist.
		r := room{"0": value, "1": "CANARY"}
		m := file()
		for i, p := range bytes.SplitN(program, []byte("|"), 8) {
			value, _ := build(p, fallback, 0)
			m.Entries = append(m.Entries, manifest.Entry{Name: string(rune('A' + i)), Value: value})
		}
		s, err := fetch.Resolve(t.Context(), m, fetch.Mux{manifest.SchemeRoom: r})
		if err == nil {
			var g *render.Result
			if g, err = (render.Policy{}).Render(m, s, []string{"A=inherited CANARY", "E=CANARY", "Z="}, "/run"); err == nil {
				for _, kv := range g.Environ() {
					if strings.Contains(kv, "\x00") {
						t.Errorf("a NUL in %q", kv)
					}
				}
				return
			}
		}
		if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("the error holds a value: %v", err)
		}
	})
}

// build reads a template off program until it ends or closes a word.
func build(program []byte, fallback string, depth int) (t manifest.Expr, rest []byte) {
	for len(program) > 0 {
		op := program[0]
		program = program[1:]
		var arg byte
		if len(program) > 0 {
			arg = program[0]
		}
		id := string('0' + arg%4)
		switch op {
		case ')':
			return t, program
		case 'r':
			t = append(t, ref(id))
		case 'o':
			t = append(t, ref(id, optional))
		case 'b':
			t = append(t, ref(id, encoded))
		case 'd':
			t = append(t, ref(id, func(r *manifest.Reference) { r.Default = &fallback }))
		case 'f':
			t = append(t, ref(id, at("a"), optional))
		case 'v':
			t = append(t, is(string(rune('A'+arg%10))))
		case '-', '+', '?', '<', '>', '!':
			operator := map[byte]string{'-': "-", '+': "+", '?': "?", '<': ":-", '>': ":+", '!': ":?"}[op]
			var word manifest.Expr
			if depth < 20 {
				word, program = build(program, fallback, depth+1)
			}
			t = append(t, is(string(rune('A'+arg%10))+" "+operator, word...))
		default:
			t = append(t, text(string(rune(op))))
		}
	}
	return t, nil
}
