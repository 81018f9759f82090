package fetch

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/roomenv/roomenv/manifest"
)

// Defaults of a [Refresher]. That of MaxWait is ten times Debounce.
const (
	DefaultInterval = time.Minute
	DefaultDebounce = 500 * time.Millisecond
)

// A Refresher keeps the values of a manifest current: by what a room tells of
// changes where the Source is a [Watcher] and the room one that tells, else by
// asking again.
type Refresher struct {
	Source Source
	// Interval is the time from one round to the next, give or take a tenth. A
	// room that does not tell of changes is asked for everything in each round,
	// one that does for one value, in turns, which shows whether it is there. What
	// takes a person is in no round. An answer has as much time, but no more than
	// 30 s and no less than one: a room that takes longer is away.
	Interval time.Duration
	// The first change after quiet is told at once. Those that follow it within
	// Debounce are told together when it has been quiet for that long, and after
	// MaxWait at the latest.
	Debounce, MaxWait time.Duration
	// Log hears why a room does not tell of changes; nil is none.
	Log *slog.Logger

	now     func() time.Time // nil is the wall clock; tests have it jump
	once    sync.Once
	refresh chan struct{}       // one slot
	latest  chan chan *Snapshot // who asks for it
}

// Follow yields a snapshot whenever the value or the [State] of a target of m is
// another one than in the snapshot before, the first of which is last, and when a
// value becomes too stale for what m says. Values that cannot be had stay as they
// were. While the loop's body runs changes are gathered: the next snapshot is the
// newest. The loop ends with ctx, and with it all that it has started. A Follower
// follows one manifest at a time.
func (f *Refresher) Follow(ctx context.Context, m *manifest.Manifest, last *Snapshot) iter.Seq[*Snapshot] {
	return func(yield func(*Snapshot) bool) {
		ctx, cancel := context.WithCancel(ctx)
		snapshots := make(chan *Snapshot)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() {
			defer close(snapshots)
			f.begin(ctx, m, last).run(snapshots)
		})
		for s := range snapshots {
			if ctx.Err() != nil || !yield(s) {
				return
			}
		}
	}
}

// Refresh has everything asked for anew now, but for what a person would be asked
// for. It does not wait for the answers.
func (f *Refresher) Refresh() {
	f.init()
	select {
	case f.refresh <- struct{}{}:
	default:
	}
}

// Latest returns what is known now, of which Follow has not told all yet, nor that
// a value was confirmed. It waits for Follow to run, and is nil when ctx ends
// before.
func (f *Refresher) Latest(ctx context.Context) *Snapshot {
	f.init()
	answer := make(chan *Snapshot, 1)
	select {
	case f.latest <- answer:
		return <-answer
	case <-ctx.Done():
		return nil
	}
}

func (f *Refresher) init() {
	f.once.Do(func() { f.refresh, f.latest = make(chan struct{}, 1), make(chan chan *Snapshot) })
}

func (f *Refresher) begin(ctx context.Context, m *manifest.Manifest, last *Snapshot) *refreshLoop {
	s := newFollowing(ctx, m)
	f.init()
	s.source, s.refresh, s.latest = f.Source, f.refresh, f.latest
	s.interval = cmp.Or(f.Interval, DefaultInterval)
	s.debounce = cmp.Or(f.Debounce, DefaultDebounce)
	s.maxWait = cmp.Or(f.MaxWait, 10*s.debounce)
	if s.now = f.now; s.now == nil {
		s.now = wallClock
	}
	if s.log = f.Log; s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.start(last)
	return s
}
