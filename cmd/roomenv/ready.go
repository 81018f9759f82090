package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/internal/retry"
	"github.com/roomenv/roomenv/internal/status"
	"github.com/roomenv/roomenv/runner"
)

func newReady() *cobra.Command {
	var (
		dir          string
		pid          int
		live, asJSON bool
		wait         time.Duration
	)
	cmd := &cobra.Command{
		Use:   "ready [--dir DIR | --pid PID] [--live] [--wait DURATION] [--json]",
		Short: "Check whether running roomenv processes are ready",
		Long: `Exit with 0 if every roomenv process of this user is ready: its command runs, or its
files are in place, and every required value is there. Otherwise say why, and exit
with 1. It is meant for health checks of containers.

With --dir it asks the ` + "`roomenv sidecar`" + ` that writes the files there. The group of the
files may ask too.`,
		Example: `  roomenv ready
  roomenv ready --dir /secrets/app --wait 60s && exec app`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			deadline := time.Now().Add(wait)
			backoff := retry.Backoff{Min: 50 * time.Millisecond, Max: time.Second}
			for {
				all, err := checkReady(ctx, dir, pid, live)
				if asJSON && (err == nil || !time.Now().Before(deadline)) {
					if err := printJSON(cmd.OutOrStdout(), all, "  "); err != nil {
						return err
					}
				}
				switch {
				case err == nil:
					return nil
				case !time.Now().Before(deadline):
					return exitError{exitAbsent, err}
				}
				if err := backoff.Wait(ctx); err != nil {
					return err
				}
			}
		},
	}
	pidFlag(cmd, &pid)
	flags := cmd.Flags()
	flags.StringVar(&dir, "dir", "", "ask the process that keeps the files in this `directory` current")
	flags.BoolVar(&live, "live", false, "check only that the process answers")
	durationFlag(flags, &wait, "wait", 0, "check again for this long (default 0)")
	flags.BoolVar(&asJSON, "json", false, "print a JSON array with an object for each process")
	cmd.MarkFlagsMutuallyExclusive("dir", "pid")
	return cmd
}

// checkReady returns what processes there are, and why they are not ready.
func checkReady(ctx context.Context, dir string, pid int, live bool) (all []runner.Status, err error) {
	processes := []status.Process{status.At(dir)}
	if dir == "" {
		if processes, err = findProcesses(ctx, "check readiness", pid); err != nil {
			return nil, err
		}
	}
	var errs []error
	for _, p := range processes {
		s, err := p.Status(ctx)
		switch {
		case err == nil:
			all = append(all, s)
			if reasons := s.Unready(); !live && len(reasons) > 0 {
				errs = append(errs, fmt.Errorf("process %d (%s) is not ready: %s", s.PID, cmp.Or(s.Command, "sidecar"), strings.Join(reasons, ", ")))
			}
		case dir == "" && status.Exited(err): // since it was found
		case status.Exited(err):
			errs = append(errs, hint(fmt.Errorf("check readiness: no roomenv process keeps files in %s", dir), "start `roomenv sidecar --dir "+dir+"`"))
		default:
			errs = append(errs, err)
		}
	}
	return all, errors.Join(errs...)
}
