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

// Value returns the last known value of t. It is false for a target that is missing,
// and for one that was not fetched.
func (s *Snapshot) Value(t manifest.Target) (secret.Value, bool) {
	st := s.states[t]
	return st.value, st.held
}

// Err says why there is no value of t; it is nil when t was not fetched.
func (s *Snapshot) Err(t manifest.Target) error { return s.states[t].none }

// State says how current what is known of t is. It is zero when t was not fetched.
func (s *Snapshot) State(t manifest.Target) State { return s.states[t] }

// With returns s, with those values of its targets from other that were confirmed
// later. A nil other is an empty one.
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

// A Status is how current the value of a target is.
type Status string

// Statuses.
const (
	Current Status = "current"
	Stale   Status = "stale"   // it is not known whether the source still holds it
	Pending Status = "pending" // a participant is asked for it
	Missing Status = "missing" // the source does not hold it, or no longer
	Denied  Status = "denied"  // the source refuses it, or no longer provides it
	Failed  Status = "failed"  // it was never fetched
	Waiting Status = "waiting" // its source has not answered yet
)

// A State is what is known of a target. A time is of the wall clock, and zero if its
// event has not happened.
type State struct {
	// Since is when this value came.
	Since time.Time
	// Confirmed is when the source was last known to hold the value, or not to hold
	// one. A later snapshot is not published for it alone.
	Confirmed time.Time
	// Stale is since when it is not known whether the value is current: the source is
	// unreachable or refuses the connection, or a participant is asked for it again.
	Stale time.Time
	// Revoked is since when the source says that a value which it held is missing, or
	// denied. It stays until the source holds one again.
	Revoked time.Time
	// Expires is when the value expires, if it is a JWT that says so.
	Expires time.Time
	// Err is what came of the last attempt: nil for a current value, a [*PendingError]
	// while a participant is asked, else why it is missing, denied, stale or revoked.
	Err error

	value secret.Value
	held  bool
	none  error // why there is no value
}

// Status derives how current the value is. A revoked value is Missing or Denied,
// though it is still in the [Snapshot].
func (s State) Status() Status {
	revoked := !s.Revoked.IsZero()
	switch {
	case !revoked && errors.Is(s.Err, ErrPending):
		return Pending
	case !revoked && !s.Stale.IsZero():
		return Stale
	case !revoked && s.held:
		return Current
	case errors.Is(s.Err, ErrDenied):
		return Denied
	case revoked || IsAbsent(s.Err):
		return Missing
	case s.Err == nil:
		return Waiting
	}
	return Failed
}

// record takes the result of an attempt. A value is retained until the source says
// that it no longer exists, and longer if it is needed.
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
		s.stale(now)
	case s.held && (needed || !IsAbsent(err)) && !unknown(err):
		s.Err, s.Stale = err, time.Time{}
		if s.Revoked.IsZero() {
			s.Revoked = now
		}
	case IsAbsent(err):
		*s = State{Confirmed: now, Err: err, none: err}
	case s.held || IsAbsent(s.none):
		if s.Revoked.IsZero() {
			s.Err = err
		}
		s.stale(now)
	default:
		s.Err, s.none = err, err
	}
}

// stale notes that the value may no longer be current. One that is revoked is not.
func (s *State) stale(now time.Time) {
	if s.Stale.IsZero() && s.Revoked.IsZero() {
		s.Stale = now
	}
}

// confirm notes that the source, which pushes changes, pushed no change of the value.
func (s *State) confirm(now time.Time) {
	if s.Revoked.IsZero() {
		s.Confirmed = now
	}
}

// wallClock is now without the monotonic clock, which stands still while a
// machine is suspended.
func wallClock() time.Time { return time.Now().Round(0) }
