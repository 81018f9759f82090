package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/internal/status"
	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/runner"
)

func newStatus(_ *app) *cobra.Command {
	var pid int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [--pid PID] [--json]",
		Short: "Show the status of running roomenv exec processes",
		Long: `Show each roomenv exec process of this user, and the references of its variables
and files: their state, the time since the room last confirmed the value (AGE), when
the value expires (EXPIRES) and the revision in which it changed last (REV). Values
are not shown.

The states of a value are

  current   the room has this value
  stale     the last known value; the room is unreachable or refuses the token
  default   not found; the manifest has a default
  pending   a participant is asked for it
  missing   not found, or deleted
  denied    access is denied, or was withdrawn
  failed    never fetched, for another reason
  waiting   the room has not answered yet

The exit code is 1 when no roomenv exec process is running.`,
		Example: `  roomenv status
  roomenv status --json | jq -r '.[].entries[] | select(.state != "current").name'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := findProcesses(cmd.Context(), "show status", pid)
			if err != nil {
				return err
			}
			all := make([]runner.Status, 0, len(found))
			var errs []error
			for _, p := range found {
				switch s, err := p.Status(cmd.Context()); {
				case err == nil:
					all = append(all, s)
				case !status.Exited(err): // since it was found
					errs = append(errs, err)
				}
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), all, "  ")
			} else {
				err = printStatus(cmd.OutOrStdout(), all, time.Now())
			}
			return errors.Join(append(errs, err)...)
		},
	}
	pidFlag(cmd, &pid)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array with an object for each process")
	return cmd
}

func pidFlag(cmd *cobra.Command, pid *int) {
	parsedFlag(cmd.Flags(), pid, "pid", "limit to the roomenv process with this `pid`", func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			err = errors.New("want the number of a process")
		}
		return n, err
	})
}

// findProcesses returns the process, or all for 0; there is at least one.
func findProcesses(ctx context.Context, to string, pid int) ([]status.Process, error) {
	all := status.Find(ctx)
	found := slices.DeleteFunc(slices.Clone(all), func(p status.Process) bool { return pid != 0 && p.PID != pid })
	switch {
	case len(found) > 0:
		return found, nil
	case len(all) > 0:
		return nil, exitError{exitAbsent, hint(fmt.Errorf("%s: no roomenv exec process with pid %d", to, pid), "run `roomenv status` to list them")}
	}
	return nil, exitError{exitAbsent, hint(fmt.Errorf("%s: no roomenv exec process is running", to),
		"start one with `roomenv exec -- COMMAND`, without --once")}
}

func printStatus(w io.Writer, all []runner.Status, now time.Time) error {
	for i, s := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := printProcess(w, s, now); err != nil {
			return err
		}
	}
	return nil
}

func printProcess(w io.Writer, s runner.Status, now time.Time) error {
	command := "no command"
	if s.State != "" {
		command = cmp.Or(s.Command, "sidecar") + ", " + string(s.State)
	}
	fmt.Fprintf(w, "process %d: %s\n", s.PID, text.Printable(command, 0))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, reason := range s.Unready() {
		fmt.Fprintf(table, "  not ready\t%s\n", text.Printable(reason, 0))
	}
	for _, hook := range s.FailingHooks {
		fmt.Fprintf(table, "  failing\thook %s\n", text.Printable(hook, 0))
	}
	fmt.Fprintf(table, "  up\t%s\n", elapsed(now, s.Started))
	fmt.Fprintf(table, "  revision\t%s (%s, %s, %s)\n", revisions(s), text.Count(s.Restarts, "restart", "restarts"),
		text.Count(s.Rollbacks, "rollback", "rollbacks"), text.Count(s.Crashes, "crash", "crashes"))
	fmt.Fprintf(table, "  room\t%s\n", text.Printable(cmp.Or(strings.Join(s.Rooms, ", "), "-"), 0))
	for _, o := range s.Disconnected {
		fmt.Fprintf(table, "  outage\t%s for %s: %s\n", text.Printable(o.Room, 0), elapsed(now, o.Since), text.Printable(o.Reason, 0))
	}
	if s.Dir != "" {
		fmt.Fprintf(table, "  files\t%s\n", text.Printable(s.Dir, 0))
	}
	fmt.Fprintf(table, "  manifest\t%s\n", text.Printable(cmp.Or(strings.Join(s.Manifest, ", "), "-"), 0))
	if err := table.Flush(); err != nil || len(s.Entries) == 0 {
		return err
	}
	rows := [][]string{{"NAME", "KIND", "AGE", "EXPIRES", "REV", "SOURCE", "STATE"}}
	for _, e := range s.Entries {
		revision := ""
		if e.Revision > 0 {
			revision = strconv.Itoa(e.Revision)
		}
		rows = append(rows, []string{e.Name, string(e.Kind), elapsed(now, e.Confirmed), expiry(now, e.Expires), revision, e.Source, describeValue(e.Value, now)})
	}
	fmt.Fprintln(w)
	return printTable(w, rows)
}

// revisions is the revision in use and, while another one is being applied, that one.
func revisions(s runner.Status) string {
	in := strconv.Itoa(s.Revision)
	newest := s.Revision
	for _, e := range s.Entries {
		newest = max(newest, e.Revision)
	}
	if newest > s.Revision {
		in += ", applying " + strconv.Itoa(newest)
	}
	return in
}

// describeValue is the state of a value with what belongs to it.
func describeValue(v runner.Value, now time.Time) string {
	var details []string
	if v.DelegatedBy != "" {
		details = append(details, "delegated by "+v.DelegatedBy)
	}
	if v.From != "" {
		details = append(details, "from "+v.From)
	}
	if !v.Until.IsZero() {
		details = append(details, "until "+v.Until.Format(time.RFC3339))
	}
	if !v.Since.IsZero() {
		details = append(details, "for "+elapsed(now, v.Since))
	}
	all := strings.Join(append([]string{string(v.State)}, details...), " ")
	if v.Reason != "" {
		all += ": " + v.Reason
	}
	return all
}

// elapsed is the time since t, in seconds.
func elapsed(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return max(0, now.Sub(t)).Truncate(time.Second).String()
}

// expiry is the time until t.
func expiry(now, t time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case !t.After(now):
		return "expired"
	}
	return "in " + elapsed(t, now)
}
