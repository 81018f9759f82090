package fetch

import "time"

// changes are what the last snapshot does not tell of yet, and when the next one
// is to.
type changes struct {
	pending map[*targetState]bool
	since   time.Time // when the first of them came that is being gathered; zero is none
	first   bool      // it was the first after quiet
	quiet   time.Time // when it will have been quiet for long enough
	lapse   time.Time // when the next value has been stale for too long
}

// note takes what t is now.
func (s *refreshLoop) note(t *targetState, is mark, at time.Time) {
	if is == t.is {
		return
	}
	t.is = is
	if t.is == t.told {
		delete(s.pending, t)
	} else {
		s.pending[t] = true
	}
	if s.since.IsZero() {
		s.since, s.first = at, !at.Before(s.quiet)
	}
	s.quiet = at.Add(s.debounce)
	if end := s.since.Add(s.maxWait); s.quiet.After(end) {
		s.quiet = end
	}
}

// next is when a snapshot is due.
func (c *changes) next() time.Time {
	if c.since.IsZero() {
		return c.lapse
	}
	return earliest(c.quiet, c.lapse)
}

// due returns the snapshot that it is time for, nil when there is none. The first
// change after quiet waits for no others, but for answers that are on their way.
func (s *refreshLoop) due(now time.Time) *Snapshot {
	gathered := !s.since.IsZero() && (!now.Before(s.quiet) || s.first && s.inFlight == 0)
	lapsed := !s.lapse.IsZero() && !now.Before(s.lapse)
	if gathered && len(s.pending) == 0 {
		s.since = time.Time{} // all is as it was
	}
	if gathered && len(s.pending) > 0 || lapsed {
		return s.snapshot()
	}
	return nil
}

// told notes that snapshot is known outside.
func (s *refreshLoop) told(snapshot *Snapshot) {
	now := s.now()
	for t := range s.pending {
		t.told = t.is
	}
	clear(s.pending)
	s.since, s.quiet = time.Time{}, now.Add(s.debounce)
	s.lapse = snapshot.nextLapse(s.manifest, now)
}
