package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/internal/status"
)

func newStatus(_ *app) *cobra.Command {
	var pid int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [--pid N] [--json]",
		Short: "Show how running execs do: which values are current, and why not",
		Long: `status shows each exec of this user that runs, and the references of its variables
and files: their state, how long ago the room confirmed the value (AGE), when it
ends (EXPIRES) and the generation in which it changed last (GEN). It shows no
values.

The states of a value are

  current   the room has this value
  stale     it is the last good one; the room does not say whether it still is
  default   the room has none, and the manifest has another
  pending   somebody is asked for it
  missing   the room has none, or no longer
  denied    the room does not give it out, or no longer
  failed    there never was one, for another reason

The exit code is 1 when no exec runs.`,
		Example: `  roomenv status
  roomenv status --json | jq -r '.[].entries[] | select(.state != "current").name'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := findProcesses(cmd.Context(), "show the status", pid)
			if err != nil {
				return err
			}
			reports := make([]status.Report, 0, len(found))
			var errs []error
			for _, p := range found {
				r, err := p.Report(cmd.Context())
				if err != nil {
					errs = append(errs, err)
					continue
				}
				reports = append(reports, r)
			}
			if asJSON {
				err = printReportsJSON(cmd.OutOrStdout(), reports)
			} else {
				err = printReports(cmd.OutOrStdout(), reports, time.Now())
			}
			return errors.Join(append(errs, err)...)
		},
	}
	pidFlag(cmd, &pid)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array of reports")
	return cmd
}

func pidFlag(cmd *cobra.Command, pid *int) {
	cmd.Flags().IntVar(pid, "pid", 0, "process `N`, of roomenv, alone")
}

// findProcesses returns the process, or all for 0; there is at least one.
func findProcesses(ctx context.Context, to string, pid int) ([]status.Process, error) {
	all := status.Find(ctx)
	found := all
	if pid != 0 {
		found = nil
		for _, p := range all {
			if p.PID == pid {
				found = append(found, p)
			}
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case len(all) > 0:
		return nil, exitError{exitAbsent, hint(fmt.Errorf("cannot %s of process %d: it is no exec of this user", to, pid), "`roomenv status` lists those that run")}
	}
	return nil, exitError{exitAbsent, hint(fmt.Errorf("cannot %s: no exec of this user runs", to),
		"start one with `roomenv exec -- COMMAND`; one with --once is not found")}
}

func printReportsJSON(w io.Writer, reports []status.Report) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(reports)
}

func printReports(w io.Writer, reports []status.Report, now time.Time) error {
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := printReport(w, r, now); err != nil {
			return err
		}
	}
	return nil
}

func printReport(w io.Writer, r status.Report, now time.Time) error {
	command := "no command"
	if r.State != "" {
		command = r.Command + ", " + string(r.State)
	}
	fmt.Fprintf(w, "process %d: %s\n", r.PID, printable(command))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, reason := range r.Unready() {
		fmt.Fprintf(table, "  not ready\t%s\n", printable(reason))
	}
	fmt.Fprintf(table, "  up\t%s\n", elapsed(now, r.Started))
	fmt.Fprintf(table, "  generation\t%d (%s, %s, %s)\n", r.Generation, count(r.Restarts, "restart", "restarts"),
		count(r.Rollbacks, "roll-back", "roll-backs"), count(r.Crashes, "crash", "crashes"))
	fmt.Fprintf(table, "  room\t%s\n", printable(cmp.Or(strings.Join(r.Rooms, ", "), "-")))
	fmt.Fprintf(table, "  manifest\t%s\n", printable(cmp.Or(strings.Join(r.Manifest, ", "), "-")))
	if err := table.Flush(); err != nil || len(r.Entries) == 0 {
		return err
	}
	fmt.Fprintln(table, "\nNAME\tKIND\tAGE\tEXPIRES\tGEN\tSOURCE\tSTATE")
	for _, e := range r.Entries {
		generation := "-"
		if e.Generation > 0 {
			generation = strconv.Itoa(e.Generation)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(e.Name), e.Kind, elapsed(now, e.Confirmed), expiry(now, e.Expires),
			generation, printable(e.Source), printable(describeValue(e.Value, now)))
	}
	return table.Flush()
}

// describeValue is the state of a value with what belongs to it.
func describeValue(v status.Value, now time.Time) string {
	var details []string
	if v.From != "" {
		details = append(details, "from "+v.From)
	}
	if !v.Until.IsZero() {
		details = append(details, "until "+v.Until.Format(time.RFC3339))
	}
	if !v.Since.IsZero() {
		details = append(details, "for "+elapsed(now, v.Since))
	}
	text := strings.Join(append([]string{string(v.State)}, details...), " ")
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	return text
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
		return "ended"
	}
	return "in " + elapsed(t, now)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
