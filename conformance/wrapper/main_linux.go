// Command wrapper runs the same situations under different wrappers and prints
// what each makes of them. See run.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// A wrapper is what is put in front of a command.
type wrapper struct {
	name string
	args []string
	once []string // the way in which it replaces itself with the command, if it has one
}

// A row is a line of the contract. try returns what happened, which is to be
// want. Where roomenv is known not to get there, limit is what happens instead.
type row struct {
	situation, want string
	try             func(wrapper) (string, error)
	limit           string
}

// page has the table between two marks.
const page = "docs/process-behavior.md"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "report" {
		report()
		return
	}
	write := flag.Bool("write", false, "write the table into "+page)
	flag.Parse()
	if err := compare(*write); err != nil {
		fmt.Fprintln(os.Stderr, "wrapper:", err)
		os.Exit(1)
	}
}

func compare(write bool) error {
	wrappers, missing := installed()
	var table strings.Builder
	cells := []string{"situation", "expected"}
	for _, w := range wrappers {
		cells = append(cells, w.name)
	}
	line(&table, cells)
	line(&table, strings.Fields(strings.Repeat("--- ", len(cells))))
	var errs []error
	for _, r := range rows {
		cells := []string{r.situation, r.want}
		for _, w := range wrappers {
			got, err := r.try(w)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", w.name, r.situation, err)
			}
			if w.name == "roomenv" && got != r.want && (r.limit == "" || got != r.limit) {
				errs = append(errs, fmt.Errorf("%s: got %q, want %q", r.situation, got, r.want))
			}
			if got == r.want {
				got = "✓"
			}
			cells = append(cells, got)
		}
		line(&table, cells)
	}
	fmt.Print(table.String())
	for _, name := range missing {
		fmt.Printf("SKIPPED: %s is not installed, so it has no column (apt-get install %[1]s)\n", name)
	}
	if len(missing) == 0 {
		errs = append(errs, document(table.String(), write))
	}
	return errors.Join(errs...)
}

func line(b *strings.Builder, cells []string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

// installed returns the wrappers, and the names of those that are not here. What
// env(1) does before it becomes the command is nothing.
func installed() (wrappers []wrapper, missing []string) {
	roomenv := os.Getenv("ROOMENV")
	wrappers = []wrapper{
		{"none", []string{"/usr/bin/env"}, []string{"/usr/bin/env"}},
		{"roomenv", []string{roomenv, "exec", "--"}, []string{roomenv, "exec", "--once", "--"}},
	}
	// tini warns where it is not PID 1, unless it is a subreaper (-s).
	for _, args := range [][]string{{"tini", "-s", "--"}, {"dumb-init", "--"}} {
		if _, err := exec.LookPath(args[0]); err != nil {
			missing = append(missing, args[0])
			continue
		}
		wrappers = append(wrappers, wrapper{args[0], args, args})
	}
	return wrappers, missing
}

// ours is the table without the columns of others, some of which depend on the
// moment.
func ours(table string) string {
	var b strings.Builder
	for row := range strings.Lines(table) {
		cells := strings.Split(row, " | ")
		fmt.Fprintln(&b, cells[:min(len(cells), 4)])
	}
	return b.String()
}

// document compares our part of the table in the page with this one, or replaces
// all of it.
func document(table string, write bool) error {
	const begin, end = "<!-- conformance/wrapper/run -write -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	old, after, ended := bytes.Cut(rest, []byte(end))
	switch {
	case !ok || !ended:
		return fmt.Errorf("%s has no marks for the table", page)
	case write:
		return os.WriteFile(page, []byte(string(before)+begin+table+end+string(after)), 0o644)
	case ours(string(old)) != ours(table):
		return fmt.Errorf("the table in %s differs: see it with git diff after conformance/wrapper/run -write", page)
	}
	return nil
}
