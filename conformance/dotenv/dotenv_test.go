package dotenv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	compose "github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/joho/godotenv"
	"github.com/sirupsen/logrus"

	"github.com/roomenv/roomenv/manifest"
)

// An outcome is the variables that a parser reads, or that it refuses.
type outcome struct {
	Values map[string]string `json:"values"`
	Error  bool              `json:"error"`
}

var fails = outcome{Error: true}

func set(pairs ...string) outcome {
	o := outcome{Values: map[string]string{}}
	for pair := range slices.Chunk(pairs, 2) {
		o.Values[pair[0]] = pair[1]
	}
	return o
}

func (o outcome) equal(p outcome) bool {
	return o.Error == p.Error && maps.Equal(o.Values, p.Values)
}

func (o outcome) String() string {
	if o.Error {
		return "error"
	}
	var s []string
	for _, name := range slices.Sorted(maps.Keys(o.Values)) {
		s = append(s, fmt.Sprintf("%s=%q", name, o.Values[name]))
	}
	return strings.Join(s, " ")
}

// TestRows demands that each row gives what it says, and that this is the
// outcome of at least as many other parsers as any different one, or else that
// the row has a reason.
func TestRows(t *testing.T) {
	texts := make([]string, len(rows))
	for i, r := range rows {
		texts[i] = r.text
	}
	names := []string{"compose", "godotenv"}
	outcomes := [][]outcome{each(texts, readCompose), each(texts, readGodotenv)}
	node, npm, missing := readNode(t, texts)
	if missing == "" {
		names = append(names, "node", "npm dotenv")
		outcomes = append(outcomes, node, npm)
	}

	agree := make([]int, len(names))
	alone := 0
	var table strings.Builder
	for i, r := range rows {
		got := readOurs(t, r.text)
		if !got.equal(r.want) {
			t.Errorf("%s: %q gives %v, want %v", r.name, r.text, got, r.want)
		}
		fmt.Fprintf(&table, "\n%s: %q\n  roomenv     %v\n", r.name, r.text, got)
		var others []outcome
		for p, name := range names {
			o := outcomes[p][i]
			others = append(others, o)
			if o.equal(got) {
				agree[p]++
			} else {
				fmt.Fprintf(&table, "  %-11s %v\n", name, o)
			}
		}
		if r.why != "" {
			fmt.Fprintf(&table, "  because     %s\n", r.why)
		}
		if missing != "" {
			continue
		}
		switch most := mostCommon(others); {
		case count(others, got) < most && r.why == "":
			t.Errorf("%s: %q gives %v, unlike most parsers, and no reason is given", r.name, r.text, got)
		case count(others, got) == most && r.why != "":
			t.Errorf("%s: %q has a reason and needs none", r.name, r.text)
		case r.why != "":
			alone++
		}
	}
	fmt.Fprintf(&table, "\n%d rows; the same outcome as", len(rows))
	for p, name := range names {
		fmt.Fprintf(&table, " %s %d,", name, agree[p])
	}
	fmt.Fprintf(&table, " another one than most, with a reason, %d\n", alone)
	t.Log(table.String())
	if missing != "" {
		t.Skipf("not compared with Node and npm dotenv, nor with the majority: %s", missing)
	}
}

func each(texts []string, read func(string) outcome) []outcome {
	all := make([]outcome, len(texts))
	for i, text := range texts {
		all[i] = read(text)
	}
	return all
}

func count(all []outcome, o outcome) int {
	n := 0
	for _, other := range all {
		if o.equal(other) {
			n++
		}
	}
	return n
}

func mostCommon(all []outcome) int {
	most := 0
	for _, o := range all {
		most = max(most, count(all, o))
	}
	return most
}

func lookup(name string) (string, bool) {
	for _, v := range environ {
		if n, value, _ := strings.Cut(v, "="); n == name {
			return value, true
		}
	}
	return "", false
}

func result(values map[string]string, err error) outcome {
	if err != nil {
		return fails
	}
	return outcome{Values: values}
}

func readCompose(text string) outcome {
	logrus.SetOutput(io.Discard) // it warns of each unset variable
	return result(compose.ParseWithLookup(strings.NewReader(text), lookup))
}

func readGodotenv(text string) outcome { return result(godotenv.Unmarshal(text)) }

// readNode runs both JavaScript parsers. missing says why it could not.
func readNode(t *testing.T, texts []string) (node, npm []outcome, missing string) {
	var all struct{ Node, Npm []outcome }
	if missing = read(t, texts, &all, "node_modules/dotenv", "node", "testdata/parse.js"); missing != "" {
		return nil, nil, missing
	}
	if all.Node == nil {
		return nil, nil, "this Node has no util.parseEnv (20.12 and later do)"
	}
	return all.Node, all.Npm, ""
}

// read passes texts to a program that parses them and reads its outcomes into all.
// missing says that ./run could not install what the program needs.
func read(t *testing.T, texts []string, all any, needs, program string, args ...string) (missing string) {
	if _, err := os.Stat(needs); err != nil {
		return fmt.Sprintf("%v: ./run installs it", err)
	}
	in, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), environ...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	if err := json.Unmarshal(out, all); err != nil {
		t.Fatal(err)
	}
	return ""
}

// readOurs loads text as a manifest and evaluates it as roomenv does, but for
// references, which stay as text.
func readOurs(t *testing.T, text string) outcome {
	file := filepath.Join(t.TempDir(), "manifest")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Load([]string{file}, environ)
	if err != nil {
		return fails
	}
	e := evaluation{map[string]manifest.Expr{}, map[string]string{}}
	for _, entry := range m.Entries {
		e.entries[entry.Name] = entry.Value
	}
	for _, entry := range m.Entries {
		value, ok, err := e.value(entry.Name, "")
		if err != nil {
			return fails
		}
		if ok {
			e.values[entry.Name] = value
		}
	}
	return outcome{Values: e.values}
}

type evaluation struct {
	entries map[string]manifest.Expr
	values  map[string]string
}

// value returns the value of a name that the entry user uses.
func (e evaluation) value(name, user string) (string, bool, error) {
	template, ok := e.entries[name]
	if !ok || name == user {
		value, ok := lookup(name)
		return value, ok, nil
	}
	if inherits(template, name) {
		value, ok := lookup(name)
		return value, ok, nil
	}
	value, err := e.text(template, name)
	return value, true, err
}

// inherits reports whether the template is the entry's own name alone.
func inherits(t manifest.Expr, name string) bool {
	if len(t) != 1 || t[0].Variable == nil {
		return false
	}
	return t[0].Variable.Name == name && t[0].Variable.Operator == ""
}

func (e evaluation) text(t manifest.Expr, user string) (string, error) {
	var b strings.Builder
	for _, p := range t {
		switch {
		case p.Reference != nil:
			text := p.Reference.Target.String()
			if p.Reference.Field != "" {
				text += "#" + p.Reference.Field
			}
			if len(t) > 1 {
				text = "${" + text + "}"
			}
			b.WriteString(text)
		case p.Variable != nil:
			text, err := e.variable(p.Variable, user)
			if err != nil {
				return "", err
			}
			b.WriteString(text)
		default:
			b.WriteString(p.Literal)
		}
	}
	return b.String(), nil
}

func (e evaluation) variable(v *manifest.Variable, user string) (string, error) {
	value, ok, err := e.value(v.Name, user)
	if err != nil {
		return "", err
	}
	operator, colon := strings.CutPrefix(v.Operator, ":")
	present := ok && (value != "" || !colon)
	switch {
	case operator == "-" && !present, operator == "+" && present:
		return e.text(v.Operand, user)
	case operator == "?" && !present:
		return "", fmt.Errorf("%s is required", v.Name)
	case operator == "+":
		return "", nil
	}
	return value, nil
}
