package main

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/manifest"
)

// checkManifest refuses signals that this system does not have. A flag that was
// given overrides what m says.
func (e *execution) checkManifest(m *manifest.Manifest, flags *pflag.FlagSet) (err error) {
	check := func(at manifest.Position, o *manifest.OnChange) {
		if o != nil && o.Kind == manifest.ChangeSignal && err == nil {
			_, err = manifestSignal(at, "on_change", o.Signal)
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

// manifestSignal is parseSignal for a key of a manifest.
func manifestSignal(at manifest.Position, key, name string) (syscall.Signal, error) {
	sig, err := parseSignal(name)
	if err != nil {
		return 0, &manifest.Error{Pos: at, Message: key + ": " + err.Error(), Hint: signalHint}
	}
	return sig, nil
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
		if command.StopSignal, err = manifestSignal(settings.Pos["stop_signal"], "stop_signal", settings.StopSignal); err != nil {
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
var errOnceFiles = hint(errors.New("--once cannot be combined with files in the manifest, which roomenv removes when the command exits"), "omit --once")

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
			return hint(fmt.Errorf("--once cannot be combined with %s (%v), which needs a supervisor", setting.key, settings.Pos[setting.key]),
				"omit --once, or remove "+setting.key+" from the manifest")
		}
	}
	return nil
}
