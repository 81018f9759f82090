package fetch

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/roomenv/roomenv/internal/retry"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

const (
	// minAnswerTime and maxAnswerTime bound how long a source may take for an answer,
	// which is as long as the interval of its polls.
	minAnswerTime, maxAnswerTime = time.Second, 30 * time.Second
	// maxSleep bounds the sleep until something is due: timers stand still while
	// the machine is suspended, and the wall clock does not.
	maxSleep = 10 * time.Second
	// maxSkipped is how many polls may leave out a target that the source does not
	// hold, or denies.
	maxSkipped = 15
	// headStart is how long it takes until a group is watched, which fetches all of
	// its values once more: for a command that exits at once that is in vain.
	headStart = 100 * time.Millisecond
)

// A refreshLoop is one run of a [Refresher]. One goroutine, that of run, owns all of
// it. What fetches runs beside it and calls back.
type refreshLoop struct {
	*Refresher
	ctx                         context.Context
	manifest                    *manifest.Manifest
	interval, debounce, maxWait time.Duration
	now                         func() time.Time
	log                         *slog.Logger

	running  sync.WaitGroup
	targets  []*targetState
	groups   []*groupState
	hasher   *secret.Hasher
	inFlight int // fetches without an answer
	batch
}

// A groupState is what is known of one group: its targets are polled, probed and
// watched together, and wait for none of another group.
type groupState struct {
	name     string
	asks     bool // its source may ask participants
	interval time.Duration
	targets  []*targetState
	slots    *semaphore.Weighted // as many as may be fetched at once
	poll     time.Time           // the next one
	pushes   bool
	probe    *targetState // what is fetched to see whether the group is reachable
}

// A targetState is a target with what is known of it.
type targetState struct {
	manifest.Target
	State
	group             *groupState
	needed            bool
	latest, published fingerprint // of the State, and of the one in the last snapshot
	answeredAt        time.Time   // last
	fetching, again   bool        // an answer is pending; another fetch follows it
	stopWaiting       func()      // for a participant; nil if it takes none
	fetchedAt         time.Time   // last
	due               time.Time   // when to fetch a token: it expires, or may have changed
	failed, skip      int         // polls in a row; polls to leave it out
}

// run publishes to snapshots until the context ends.
func (l *refreshLoop) run(snapshots chan<- *Snapshot, last *Snapshot) {
	defer l.running.Wait()
	l.start(last)
	for before := l.now(); ; {
		now := l.now()
		l.fetchDue(now, before)
		before = now

		var out chan<- *Snapshot
		snapshot := l.due(now)
		if snapshot != nil {
			out = snapshots
		}
		timer := time.NewTimer(l.next(snapshot != nil).Sub(now))
		select {
		case out <- snapshot:
			l.publish(snapshot)
		case call := <-l.calls:
			call(l)
		case <-l.refresh:
			l.fetchAll()
		case <-timer.C:
		case <-l.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// start groups the targets and fetches those that last does not know.
func (l *refreshLoop) start(last *Snapshot) {
	now := l.now()
	l.hasher = secret.NewHasher()
	l.changed = make(map[*targetState]bool)
	_, l.violation = last.violations(l.manifest, now)
	type key struct{ scheme, group string }
	groups := make(map[key]*groupState)
	targets, needed := distinct(l.manifest)
	for _, target := range targets {
		k := key{target.Scheme, target.Group}
		g := groups[k]
		if g == nil {
			g = l.group(target)
			groups[k] = g
		}
		t := &targetState{Target: target, State: last.State(target), group: g, needed: needed[target]}
		t.latest = l.fingerprint(t)
		t.published = t.latest
		t.renew(now)
		l.targets, g.targets = append(l.targets, t), append(g.targets, t)
		switch _, known := last.states[target]; {
		case !known:
			l.fetch(t)
		case errors.Is(t.Err, ErrPending):
			l.wait(t)
		}
	}
}

// group adds the group of t, and watches it.
func (l *refreshLoop) group(t manifest.Target) *groupState {
	source := l.Sources[t.Scheme]
	g := &groupState{name: t.Group, interval: l.interval, slots: semaphore.NewWeighted(maxInFlight)}
	if p, ok := source.(Poller); ok && p.PollInterval() > 0 {
		g.interval = p.PollInterval()
	}
	_, g.asks = source.(TryResolver)
	g.plan(l.now())
	l.groups = append(l.groups, g)
	if w, ok := source.(Watcher); ok {
		l.running.Go(func() { l.watch(w, g) })
	}
	return g
}

// next is when something is due that nothing calls back for. A snapshot that is
// offered is not waited for.
func (l *refreshLoop) next(offered bool) (next time.Time) {
	if !offered {
		next = l.batch.next()
	}
	for _, g := range l.groups {
		next = earliest(next, g.poll)
	}
	for _, t := range l.targets {
		if !t.fetching {
			next = earliest(next, t.due)
		}
	}
	return earliest(next, l.now().Add(maxSleep))
}

// call has f run by the owner of the loop.
func (l *refreshLoop) call(f func()) {
	select {
	case l.calls <- func(*refreshLoop) { f() }:
	case <-l.ctx.Done():
	}
}

// plan sets the time of the next poll.
func (g *groupState) plan(now time.Time) {
	g.poll = now.Add(g.interval - g.interval/10 + rand.N(max(1, g.interval/5)))
}

// renew plans to fetch a token before it expires.
func (t *targetState) renew(now time.Time) {
	if t.token() {
		t.due = earliest(t.due, renewal(t.Expires, now))
	}
}

// token reports whether the source may have another value for each fetch, all of
// which are valid.
func (t *targetState) token() bool { return t.Kind() == manifest.KindOAuth }

// request reports whether the value takes a participant.
func (t *targetState) request() bool { return t.group.asks && t.Kind() == manifest.KindRequest }

// fetchDue fetches what is due, and everything when the clock was set back, for
// which no plan holds.
func (l *refreshLoop) fetchDue(now, before time.Time) {
	if now.Before(before) {
		l.quiet = now
		l.fetchAll()
	}
	for _, g := range l.groups {
		if !now.Before(g.poll) {
			g.plan(now)
			l.poll(g)
		}
	}
	for _, t := range l.targets {
		if !t.fetching && !t.due.IsZero() && !now.Before(t.due) {
			l.fetch(t)
		}
	}
}

// poll fetches what has to be fetched from time to time. A fetch that has no answer
// yet is left alone.
func (l *refreshLoop) poll(g *groupState) {
	var oldest *targetState
	for _, t := range g.targets {
		switch {
		case t.fetching:
		case t.skip > 0:
			t.skip--
		case t.polled():
			l.fetch(t)
		}
		good := t.held && t.Revoked.IsZero() && t.stopWaiting == nil
		if g.pushes && good && (oldest == nil || t.answeredAt.Before(oldest.answeredAt)) {
			oldest = t
		}
	}
	if oldest != nil {
		g.probe = oldest
		if !oldest.fetching {
			l.fetch(oldest)
		}
	}
}

// polled reports whether t is fetched by each poll. A participant is not asked
// again, unless it is because their room was unreachable.
func (t *targetState) polled() bool {
	switch {
	case t.stopWaiting != nil:
		return false
	case unknown(t.Err):
		return true
	case t.request(), t.refused():
		return false
	}
	return !t.group.pushes || t.token() && t.due.IsZero() && t.held
}

// refused reports whether a participant was asked for t in vain: they are not asked
// again when something else changes.
func (t *targetState) refused() bool {
	return errors.Is(t.Err, ErrRejected) || errors.Is(t.Err, ErrNoAnswer)
}

// fetchAll fetches everything, except what a participant would be asked for.
func (l *refreshLoop) fetchAll() {
	for _, g := range l.groups {
		g.plan(l.now())
		l.fetchChanged(g, nil)
	}
}

// fetchChanged fetches what may have changed in g; nil is all. A group that pushes
// changes holds what was provided, so that no participant is asked. It may push a
// change for each token that it provides: they are fetched with a pause.
func (l *refreshLoop) fetchChanged(g *groupState, changed func(manifest.Target) bool) {
	for _, t := range g.targets {
		if t.refused() || t.request() && !g.pushes || changed != nil && !changed(t.Target) {
			continue
		}
		if next := t.fetchedAt.Add(tokenPause); t.token() && changed != nil && l.now().Before(next) {
			t.due = next
			continue
		}
		l.fetch(t)
	}
}

// fetch fetches t, once more when it is being fetched: that answer may be older than
// the reason to fetch.
func (l *refreshLoop) fetch(t *targetState) {
	if t.fetching {
		t.again = true
		return
	}
	t.fetching, t.fetchedAt, t.due = true, l.now(), time.Time{}
	l.inFlight++
	l.running.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, min(max(t.group.interval, minAnswerTime), maxAnswerTime))
		defer cancel()
		var value secret.Value
		err := t.group.slots.Acquire(ctx, 1)
		if err == nil {
			value, err = l.Sources.TryResolve(ctx, t.Target)
			t.group.slots.Release(1)
		}
		err = unanswered(ctx, err)
		l.call(func() {
			t.fetching = false
			l.inFlight--
			l.answered(t, value, err)
			if t.again {
				t.again = false
				l.fetch(t)
			}
		})
	})
}

// wait waits for what a participant provides for t.
func (l *refreshLoop) wait(t *targetState) {
	ctx, stop := context.WithCancel(l.ctx)
	t.stopWaiting = stop
	l.running.Go(func() {
		value, err := l.Sources.Resolve(ctx, t.Target)
		l.call(func() {
			if ctx.Err() == nil {
				stop()
				t.stopWaiting = nil
				l.answered(t, value, err)
			}
		})
	})
}

// answered takes the answer for t.
func (l *refreshLoop) answered(t *targetState, value secret.Value, err error) {
	now := l.now()
	t.record(value, err, now, t.needed)
	t.answeredAt = now
	t.renew(now)
	switch {
	case t.group.asks && errors.Is(err, ErrPending) && t.stopWaiting == nil:
		l.wait(t)
	case err == nil && t.stopWaiting != nil:
		t.stopWaiting()
		t.stopWaiting = nil
	}
	if err == nil || unknown(err) {
		t.failed, t.skip = 0, 0
	} else {
		t.failed = min(t.failed+1, 10)
		t.skip = min(1<<t.failed-1, maxSkipped)
	}
	if t.group.probe == t {
		t.group.probe = nil
		l.probed(t, err, now)
	}
	l.update(t, now)
}

// probed takes an answer for t as one for all that its group pushes changes of.
// Without an answer it fetches the others.
func (l *refreshLoop) probed(t *targetState, err error, now time.Time) {
	for _, other := range t.group.targets {
		switch {
		case other.stopWaiting != nil || unknown(other.Err):
		case unknown(err):
			l.fetch(other)
		default:
			other.confirm(now)
		}
	}
}

// snapshot returns what is known now.
func (l *refreshLoop) snapshot() *Snapshot {
	states := make(map[manifest.Target]State, len(l.targets))
	for _, t := range l.targets {
		states[t.Target] = t.State
	}
	return &Snapshot{states}
}

// watch receives changes of g for as long as it pushes them.
func (l *refreshLoop) watch(w Watcher, g *groupState) {
	pause := retry.Outage()
	for timer := time.NewTimer(headStart); ; timer.Reset(pause.Next()) {
		select {
		case <-l.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		err := w.Watch(l.ctx, g.name, func(changed func(manifest.Target) bool) {
			l.call(func() {
				g.pushes = true
				l.fetchChanged(g, changed)
			})
			pause.Reset()
		})
		if l.ctx.Err() != nil {
			return
		}
		l.call(func() {
			if g.pushes {
				g.pushes = false
				l.fetchChanged(g, nil)
			}
		})
		l.log.Debug("watch ended, polling", "group", g.name, "interval", g.interval, "error", err)
		if errors.Is(err, ErrUnsupported) {
			return
		}
	}
}
