package localroom

import (
	"maps"
	"sync"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
)

// Delays after a rejection, before which the approver is not asked the same again. They
// double with each rejection.
const (
	minRejected = 10 * time.Second
	maxRejected = time.Hour

	// maxRejections bounds the rejections that are remembered.
	maxRejections = 1024
)

// A rejectionKey identifies what was rejected, on all connections of both identities.
type rejectionKey struct {
	tool, requester, approver string
	about                     RecordKey
}

func (r *request) rejectionKey() rejectionKey {
	return rejectionKey{r.tool, r.requester, r.approver.who.Name, r.about}
}

// A rejection is the last of count.
type rejection struct {
	reason string
	count  int
	until  time.Time // that the approver is not asked again
}

// rejections remembers rejections, so that a participant cannot ask until the approver
// gives in. It is empty after a restart.
type rejections struct {
	now func() time.Time

	mu    sync.Mutex
	byKey map[rejectionKey]rejection
}

// add remembers that r was rejected. Requests of an approver to itself are its own affair.
func (p *rejections) add(r *request, reason string) {
	if reason == wire.NoHandler || r.requester == r.approver.who.Name {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now, key := p.now(), r.rejectionKey()
	if len(p.byKey) >= maxRejections {
		maps.DeleteFunc(p.byKey, func(_ rejectionKey, r rejection) bool { return now.After(r.until) })
	}
	if p.byKey == nil || len(p.byKey) >= maxRejections {
		p.byKey = map[rejectionKey]rejection{}
	}
	last := p.byKey[key]
	if now.After(last.until.Add(maxRejected)) {
		last.count = 0
	}
	delay := maxRejected
	if last.count < 16 {
		delay = min(delay, minRejected<<last.count)
	}
	p.byKey[key] = rejection{reason, last.count + 1, now.Add(delay)}
}

// check fails if the approver rejected r a short time ago.
func (p *rejections) check(r *request) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.byKey[r.rejectionKey()]
	if left := last.until.Sub(p.now()); left > 0 {
		return refuse(wire.OperationFailed, "%s (ask again in %v)", last.reason, left.Round(time.Second))
	}
	return nil
}
