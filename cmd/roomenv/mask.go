package main

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/mask"
	"github.com/roomenv/roomenv/render"
)

// selfPath is roomenv on Linux, even when its file was replaced or removed.
const selfPath = "/proc/self/exe"

// mask has c mask, in what it prints, the secrets that maskMore names.
func (e *execution) mask() error {
	self := selfPath
	if runtime.GOOS != "linux" {
		var err error
		if self, err = os.Executable(); err != nil {
			return err
		}
	}
	c := &e.command
	c.Mask = new(mask.Masker)
	c.Monitor = []string{self, "monitor"}
	if c.StopSignal != 0 {
		c.Monitor = append(c.Monitor, "--stop-signal", strconv.Itoa(int(c.StopSignal)))
	}
	if c.StopTimeout != 0 {
		c.Monitor = append(c.Monitor, "--stop-timeout", c.StopTimeout.String())
	}
	c.Monitor = append(c.Monitor, "--")
	return nil
}

// maxMasked is of how many generations the values are masked. The command may
// still have old ones; to keep all of them would take more and more memory.
const maxMasked = 100

// maskMore has secrets masked beside those of generations before.
func (e *execution) maskMore(secrets []render.Variable) {
	values := make([]mask.Secret, len(secrets))
	for i, s := range secrets {
		values[i] = mask.Secret{Name: s.Name, Value: s.Value}
	}
	same := func(a, b mask.Secret) bool { return a.Name == b.Name && a.Value.Equal(b.Value) }
	if n := len(e.maskedValues); n > 0 && slices.EqualFunc(e.maskedValues[n-1], values, same) {
		return
	}
	e.maskedValues = append(e.maskedValues, values)
	e.maskedValues = e.maskedValues[max(0, len(e.maskedValues)-maxMasked):]
	if names := e.command.Mask.Set(slices.Concat(e.maskedValues...)...); names != nil {
		e.log.Warn("values that are too short or too common to mask are shown as they are", "names", strings.Join(names, " "))
	}
}

// newMonitor is for exec alone: what runs the command when its output is masked
// on a terminal. The environment is the command's and says nothing to roomenv.
func newMonitor(signals *inject.Signals) *cobra.Command {
	command := inject.Command{Signals: signals}
	var stopSignal string
	cmd := &cobra.Command{
		Use:               "monitor -- COMMAND [ARG...]",
		Hidden:            true,
		Args:              cobra.MinimumNArgs(1),
		PersistentPreRunE: func(*cobra.Command, []string) error { return harden() },
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if command.StopSignal, err = parseSignal("--stop-signal", stopSignal); err != nil {
				return err
			}
			command.Args, command.Env = args, os.Environ()
			code, err := inject.RunMonitor(cmd.Context(), command)
			if err != nil || code != 0 {
				return exitError{code, err}
			}
			return nil
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVar(&stopSignal, "stop-signal", "", "as of exec")
	cmd.Flags().DurationVar(&command.StopTimeout, "stop-timeout", 0, "as of exec")
	return cmd
}
