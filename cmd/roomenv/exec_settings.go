package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/manifest"
)

// checkManifest refuses signals that this system does not have. A flag that was
// given overrides what m says.
func (e *execution) checkManifest(m *manifest.Manifest, flags *pflag.FlagSet) (err error) {
	check := func(where any, o *manifest.OnChange) {
		if o != nil && o.Kind == manifest.ChangeSignal && err == nil {
			_, err = parseSignal(fmt.Sprintf("on_change: {signal: %s} (%v)", o.Signal, where), o.Signal)
		}
	}
	check(m.Exec.Pos["on_change"], m.Exec.OnChange)
	for _, e := range m.Values() {
		check(e.Pos, e.OnChange)
	}
	if flags.Changed("pristine") {
		m.Exec.Pristine = e.config.Policy.Pristine
	}
	return err
}

// applySettings takes what the manifest says on exec, unless a flag was given.
func (e *execution) applySettings(m *manifest.Manifest, flags *pflag.FlagSet) (err error) {
	settings := m.Exec
	if e.once {
		if len(m.Files) > 0 {
			return errOnceFiles
		}
		if err := checkOnce(settings); err != nil {
			return err
		}
	}
	command, supervisor := &e.consumer.Command, &e.consumer.Supervisor
	supervisor.Overlap, supervisor.Ready = settings.Overlap, inject.Readiness(settings.Ready)
	if !flags.Changed("restart-on-failure") {
		supervisor.RestartOnFailure = settings.RestartOnFailure
	}
	if !flags.Changed("stop-timeout") {
		command.StopTimeout = settings.StopTimeout
	}
	if !flags.Changed("stop-signal") {
		if command.StopSignal, err = parseSignal(located(settings, "stop_signal"), settings.StopSignal); err != nil {
			return err
		}
	}
	if !flags.Changed("mask") {
		e.consumer.Mask = settings.Mask
	}
	if e.consumer.Mask {
		command.Monitor, err = monitorArgs(command)
	}
	return err
}

// errOnceFiles: without roomenv no process would remove the files, and the lock on
// their directory is that of roomenv.
var errOnceFiles = hint(errors.New("--once cannot be combined with files in the manifest, which roomenv removes when the command has exited"), "leave --once out")

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
