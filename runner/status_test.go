package runner_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

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
			return fmt.Sprint(name, " ", source, " ", required, " ", s, " ", 0)
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

// A source may know of connections.
func TestStatusDisconnected(t *testing.T) {
	bubble(t, func(t *testing.T) {
		since := time.Now()
		w := newWorld(t, "env: {KEY: room:secret/key, OTHER: room://other/secret/key}\n", oneValue(), func(c *runner.Config) {
			open := c.Sources["room"]
			c.Sources = runner.Sources{"room": func() (fetch.Source, error) {
				s, err := open()
				return disconnected{s, since}, err
			}}
		})
		if s := w.runner.Status(); len(s.Disconnected) > 0 {
			t.Errorf("before the source is open: %v", s.Disconnected)
		}
		if _, err := w.runner.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []runner.Outage{{Room: "other", Since: since, Reason: "no route"}}
		if s := w.runner.Status(); !slices.Equal(s.Disconnected, want) {
			t.Errorf("got %+v, want %+v", s.Disconnected, want)
		}
	})
}

type disconnected struct {
	fetch.Source
	since time.Time
}

func (d disconnected) Disconnected(group string) (time.Time, error) {
	if group == "" {
		return time.Time{}, nil
	}
	return d.since, errors.New("no route")
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

// What was known last stays when Run has returned, and nothing is in use then.
func TestStatusAfterRun(t *testing.T) {
	run(t, "env: {KEY: {secret: key, on_revoked: keep}}\n", oneValue(), func(w *world) {
		if s := w.runner.Status(); !s.Ready || s.PID != os.Getpid() {
			t.Errorf("got ready %v, PID %d", s.Ready, s.PID)
		}
		first := w.runner.Status().Entries[0]
		w.set("key", "v2")
		w.answer(w.next(2), nil)
		w.remove("key")
		w.cancel(errors.New("enough"))
		w.awaitEnd()
		s := w.runner.Status()
		if e := s.Entries[0]; e.State != fetch.Missing || !e.Since.After(first.Since) || e.Reason != "not here" {
			t.Errorf("got %+v", e)
		}
		if s.Ready || s.State != runner.CommandStopped || s.Reason != "enough" || s.Revision != 2 {
			t.Errorf("got %+v", s)
		}
	})
}

// A first attempt that fails says why for each entry, and no revision is in use.
func TestStatusUnresolved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, "env: {A: {secret: a}, GONE: {secret: gone}, NO: {secret: no}, FAR: {secret: far}}\n", map[string]any{
			"a": "1", "no": fmt.Errorf("%w: no", fetch.ErrDenied), "far": fmt.Errorf("%w: no route", fetch.ErrUnreachable),
		})
		if s := w.runner.Status(); s.Revision != 0 || s.Ready {
			t.Errorf("got %+v", s)
		}
		if _, err := w.runner.Resolve(t.Context()); err == nil {
			t.Fatal("resolved")
		}
		s := w.runner.Status()
		var states []fetch.Status
		for _, e := range s.Entries {
			states = append(states, e.State)
		}
		if want := []fetch.Status{fetch.Current, fetch.Missing, fetch.Denied, fetch.Failed}; !slices.Equal(states, want) || s.Revision != 0 {
			t.Errorf("%q at revision %d, want %q", states, s.Revision, want)
		}
	})
}

// While a revision is being applied, the status has the one in use, and entries the
// one that they come with.
func TestStatusApplying(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, "env: {KEY: {secret: key}, NONE: {secret: none, optional: true}}\n", oneValue())
		w.start()
		c := w.next(1)
		w.wantStatus(runner.CommandStarting, 0, 0, 1, 0)
		w.answer(c, nil)
		w.wantStatus(runner.CommandRunning, 1, 0, 1, 0)
		w.set("key", "v2")
		w.next(2)
		w.wantStatus(runner.CommandRunning, 1, 0, 2, 0)
		w.cancel(nil)
		w.awaitEnd()
		w.wantStatus(runner.CommandStopped, 1, 0, 1, 0)
	})
}

// A Runner runs once, and not when it is closed.
func TestRunOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, oneKey, oneValue())
		unused := runner.Func(func(context.Context, *runner.Revision) error { return errors.New("no") })
		if code, err := w.runner.Run(t.Context(), unused); code != 125 || err == nil || err.Error() != "no" {
			t.Errorf("got %d, %v", code, err)
		}
		applied := runner.Func(func(context.Context, *runner.Revision) error {
			t.Error("applied")
			return errors.New("applied")
		})
		wantRefused := func(want string) {
			t.Helper()
			if code, err := w.runner.Run(t.Context(), applied); code != 125 || err == nil || err.Error() != want {
				t.Errorf("got %d, %v, want %s", code, err, want)
			}
		}
		wantRefused("run: this Runner has run before")
		for range 2 {
			if err := w.runner.Close(); err != nil {
				t.Error(err)
			}
		}
		wantRefused("run: this Runner is closed")
	})
}

// A source that does not open is an error.
func TestSourceMissing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, oneKey, oneValue(), func(c *runner.Config) {
			c.Sources["room"] = func() (fetch.Source, error) { return nil, nil } //nolint:nilnil // it is wrong
		})
		if _, err := w.runner.Resolve(t.Context()); err == nil || err.Error() != "open source for room: opener returned nil" {
			t.Errorf("got %v", err)
		}
	})
}
