package localroom

import (
	"sync"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
)

// Delays after a rejection, before which the approver is not asked again. They double with
// each rejection.
const (
	minRejected = 10 * time.Second
	maxRejected = time.Hour

	// freeRejections of a requester by an approver hold back only the same request. After
	// more of them other requests wait too, since each may be a variation of the last.
	freeRejections = 2

	// These bound the approvers whose rejections are remembered, in sum and for each
	// requester, and the requests for each pair of the two.
	maxRejections      = 1024
	maxRejectionsOfOne = 64
	maxRejectedEqual   = 16
)

// A rejectionKey identifies what an approver rejected.
type rejectionKey struct {
	tool  string
	about RecordKey
}

// A rejection is the last of count.
type rejection struct {
	reason string
	count  int
	until  time.Time // that the approver is not asked again
}

// next returns the rejection after r. The first free ones delay nothing.
func (r rejection) next(reason string, free int, now time.Time) rejection {
	count, delay := r.count, time.Duration(0)
	if now.After(r.until.Add(maxRejected)) {
		count = 0
	}
	if count >= free {
		delay = min(maxRejected, minRejected<<min(count-free, 16))
	}
	return rejection{reason, count + 1, now.Add(delay)}
}

// rejectedBy has the rejections of a requester by an approver, on all connections of both.
type rejectedBy struct {
	all   rejection // of whatever request, since the last that was provided
	byKey map[rejectionKey]rejection
}

// rejections remembers rejections, so that a participant cannot ask until the approver
// gives in. It is empty after a restart.
type rejections struct {
	now func() time.Time

	mu     sync.Mutex
	byPair map[[3]string]*rejectedBy // by room, requester and approver
}

// add remembers that r was rejected. Requests of an approver to itself are its own affair.
func (p *rejections) add(r *request, reason string) {
	if reason == wire.NoHandler || r.requester == r.approver.who.Name {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pair, key, now := r.countKey(), rejectionKey{r.tool, r.about}, p.now()
	by := p.byPair[pair]
	if by == nil {
		p.makeRoom(pair)
		by = &rejectedBy{byKey: map[rejectionKey]rejection{}}
		p.byPair[pair] = by
	}
	if _, found := by.byKey[key]; !found && len(by.byKey) >= maxRejectedEqual {
		delete(by.byKey, oldest(by.byKey, func(_ rejectionKey, r rejection) (time.Time, bool) { return r.until, true }))
	}
	by.all = by.all.next(reason, freeRejections, now)
	by.byKey[key] = by.byKey[key].next(reason, 0, now)
}

// makeRoom makes room for a new pair, at the cost of the same requester if it has many
// already, or else of the one that has most. The caller holds p.mu.
func (p *rejections) makeRoom(pair [3]string) {
	if p.byPair == nil {
		p.byPair = map[[3]string]*rejectedBy{}
	}
	type requester [2]string
	count, victim := map[requester]int{}, requester(pair[:2])
	for k := range p.byPair {
		count[requester(k[:2])]++
	}
	if count[victim] < maxRejectionsOfOne {
		if len(p.byPair) < maxRejections {
			return
		}
		for k, n := range count {
			if n > count[victim] {
				victim = k
			}
		}
	}
	delete(p.byPair, oldest(p.byPair, func(k [3]string, by *rejectedBy) (time.Time, bool) {
		return by.all.until, requester(k[:2]) == victim
	}))
}

// oldest returns the key with the first time, of those that may be chosen.
func oldest[K comparable, V any](m map[K]V, at func(K, V) (_ time.Time, choose bool)) (key K) {
	var first time.Time
	found := false
	for k, v := range m {
		if t, choose := at(k, v); choose && (!found || t.Before(first)) {
			key, first, found = k, t, true
		}
	}
	return key
}

// provided ends the delay of other requests after r, which its approver answered.
func (p *rejections) provided(r *request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if by := p.byPair[r.countKey()]; by != nil {
		by.all = rejection{}
	}
}

// check fails if the approver rejected r a short time ago, or several other requests of the
// same requester.
func (p *rejections) check(r *request) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	by := p.byPair[r.countKey()]
	if by == nil {
		return nil
	}
	last := by.byKey[rejectionKey{r.tool, r.about}]
	if by.all.until.After(last.until) {
		last = by.all
	}
	if left := last.until.Sub(p.now()); left > 0 {
		return refuse(wire.OperationFailed, "%s (ask again in %v)", last.reason, left.Round(time.Second))
	}
	return nil
}
