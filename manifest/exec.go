package manifest

import (
	"time"
)

// An Exec is how the command is run, in so far as the manifest says it. What
// it leaves out is zero.
type Exec struct {
	Mask     bool
	Pristine bool
	Strip    []string
	Allow    []string
	// StopSignal is as it is written: which signals there are depends on the
	// system.
	StopSignal  string
	StopTimeout time.Duration
	// OnChange is for variables that have none of their own; nil is [Restart].
	OnChange *OnChange
	// Overlap starts the new command before the old one is stopped, once it is
	// Ready.
	Overlap bool
	Ready   Readiness
	// RestartOnFailure starts a command again that ends with another code than 0.
	RestartOnFailure bool
	// Pos is where the value of each key is that the manifest has, by the key.
	Pos map[string]Position
}

// The keys of [Exec.Pos].
const (
	MaskKey        = "mask"
	PristineKey    = "pristine"
	StripKey       = "strip"
	AllowKey       = "allow"
	StopSignalKey  = "stop_signal"
	StopTimeoutKey = "stop_timeout"

	OnChangeKey         = onChangeKey
	RestartKey          = "restart"
	ReadyKey            = "ready"
	RestartOnFailureKey = "restart_on_failure"
)

var execKeys = []string{
	MaskKey, PristineKey, StripKey, AllowKey, StopSignalKey, StopTimeoutKey,
	OnChangeKey, RestartKey, ReadyKey, RestartOnFailureKey,
}

// exec reads the mapping of exec: each key replaces that of an earlier file.
func (y *yamlFile) exec(n node, s *settings) {
	e := &s.exec
	for _, f := range y.fields(n, "exec", "write mask: true, indented, below exec:") {
		switch f.key {
		case MaskKey:
			e.Mask = y.boolean(f)
		case PristineKey:
			e.Pristine = y.boolean(f)
		case StripKey:
			e.Strip = y.variables(f)
		case AllowKey:
			e.Allow = y.variables(f)
		case StopSignalKey:
			e.StopSignal = y.name(f)
		case StopTimeoutKey:
			e.StopTimeout = y.duration(f)
		case OnChangeKey:
			e.OnChange = y.onChange(f)
		case RestartKey:
			e.Overlap = y.word(f, "overlap") != ""
		case ReadyKey:
			e.Ready = y.ready(f)
		case RestartOnFailureKey:
			e.RestartOnFailure = y.boolean(f)
		default:
			y.fail(f.off, "unknown key", didYouMean(f.key, execKeys...))
			continue
		}
		s.set(y, &e.Pos, f)
	}
}

// variables reads a list of names of variables.
func (y *yamlFile) variables(f field) []string {
	nodes := y.list(f, "write "+f.key+": [ONE, TWO]")
	names := make([]string, 0, len(nodes))
	for _, n := range nodes {
		name := y.name(field{"a name", 0, n})
		if name != "" && !validName(name) {
			y.fail(n.off, "the name is not valid", nameHint)
		}
		names = append(names, name)
	}
	return names
}

func (y *yamlFile) duration(f field) time.Duration {
	text := y.name(f)
	d, err := time.ParseDuration(text)
	if text != "" && (err != nil || d <= 0) {
		y.fail(f.value.off, f.key+" is no time above 0", "write it with its unit, as 10s, 1m30s or 500ms")
	}
	return d
}

// list returns what a list has.
func (y *yamlFile) list(f field, hint string) []node {
	if f.value.kind != listNode {
		y.fail(f.value.off, f.key+" is not a list", hint)
	}
	return f.value.list
}
