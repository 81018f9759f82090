package main

// The rules of what roomenv shows.
//
//   - stdout belongs to the child and to the answer of a command. Nothing else
//     is ever written there.
//   - Everything else goes to stderr and starts with "roomenv: ", except the errors of a
//     manifest, which start with their place. No capital at the start, no full stop at
//     the end.
//   - An error says what could not be done, to what, and why; below it come
//     hints, each of which is something to do next.
//   - When the child has run, its exit code is ours and roomenv says nothing:
//     the child has spoken.
//   - Silence is success. Progress and details are log lines, off by default.
//   - Bytes of a secret appear nowhere but in the answer of a command that is
//     asked for it.

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/manifest"
)

// Exit codes, beside those of a child (docs/environment.md).
const (
	exitAbsent  = 1   // the secret asked for is not there
	exitFailure = 125 // roomenv itself failed
)

// exitError is an exit code. Without an err nothing is printed.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

// hint adds to an error what a person can do about it: lines that start with
// "hint: ", below the error and its details. Errors of other packages bring
// such lines along.
func hint(err error, hints ...string) error {
	for _, h := range hints {
		err = fmt.Errorf("%w\nhint: %s", err, h)
	}
	return err
}

// report prints err, if there is something to print, and returns the exit code
// that it stands for.
func (a *app) report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == os.Stdout.Name() && errors.Is(err, syscall.EPIPE) {
		return 128 + int(syscall.SIGPIPE) // as if it had not been caught: the reader has seen enough
	}
	code := exitFailure
	var exit exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.err == nil {
			return code
		}
	}
	a.printError(w, err, "exit_code", code)
	return code
}

// printError prints err and its hints: as lines or, with attributes, as a JSON object.
func (a *app) printError(w io.Writer, err error, attributes ...any) {
	message := strings.TrimRight(withHints(err).Error(), "\n")
	// A flag may be what is wrong, before the format is known.
	if cmp.Or(a.LogFormat, os.Getenv("ROOMENV_LOG_FORMAT")) == "json" {
		message, hints := splitHints(message)
		if hints != nil {
			attributes = append([]any{"hints", hints}, attributes...)
		}
		slog.New(slog.NewJSONHandler(w, nil)).Error(message, attributes...)
		return
	}
	prefix := "roomenv: "
	if e, ok := errors.AsType[*manifest.Error](err); ok && e.Pos.Line > 0 && strings.HasPrefix(message, e.Pos.String()) {
		prefix = "" // an editor finds FILE:LINE:COLUMN at the start of a line
	}
	fmt.Fprintln(w, prefix+strings.ReplaceAll(message, "\nhint: ", "\n  hint: "))
}

// splitHints takes the hints out of the text of an error.
func splitHints(text string) (message string, hints []string) {
	var lines []string
	for line := range strings.Lines(text) {
		if h, ok := strings.CutPrefix(strings.TrimLeft(line, " "), "hint: "); ok {
			hints = append(hints, strings.TrimSuffix(h, "\n"))
		} else {
			lines = append(lines, line)
		}
	}
	return strings.TrimSuffix(strings.Join(lines, ""), "\n"), hints
}

// openTerminationLog opens the file of the message that Kubernetes shows for a container
// which has ended, if cmd is what the container runs. It returns nil otherwise.
func openTerminationLog(cmd *cobra.Command) *os.File {
	// What a container runs has no parent in it. Probes are like that too.
	if os.Getppid() != 0 || !slices.Contains([]string{"exec", "render", "sidecar"}, cmd.Name()) {
		return nil
	}
	const path = "/dev/termination-log"
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil
	}
	return f
}

// newLogger writes to w: text lines with our prefix and without a time, or
// JSON objects.
func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	options := new(slog.HandlerOptions)
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, hint(fmt.Errorf("invalid log level %q", level), "use debug, info, warn or error")
	}
	options.Level = l
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case "text":
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
		return slog.New(slog.NewTextHandler(prefixer{w}, options)), nil
	}
	return nil, hint(fmt.Errorf("invalid log format %q", format), "use text or json")
}

// prefixer relies on slog handlers writing one record with one call.
type prefixer struct{ w io.Writer }

func (p prefixer) Write(record []byte) (int, error) {
	if _, err := p.w.Write(bytes.Join([][]byte{[]byte("roomenv: "), record}, nil)); err != nil {
		return 0, err
	}
	return len(record), nil
}

// printJSON prints v for scripts, with indent for each level or, for "", on one line.
func printJSON(w io.Writer, v any, indent string) error {
	b, err := text.JSON(v, indent)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// printTable prints rows for people, the first of which is the header. A cell that is
// empty is "-".
func printTable(w io.Writer, rows [][]string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = text.Printable(cmp.Or(cell, "-"), 0)
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}
