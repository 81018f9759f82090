package runner_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/runner"
)

func TestStatusEntries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, `env:
  PLAIN: x
  A: room:secret/a#f
  TWICE: "${NONE:-${room:secret/a}}${room:secret/a}${room:secret/b}"
  D: room:secret/gone?default=canary
  O: room://other/secret/gone?optional=true
  W: "${PLAIN:-${room:secret/gone}}"
`, map[string]any{"a": `{"f": "1"}`, "b": "2"})
		if _, err := w.runner.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		row := func(name, source string, required bool, s fetch.Status) string {
			return fmt.Sprint(name, " ", source, " ", required, " ", s, " ", 1)
		}
		want := []string{
			row("A", "room:secret/a#f", true, fetch.Current),
			row("TWICE", "room:secret/a", true, fetch.Current),
			row("TWICE", "room:secret/b", true, fetch.Current),
			row("D", "room:secret/gone", false, runner.StatusDefault),
			row("O", "room://other/secret/gone", false, fetch.Missing),
			row("W", "room:secret/gone", false, fetch.Missing),
		}
		s := w.runner.Status()
		var got []string
		for _, e := range s.Entries {
			got = append(got, fmt.Sprint(e.Name, " ", e.Source, " ", e.Required, " ", e.State, " ", e.Revision))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if !slices.Equal(s.Rooms, []string{"", "other"}) || !reflect.DeepEqual(s.Manifest, []string{w.manifest}) || s.State != runner.CommandStarting {
			t.Errorf("got %+v", s)
		}
	})
}

// The status says since when a value is what it is, and why.
func TestStatusValues(t *testing.T) {
	run(t, "env: {KEY: {secret: key}, OPTIONAL: {secret: optional, optional: true}}\n", oneValue(), func(w *world) {
		first := func() runner.Entry { return w.runner.Status().Entries[0] }
		if e := first(); e.State != fetch.Current || e.Since.IsZero() || e.Reason != "" {
			t.Errorf("got %+v", e)
		}
		since := first().Since
		w.set("key", fmt.Errorf("%w: no route", fetch.ErrUnreachable))
		if e := first(); e.State != fetch.Stale || !e.Since.After(since) || e.Reason != "unreachable: no route" {
			t.Errorf("got %+v", e)
		}
		if e := w.runner.Status().Entries[1]; e.State != fetch.Missing || e.Reason != "not here" || e.Required {
			t.Errorf("got %+v", e)
		}
		until := since.AddDate(1, 0, 0)
		w.set("key", &fetch.PendingError{From: "alice", Until: until})
		if e := first(); e.State != fetch.Pending || e.From != "alice" || !e.Until.Equal(until) || e.Reason != "" {
			t.Errorf("got %+v", e)
		}
		if got := w.runner.Status().Unready(); !slices.Equal(got, []string{"KEY is pending"}) {
			t.Errorf("unready because of %q", got)
		}
		w.runner.Refresh()
		w.settle()
		if s := w.runner.Status(); s.Refreshes != 1 {
			t.Errorf("%d refreshes", s.Refreshes)
		}
	})
}

// A consumer may know more.
func TestReporter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, oneKey, oneValue())
		w.start()
		w.next(1).answer <- nil
		w.settle()
		w = newWorld(t, oneKey, oneValue())
		if _, err := w.runner.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		close(done)
		c := &reporting{consumer{done: done}}
		if code, err := w.runner.Run(t.Context(), c); code != 7 || err != nil {
			t.Errorf("got %d, %v", code, err)
		}
		if s := w.runner.Status(); s.Crashes != 42 {
			t.Errorf("got %+v", s)
		}
	})
}

type reporting struct{ consumer }

func (*reporting) Report(s *runner.Status) { s.Crashes = 42 }

func TestUnready(t *testing.T) {
	value := func(required bool, s fetch.Status) []runner.Entry {
		return []runner.Entry{{Name: "A", Required: required, Value: runner.Value{State: s}}}
	}
	for _, c := range []struct {
		status runner.Status
		want   []string
	}{
		{runner.Status{}, nil},
		{runner.Status{State: runner.CommandRunning, Reason: "x"}, nil},
		{runner.Status{State: runner.CommandStarting}, []string{"the command is starting"}},
		{runner.Status{State: runner.CommandStopped, Reason: "A was deleted", Entries: value(true, fetch.Missing)},
			[]string{"the command is stopped: A was deleted", "A is missing"}},
		{runner.Status{Entries: value(false, fetch.Denied)}, nil},
		{runner.Status{Entries: value(true, fetch.Denied)}, []string{"A is denied"}},
		{runner.Status{Entries: value(true, fetch.Pending)}, []string{"A is pending"}},
		{runner.Status{Entries: value(true, fetch.Failed)}, []string{"A is failed"}},
		{runner.Status{Entries: value(true, fetch.Stale)}, nil},
		{runner.Status{Entries: value(true, runner.StatusDefault)}, nil},
	} {
		if got := c.status.Unready(); !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %q, want %q", c.status, got, c.want)
		}
	}
}
