package fetch

import (
	"errors"
	"maps"
	"time"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// A Snapshot is the values of a manifest's references at one time. It does not
// change. The zero Snapshot holds nothing.
type Snapshot struct{ states map[manifest.Target]State }

// Value returns the last good value of t. It is false for a target that the room
// does not hold, and for one that was not asked for.
func (s *Snapshot) Value(t manifest.Target) (secret.Value, bool) {
	st := s.states[t]
	return st.value, st.held
}

// Err says why there is no value of t; it is nil when t was not asked for.
func (s *Snapshot) Err(t manifest.Target) error { return s.states[t].none }

// State says how current what is known of t is. It is zero when t was not asked
// for.
func (s *Snapshot) State(t manifest.Target) State { return s.states[t] }

// Pending returns the targets that participants are asked for, which is not
// waited for, in no order. One that was provided before has a value all the same.
func (s *Snapshot) Pending() (targets []manifest.Target) {
	for t, st := range s.states {
		if errors.Is(st.Err, ErrPending) {
			targets = append(targets, t)
		}
	}
	return targets
}

// With returns s, but for the values of its targets that other has been told
// later by the room. A nil other has none.
func (s *Snapshot) With(other *Snapshot) *Snapshot {
	if other == nil {
		return s
	}
	states := maps.Clone(s.states)
	for t, st := range s.states {
		if later := other.State(t); later.held && later.Confirmed.After(st.Confirmed) {
			states[t] = later
		}
	}
	return &Snapshot{states}
}

// A State is what is known of a target. Its times are of the wall clock, and zero
// when what they tell of has not happened.
type State struct {
	// Since is when this value came.
	Since time.Time
	// Confirmed is when the room was last known to hold the value, or to hold
	// none. It is not news: a later snapshot has the one at its time.
	Confirmed time.Time
	// Stale is since when nobody knows whether the value is current, because the
	// room is away or refuses the connection, or somebody is asked for it again.
	Stale time.Time
	// Revoked is since when the room says that a value which was there is missing,
	// or denied to us. It stays until the room holds one again.
	Revoked time.Time
	// Expires is when the value ends, if it is a JWT that says so.
	Expires time.Time
	// Err is what came of asking last: nil for a current value, a [*Pending] while
	// somebody is asked, else why it is missing, denied, stale or revoked.
	Err error

	value secret.Value
	held  bool
	none  error // why there is no value
}

// record takes the record that came for the target of s. A value is kept as long
// as nobody says that there is none any more, and longer if it is needed.
func (s *State) record(value secret.Value, err error, now time.Time, needed bool) {
	switch {
	case err == nil:
		since := now
		if s.held && s.value.Equal(value) {
			since, value = s.Since, s.value
		}
		*s = State{Since: since, Confirmed: now, Expires: Expiry(value), value: value, held: true}
	case s.held && errors.Is(err, ErrPending):
		s.Err = err
		if s.Stale.IsZero() && s.Revoked.IsZero() {
			s.Stale = now
		}
	case s.held && (needed || !IsAbsent(err)) && !unknown(err):
		s.Err, s.Stale = err, time.Time{}
		if s.Revoked.IsZero() {
			s.Revoked = now
		}
	case IsAbsent(err):
		*s = State{Confirmed: now, Err: err, none: err}
	case s.held || IsAbsent(s.none):
		if s.Stale.IsZero() && s.Revoked.IsZero() {
			s.Stale = now
		}
		if s.Revoked.IsZero() {
			s.Err = err
		}
	default:
		s.Err, s.none = err, err
	}
}

// confirm notes that the room, which tells of changes, has told of none.
func (s *State) confirm(now time.Time) {
	if s.Revoked.IsZero() {
		s.Confirmed = now
	}
}

// wallClock is now without the monotonic clock, which stands still while a
// machine is suspended.
func wallClock() time.Time { return time.Now().Round(0) }
