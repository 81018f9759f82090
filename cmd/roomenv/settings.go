package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/manifest"
)

// applySettings takes what the manifest says on exec; a flag that was given
// wins, and the lists of both are joined.
func (e *execution) applySettings(flags *pflag.FlagSet) (err error) {
	settings := e.manifest.Exec
	if e.once {
		if err := checkOnce(settings); err != nil {
			return err
		}
	}
	e.policy.Strip = append(e.policy.Strip, settings.Strip...)
	e.policy.Allow = append(e.policy.Allow, settings.Allow...)
	if !flags.Changed("mask") {
		e.masked = settings.Mask
	}
	if !flags.Changed("pristine") {
		e.policy.Pristine = settings.Pristine
	}
	if !flags.Changed("stop-timeout") {
		e.command.StopTimeout = settings.StopTimeout
	}
	if !flags.Changed("restart-on-failure") {
		e.supervisor.RestartOnFailure = settings.RestartOnFailure
	}
	e.supervisor.Overlap, e.supervisor.Ready = settings.Overlap, inject.Readiness(settings.Ready)
	if !flags.Changed("stop-signal") {
		e.command.StopSignal, err = parseSignal(located(settings, "stop_signal"), settings.StopSignal)
	}
	return err
}

// checkOnce refuses what needs a supervisor, as the flags do.
func checkOnce(settings manifest.Exec) error {
	for _, setting := range []struct {
		key  string
		used bool
	}{
		{"mask", settings.Mask},
		{"stop_signal", settings.StopSignal != ""},
		{"stop_timeout", settings.StopTimeout != 0},
		{"restart", settings.Overlap},
		{"restart_on_failure", settings.RestartOnFailure},
	} {
		if setting.used {
			return hint(fmt.Errorf("cannot use --once: the manifest sets %s, for which roomenv has to stay", located(settings, setting.key)),
				"leave --once out, or take "+setting.key+" out of the manifest")
		}
	}
	return nil
}

// located is a key of the manifest with where it is.
func located(settings manifest.Exec, key string) string {
	return fmt.Sprintf("%s (%v)", key, settings.Pos[key])
}
