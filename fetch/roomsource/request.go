package roomsource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

const (
	// answerTimeout bounds how long a room may take to connect, and for an answer of
	// its own.
	answerTimeout = time.Minute
	// slowAnswer is how long it takes until a room that has not answered is reported.
	slowAnswer = 3 * time.Second
)

// directAnswerTimeout is how long a room may take for an answer of its own, before it
// is taken to wait for the participant.
const directAnswerTimeout = time.Second

// reconnectGrace is how long an approver may be disconnected before they are asked
// again on another connection. A browser that returns from a provider's page answers
// on a new connection within less, and is not to be asked twice. Tests shorten it.
var reconnectGrace = 5 * time.Second

// RequestStatus is the status of a request to a participant, or of a room that takes long
// to answer.
type RequestStatus struct {
	Target   manifest.Target
	From     string // the name of the approver; "" for a room
	Stage    Stage
	Deadline time.Time // when the request expires
	Err      error     // when Done: nil, or why there is no value
}

// A Stage is how far a request is. Done is the last; the others may come in any order and
// again.
type Stage int

// Stages. What a room answers by itself comes to none of them.
const (
	WaitingToJoin    Stage = iota // no participant of that name is in the room, except those who do not answer requests
	WaitingForAnswer              // of the approver
	WaitingForRoom                // which has not answered for some seconds; of several references to it, for one
	Done
)

// A pendingRequest is a value that a participant is asked for. It continues when no
// call waits for it, so that a later one finds it.
type pendingRequest struct {
	source   *Source
	messages *room.Messaging
	target   manifest.Target
	from     string
	timeout  time.Duration
	until    time.Time
	ask      func(ctx context.Context, participantID string) (secret.Value, error)

	started chan struct{} // closed when it takes the participant
	start   func()        // closes it

	done  chan struct{} // closed when value and err are the answer
	value secret.Value
	err   error
}

// request asks the participant called from for the value of t.
func (s *Source) request(
	ctx context.Context, client *room.Client, t manifest.Target, wait bool, from string,
	ask func(ctx context.Context, participantID string) (secret.Value, error),
) (secret.Value, error) {
	s.mu.Lock()
	q := s.pending[t]
	if q == nil && s.ctx.Err() == nil {
		seconds, _ := time.ParseDuration(t.Param("timeout") + "s")
		timeout := cmp.Or(seconds, room.DefaultRequestTimeout)
		q = &pendingRequest{
			source: s, messages: client.Messaging(), target: t, from: from, timeout: timeout, until: time.Now().Add(timeout), ask: ask,
			started: make(chan struct{}), done: make(chan struct{}),
		}
		q.start = sync.OnceFunc(func() { close(q.started) })
		s.pending[t] = q
		s.running.Go(q.run)
	}
	s.mu.Unlock()
	if q == nil {
		return secret.Value{}, errClosed
	}

	started := q.started
	if wait {
		started = nil
	}
	select {
	case <-q.done:
	case <-started:
		select {
		case <-q.done:
		default:
			return secret.Value{}, &fetch.PendingError{From: from, Until: q.until}
		}
	case <-ctx.Done():
		return secret.Value{}, context.Cause(ctx)
	}
	return q.value, q.err
}

// Pending says which participant is being asked for t, or is nil.
func (s *Source) Pending(t manifest.Target) *fetch.PendingError {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.pending[t]
	if q == nil {
		return nil
	}
	select {
	case <-q.started:
		return &fetch.PendingError{From: q.from, Until: q.until}
	default: // the room may answer by itself
		return nil
	}
}

func (q *pendingRequest) run() {
	ctx, cancel := context.WithDeadline(q.source.ctx, q.until)
	defer cancel()
	q.value, q.err = q.answer(ctx)
	select {
	case <-q.started:
		q.report(Done, q.err)
	default: // the room answered by itself
	}
	q.source.mu.Lock()
	delete(q.source.pending, q.target)
	q.source.mu.Unlock()
	close(q.done)
}

// answer asks participants called from until one answers. Names are not unique: a
// participant who has left, and a client that handles no requests, is passed over for
// another of that name. A participant who has left may still answer, on a connection
// that the room does not show.
func (q *pendingRequest) answer(ctx context.Context) (secret.Value, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		value   secret.Value
		err     error
		settled sync.Once
		asking  sync.WaitGroup
		reached atomic.Bool // a participant who may answer
		asked   = make(map[string]bool)
	)
	settle := func(v secret.Value, e error) {
		settled.Do(func() { value, err = v, e })
		stop()
	}
	for ctx.Err() == nil {
		id, failed := q.find(ctx, asked)
		if failed != nil {
			settle(secret.Value{}, failed)
			break
		}
		asked[id] = true
		with, passedOver := context.WithCancel(ctx)
		asking.Go(func() {
			defer passedOver()
			if v, e := q.askOne(ctx, id); !cannotAnswer(e) {
				reached.Store(true)
				settle(v, e)
			}
		})
		q.untilGone(with, id)
		passedOver()
	}
	asking.Wait()
	settle(secret.Value{}, ctx.Err())
	switch answer, _ := errors.AsType[*room.Error](err); {
	case errors.Is(err, room.ErrOperationFailed):
		return value, fmt.Errorf("%w: %s", fetch.ErrRejected, cmp.Or(answer.Text, "no reason given"))
	case !errors.Is(err, room.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded):
		return value, classify(err)
	case reached.Load():
		return value, fmt.Errorf("%w: %s did not answer within %v", fetch.ErrNoAnswer, q.from, q.timeout)
	}
	return value, fmt.Errorf("%w: no participant named %s who answers requests joined within %v", fetch.ErrNoAnswer, q.from, q.timeout)
}

// cannotAnswer reports whether the participant has left, or handles no requests.
func cannotAnswer(err error) bool {
	answer, _ := errors.AsType[*room.Error](err)
	return errors.Is(err, room.ErrNotFound) || errors.Is(err, room.ErrOperationFailed) && answer.Text == room.NoHandler
}

// find returns the id of the participant to ask next, and waits for them to join.
func (q *pendingRequest) find(ctx context.Context, asked map[string]bool) (string, error) {
	wanted := func(p room.Participant) bool { return p.Name() == q.from && !asked[p.ID] }
	_, err := direct(ctx, q.source, q.target, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, q.messages.Enable(ctx)
	})
	if errors.Is(err, room.ErrNotFound) {
		err = fmt.Errorf("%w: the room does not support messaging, which finds participants", fetch.ErrUnsupported)
	}
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(q.messages.Participants(), wanted) {
		q.report(WaitingToJoin, nil)
	}
	p, err := q.messages.Find(ctx, wanted)
	return p.ID, err
}

// untilGone returns when the participant has been disconnected for longer than
// reconnectGrace, or when ctx ends.
func (q *pendingRequest) untilGone(ctx context.Context, id string) {
	is := func(p room.Participant) bool { return p.ID == id }
	gone := func(here []room.Participant) bool { return !slices.ContainsFunc(here, is) }
	for q.messages.Await(ctx, gone) == nil {
		select {
		case <-time.After(reconnectGrace):
		case <-ctx.Done():
			return
		}
		// Without a connection no participant is there.
		if q.messages.Enable(ctx) == nil && gone(q.messages.Participants()) {
			return
		}
	}
}

// askOne asks one participant, and reports it when the room does not answer by
// itself.
func (q *pendingRequest) askOne(ctx context.Context, participantID string) (secret.Value, error) {
	defer after(directAnswerTimeout, func() { q.report(WaitingForAnswer, nil) })()
	return q.ask(ctx, participantID)
}

// after calls f unless stop, which waits for f, is called within d.
func after(d time.Duration, f func()) (stop func()) {
	stopped := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-time.After(d):
			f()
		case <-stopped:
		}
	})
	return func() {
		close(stopped)
		waiting.Wait()
	}
}

// direct calls f for t, which the room answers by itself. It bounds that, and reports a
// room that takes long.
func direct[T any](ctx context.Context, s *Source, t manifest.Target, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	until := time.Now().Add(answerTimeout)
	reported := false
	stop := after(slowAnswer, func() {
		s.mu.Lock()
		reported = !s.slow[t.Group]
		s.slow[t.Group] = true
		s.mu.Unlock()
		if reported {
			s.report(RequestStatus{Target: t, Stage: WaitingForRoom, Deadline: until})
		}
	})
	v, err := f(ctx)
	stop()
	if reported {
		s.mu.Lock()
		delete(s.slow, t.Group)
		s.mu.Unlock()
		s.report(RequestStatus{Target: t, Stage: Done, Deadline: until, Err: err})
	}
	return v, err
}

var errNoAnswer = fmt.Errorf("no answer within %v", answerTimeout)

// report calls OnRequest.
func (q *pendingRequest) report(stage Stage, err error) {
	q.start()
	q.source.report(RequestStatus{q.target, q.from, stage, q.until, err})
}

func (s *Source) report(status RequestStatus) {
	s.observing.Lock()
	defer s.observing.Unlock()
	if s.OnRequest != nil {
		s.OnRequest(status)
	}
}
