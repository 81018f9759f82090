package fetch

import (
	"cmp"
	"iter"
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
func (s *Snapshot) Violations(m *manifest.Manifest, now time.Time) (all []Violation) {
	for e, r := range s.notCurrent(m) {
		st := s.State(r.Target)
		v := Violation{Name: e.Name, Pos: e.Pos, Reference: r.String(), Err: st.Err}
		switch end := staleEnd(st, e.StalePolicy); {
		case !st.Revoked.IsZero():
			v.Revoked, v.Since, v.Action = true, st.Revoked, cmp.Or(e.OnRevoked, manifest.ActionStop)
		case !end.IsZero() && !now.Before(end):
			v.Since, v.Action = st.Stale, cmp.Or(e.OnStale, manifest.ActionWarn)
		default:
			continue
		}
		all = append(all, v)
	}
	slices.SortStableFunc(all, func(a, b Violation) int {
		return slices.Index(actions, b.Action) - slices.Index(actions, a.Action)
	})
	return all
}

// nextViolation is when the next value after now will be stale for too long; zero is
// never.
func (s *Snapshot) nextViolation(m *manifest.Manifest, now time.Time) (next time.Time) {
	for e, r := range s.notCurrent(m) {
		if end := staleEnd(s.State(r.Target), e.StalePolicy); end.After(now) {
			next = earliest(next, end)
		}
	}
	return next
}

// staleEnd is until when a stale value may be used; zero is without end.
func staleEnd(st State, p manifest.StalePolicy) time.Time {
	if st.Stale.IsZero() || p.MaxStale == 0 {
		return time.Time{}
	}
	return st.Confirmed.Add(p.MaxStale)
}

// notCurrent yields the references of m that have a last known value which is not
// current, each once in its entry.
func (s *Snapshot) notCurrent(m *manifest.Manifest) iter.Seq2[manifest.Entry, *manifest.Reference] {
	return func(yield func(manifest.Entry, *manifest.Reference) bool) {
		for _, e := range m.Values() {
			seen := make(map[string]bool)
			for r := range e.Value.References() {
				st := s.State(r.Target)
				ok := !st.held || st.Status() == Current || IsAbsent(st.Err) && optional(r)
				if ok || seen[r.String()] {
					continue
				}
				seen[r.String()] = true
				if !yield(e, r) {
					return
				}
			}
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
