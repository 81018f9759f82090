package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/internal/status"
	"github.com/roomenv/roomenv/internal/text"
)

func newRefresh(_ *app) *cobra.Command {
	var pid int
	cmd := &cobra.Command{
		Use:   "refresh [--pid PID]",
		Short: "Tell running roomenv exec processes to refresh their values",
		Long: `Tell each roomenv exec process of this user to fetch all its values now, and to
read its manifest again if that could not be used. Changes are applied as the
manifest says; the command does not wait for them. It prints the number of processes.

The exit code is 1 when no roomenv exec process is running.`,
		Example: `  roomenv refresh
  roomenv refresh --pid 4711`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := findProcesses(cmd.Context(), "refresh values", pid)
			if err != nil {
				return err
			}
			refreshing := 0
			var errs []error
			for _, p := range found {
				switch err := p.Refresh(cmd.Context()); {
				case err == nil:
					refreshing++
				case !status.Exited(err): // since it was found
					errs = append(errs, err)
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "refreshing %s\n", text.Count(refreshing, "process", "processes"))
			return errors.Join(errs...)
		},
	}
	pidFlag(cmd, &pid)
	return cmd
}
