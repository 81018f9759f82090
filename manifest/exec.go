package manifest

import (
	"cmp"
	"fmt"
	"net"
	"time"
)

// Exec is how the command is run. A zero field is left out in the manifest.
type Exec struct {
	Mask        bool
	Pristine    bool
	Strip       []string
	Allow       []string
	StopSignal  string // as in the manifest: its meaning depends on the system
	StopTimeout time.Duration
	OnChange    *OnChange // for variables without their own; nil is [ChangeRestart]
	// Overlap starts the new process before the old one is stopped, once it is Ready.
	Overlap          bool
	Ready            Readiness
	RestartOnFailure bool // restart the command if it exits with a nonzero code
	// Pos is where the value of a key of exec: is in the manifest, by the key.
	Pos map[string]Position
}

// Readiness says when a process is ready: when Command exits with 0, or when TCP, an
// address, accepts connections. It has Timeout for that; 0 is the default.
type Readiness struct {
	Command []string
	TCP     string
	Timeout time.Duration
}

var (
	execKeys = keys[Exec]{
		on("mask", boolean, "Masks fetched values in the output of the command; `--mask` does too.", func(e *Exec, is bool) { e.Mask = is }),
		on("pristine", boolean, "Inherits only the variables that the manifest names; `--pristine` does too.", func(e *Exec, is bool) { e.Pristine = is }),
		on("strip", listOf(variable), "Variables not to inherit, such as `MESHAGENT_TOKEN`; added to those of `--strip`.", func(e *Exec, names []string) { e.Strip = names }),
		on("allow", listOf(variable), "Code-loading variables, such as `PATH`, that may have a value of the room; added to those of `--allow`.", func(e *Exec, names []string) { e.Allow = names }),
		on("stop_signal", plainText, "Signal that the command gets when roomenv receives SIGTERM (default `TERM`); a number needs quotes.", func(e *Exec, signal string) { e.StopSignal = signal }),
		on("stop_timeout", duration, "Time after SIGTERM until the command and its process group are killed.", func(e *Exec, d time.Duration) { e.StopTimeout = d }),
		on("on_change", change, "`on_change` of variables without their own.", func(e *Exec, c *OnChange) { e.OnChange = c }),
		on("restart", oneOf("overlap"), "Starts the new process before the old one is stopped.", func(e *Exec, word string) { e.Overlap = word != "" }),
		on("ready", readiness, "When the new process is ready; requires `restart: overlap`.", func(e *Exec, r Readiness) { e.Ready = r }),
		on("restart_on_failure", boolean, "Restarts the command if it exits with a nonzero code.", func(e *Exec, is bool) { e.RestartOnFailure = is }),
	}
	readiness = mapping("ready", readyKeys, `either {command: [NAME, ARGUMENT]} or {tcp: "127.0.0.1:8080"}`, func(r Readiness) bool {
		return (r.Command == nil) != (r.TCP == "")
	})
	readyKeys = keys[Readiness]{
		on("command", command, "Ready when this command exits with 0.", func(r *Readiness, command []string) { r.Command = command }),
		on("tcp", address, "Ready when this address accepts connections.", func(r *Readiness, address string) { r.TCP = address }),
		on("timeout", duration, "How long the new process may take (default `30s`).", func(r *Readiness, d time.Duration) { r.Timeout = d }),
	}
	address = scalar("host:port", "an address such as 127.0.0.1:8080 or [::1]:8080", `{"type": "string", "pattern": "^([^:\\[\\]]*|\\[[^\\[\\]]*\\]):[^:\\[\\]]+$"}`, func(s string) (string, bool) {
		_, port, err := net.SplitHostPort(s)
		return s, err == nil && port != ""
	})
)

// settings are what the files say on the whole, each over earlier ones.
type settings struct {
	refresh Refresh
	policy  policy // of entries and files without one
	exec    Exec
	at      map[string]place // where the value of a key is
}

// note stores where the values of the settings in f are.
func (l *layer) note(f field) {
	for _, f := range f.value.fields {
		name := f.key
		if k := refreshKeys.find(name); k != nil && k.alias != "" {
			name = k.alias
		}
		l.settings.at[name] = place{l.source, f.value.off}
	}
}

// positions returns where the values of the keys of a table are.
func positions[T any](s *settings, table keys[T]) map[string]Position {
	pos := map[string]Position{}
	for _, k := range table {
		if at, ok := s.at[k.name]; ok {
			pos[k.name] = at.source.position(at.off)
		}
	}
	return pos
}

// check records what cannot be combined, also in several files.
func (s *settings) check() {
	if s.policy.limitless() {
		s.at["on_stale"].fail("on_stale requires max_stale above 0", "")
	}
	if r, debounce := s.refresh, cmp.Or(s.refresh.Debounce, defaultDebounce); r.MaxWait > 0 && r.MaxWait < debounce {
		s.at["max_wait"].fail(fmt.Sprintf("max_wait is less than debounce, %s", debounce), "")
	}
	if ready, ok := s.at["ready"]; ok && !s.exec.Overlap {
		ready.fail("ready requires restart: overlap", "")
	}
}
