package main

import (
	"os"
	"runtime"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/inject"
)

// selfPath is roomenv on Linux, even when its file was replaced or removed.
const selfPath = "/proc/self/exe"

// monitorArgs is the command line that runs c as its monitor.
func monitorArgs(c *inject.Command) ([]string, error) {
	self := selfPath
	if runtime.GOOS != "linux" {
		var err error
		if self, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	args := []string{self, "monitor"}
	if c.StopSignal != 0 {
		args = append(args, "--stop-signal", strconv.Itoa(int(c.StopSignal)))
	}
	if c.StopTimeout != 0 {
		args = append(args, "--stop-timeout", c.StopTimeout.String())
	}
	return append(args, "--"), nil
}

// newMonitor is for exec alone: it runs the command when its output is masked on a
// terminal. The environment is the command's and does not configure roomenv, as it does
// for other commands.
func newMonitor(signals *inject.Signals) *cobra.Command {
	command := inject.Command{Signals: signals}
	cmd := &cobra.Command{
		Use:              "monitor -- COMMAND [ARG...]",
		Hidden:           true,
		Args:             cobra.MinimumNArgs(1),
		PersistentPreRun: func(*cobra.Command, []string) {},
		RunE: func(cmd *cobra.Command, args []string) error {
			command.Args, command.Env = args, os.Environ()
			code, err := inject.RunMonitor(cmd.Context(), command)
			if err != nil || code != 0 {
				return exitError{code, err}
			}
			return nil
		},
	}
	cmd.Flags().SetInterspersed(false)
	parsedFlag(cmd.Flags(), &command.StopSignal, "stop-signal", "see exec", parseSignal)
	durationFlag(cmd.Flags(), &command.StopTimeout, "stop-timeout", 0, "see exec")
	return cmd
}
