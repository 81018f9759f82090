package localroom

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// Bounds on requests that wait for somebody (section 7.8).
const (
	defaultTimeout = 5 * time.Minute
	maxTimeout     = time.Hour

	// maxPending is how many requests of one identity may wait for another, and
	// how often it may make an equal one.
	maxPending = 100

	// maxRejection is the longest reason that is passed on, in bytes.
	maxRejection = 1024
)

// A request asks a participant for something that it may provide or reject.
type request struct {
	requestKey

	// look returns what needs no asking, or nil content when there is no such
	// thing. Only one of equal requests looks at a time.
	look func(context.Context) (wire.Content, error)
	// event is what the participant is sent.
	event func(id string) (event, error)
	// accept makes the answer of what was provided; it has to store first what
	// must not be lost. The asker and who provided get its error.
	accept func(ctx context.Context, provided secret.Value) (wire.Content, error)

	id      string        // known to who is asked
	waiters int           // guarded by pending.mu
	claimed bool          // nobody else may answer; guarded by pending.mu
	done    chan struct{} // closed when content and err are the answer
	content wire.Content
	err     error
}

// A requestKey tells requests apart: of those that are equal only the first is
// sent, and all get its answer.
type requestKey struct {
	tool      string   // that answers it
	requester string   // an identity
	approver  *session // whose identity may answer, from any of its connections
	about     RecordKey
}

// pending is the requests of a server that wait. They are held in memory only:
// clients ask again when a server comes back.
type pending struct {
	mu    sync.Mutex
	byKey map[requestKey]*request
	byID  map[string]*request
	count map[[3]string]int // by room, requester and approver
}

func newPending() *pending {
	return &pending{byKey: map[requestKey]*request{}, byID: map[string]*request{}, count: map[[3]string]int{}}
}

// ask returns the answer to r, and stops asking when ctx ends or timeout has
// passed and no equal request waits. An answer that is being carried out then
// is waited for.
func (p *pending) ask(ctx context.Context, r *request, timeout time.Duration) (wire.Content, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, first, err := p.join(r)
	if err != nil {
		return nil, err
	}
	if first {
		p.begin(ctx, r)
	}
	select {
	case <-r.done:
		return r.content, r.err
	case <-ctx.Done():
	}
	if !p.leave(r) {
		<-r.done
		return r.content, r.err
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, refuse(wire.Timeout, "%.80q did not answer within %v", r.approver.who.Name, timeout)
	}
	return nil, ctx.Err()
}

// join returns the request that equals r, which is r itself when it is the
// first.
func (p *pending) join(r *request) (_ *request, first bool, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	equal, count := p.byKey[r.requestKey], r.countKey()
	switch {
	case equal != nil && equal.waiters >= maxPending, equal == nil && p.count[count] >= maxPending:
		return nil, false, refuse(wire.InvalidState, "%d requests wait for %.80q already", maxPending, r.approver.who.Name)
	case equal != nil:
		equal.waiters++
		return equal, false, nil
	}
	r.id, r.waiters, r.done = rand.Text(), 1, make(chan struct{})
	p.byKey[r.requestKey], p.byID[r.id] = r, r
	p.count[count]++
	return r, true, nil
}

func (r *request) countKey() [3]string {
	return [3]string{r.approver.room.name, r.requester, r.approver.who.Name}
}

// begin answers r by what needs no asking, or sends it to who is asked.
func (p *pending) begin(ctx context.Context, r *request) {
	content, err := r.look(ctx)
	if err == nil && content == nil {
		var e event
		if e, err = r.event(r.id); err == nil {
			if r.approver.post(e) {
				return
			}
			err = errSlow
		}
	}
	p.finish(r, content, err)
}

// errSlow tells who sends that it is not at fault.
var errSlow = wire.Error{Code: wire.OperationFailed, Text: "the participant does not read what it is sent"}

// leave reports whether the caller is done with r, to which nobody has
// answered.
func (p *pending) leave(r *request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.claimed {
		return false
	}
	if r.waiters--; r.waiters == 0 {
		p.remove(r)
	}
	return true
}

// provide answers the request called id, and returns when that is carried out.
func (p *pending) provide(ctx context.Context, caller *session, tool, id string, provided secret.Value) error {
	r, err := p.claim(caller, tool, id)
	if err != nil {
		return err
	}
	content, err := r.accept(ctx, provided)
	p.finish(r, content, err)
	return err
}

// reject ends the request called id with the reason given.
func (p *pending) reject(caller *session, tool, id, reason string) error {
	r, err := p.claim(caller, tool, id)
	if err != nil {
		return err
	}
	if len(reason) > maxRejection {
		reason = strings.ToValidUTF8(reason[:maxRejection], "") // the last rune may be half a one
	}
	p.finish(r, nil, wire.Error{Code: wire.OperationFailed, Text: reason})
	return nil
}

// claim returns the request called id for the caller alone to answer.
func (p *pending) claim(caller *session, tool, id string) (*request, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.byID[id]
	switch {
	case r == nil || r.claimed || r.tool != tool || r.approver.room.name != caller.room.name:
		return nil, refuse(wire.NotFound, "no such request waits: it was answered, or its time has passed")
	case r.approver.who.Name != caller.who.Name:
		return nil, refuse(wire.PermissionDenied, "somebody else is asked")
	}
	r.claimed = true
	return r, nil
}

// finish gives the answer to all who wait for it.
func (p *pending) finish(r *request, content wire.Content, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.claimed = true
	p.remove(r)
	r.content, r.err = content, err
	close(r.done)
}

// remove forgets r; the caller holds the lock.
func (p *pending) remove(r *request) {
	delete(p.byKey, r.requestKey)
	delete(p.byID, r.id)
	count := r.countKey()
	if p.count[count]--; p.count[count] == 0 {
		delete(p.count, count)
	}
}

// requestTimeout is how long a request waits that asks for that many seconds.
func requestTimeout(seconds *int) (time.Duration, error) {
	switch {
	case seconds == nil:
		return defaultTimeout, nil
	case *seconds <= 0:
		return 0, refuse(wire.InvalidRequest, "the timeout is not positive")
	}
	return time.Duration(min(*seconds, int(maxTimeout/time.Second))) * time.Second, nil
}
