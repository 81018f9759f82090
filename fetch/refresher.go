package fetch

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/roomenv/roomenv/internal/notify"
	"github.com/roomenv/roomenv/manifest"
)

const (
	defaultInterval = time.Minute
	defaultDebounce = 500 * time.Millisecond
)

// A Refresher keeps the values of a manifest current: by the changes that a group
// pushes where its source is a [Watcher], else by polling. Groups do not affect each
// other.
type Refresher struct {
	Sources Mux
	// Interval is the time between two polls, give or take a tenth; a [Poller] has its
	// own. A group that pushes no changes is polled for all values, one that does for
	// one value, in turns, which shows whether it is reachable. What takes a participant
	// is not polled. A source has as much time to answer, but no more than 30 s and no
	// less than one, and is unreachable after it. 0 means a minute.
	Interval time.Duration
	// The first change after a quiet period is published at once. Those that follow it
	// within Debounce are published together at the end of a quiet period of that
	// length, and after MaxWait at the latest. 0 means 500 ms, and ten times Debounce.
	Debounce, MaxWait time.Duration
	// Log gets the reason why a group pushes no changes; nil discards it.
	Log *slog.Logger

	now     func() time.Time // nil is the wall clock; tests have it jump
	once    sync.Once
	refresh chan struct{} // one slot
	calls   chan func(*refreshLoop)
}

// Run returns a channel on which a snapshot comes whenever the value or the [State]
// of a target of m differs from the snapshot before, the first of which is last, and
// when a value becomes too stale for m. A value that cannot be fetched stays
// unchanged. Changes are batched until the channel is received from: what comes is
// the newest. After ctx the channel is closed, once all that Run started has ended;
// the caller waits for that before it runs the Refresher again.
func (r *Refresher) Run(ctx context.Context, m *manifest.Manifest, last *Snapshot) <-chan *Snapshot {
	r.init()
	l := &refreshLoop{
		Refresher: r,
		ctx:       ctx,
		manifest:  m,
		interval:  cmp.Or(r.Interval, defaultInterval),
		debounce:  cmp.Or(r.Debounce, defaultDebounce),
		now:       r.now,
		log:       r.Log,
	}
	l.maxWait = cmp.Or(r.MaxWait, 10*l.debounce)
	if l.now == nil {
		l.now = wallClock
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	snapshots := make(chan *Snapshot)
	go func() {
		defer close(snapshots)
		l.run(snapshots, last)
	}()
	return snapshots
}

// Refresh fetches everything again, except what takes a participant. It does not
// wait for the answers.
func (r *Refresher) Refresh() {
	r.init()
	notify.Send(r.refresh)
}

// Latest returns what is known now: Run may not have published all of it, nor that a
// value was confirmed. It waits for Run to be called, and is nil when ctx ends
// before.
func (r *Refresher) Latest(ctx context.Context) *Snapshot {
	r.init()
	answer := make(chan *Snapshot, 1)
	select {
	case r.calls <- func(l *refreshLoop) { answer <- l.snapshot() }:
		return <-answer
	case <-ctx.Done():
		return nil
	}
}

func (r *Refresher) init() {
	r.once.Do(func() { r.refresh, r.calls = notify.Slot(), make(chan func(*refreshLoop)) })
}
