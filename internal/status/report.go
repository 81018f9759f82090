// Package status tells how a running exec does: as a [Report] to processes of
// the same user, on a Unix socket, and as metrics and health on a listener.
// None of it has a value in it, nor anything that is made of one, as a hash or a
// length.
package status

import (
	"time"

	"github.com/roomenv/roomenv/manifest"
)

// A Report is how one process does. Its JSON is what `roomenv status --json`
// prints: names stay, and new ones may come.
type Report struct {
	PID      int       `json:"pid"`
	Command  string    `json:"command"`  // the base name of its file: arguments may hold secrets
	Manifest []string  `json:"manifest"` // files
	Rooms    []string  `json:"rooms"`    // names
	Started  time.Time `json:"started_at"`

	State  CommandState `json:"state,omitempty"`
	Reason string       `json:"reason,omitempty"` // of the state
	Ready  bool         `json:"ready"`            // there is no [Report.Unready]

	Generation   int `json:"generation"`    // of values that the command has, from 1
	Restarts     int `json:"restarts"`      // because values changed
	Rollbacks    int `json:"rollbacks"`     // changes that the command did not come up with
	Crashes      int `json:"crashes"`       // ends of the command that nobody asked for
	Refreshes    int `json:"refreshes"`     // rounds in which all values were fetched anew
	RoomRequests int `json:"room_requests"` // sent to rooms

	Entries []Entry `json:"entries"`
}

// CommandState is how the command does; "" is that there is none.
type CommandState string

// States of the command.
const (
	Starting CommandState = "starting" // its values are not all there, or it is not ready yet
	Running  CommandState = "running"
	Stopped  CommandState = "stopped" // until its values are there again
)

// Kinds of entries.
const (
	Variable = "variable"
	File     = "file"
)

// An Entry is one reference of one variable or file.
type Entry struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Source   string `json:"source"`   // the reference, without its default
	Required bool   `json:"required"` // neither optional nor with a default
	Value
	Generation int `json:"generation,omitempty"` // in which Name was another one last
}

// A Value is what is known of a value, but for the value.
type Value struct {
	State     State     `json:"state"`
	Reason    string    `json:"reason,omitempty"`      // of the state
	Since     time.Time `json:"since,omitzero"`        // when it came into the state
	From      string    `json:"from,omitempty"`        // who is asked for it
	Until     time.Time `json:"until,omitzero"`        // when they have answered at the latest
	Confirmed time.Time `json:"confirmed_at,omitzero"` // when the room last said that it is the value
	Expires   time.Time `json:"expires_at,omitzero"`
}

// State is how a value does.
type State string

// States of a value.
const (
	Current State = "current"
	Stale   State = "stale"   // the last good one; the room does not tell whether it still is
	Default State = "default" // the room has none, and the manifest has another
	Pending State = "pending" // somebody is asked for it
	Missing State = "missing" // the room has none, or no longer
	Denied  State = "denied"  // the room does not give it out, or no longer
	Failed  State = "failed"  // there never was one, for another reason
)

var states = []State{Current, Stale, Default, Pending, Missing, Denied, Failed}

// Entries returns a row for every reference of m, without what it does not tell:
// generations. Variables and files without references have none.
func Entries(m *manifest.Manifest, of func(manifest.Target) Value) []Entry {
	var entries []Entry
	add := func(name, kind string, t manifest.Expr) {
		first := len(entries)
	references:
		for r, inWord := range t.References() {
			required := !inWord && !r.Optional && r.Default == nil
			source := r.String()
			for i := range entries[first:] {
				if e := &entries[first+i]; e.Source == source {
					e.Required = e.Required || required
					continue references
				}
			}
			value := of(r.Target)
			if value.State == Missing && r.Default != nil {
				value.State = Default
			}
			entries = append(entries, Entry{Name: name, Kind: kind, Source: source, Required: required, Value: value})
		}
	}
	for _, e := range m.Entries {
		add(e.Name, Variable, e.Value)
	}
	for _, f := range m.Files {
		for _, e := range f.Entries {
			add(f.Path, File, e.Value)
		}
	}
	return entries
}

// Unready says why what the command is for cannot be relied on: it does not run,
// or the room says that it should not have a value that it needs. A value that
// is stale is no reason.
func (r Report) Unready() (reasons []string) {
	switch {
	case r.State != "" && r.State != Running && r.Reason != "":
		reasons = append(reasons, "the command is "+string(r.State)+": "+r.Reason)
	case r.State != "" && r.State != Running:
		reasons = append(reasons, "the command is "+string(r.State))
	}
	for _, e := range r.Entries {
		switch e.State {
		case Current, Stale, Default:
		default:
			if e.Required {
				reasons = append(reasons, e.Name+" is "+string(e.State))
			}
		}
	}
	return reasons
}
