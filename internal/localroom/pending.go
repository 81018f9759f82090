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

// Limits of pending requests (section 7.8).
const (
	defaultTimeout = 5 * time.Minute
	maxTimeout     = time.Hour

	// maxPending bounds the requests of one identity to another, and the callers of
	// equal ones.
	maxPending = 100

	// maxRejection bounds the reason of a rejection, in bytes. The rest is cut.
	maxRejection = 1024
)

// A request to a participant, which provides an answer or rejects it.
type request struct {
	requestKey

	// look returns a stored answer, or nil content. Equal requests call it once.
	look func(context.Context) (wire.Content, error)
	// event returns the event for the approver.
	event func(id string) (event, error)
	// accept stores what was provided, if that must not be lost, and returns the
	// answer. Requester and approver get its error.
	accept func(ctx context.Context, provided secret.Value) (wire.Content, error)

	id      string        // for the approver
	waiters int           // guarded by pending.mu
	claimed bool          // by an answer; guarded by pending.mu
	done    chan struct{} // closed when content and err are the answer
	content wire.Content
	err     error
}

// A requestKey identifies requests: of equal ones only the first is sent, and all get
// its answer.
type requestKey struct {
	tool      string   // that answers it
	requester string   // an identity
	approver  *session // whose identity may answer, from any of its connections
	about     RecordKey
}

// pending has the pending requests of a server. They are in memory only: clients send
// them again after a restart.
type pending struct {
	rejections rejections

	mu    sync.Mutex
	byKey map[requestKey]*request
	byID  map[string]*request
	count map[[3]string]int // by room, requester and approver
}

func newPending(now func() time.Time) *pending {
	return &pending{rejections: rejections{now: now}, byKey: map[requestKey]*request{}, byID: map[string]*request{}, count: map[[3]string]int{}}
}

// ask returns the answer to r. The request is closed when ctx ends or timeout has
// passed, unless an equal one is pending. An answer that arrived before is waited for.
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
		return nil, refuse(wire.Timeout, "no answer from %.80q within %v", r.approver.who.Name, timeout)
	}
	return nil, ctx.Err()
}

// join returns the pending request that is equal to r, which is r itself if it is the
// first.
func (p *pending) join(r *request) (_ *request, first bool, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	equal, count := p.byKey[r.requestKey], r.countKey()
	switch {
	case equal != nil && equal.waiters >= maxPending, equal == nil && p.count[count] >= maxPending:
		return nil, false, refuse(wire.InvalidState, "too many requests are pending: the limit is %d for %.80q", maxPending, r.approver.who.Name)
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

// begin answers r from the store, or sends it to the approver.
func (p *pending) begin(ctx context.Context, r *request) {
	content, err := r.look(ctx)
	if err == nil && content == nil {
		err = p.rejections.check(r)
	}
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

// errSlow is for senders, which are not at fault.
var errSlow = wire.Error{Code: wire.OperationFailed, Text: "the participant does not read its events"}

// leave withdraws the caller from r, and reports false if r is being answered.
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

// provide answers the request with this id, and returns when the answer was accepted.
func (p *pending) provide(ctx context.Context, caller *session, tool, id string, provided secret.Value) error {
	r, err := p.claim(caller, tool, id)
	if err != nil {
		return err
	}
	content, err := r.accept(ctx, provided)
	if err == nil {
		p.rejections.provided(r)
	}
	p.finish(r, content, err)
	return err
}

// reject closes the request with this id, for a reason.
func (p *pending) reject(caller *session, tool, id, reason string) error {
	r, err := p.claim(caller, tool, id)
	if err != nil {
		return err
	}
	if len(reason) > maxRejection {
		reason = strings.ToValidUTF8(reason[:maxRejection], "") // the last rune may be incomplete
	}
	p.rejections.add(r, reason)
	p.finish(r, nil, wire.Error{Code: wire.OperationFailed, Text: reason})
	return nil
}

// claim returns the request with this id, which only the caller may answer then.
func (p *pending) claim(caller *session, tool, id string) (*request, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.byID[id]
	switch {
	case r == nil || r.claimed || r.tool != tool || r.approver.room.name != caller.room.name:
		return nil, refuse(wire.NotFound, "request not found or already closed")
	case r.approver.who.Name != caller.who.Name:
		return nil, refuse(wire.PermissionDenied, "the request is for another identity")
	}
	r.claimed = true
	return r, nil
}

// finish closes r with its answer.
func (p *pending) finish(r *request, content wire.Content, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.claimed = true
	p.remove(r)
	r.content, r.err = content, err
	close(r.done)
}

// remove deletes r from the indexes. The caller holds p.mu.
func (p *pending) remove(r *request) {
	delete(p.byKey, r.requestKey)
	delete(p.byID, r.id)
	count := r.countKey()
	if p.count[count]--; p.count[count] == 0 {
		delete(p.count, count)
	}
}

// requestTimeout returns the timeout of a request, given in seconds.
func requestTimeout(seconds *int) (time.Duration, error) {
	switch {
	case seconds == nil:
		return defaultTimeout, nil
	case *seconds <= 0:
		return 0, refuse(wire.InvalidRequest, "invalid timeout: want a positive number of seconds")
	}
	return time.Duration(min(*seconds, int(maxTimeout/time.Second))) * time.Second, nil
}
