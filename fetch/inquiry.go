package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// directAnswerTimeout is how long a room may take for an answer of its own, before it is
// taken to wait for the participant.
const directAnswerTimeout = time.Second

// reconnectGrace is how long one who was asked may be gone before they are asked again
// on another connection. A browser that returns from a provider's page answers
// on a new connection within less, and is not to be asked twice. Tests shorten
// it.
var reconnectGrace = 5 * time.Second

// RequestStatus says how far a value is that somebody has to provide.
type RequestStatus struct {
	Target   manifest.Target
	From     string // the name of who is asked
	Stage    Stage
	Deadline time.Time // until when they may come and answer
	Err      error     // when Ended: nil, or why there is no value
}

// A Stage is how far a request is. Ended is the last, and comes once; the others
// may come in any order and again.
type Stage int

// Stages. What a room answers by itself comes to none of them.
const (
	WaitingToJoin    Stage = iota // nobody of that name, who answers, is in the room
	WaitingForAnswer              // and has not answered
	Done
)

// An pendingRequest is a value that somebody is asked for. It goes on when nobody waits
// for it, so that a later call finds it.
type pendingRequest struct {
	rooms    *Rooms
	messages *room.Messaging
	target   manifest.Target
	from     string
	timeout  time.Duration
	until    time.Time
	ask      func(ctx context.Context, participantID string) (secret.Value, error)

	started         chan struct{} // closed when it takes the participant
	observed, ended bool          // so far; guarded by Rooms.observing

	done  chan struct{} // closed when value and err are the answer
	value secret.Value
	err   error
}

// request asks the participant called from for the value of t.
func (r *Rooms) request(
	ctx context.Context, client *room.Client, t manifest.Target, wait bool, from string,
	ask func(ctx context.Context, participantID string) (secret.Value, error),
) (secret.Value, error) {
	r.mu.Lock()
	q := r.pending[t]
	if q == nil {
		seconds, _ := strconv.Atoi(t.Param("timeout"))
		timeout := cmp.Or(time.Duration(seconds)*time.Second, room.DefaultRequestTimeout)
		q = &pendingRequest{
			rooms: r, messages: client.Messaging(), target: t, from: from, timeout: timeout, until: time.Now().Add(timeout), ask: ask,
			started: make(chan struct{}), done: make(chan struct{}),
		}
		r.pending[t] = q
		r.wg.Go(q.run)
	}
	r.mu.Unlock()

	held := q.started
	if wait {
		held = nil
	}
	select {
	case <-q.done:
	case <-held:
		select {
		case <-q.done:
		default:
			return secret.Value{}, &PendingError{from, q.until}
		}
	case <-ctx.Done():
		return secret.Value{}, context.Cause(ctx)
	}
	return q.value, q.err
}

func (q *pendingRequest) run() {
	ctx, cancel := context.WithDeadline(q.rooms.life, q.until)
	defer cancel()
	q.value, q.err = q.answer(ctx)
	q.report(Done, q.err)
	q.rooms.mu.Lock()
	delete(q.rooms.pending, q.target)
	q.rooms.mu.Unlock()
	close(q.done)
}

// answer asks whoever is called from until somebody answers. Names are not
// unique: who has gone, and a client that handles no requests, is passed over for
// another of that name. What one who has gone was asked they may still answer, on
// a connection that we do not see.
func (q *pendingRequest) answer(ctx context.Context) (secret.Value, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		value   secret.Value
		err     error
		settled sync.Once
		asking  sync.WaitGroup
		waits   atomic.Bool // somebody was asked who may answer
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
		with, over := context.WithCancel(ctx)
		asking.Go(func() {
			defer over()
			if v, e := q.askOne(ctx, id); !cannotAnswer(e) {
				waits.Store(true)
				settle(v, e)
			}
		})
		q.untilGone(with, id)
		over()
	}
	asking.Wait()
	settle(secret.Value{}, ctx.Err())
	switch answer, _ := errors.AsType[*room.Error](err); {
	case errors.Is(err, room.ErrOperationFailed):
		return value, fmt.Errorf("%w: %s", ErrRejected, cmp.Or(answer.Text, "no reason was given"))
	case !errors.Is(err, room.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded):
		return value, classify(err)
	case waits.Load():
		return value, fmt.Errorf("%w: %s did not answer within %v", ErrNoAnswer, q.from, q.timeout)
	}
	return value, fmt.Errorf("%w: nobody called %s who answers came into the room within %v", ErrNoAnswer, q.from, q.timeout)
}

// cannotAnswer reports whether who was asked has gone, or handles no requests.
func cannotAnswer(err error) bool {
	answer, _ := errors.AsType[*room.Error](err)
	return errors.Is(err, room.ErrNotFound) || errors.Is(err, room.ErrOperationFailed) && answer.Text == room.NoHandler
}

// find returns the id of who to ask next, and waits for them.
func (q *pendingRequest) find(ctx context.Context, asked map[string]bool) (string, error) {
	wanted := func(p room.Participant) bool { return p.Name() == q.from && !asked[p.ID] }
	err := q.messages.Enable(ctx)
	if errors.Is(err, room.ErrNotFound) {
		err = fmt.Errorf("%w: the room has no messaging, by which participants are found", ErrUnsupported)
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

// untilGone returns when the participant has been gone for longer than
// [absence], or when ctx ends.
func (q *pendingRequest) untilGone(ctx context.Context, id string) {
	is := func(p room.Participant) bool { return p.ID == id }
	gone := func(here []room.Participant) bool { return !slices.ContainsFunc(here, is) }
	for q.messages.Await(ctx, gone) == nil {
		select {
		case <-time.After(reconnectGrace):
		case <-ctx.Done():
			return
		}
		// Without a connection nobody is here.
		if q.messages.Enable(ctx) == nil && gone(q.messages.Participants()) {
			return
		}
	}
}

// askOne asks one participant, and reports it when the room does not answer by
// itself.
func (q *pendingRequest) askOne(ctx context.Context, participantID string) (secret.Value, error) {
	answered := make(chan struct{})
	q.rooms.wg.Go(func() {
		timer := time.NewTimer(directAnswerTimeout)
		defer timer.Stop()
		select {
		case <-timer.C:
			q.report(WaitingForAnswer, nil)
		case <-answered:
		}
	})
	defer close(answered)
	return q.ask(ctx, participantID)
}

// report tells the observer. Nothing comes after Ended, which is no news of what
// was not observed before.
func (q *pendingRequest) report(stage Stage, err error) {
	q.rooms.observing.Lock()
	defer q.rooms.observing.Unlock()
	news := !q.ended && (stage != Done || q.observed)
	q.ended = q.ended || stage == Done
	if !news {
		return
	}
	if !q.observed {
		q.observed = true
		close(q.started)
	}
	if q.rooms.OnRequest != nil {
		q.rooms.OnRequest(RequestStatus{q.target, q.from, stage, q.until, err})
	}
}
