package fetch

import (
	"cmp"
	"slices"
	"time"

	"github.com/roomenv/roomenv/manifest"
)

// A Violation is a reference whose value is not to be used any more as if it were
// current: it is revoked, or stale for too long. The value itself is still in the
// [Snapshot].
type Violation struct {
	Name      string // of the entry, or the path of the file
	Pos       manifest.Position
	Reference string
	Revoked   bool
	Since     time.Time // when it was revoked, or is stale
	Err       error     // why
	// Action is what is to happen, by the manifest: [manifest.Keep], for what is
	// revoked, [manifest.Warn], [manifest.Stop] or [manifest.Exit].
	Action manifest.Action
}

// actions, the strongest last.
var actions = []manifest.Action{manifest.ActionKeep, manifest.ActionWarn, manifest.ActionStop, manifest.ActionExit}

// Violations returns what has lapsed at the time now, those with the strongest action
// first and else in the order of m. A reference in the word of a variable counts,
// though it may not be needed; one that may be missing and is has not lapsed.
func (s *Snapshot) Violations(m *manifest.Manifest, now time.Time) (lapses []Violation) {
	s.uncurrent(m, func(e manifest.Entry, r *manifest.Reference, st State) {
		l := Violation{Name: e.Name, Pos: e.Pos, Reference: r.String(), Err: st.Err}
		switch end := staleEnd(st, e.StalePolicy); {
		case !st.Revoked.IsZero():
			l.Revoked, l.Since, l.Action = true, st.Revoked, cmp.Or(e.OnRevoked, manifest.ActionStop)
		case !end.IsZero() && !now.Before(end):
			l.Since, l.Action = st.Stale, cmp.Or(e.OnStale, manifest.ActionWarn)
		default:
			return
		}
		lapses = append(lapses, l)
	})
	slices.SortStableFunc(lapses, func(a, b Violation) int {
		return slices.Index(actions, b.Action) - slices.Index(actions, a.Action)
	})
	return lapses
}

// nextLapse is when the next value after now will be stale for too long; zero is
// never.
func (s *Snapshot) nextLapse(m *manifest.Manifest, now time.Time) (next time.Time) {
	s.uncurrent(m, func(e manifest.Entry, _ *manifest.Reference, st State) {
		if end := staleEnd(st, e.StalePolicy); end.After(now) {
			next = earliest(next, end)
		}
	})
	return next
}

// staleEnd is until when a stale value may be used; zero is without end.
func staleEnd(st State, f manifest.StalePolicy) time.Time {
	if st.Stale.IsZero() || f.MaxStale == 0 {
		return time.Time{}
	}
	return st.Confirmed.Add(f.MaxStale)
}

// uncurrent visits the references of m that have a last good value which is not
// current, each once in its entry.
func (s *Snapshot) uncurrent(m *manifest.Manifest, visit func(manifest.Entry, *manifest.Reference, State)) {
	for _, e := range m.Values() {
		seen := make(map[string]bool)
		for r := range e.Value.References() {
			st := s.State(r.Target)
			current := !st.held || st.Stale.IsZero() && st.Revoked.IsZero()
			if current || IsAbsent(st.Err) && optional(r) || seen[r.String()] {
				continue
			}
			seen[r.String()] = true
			visit(e, r, st)
		}
	}
}

// earliest returns the earlier of two times, of which zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
