package runner

import (
	"errors"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
)

// A Status describes a running consumer and its values: names,
// references, states and times, and nothing that is made of a value, such as a hash
// or a length. Its JSON is what `roomenv status --json` prints: names stay, and new
// ones may come.
type Status struct {
	PID      int      `json:"pid"`
	Command  string   `json:"command"`       // the base name of its file: arguments may hold secrets
	Manifest []string `json:"manifest"`      // files
	Dir      string   `json:"dir,omitempty"` // of files
	Rooms    []string `json:"rooms"`         // names
	// Disconnected are the rooms of which no value can be fetched now, and no change
	// arrives.
	Disconnected []Outage  `json:"disconnected,omitempty"`
	Started      time.Time `json:"started_at"`

	State  CommandState `json:"state,omitempty"`
	Reason string       `json:"reason,omitempty"` // of the state
	Ready  bool         `json:"ready"`            // [Status.Unready] returns none

	Revision     int `json:"revision"`      // that was applied last, from 1; 0: none yet
	Restarts     int `json:"restarts"`      // because values changed
	Rollbacks    int `json:"rollbacks"`     // revisions that the consumer could not use
	Crashes      int `json:"crashes"`       // of the command
	Refreshes    int `json:"refreshes"`     // asked for
	RoomRequests int `json:"room_requests"` // sent to rooms

	FailingHooks []string `json:"failing_hooks,omitempty"` // names of those that are run again

	Entries []Entry `json:"entries"`
}

// An Outage is a room without a connection.
type Outage struct {
	Room   string    `json:"room"` // one of Rooms
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// A CommandState is the state of the consumer; "" is for no consumer.
type CommandState string

// States of a consumer.
const (
	CommandStarting CommandState = "starting" // no revision is in use yet
	CommandRunning  CommandState = "running"
	CommandStopped  CommandState = "stopped" // until its values are available, or for good: Run has returned
)

// An EntryKind says what gets a value.
type EntryKind string

// Kinds of entries.
const (
	KindVariable EntryKind = "variable"
	KindFile     EntryKind = "file"
)

// An Entry is one reference of one variable or file.
type Entry struct {
	Name     string    `json:"name"`
	Kind     EntryKind `json:"kind"`
	Source   string    `json:"source"`   // the reference, without its default
	Required bool      `json:"required"` // neither optional nor with a default
	Value
	// Revision is the one in which Name changed last, as the state is that of its newest
	// value: it is above that of [Status] while that value is being applied. It is 0 for
	// what never had a value that was tried.
	Revision int `json:"revision,omitempty"`
}

// A Value is what is known of a value, except the value.
type Value struct {
	State     fetch.Status `json:"state"`
	Reason    string       `json:"reason,omitempty"`      // of the state
	Since     time.Time    `json:"since,omitzero"`        // when the state began
	From      string       `json:"from,omitempty"`        // the approver of a pending request
	Until     time.Time    `json:"until,omitzero"`        // when that request expires
	Confirmed time.Time    `json:"confirmed_at,omitzero"` // when the source last confirmed the value
	Expires   time.Time    `json:"expires_at,omitzero"`
	// DelegatedBy is the participant who delegated the value; "" if that is not known.
	DelegatedBy string `json:"delegated_by,omitempty"`
}

// StatusDefault is the state of a value that is not found and has a default.
const StatusDefault fetch.Status = "default"

// Unready says why the consumer cannot be relied on: it does not run, or a value
// that it needs is missing, denied, pending or failed. A stale value does not count.
func (s Status) Unready() (reasons []string) {
	switch {
	case s.Command == "" && s.Dir != "" && s.State == CommandStarting:
		reasons = append(reasons, "the files are not complete")
	case s.State != "" && s.State != CommandRunning && s.Reason != "":
		reasons = append(reasons, "the command is "+string(s.State)+": "+s.Reason)
	case s.State != "" && s.State != CommandRunning:
		reasons = append(reasons, "the command is "+string(s.State))
	}
	for _, e := range s.Entries {
		switch e.State {
		case fetch.Current, fetch.Stale, StatusDefault:
		default:
			if e.Required {
				reasons = append(reasons, e.Name+" is "+string(e.State))
			}
		}
	}
	return reasons
}

// view is what Status and Token look at.
type view struct {
	manifest *manifest.Manifest
	snapshot *fetch.Snapshot
	sources  fetch.Mux
	session  *session  // nil: values are not refreshed
	stale    time.Time // since when an earlier process's files are used and no source has answered
}

func (r *Runner) setView(v view) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view = v
}

// update changes what Status returns.
func (r *Runner) update(change func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.tally)
}

// show has Status tell in which revisions entries changed, up to rev; nil is none.
func (r *Runner) show(rev *Revision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed = nil
	if rev != nil {
		r.changed = rev.changed
	}
}

// now returns the view with the newest snapshot.
func (r *Runner) now() view {
	for {
		r.mu.Lock()
		v := r.view
		r.mu.Unlock()
		if v.session == nil {
			return v
		}
		if v.snapshot = v.session.Latest(v.session.ctx); v.snapshot != nil {
			return v
		}
		// The session has ended since: the view is a later one.
	}
}

// Status returns the status at this time; after Run, that at its end. The name of the
// default room is "". RoomRequests is 0, for the caller to set.
func (r *Runner) Status() Status {
	v := r.now()
	r.mu.Lock()
	s, changed, reporter := r.tally, r.changed, r.reporter
	r.mu.Unlock()
	s.Entries = entries(v)
	for i := range s.Entries {
		e := &s.Entries[i]
		e.Revision = changed[name{e.Kind, e.Name}]
	}
	for t := range targets(v.manifest) {
		if t.Scheme == manifest.SchemeRoom && !slices.Contains(s.Rooms, t.Group) {
			s.Rooms = append(s.Rooms, t.Group)
			s.Disconnected = append(s.Disconnected, outage(v.sources[t.Scheme], t.Group)...)
		}
	}
	if reporter != nil {
		reporter.Report(&s)
	}
	s.PID, s.Ready = os.Getpid(), len(s.Unready()) == 0
	return s
}

// outage returns that of a group, if its source knows of connections.
func outage(s fetch.Source, group string) []Outage {
	c, ok := s.(interface {
		Disconnected(group string) (since time.Time, reason error)
	})
	if !ok {
		return nil
	}
	since, reason := c.Disconnected(group)
	if reason == nil {
		return nil
	}
	return []Outage{{group, since, reason.Error()}}
}

// targets yields what m refers to, in its order.
func targets(m *manifest.Manifest) iter.Seq[manifest.Target] {
	return func(yield func(manifest.Target) bool) {
		for _, e := range m.Values() {
			for r := range e.Value.References() {
				if !yield(r.Target) {
					return
				}
			}
		}
	}
}

// entries returns a row for every reference of the manifest. Variables and files without
// references have no row.
func entries(v view) []Entry {
	var entries []Entry
	add := func(name string, kind EntryKind, x manifest.Expr) {
		first := len(entries)
	references:
		for r, inOperand := range x.References() {
			required := !inOperand && !r.Optional && r.Default == nil
			source := r.String()
			for i := range entries[first:] {
				if e := &entries[first+i]; e.Source == source {
					e.Required = e.Required || required
					continue references
				}
			}
			value := v.value(r.Target)
			if value.State == fetch.Missing && r.Default != nil {
				value.State = StatusDefault
			}
			entries = append(entries, Entry{Name: name, Kind: kind, Source: source, Required: required, Value: value})
		}
	}
	for _, e := range v.manifest.Entries {
		add(e.Name, KindVariable, e.Value)
	}
	for _, f := range v.manifest.Files {
		for _, e := range f.Entries {
			add(f.Path, KindFile, e.Value)
		}
	}
	return entries
}

// value is what is known of t.
func (v view) value(t manifest.Target) Value {
	st := v.snapshot.State(t)
	now := Value{State: st.Status(), Since: st.Since, Confirmed: st.Confirmed, Expires: st.Expires}
	pending, isPending := errors.AsType[*fetch.PendingError](st.Err)
	if source, ok := v.sources[t.Scheme].(interface {
		Pending(manifest.Target) *fetch.PendingError
	}); ok && now.State == fetch.Waiting {
		if pending = source.Pending(t); pending != nil {
			now.State, isPending = fetch.Pending, true
		}
	}
	if !v.stale.IsZero() && (now.State == fetch.Waiting || fetch.IsUnknown(st.Err)) {
		now.State, now.Since = fetch.Stale, v.stale
	}
	switch {
	case !st.Revoked.IsZero():
		now.Since = st.Revoked
	case now.State == fetch.Stale && v.stale.IsZero():
		now.Since = st.Stale
	case now.State == fetch.Pending && isPending:
		now.From, now.Until = pending.From, pending.Until
	}
	if st.Err != nil && now.State != fetch.Pending {
		now.Reason = strings.TrimPrefix(st.Err.Error(), string(now.State)+": ")
	}
	if source, ok := v.sources[t.Scheme].(interface {
		DelegatedBy(manifest.Target) string
	}); ok {
		now.DelegatedBy = source.DelegatedBy(t)
	}
	return now
}
