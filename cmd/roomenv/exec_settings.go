package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/manifest"
)

// checkManifest refuses signals that this system does not have. A flag that was
// given overrides what m says.
func (e *execution) checkManifest(m *manifest.Manifest, flags *pflag.FlagSet) (err error) {
	for name, override := range map[string]func(){
		"pristine":           func() { m.Exec.Pristine = e.config.Policy.Pristine },
		"mask":               func() { m.Exec.Mask = e.consumer.Mask },
		"restart-on-failure": func() { m.Exec.RestartOnFailure = e.consumer.Supervisor.RestartOnFailure },
		"stop-timeout":       func() { m.Exec.StopTimeout = e.consumer.Command.StopTimeout },
		"stop-signal":        func() { m.Exec.StopSignal = "" }, // the command has it
	} {
		if flags.Changed(name) {
			override()
		}
	}
	check := func(at manifest.Position, key, signal string) {
		if _, unknown := parseSignal(signal); unknown != nil && err == nil {
			err = &manifest.Error{Pos: at, Message: key + ": " + unknown.Error(), Hint: signalHint}
		}
	}
	check(m.Exec.Pos["stop_signal"], "stop_signal", m.Exec.StopSignal)
	if o := m.Exec.OnChange; o != nil {
		check(m.Exec.Pos["on_change"], "on_change", o.Signal)
	}
	for _, e := range m.Values() {
		if e.OnChange != nil {
			check(e.Pos, "on_change", e.OnChange.Signal)
		}
	}
	return err
}

// applySettings takes what m says on exec.
func (e *execution) applySettings(m *manifest.Manifest) error {
	if e.once {
		if len(m.Files) > 0 {
			return errOnceFiles
		}
		if err := checkOnce(m.Exec); err != nil {
			return err
		}
	}
	if err := e.consumer.Configure(m.Exec); err != nil || !e.consumer.Mask {
		return err
	}
	var err error
	e.consumer.Command.Monitor, err = monitorArgs(&e.consumer.Command)
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
