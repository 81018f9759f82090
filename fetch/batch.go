package fetch

import (
	"time"

	"github.com/roomenv/roomenv/secret"
)

// A fingerprint is what makes a snapshot with one State differ from one with
// another.
type fingerprint struct {
	value   secret.Sum // zero if there is no value
	status  Status
	expires time.Time
}

// A batch is the changes that are not published yet, and when they are to be.
type batch struct {
	changed map[*targetState]bool
	since   time.Time // when its first change came; zero for an empty batch
	first   bool      // which came after a quiet period
	quiet   time.Time // when that for the next snapshot ends
	// violation is when the next value will be stale for too long, which is
	// published too.
	violation time.Time
}

// update takes the state that t has now into the batch.
func (l *refreshLoop) update(t *targetState, now time.Time) {
	is := l.fingerprint(t)
	if is == t.latest {
		return
	}
	t.latest = is
	if is == t.published {
		delete(l.changed, t)
	} else {
		l.changed[t] = true
	}
	if l.since.IsZero() {
		l.since, l.first = now, !now.Before(l.quiet)
	}
	l.quiet = now.Add(l.debounce)
	if end := l.since.Add(l.maxWait); l.quiet.After(end) {
		l.quiet = end
	}
}

func (l *refreshLoop) fingerprint(t *targetState) fingerprint {
	f := fingerprint{status: t.Status(), expires: t.Expires}
	if t.held {
		f.value = l.hasher.Sum(t.value)
	}
	return f
}

// next is when a snapshot is due.
func (b *batch) next() time.Time {
	if b.since.IsZero() {
		return b.violation
	}
	return earliest(b.quiet, b.violation)
}

// due returns the snapshot that is due, or nil. The first change after a quiet
// period waits for no others, except for answers that are on their way.
func (l *refreshLoop) due(now time.Time) *Snapshot {
	complete := !l.since.IsZero() && (!now.Before(l.quiet) || l.first && l.inFlight == 0)
	if complete && len(l.changed) == 0 {
		l.since = time.Time{} // all was set back
	}
	violated := !l.violation.IsZero() && !now.Before(l.violation)
	if complete && len(l.changed) > 0 || violated {
		return l.snapshot()
	}
	return nil
}

// publish notes that the receiver has snapshot.
func (l *refreshLoop) publish(snapshot *Snapshot) {
	now := l.now()
	for t := range l.changed {
		t.published = t.latest
	}
	clear(l.changed)
	l.since, l.quiet = time.Time{}, now.Add(l.debounce)
	_, l.violation = snapshot.violations(l.manifest, now)
}
