package docs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// licenses are the licenses that may be part of the binary, by a phrase that their text has
// and those before it do not.
var licenses = []struct{ name, phrase string }{
	{"Apache-2.0", "Apache License\n"},
	{"MPL-2.0", "Mozilla Public License"},
	{"MIT", "Permission is hereby granted, free of charge"},
	{"ISC", "Permission to use, copy, modify, and distribute this software for any\npurpose with or without fee"},
	{"BSD-3-Clause", "Neither the name of"},
}

// TestLicenses compares licenses.md with the licenses of the modules of the binary.
func TestLicenses(t *testing.T) {
	t.Parallel()
	var rows []string
	for _, goos := range []string{"linux", "darwin"} {
		cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}", "../cmd/roomenv")
		cmd.Env = append(os.Environ(), "GOOS="+goos)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			if module, dir, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				rows = append(rows, fmt.Sprintf("| `%s` | %s |\n", module, license(t, dir)))
			}
		}
	}
	slices.Sort(rows)
	table := "| module | license |\n| --- | --- |\n" + strings.Join(slices.Compact(rows), "")
	const begin, end = "<!-- licenses:begin -->\n", "<!-- licenses:end -->"
	page, err := os.ReadFile("licenses.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	have, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("licenses.md has no place for the table")
	}
	if *update {
		if err := os.WriteFile("licenses.md", []byte(before+begin+"\n"+table+"\n"+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if strings.TrimSpace(have) != strings.TrimSpace(table) {
		t.Errorf("licenses.md has\n%s\nwant\n%s\nCheck that the licenses are compatible, and run go test ./docs -update", have, table)
	}
}

// license returns the license of the module in dir. An unknown one is an error: whether it
// is compatible is for a person to decide.
func license(t *testing.T, dir string) string {
	for _, name := range []string{"LICENSE", "LICENSE.txt", "LICENSE.md"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		for _, l := range licenses {
			if bytes.Contains(text, []byte(l.phrase)) {
				return l.name
			}
		}
	}
	t.Errorf("%s has no license that is known to be compatible", dir)
	return ""
}
