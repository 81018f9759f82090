package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestCLIPage compares docs/cli.md with the help of the commands; -update
// writes it.
func TestCLIPage(t *testing.T) {
	root := newRoot(new(app), nil)
	root.InitDefaultCompletionCmd()
	var page bytes.Buffer
	fmt.Fprint(&page, `# Command line

<!-- Written by go test ./cmd/roomenv -run TestCLIPage -update -->

This page holds the help texts: `+"`roomenv COMMAND --help`"+` prints the same. All commands
accept the flags of `+"`roomenv`"+`. For exit codes, environment variables and the use of
stdout and stderr see [Environment](environment.md).

`)
	commands := allCommands(root)
	fmt.Fprint(&page, "| command | purpose |\n| --- | --- |\n")
	for _, cmd := range commands {
		fmt.Fprintf(&page, "| [`%s`](#%s) | %s |\n", cmd.CommandPath(), anchor(cmd), cell(cmd.Short))
	}
	for _, cmd := range commands {
		writeCommand(&page, cmd)
	}
	const path = "../../docs/cli.md"
	if *update {
		if err := os.WriteFile(path, page.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, page.Bytes()) {
		t.Error("docs/cli.md differs from the help of the commands: run go test ./cmd/roomenv -run TestCLIPage -update")
	}
}

// allCommands returns cmd and the commands below it, without hidden ones and
// without those that cobra describes itself.
func allCommands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	if cmd.Name() == "completion" {
		return all
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			all = append(all, allCommands(c)...)
		}
	}
	return all
}

// writeCommand writes the section of one command. Flags that it has from its
// parent are in the section of that.
func writeCommand(page *bytes.Buffer, cmd *cobra.Command) {
	fmt.Fprintf(page, "\n## %s\n\n%s.\n\n", cmd.CommandPath(), cmd.Short)
	switch {
	case cmd.Name() == "completion":
		var shells []string
		for _, c := range cmd.Commands() {
			shells = append(shells, c.Name())
		}
		fmt.Fprintf(page, "    %s %s\n\n", cmd.CommandPath(), strings.Join(shells, "|"))
	case !cmd.HasAvailableSubCommands() || strings.Contains(cmd.Use, " "): // else it only has others
		fmt.Fprintf(page, "    %s\n\n", cmd.UseLine())
	}
	for paragraph := range strings.SplitSeq(strings.TrimSpace(cmd.Long), "\n\n") {
		switch {
		case paragraph == "":
		case strings.HasPrefix(paragraph, "  "):
			fmt.Fprintf(page, "%s\n\n", code(paragraph))
		default:
			fmt.Fprintf(page, "%s\n\n", strings.NewReplacer("<", "&lt;", "*", `\*`).Replace(paragraph))
		}
	}
	if cmd.Example != "" {
		fmt.Fprintf(page, "%s\n\n", code(cmd.Example))
	}
	flags := cmd.LocalFlags()
	if flags.HasAvailableFlags() {
		fmt.Fprint(page, "| flag | meaning |\n| --- | --- |\n")
		flags.VisitAll(func(f *pflag.Flag) { writeFlag(page, f) })
		page.WriteByte('\n')
	}
	if parent := cmd.Parent(); parent != nil && parent.HasParent() && parent.HasPersistentFlags() {
		fmt.Fprintf(page, "%s\n", inherited(parent))
	}
	page.Truncate(len(bytes.TrimRight(page.Bytes(), "\n")))
	page.WriteByte('\n')
}

func inherited(parent *cobra.Command) string {
	var names []string
	parent.PersistentFlags().VisitAll(func(f *pflag.Flag) { names = append(names, "`--"+f.Name+"`") })
	return fmt.Sprintf("Also %s of [`%s`](#%s).", strings.Join(names, " and "), parent.CommandPath(), anchor(parent))
}

// anchor is the name of the section of a command.
func anchor(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func writeFlag(page *bytes.Buffer, f *pflag.Flag) {
	if f.Hidden || f.Deprecated != "" {
		return
	}
	value, usage := pflag.UnquoteUsage(f)
	name := "--" + f.Name
	switch {
	case value != "" && f.NoOptDefVal != "":
		name += "[=" + value + "]"
	case value != "":
		name += " " + value
	}
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + "`, `" + name
	}
	if !slices.Contains([]string{"", "false", "0", "0s", "[]"}, f.DefValue) {
		usage += fmt.Sprintf(" (default %s)", f.DefValue)
	}
	fmt.Fprintf(page, "| `%s` | %s |\n", name, cell(usage))
}

// cell is text for a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// code indents text, which has two spaces, as Markdown wants it.
func code(text string) string {
	return "  " + strings.ReplaceAll(strings.Trim(text, "\n"), "\n", "\n  ")
}

// maxUnknown is the number of flags in the documentation that no command has. It
// may only fall.
const maxUnknown = 0

var (
	commandLine = regexp.MustCompile("(?m)(?:^ *(?:\\$ )?|`|[(|] *|[A-Z]=\\S+ )(roomenv [a-z][^`\n]*)")
	commandEnd  = regexp.MustCompile(` (-- |[|>#…]|\.\.\.).*`)
)

// TestDocumentedFlags looks up the flags of the command lines in the pages.
func TestDocumentedFlags(t *testing.T) {
	root := newRoot(new(app), nil)
	root.InitDefaultCompletionCmd()
	lines := 0
	var unknown []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md"} {
		pages, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range commandLine.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\\\n", ""), -1) {
				args := strings.Fields(commandEnd.ReplaceAllString(match[1]+" ", ""))[1:]
				cmd, _, err := root.Find(args)
				if err != nil || cmd == root {
					continue // prose: "roomenv reads"
				}
				lines++
				for _, arg := range args {
					name, _, _ := strings.Cut(strings.Trim(arg, "[(,.;:)]"), "=")
					if !strings.HasPrefix(name, "-") || name == "-" || name == "--" {
						continue
					}
					flag := cmd.Flag(strings.TrimLeft(name, "-"))
					if len(name) == 2 {
						flag = cmd.Flags().ShorthandLookup(name[1:])
					}
					if flag == nil && name != "--help" {
						unknown = append(unknown, fmt.Sprintf("%s: %s: %s", filepath.Base(page), cmd.CommandPath(), name))
					}
				}
			}
		}
	}
	if lines < 50 {
		t.Errorf("found %d command lines", lines)
	}
	if len(unknown) != maxUnknown {
		t.Errorf("%d unknown flags, want %d (maxUnknown):\n%s", len(unknown), maxUnknown, strings.Join(unknown, "\n"))
	}
}
