package fetch

import (
	"cmp"
	"slices"
	"time"

	"github.com/roomenv/roomenv/manifest"
)

// A Violation is a reference whose value may no longer be used as if it were
// current: it is revoked, or stale for longer than the manifest allows. The value
// itself is still in the [Snapshot].
type Violation struct {
	Name      string // of the entry, or the path of the file
	Pos       manifest.Position
	Reference string
	Revoked   bool
	Since     time.Time // when it was revoked, or became stale
	Err       error     // why
	// Action is what the manifest says: [manifest.ActionKeep], for a revoked value,
	// [manifest.ActionWarn], [manifest.ActionStop] or [manifest.ActionExit].
	Action manifest.Action
}

// actions, the strongest last.
var actions = []manifest.Action{manifest.ActionKeep, manifest.ActionWarn, manifest.ActionStop, manifest.ActionExit}

// Violations returns those at the time now, the ones with the strongest action
// first and else in the order of m. A reference in the operand of a variable counts,
// though it may not be needed; one that may be missing and is does not.
func (s *Snapshot) Violations(m *manifest.Manifest, now time.Time) []Violation {
	all, _ := s.violations(m, now)
	slices.SortStableFunc(all, func(a, b Violation) int {
		return slices.Index(actions, b.Action) - slices.Index(actions, a.Action)
	})
	return all
}

// violations returns those at the time now, each reference once in its entry, and
// when the next value will be stale for too long; zero is never.
func (s *Snapshot) violations(m *manifest.Manifest, now time.Time) (all []Violation, next time.Time) {
	for _, e := range m.Values() {
		seen := make(map[string]bool)
		for r := range e.Value.References() {
			st := s.State(r.Target)
			if !st.held || st.Status() == Current || IsAbsent(st.Err) && optional(r) || seen[r.String()] {
				continue
			}
			seen[r.String()] = true
			v := Violation{Name: e.Name, Pos: e.Pos, Reference: r.String(), Err: st.Err}
			switch end := st.Confirmed.Add(e.MaxStale); {
			case !st.Revoked.IsZero():
				v.Revoked, v.Since, v.Action = true, st.Revoked, cmp.Or(e.OnRevoked, manifest.ActionStop)
			case e.MaxStale == 0:
				continue
			case now.Before(end):
				next = earliest(next, end)
				continue
			default:
				v.Since, v.Action = st.Stale, cmp.Or(e.OnStale, manifest.ActionWarn)
			}
			all = append(all, v)
		}
	}
	return all, next
}

// earliest returns the earlier of two times, of which zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
