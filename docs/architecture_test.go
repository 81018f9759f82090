// Package docs tests statements of the documentation about the code.
package docs

import (
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the list of imports into architecture.md")

const (
	module = "github.com/roomenv/roomenv/"
	page   = "architecture.md"
	begin  = "<!-- imports:begin -->\n"
	end    = "<!-- imports:end -->\n"
)

// TestImports compares the imports of the product's packages with the page, on
// which each package has a row.
func TestImports(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	have, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s: no list between %q and %q", page, begin, end)
	}
	packages, imports := list(t)
	for _, p := range packages {
		if !strings.Contains(before, "`"+p+"`") {
			t.Errorf("%s: no row for the package %s", page, p)
		}
	}
	want := "\n```text\n" + imports + "```\n\n"
	switch {
	case have == want:
	case *update:
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s: the list of imports is outdated: run go test ./docs -update; have %s, want %s", page, have, want)
	}
}

// list returns the product's packages, and a line for each with what it imports
// of them on Linux.
func list(t *testing.T) (packages []string, imports string) {
	cmd := exec.Command("go", "list", "-f", `{{if .GoFiles}}{{.ImportPath}} {{join .Imports " "}}{{end}}`, module+"...")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOFLAGS=")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		paths := strings.Fields(line)
		name := strings.TrimPrefix(paths[0], module)
		if top, _, _ := strings.Cut(name, "/"); slices.Contains([]string{"bench", "conformance", "examples"}, top) {
			continue
		}
		ours := slices.DeleteFunc(paths[1:], func(path string) bool { return !strings.HasPrefix(path, module) })
		packages = append(packages, name)
		if len(ours) > 0 {
			imports += name + " -> " + strings.ReplaceAll(strings.Join(ours, ", "), module, "") + "\n"
		}
	}
	return packages, imports
}
