package dotenv

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
)

// TestWritten demands that docker compose reads what roomenv writes as a dotenv
// file, and tells how many values the other parsers read as they were.
func TestWritten(t *testing.T) {
	const alphabet = "a'\"\\$`\n\r\t #{}=:é\u2028\U0001f511"
	var all []string
	for _, a := range alphabet {
		all = append(all, string(a))
		for _, b := range alphabet {
			all = append(all, string(a)+string(b), "x"+string(a)+string(b)+"x")
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	runes := []rune(alphabet)
	for range 2000 {
		var b strings.Builder
		for range random.IntN(20) {
			b.WriteRune(runes[random.IntN(len(runes))])
		}
		all = append(all, b.String())
	}

	texts := make([]string, len(all))
	for i, value := range all {
		if !utf8.ValidString(value) {
			t.Fatalf("%q", value)
		}
		texts[i] = written(t, value)
	}
	agree := map[string]int{}
	count := func(parser string, i int, got outcome) {
		if got.equal(set("A", all[i])) {
			agree[parser]++
		} else if parser == "compose" || parser == "roomenv" {
			t.Errorf("%s reads %q, which is %q, as %v", parser, all[i], texts[i], got)
		}
	}
	node, npm, missing := readNode(t, texts)
	if missing != "" {
		t.Logf("without Node: %s", missing)
	}
	for i, text := range texts {
		count("roomenv", i, readOurs(t, text))
		count("compose", i, readCompose(text))
		count("godotenv", i, readGodotenv(text))
		if missing == "" {
			count("node", i, node[i])
			count("npm dotenv", i, npm[i])
		}
	}
	t.Logf("of %d values: %s", len(all), fmt.Sprint(agree))
}

// written renders a file with the variable A.
func written(t *testing.T, value string) string {
	var parts manifest.Expr
	if value != "" {
		parts = manifest.Expr{{Literal: value}}
	}
	m := &manifest.Manifest{Files: []manifest.File{{
		Path: "p", Format: manifest.FormatDotenv, Entries: []manifest.Entry{{Name: "A", Value: parts}},
	}}}
	g, err := render.Policy{}.Render(m, new(fetch.Snapshot), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(g.Files[0].Content.Reveal())
}
