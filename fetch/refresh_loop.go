package fetch

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

const (
	// minAnswerTime and maxAnswerTime bound how long a room may take for an answer,
	// which is as long as it is until the next question.
	minAnswerTime, maxAnswerTime = time.Second, 30 * time.Second
	// maxSleep bounds the sleep until something is due: timers stand still while
	// the machine is suspended, and the wall clock goes on.
	maxSleep = 10 * time.Second
	// maxSkipped is how many rounds may pass without a target that the room does
	// not hold, or denies.
	maxSkipped = 15
	// headStart is how long it takes until a room is listened to, which has all
	// values asked for once more: for a command that ends at once that is in vain.
	headStart = 100 * time.Millisecond
)

// A refreshLoop is one run of [Refresher.Follow]. One goroutine, that of run, owns
// all of it. What asks runs beside it and reports what is to be done.
type refreshLoop struct {
	source                      Source
	interval, debounce, maxWait time.Duration
	now                         func() time.Time
	log                         *slog.Logger
	refresh                     <-chan struct{}
	latest                      <-chan chan *Snapshot

	ctx      context.Context
	manifest *manifest.Manifest
	running  sync.WaitGroup
	reports  chan func(now time.Time)
	slots    *semaphore.Weighted // as many as may be asked for at once

	targets  []*targetState
	rooms    map[string]*groupState
	hasher   *secret.Hasher
	inFlight int       // questions without an answer
	round    time.Time // the next one
	changes
}

// A groupState is what is known of one room.
type groupState struct {
	pushes bool         // it tells of changes
	probe  *targetState // what it is asked for to see whether it is there
}

// A targetState is a target with what is known of it.
type targetState struct {
	manifest.Target
	State
	needed        bool
	is, told      mark      // of the State, and of the one in the last snapshot
	answeredAt    time.Time // last
	asking, again bool      // a question is in flight; another one is to follow
	waiter        *waiter   // for a person; nil is nobody
	askedAt       time.Time // last
	renewal       time.Time // when to ask for a token, before it ends
	due           time.Time // when to ask for a token, since something has changed
	failed, skip  int       // rounds in a row; rounds to leave it out
}

// A mark is what makes one State another one than the one before.
type mark struct {
	sum                           secret.Sum
	held, stale, revoked, pending bool
	state                         error
	expires                       time.Time
}

// A waiter waits for what a person provides.
type waiter struct{ stop context.CancelFunc }

func newFollowing(ctx context.Context, m *manifest.Manifest) *refreshLoop {
	s := &refreshLoop{
		ctx:      ctx,
		manifest: m,
		reports:  make(chan func(time.Time)),
		slots:    semaphore.NewWeighted(maxInFlight),
		rooms:    make(map[string]*groupState),
		hasher:   secret.NewHasher(),
		changes:  changes{pending: make(map[*targetState]bool)},
	}
	targets, needed := distinct(m)
	for _, t := range targets {
		s.targets = append(s.targets, &targetState{Target: t, needed: needed[t]})
		s.rooms[t.Group] = new(groupState)
	}
	return s
}

func (s *refreshLoop) start(last *Snapshot) {
	now := s.now()
	s.plan(now)
	s.lapse = last.nextLapse(s.manifest, now)
	for _, t := range s.targets {
		state, known := last.states[t.Target]
		t.State = state
		t.is = s.mark(t)
		t.told = t.is
		t.renewal = s.renewal(t, now)
		switch {
		case !known:
			s.ask(t)
		case errors.Is(t.Err, ErrPending):
			s.wait(t)
		}
	}
	if w, ok := s.source.(Watcher); ok {
		for name := range s.rooms {
			s.running.Go(func() { s.watch(w, name) })
		}
	}
}

// run publishes to snapshots until the context ends.
func (s *refreshLoop) run(snapshots chan<- *Snapshot) {
	defer s.running.Wait()
	for before := s.now(); ; {
		now := s.now()
		s.askDue(now, before)
		before = now

		var out chan<- *Snapshot
		snapshot := s.due(now)
		if snapshot != nil {
			out = snapshots
		}
		timer := time.NewTimer(min(s.next(snapshot != nil).Sub(now), maxSleep))
		select {
		case out <- snapshot:
			s.told(snapshot)
		case report := <-s.reports:
			report(s.now())
		case <-s.refresh:
			s.askAll(s.now())
		case answer := <-s.latest:
			answer <- s.snapshot()
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// next is when something is due that nobody reports. A snapshot that is there to
// be taken is not waited for.
func (s *refreshLoop) next(offered bool) time.Time {
	next := s.round
	if !offered {
		next = earliest(next, s.changes.next())
	}
	for _, t := range s.targets {
		if !t.asking {
			next = earliest(earliest(next, t.renewal), t.due)
		}
	}
	return next
}

// report has f run by who owns the following.
func (s *refreshLoop) report(f func(now time.Time)) {
	select {
	case s.reports <- f:
	case <-s.ctx.Done():
	}
}

// plan sets the time of the next round.
func (s *refreshLoop) plan(now time.Time) {
	s.round = now.Add(s.interval - s.interval/10 + rand.N(max(1, s.interval/5)))
}

// askDue asks for what it is time to ask for, and for everything when the clock
// was set back, which no plan holds for.
func (s *refreshLoop) askDue(now, before time.Time) {
	switch {
	case now.Before(before):
		s.quiet = now
		s.askAll(now)
	case !now.Before(s.round):
		s.plan(now)
		s.askRound()
	}
	for _, t := range s.targets {
		if next := earliest(t.renewal, t.due); !t.asking && !next.IsZero() && !now.Before(next) {
			s.ask(t)
		}
	}
}

// askRound asks for what has to be asked for from time to time. A question that
// is still open is left alone.
func (s *refreshLoop) askRound() {
	oldest := make(map[*groupState]*targetState)
	for _, t := range s.targets {
		r := s.rooms[t.Group]
		switch {
		case t.asking:
		case t.skip > 0:
			t.skip--
		case t.polled(r.pushes):
			s.ask(t)
		}
		good := t.held && t.Revoked.IsZero() && t.waiter == nil
		if o := oldest[r]; r.pushes && good && (o == nil || t.answeredAt.Before(o.answeredAt)) {
			oldest[r] = t
		}
	}
	for r, t := range oldest {
		r.probe = t
		if !t.asking {
			s.ask(t)
		}
	}
}

// polled reports whether t is asked for in every round. A person is not asked
// again, unless it is because their room was away.
func (t *targetState) polled(pushes bool) bool {
	switch {
	case t.waiter != nil:
		return false
	case unknown(t.Err):
		return true
	case t.Kind() == manifest.KindRequest, t.refused():
		return false
	}
	return !pushes || t.Kind() == manifest.KindOAuth && t.renewal.IsZero() && t.held
}

// refused reports whether somebody was asked for t in vain: they are not to be
// asked whenever anything else changes.
func (t *targetState) refused() bool {
	return errors.Is(t.Err, ErrRejected) || errors.Is(t.Err, ErrNoAnswer)
}

// askAll asks for everything, but for what a person would be asked for.
func (s *refreshLoop) askAll(now time.Time) {
	s.plan(now)
	for name := range s.rooms {
		s.changed(name, nil)
	}
}

// changed asks for what may be another one since the secrets of the room that
// have these ids are; nil are all. A room that tells of changes holds what was
// provided, so that no person is asked. It may have a token for each question
// that is another one, of which it tells too: they are asked for with a pause.
func (s *refreshLoop) changed(room string, ids []string) {
	of := make(map[string]bool, len(ids))
	for _, id := range ids {
		of[id] = true
	}
	pushes := s.rooms[room].pushes
	for _, t := range s.targets {
		concerned := ids == nil || t.Kind() != manifest.KindSecret || of[t.ID()]
		if t.Group == room && concerned && (t.Kind() != manifest.KindRequest || pushes) && !t.refused() {
			t.skip = 0
			if next := t.askedAt.Add(tokenPause); t.Kind() == manifest.KindOAuth && ids != nil && s.now().Before(next) {
				t.due = next
				continue
			}
			s.ask(t)
		}
	}
}

// ask asks for t, once more when it is being asked for: that answer may be older
// than the reason to ask.
func (s *refreshLoop) ask(t *targetState) {
	if t.asking {
		t.again = true
		return
	}
	t.asking, t.askedAt, t.due = true, s.now(), time.Time{}
	s.inFlight++
	s.running.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, min(max(s.interval, minAnswerTime), maxAnswerTime))
		defer cancel()
		value, err := s.resolve(ctx, t.Target)
		s.report(func(now time.Time) {
			t.asking = false
			s.inFlight--
			s.answered(t, value, err, now)
			if t.again {
				t.again = false
				s.ask(t)
			}
		})
	})
}

// resolve waits for no person.
func (s *refreshLoop) resolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	if err := s.slots.Acquire(ctx, 1); err != nil {
		return secret.Value{}, unanswered(ctx, err)
	}
	defer s.slots.Release(1)
	resolve := s.source.Resolve
	if asker, ok := s.source.(TryResolver); ok {
		resolve = asker.TryResolve
	}
	value, err := resolve(ctx, t)
	return value, unanswered(ctx, err)
}

// wait waits for the person who is asked for t.
func (s *refreshLoop) wait(t *targetState) {
	ctx, stop := context.WithCancel(s.ctx)
	w := &waiter{stop}
	t.waiter = w
	s.running.Go(func() {
		defer stop()
		value, err := s.source.Resolve(ctx, t.Target)
		s.report(func(now time.Time) {
			if t.waiter == w {
				t.waiter = nil
				s.answered(t, value, err, now)
			}
		})
	})
}

// answered takes the answer for t.
func (s *refreshLoop) answered(t *targetState, value secret.Value, err error, now time.Time) {
	t.record(value, err, now, t.needed)
	t.answeredAt = now
	t.renewal = s.renewal(t, now)
	_, asks := s.source.(TryResolver)
	switch pending := asks && errors.Is(err, ErrPending); {
	case pending && t.waiter == nil:
		s.wait(t)
	case err == nil && t.waiter != nil:
		t.waiter.stop()
		t.waiter = nil
	}
	if err == nil || unknown(err) {
		t.failed, t.skip = 0, 0
	} else {
		t.failed = min(t.failed+1, 10)
		t.skip = min(1<<t.failed-1, maxSkipped)
	}
	if r := s.rooms[t.Group]; r.probe == t {
		r.probe = nil
		s.probed(t, err, now)
	}
	s.note(t, s.mark(t), now)
}

// probed takes an answer for t as one for all that its room tells changes of, and
// asks for the others when there was none.
func (s *refreshLoop) probed(t *targetState, err error, now time.Time) {
	for _, other := range s.targets {
		switch {
		case other.Group != t.Group || other.waiter != nil || unknown(other.Err):
		case unknown(err):
			s.ask(other)
		default:
			other.confirm(now)
		}
	}
}

func (s *refreshLoop) renewal(t *targetState, now time.Time) time.Time {
	if t.Kind() != manifest.KindOAuth {
		return time.Time{}
	}
	return renewal(t.Expires, now)
}

func (s *refreshLoop) mark(t *targetState) mark {
	m := mark{
		held: t.held, stale: !t.Stale.IsZero(), revoked: !t.Revoked.IsZero(), pending: errors.Is(t.Err, ErrPending),
		state: state(t.Err), expires: t.Expires,
	}
	if t.held {
		m.sum = s.hasher.Sum(t.value)
	}
	return m
}

// snapshot returns what is known now.
func (s *refreshLoop) snapshot() *Snapshot {
	states := make(map[manifest.Target]State, len(s.targets))
	for _, t := range s.targets {
		states[t.Target] = t.State
	}
	return &Snapshot{states}
}

// watch hears of changes in the room for as long as it tells.
func (s *refreshLoop) watch(w Watcher, room string) {
	select {
	case <-s.ctx.Done():
		return
	case <-time.After(headStart):
	}
	for pause := minRedial; ; pause = min(2*pause, maxRedial) {
		err := w.Watch(s.ctx, room, func(ids []string) {
			s.report(func(time.Time) {
				s.rooms[room].pushes = true
				s.changed(room, ids)
			})
			pause = minRedial
		})
		if s.ctx.Err() != nil {
			return
		}
		s.report(func(time.Time) {
			if r := s.rooms[room]; r.pushes {
				r.pushes = false
				s.changed(room, nil)
			}
		})
		s.log.Debug("the room does not tell of changes", "room", room, "error", err)
		if errors.Is(err, ErrUnsupported) {
			return
		}
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
