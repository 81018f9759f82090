// Package prose checks the wording of the project: documentation, pages,
// messages and comments use the terms of HACKING.md and none of the phrases
// below.
package prose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The number of hits that each kind of text has. It may only fall: a change that
// removes hits lowers the constant.
const (
	maxDocs     = 0 // Markdown, HTML, scripts of pages, descriptions of the JSON Schema
	maxStrings  = 0 // string literals of Go
	maxComments = 5 // comments of Go
	maxCannot   = 0 // string literals of Go that start with "cannot "
)

// excuse on a line permits what the line says.
const excuse = "prose:ok"

// A pattern is a phrase with what to write instead. A match that except matches
// too is permitted: RE2 has no look-around.
type pattern struct {
	phrase, except *regexp.Regexp
	write          string
}

var patterns = []pattern{
	{phrase: re(`\b[Aa]nother one\b`), write: "changed, different, other NOUN"},
	{phrase: re(`\b[Ww]h(o|om|oever) (is|are|was|were) asked\b`), write: "the approver"},
	{phrase: re(`\b[Ww]hoever\b|\b[Tt]he one who\b|\b[Oo]ne who\b`), write: "the role: requester, owner, caller"},
	{phrase: re(`\b([Nn]obody|[Ss]omebody|[Aa]nybody)\b`), write: "no participant, no process, another user"},
	{phrase: re(`(here )?\b(is|are|was|were) no [a-z]+`), except: re(`^here |no (longer|more)\b`), write: "is not a, not a valid, invalid"},
	{phrase: re(`\b(is|are|was|were|be|has|have) none\b`), write: "does not exist, is not set, unset"},
	{phrase: re(`\b([Tt]ells?|told) of\b|\b[Tt]ells? (more|it|them|others)\b`), write: "notifies, reports, pushes changes, see"},
	{phrase: re(`\b(is|are|was|were|be) (told|said)\b`), write: "is reported, logged, notified"},
	{phrase: re(`\b(those|ones?|values?|manifest|generations?) before\b( it| the)?`), except: re(` (it|the)$`), write: "previous"},
	{phrase: re(`\bany ?more\b`), write: "no longer"},
	{phrase: re(`\banew\b`), write: "again"},
	{phrase: re(`\bas (it|they) (is|are|was|were)\b`), write: "unchanged, verbatim"},
	{phrase: re(`\bhow (they|it|all of them|running execs) do\b`), write: "status, state of"},
	{phrase: re(`\b(come|came|comes) (up with|to pass)\b`), write: "start, become ready, apply"},
	{phrase: re(`\bbelow \x60?[a-z_]+:`), write: "under `oauth:`"},
	{phrase: re(`\bin place of\b`), write: "instead of, overrides"},
	{phrase: re(`\bbut for\b`), write: "except"},
	{phrase: re(`, as [\x60A-Z0-9{[]|, as [a-z]+[/:.]`), write: "such as, for example"},
	{phrase: re(`\b[Ff]olders?\b`), write: "directory"},
	{phrase: re(`\b(is|are) there (already|twice|without)\b`), write: "duplicate, already exists, X requires Y"},
	{phrase: re(`\bnot known (here|in this)\b|\bknows? no\b`), write: "not supported, unknown"},
	{phrase: re(`\bgood for\b|\b[Kk]ept for\b`), write: "valid for, stored for"},
	{phrase: re(`\bbe had\b|\bis not there any\b`), write: "unavailable, not available"},
	{phrase: re(`\b(goes|go|went|gone) on\b`), write: "continues"},
	{phrase: re(`\bdoes not go with\b|\bgoes with none\b`), write: "cannot be combined with"},
	{phrase: re(`\b(ends?|ended) roomenv\b|\broomenv (then )?ends\b`), write: "roomenv exits"},
	{phrase: re(`\bholds? up\b|\b(let|lets) go of\b|\bchanges? hands\b`), write: "delays, releases, fails over"},
	{phrase: re(`\b(an?|no|each|running|the) execs?\b( ?probe)?|\bexecs\b`), except: re(`probe$`), write: "roomenv exec process"},
	{phrase: re(`^cannot (tell|say|go on|run nothing|be asked|keep other)\b`), write: "missing X, VERB OBJECT: reason"},
	{phrase: re(`\x60[A-Z]+\x60[a-z]|\bas without\b`), write: "`host:port`; unchanged"},
	{phrase: re(`\b[Ee]ver (later|less|more)\b|\bless and less\b`), write: "with exponential backoff"},
	{phrase: re(`\b([Rr]ooms? of the|[Tt]he) house\b`), write: "package"},
}

var cannot = []pattern{{phrase: re(`^cannot `), write: "VERB OBJECT: reason"}}

func re(s string) *regexp.Regexp { return regexp.MustCompile(s) }

// A passage is a text with the position of its start. An excuse in it counts for
// its line.
type passage struct {
	file string
	line int
	text string
}

// hits finds the patterns in the passage. A phrase may go over a line break.
func (p passage) hits(patterns []pattern) (hits []string) {
	text, lines := joined(p.text), strings.Split(p.text, "\n")
	for _, pattern := range patterns {
		for _, at := range pattern.phrase.FindAllStringIndex(text, -1) {
			match := text[at[0]:at[1]]
			if pattern.except != nil && pattern.except.MatchString(match) {
				continue
			}
			before := strings.Count(p.text[:at[0]], "\n")
			if strings.Contains(lines[before], excuse) {
				continue
			}
			hits = append(hits, fmt.Sprintf("%s:%d: %q: write %s", p.file, p.line+before, match, pattern.write))
		}
	}
	return hits
}

// joined is s with a space for each line break that is not a paragraph's end.
func joined(s string) string {
	b := []byte(s)
	for i := 1; i+1 < len(b); i++ {
		if b[i] == '\n' && b[i-1] != '\n' && b[i+1] != '\n' {
			b[i] = ' '
		}
	}
	return string(b)
}

func TestProse(t *testing.T) {
	docs, literals, comments := passages(t, filepath.Join("..", ".."))
	for _, kind := range []struct {
		name     string
		passages []passage
		patterns []pattern
		constant string
		max      int
	}{
		{"documentation", docs, patterns, "maxDocs", maxDocs},
		{"strings", literals, patterns, "maxStrings", maxStrings},
		{"comments", comments, patterns, "maxComments", maxComments},
		{"cannot", literals, cannot, "maxCannot", maxCannot},
	} {
		t.Run(kind.name, func(t *testing.T) {
			if len(kind.passages) == 0 {
				t.Fatal("found no text")
			}
			var hits []string
			for _, p := range kind.passages {
				hits = append(hits, p.hits(kind.patterns)...)
			}
			switch n := len(hits); {
			case n > kind.max:
				t.Errorf("%d hits, want %d (%s)", n, kind.max, kind.constant)
			case n < kind.max:
				t.Errorf("%d hits: lower %s from %d to %d", n, kind.constant, kind.max, n)
			}
			if len(hits) > kind.max || testing.Verbose() {
				t.Log(strings.Join(hits, "\n"))
			}
		})
	}
}

// TestPatterns checks the rules that the patterns follow.
func TestPatterns(t *testing.T) {
	for text, want := range map[string]int{
		"this is no value":                       1,
		"there is no value":                      0,
		"it is no longer so":                     0,
		"the values before":                      1,
		"the values before the change":           0,
		"an exec probe of the exec":              1,
		"the last\none who":                      1,
		"one\n\nwho":                             0,
		"a folder <!-- " + excuse + " -->":       0,
		"a folder <!-- " + excuse + " -->\nanew": 1,
		"cannot tell":                            1,
		"it cannot tell":                         0,
	} {
		if got := (passage{text: text}).hits(patterns); len(got) != want {
			t.Errorf("%q: got %q, want %d", text, got, want)
		}
	}
}

// passages reads the texts below root.
func passages(t *testing.T, root string) (docs, literals, comments []passage) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && name != "."
			if hidden || filepath.Dir(name) == "conformance" || name == "bench" || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		ext := filepath.Ext(name)
		if !slices.Contains([]string{".md", ".html", ".js", ".json", ".go"}, ext) || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		switch ext {
		case ".go":
			l, c, err := goPassages(name, text)
			literals, comments = append(literals, l...), append(comments, c...)
			return err
		case ".json":
			d, err := schemaPassages(name, text)
			docs = append(docs, d...)
			return err
		}
		docs = append(docs, passage{name, 1, string(text)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs, literals, comments
}

// goPassages returns the string literals of a file, without import paths and
// struct tags, and its comments. Literals that are added are one text. An excuse
// on a line of a literal, beside it or in it, counts for all of it.
func goPassages(name string, text []byte) (literals, comments []passage, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	source := strings.Split(string(text), "\n")
	add := func(n ast.Node, text string) {
		first, last := set.Position(n.Pos()).Line, set.Position(n.End()).Line
		if !strings.Contains(strings.Join(source[first-1:last], "\n"), excuse) {
			literals = append(literals, passage{name, first, text})
		}
	}
	var visit func(n ast.Node) bool
	visit = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.Field:
			if n.Tag != nil {
				ast.Inspect(n.Type, visit)
				return false
			}
		case *ast.BasicLit:
			if s, ok := literal(n); ok {
				add(n, s)
			}
		case *ast.BinaryExpr:
			if n.Op != token.ADD {
				return true
			}
			sum := ""
			for _, term := range terms(n) {
				if s, ok := literal(term); ok {
					sum += s
					continue
				}
				sum += "\x00" // a value, which is not known
				ast.Inspect(term, visit)
			}
			add(n, sum)
			return false
		}
		return true
	}
	ast.Inspect(file, visit)
	for _, group := range file.Comments {
		// Markers go, line breaks stay.
		var text []string
		for _, c := range group.List {
			for line := range strings.Lines(c.Text) {
				line = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(line), "//"), "/*")
				text = append(text, strings.TrimSpace(strings.TrimSuffix(line, "*/")))
			}
		}
		comments = append(comments, passage{name, set.Position(group.Pos()).Line, strings.Join(text, "\n")})
	}
	return literals, comments, nil
}

// literal is the value of a string literal.
func literal(n ast.Expr) (string, bool) {
	lit, ok := n.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// terms are the operands of a sum, from left to right.
func terms(n ast.Expr) []ast.Expr {
	if sum, ok := n.(*ast.BinaryExpr); ok && sum.Op == token.ADD {
		return append(terms(sum.X), terms(sum.Y)...)
	}
	return []ast.Expr{n}
}

// schemaPassages returns the descriptions and titles of a JSON Schema. Other
// JSON has none.
func schemaPassages(name string, text []byte) (docs []passage, err error) {
	var schema any
	if err := json.Unmarshal(text, &schema); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				s, ok := value.(string)
				if !ok || key != "description" && key != "title" {
					walk(value)
					continue
				}
				quoted, _ := json.Marshal(s)
				before, _, _ := bytes.Cut(text, quoted)
				docs = append(docs, passage{name, 1 + bytes.Count(before, []byte("\n")), s})
			}
		case []any:
			for _, value := range v {
				walk(value)
			}
		}
	}
	walk(schema)
	slices.SortFunc(docs, func(a, b passage) int { return a.line - b.line })
	return docs, nil
}
