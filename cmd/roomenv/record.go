package main

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/status"
	"github.com/roomenv/roomenv/internal/tokenserver"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/secret"
)

// A record is what a keeper tells of itself and its values, to whoever asks and
// whenever they do.
type record struct {
	keeper *keeper

	mu          sync.Mutex
	tally       status.Report // without its entries
	generations int           // that were made
	changed     map[name]int  // the last one in which something was another one
	manifest    *manifest.Manifest
	snapshot    *fetch.Snapshot
	following   *following // nil: not yet
}

// A name is that of a variable or the path of a file.
type name struct{ kind, name string }

func (r *record) begin(k *keeper) {
	r.keeper, r.manifest, r.snapshot = k, k.manifest, k.snapshot
	r.generations, r.changed = 1, make(map[name]int)
	r.tally = status.Report{
		Command:    filepath.Base(k.command.Args[0]),
		Manifest:   k.files,
		Started:    time.Now(),
		State:      status.Starting,
		Generation: 1,
	}
}

// follows notes what is followed from now on.
func (r *record) follows(f *following) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.following, r.manifest, r.snapshot = f, f.manifest, f.last
}

// makes notes a generation and returns its number.
func (r *record) makes(c render.Changes) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generations++
	for _, v := range c.Variables {
		r.changed[name{status.Variable, v}] = r.generations
	}
	for _, f := range c.Files {
		r.changed[name{status.File, f}] = r.generations
	}
	return r.generations
}

// note changes the tally.
func (r *record) note(change func(*status.Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.tally)
}

// observe hears of the command, from the supervisor.
func (r *record) observe(e inject.Event) {
	r.note(func(tally *status.Report) {
		switch e.Kind {
		case inject.EventStarted:
			tally.State, tally.Reason = status.Running, ""
		case inject.EventRestarted:
			tally.Restarts++
		case inject.EventStopped:
			tally.State = status.Stopped
		case inject.EventCrashed:
			tally.Crashes++
			tally.State = status.Starting
		}
	})
	log := r.keeper.log
	switch e.Kind {
	case inject.EventRestarted:
		log.Info("the command was started again with new values")
	case inject.EventCrashed:
		log.Warn("the command failed and is started again", "code", e.Code, "error", e.Err, "in", e.Wait)
	case inject.EventHookFailed:
		level := slog.LevelWarn
		if e.Failures > 1 { // it was said
			level = slog.LevelInfo
		}
		log.Log(context.Background(), level, "a command that was to be run on a change failed and is run again", "command", e.Hook[0], "error", e.Err, "in", e.Wait)
	}
}

// now returns what is known at this time.
func (r *record) now() (*manifest.Manifest, *fetch.Snapshot) {
	r.mu.Lock()
	f, m, s := r.following, r.manifest, r.snapshot
	r.mu.Unlock()
	if f != nil {
		if latest := f.Latest(f.ctx); latest != nil {
			s = latest
		}
	}
	return m, s
}

// report is what `roomenv status` shows.
func (r *record) report() status.Report {
	m, s := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	report := r.tally
	report.RoomRequests = int(r.keeper.rooms.Requests())
	report.Entries = status.Entries(m, func(t manifest.Target) status.Value { return valueOf(s, t) })
	for t := range targets(m) {
		if room := cmp.Or(t.Group, r.keeper.roomName()); !slices.Contains(report.Rooms, room) {
			report.Rooms = append(report.Rooms, room)
		}
	}
	for i := range report.Entries {
		e := &report.Entries[i]
		e.Generation = cmp.Or(r.changed[name{e.Kind, e.Name}], 1)
	}
	return report
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

// valueOf is what is known of t, in the words of a report.
func valueOf(s *fetch.Snapshot, t manifest.Target) status.Value {
	st := s.State(t)
	v := status.Value{State: status.State(st.Status()), Since: st.Since, Confirmed: st.Confirmed, Expires: st.Expires}
	switch {
	case !st.Revoked.IsZero():
		v.Since = st.Revoked
	case v.State == status.Stale:
		v.Since = st.Stale
	}
	if pending, ok := errors.AsType[*fetch.PendingError](st.Err); ok && v.State == status.Pending {
		v.From, v.Until = pending.From, pending.Until
	}
	if st.Err != nil && v.State != status.Pending {
		v.Reason = strings.TrimPrefix(st.Err.Error(), string(v.State)+": ")
	}
	return v
}

// tokenPatience is how long the room may take where there is a token already: less
// than programs wait for one.
const tokenPatience = 2 * time.Second

// token is what the token endpoint answers for a client: what the room says now
// or, while it is away, the last token that has not ended.
func (r *record) token(ctx context.Context, client string) (secret.Value, time.Time, error) {
	m, s := r.now()
	described, ok := m.OAuth[client]
	if !ok {
		return secret.Value{}, time.Time{}, tokenserver.ErrUnknownClient
	}
	target := described.Target(client)
	for t := range targets(m) {
		if t.Kind() == manifest.KindOAuth && t.ID() == client {
			target = t
			break
		}
	}
	last, held := s.Value(target)
	st := s.State(target)
	usable := held && st.Revoked.IsZero() && (st.Expires.IsZero() || time.Now().Before(st.Expires))
	if usable {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, tokenPatience)
		defer cancel()
	}
	value, err := r.keeper.rooms.TryResolve(ctx, target)
	switch {
	case err == nil:
		return value, fetch.Expiry(value), nil
	case usable && !fetch.IsAbsent(err):
		return last, st.Expires, nil
	}
	return secret.Value{}, time.Time{}, err
}
