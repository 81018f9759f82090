// Package docs tests statements of the documentation about the code.
package docs

import (
	"flag"
	"os"
	"os/exec"
	"regexp"
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

// maxPlanned is the number of packages on the page that do not exist. It may only
// fall.
const maxPlanned = 0

// row is the first cell of a row that names packages.
var row = regexp.MustCompile("(?m)^\\| ((?:`[a-z/]+`(?:, )?)+) \\|")

// TestImports compares the packages and imports of the product with the page.
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
	_, table, _ := strings.Cut(before, "\n## Packages\n")
	var described, planned []string
	for _, match := range row.FindAllStringSubmatch(table, -1) {
		for name := range strings.SplitSeq(match[1], ", ") {
			described = append(described, strings.Trim(name, "`"))
		}
	}
	for _, p := range packages {
		if !slices.Contains(described, p) {
			t.Errorf("%s: no row for the package %s", page, p)
		}
	}
	for _, p := range described {
		if !slices.Contains(packages, p) {
			planned = append(planned, p)
		}
	}
	if len(planned) != maxPlanned {
		t.Errorf("%s: %q do not exist, want %d (maxPlanned)", page, planned, maxPlanned)
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
