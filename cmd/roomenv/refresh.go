package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func newRefresh(_ *app) *cobra.Command {
	var pid int
	cmd := &cobra.Command{
		Use:   "refresh [--pid N]",
		Short: "Have running execs fetch all their values anew",
		Long: `refresh asks each exec of this user that runs to fetch all its values now. It
does not wait for them; what has changed is applied as the manifest says. It
prints how many were asked.

The exit code is 1 when no exec runs.`,
		Example: `  roomenv refresh
  roomenv refresh --pid 4711`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := findProcesses(cmd.Context(), "refresh the values", pid)
			if err != nil {
				return err
			}
			asked := 0
			var errs []error
			for _, p := range found {
				if err := p.Refresh(cmd.Context()); err != nil {
					errs = append(errs, err)
					continue
				}
				asked++
			}
			fmt.Fprintf(cmd.OutOrStdout(), "asked %s\n", count(asked, "process", "processes"))
			return errors.Join(errs...)
		},
	}
	pidFlag(cmd, &pid)
	return cmd
}
