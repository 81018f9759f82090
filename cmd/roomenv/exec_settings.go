package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/inject"
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
		if signal == "" || err != nil {
			return
		}
		if _, unknown := inject.ParseSignal(signal); unknown != nil {
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
func (e *execution) applySettings(m *manifest.Manifest, flags *pflag.FlagSet) error {
	if err := checkReferences(flags, e.runner.HasReferences()); err != nil {
		return err
	}
	if e.once {
		if len(m.Files) > 0 {
			return errOnceFiles
		}
		if err := checkOnce(m); err != nil {
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

// checkOnce refuses what needs a supervisor, as the flags do: each key that m has of
// refresh:, of exec: except those of the environment, and of update policies.
func checkOnce(m *manifest.Manifest) error {
	refuse := func(what string, at manifest.Position) error {
		return hint(fmt.Errorf("--once cannot be combined with %s (%v), which needs a supervisor", what, at),
			"omit --once, or remove "+what+" from the manifest")
	}
	settings := maps.Clone(m.Refresh.Pos)
	maps.Copy(settings, m.Exec.Pos)
	for key, used := range map[string]bool{
		"pristine": false, "strip": false, "allow": false,
		"mask": m.Exec.Mask, "restart_on_failure": m.Exec.RestartOnFailure,
		"stop_signal": m.Exec.StopSignal != "", "stop_timeout": m.Exec.StopTimeout != 0,
	} {
		if !used {
			delete(settings, key)
		}
	}
	if keys := slices.Sorted(maps.Keys(settings)); len(keys) > 0 {
		return refuse(keys[0], settings[keys[0]])
	}
	for _, e := range m.Entries {
		for _, policy := range []struct {
			key  string
			used bool
		}{
			{"on_change", e.OnChange != nil},
			{"max_stale", e.MaxStale != 0},
			{"on_revoked", e.OnRevoked != ""},
		} {
			if policy.used {
				return refuse(policy.key+" of "+e.Name, e.Pos)
			}
		}
	}
	return nil
}
