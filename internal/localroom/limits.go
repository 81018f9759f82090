package localroom

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

// Limits of what peers may use. Those of the network and the processes of this
// machine, which connect to the room socket, do not take from each other.
const (
	// DefaultMaxConnections bounds the connections from the network.
	DefaultMaxConnections = 1024
	maxLocalConnections   = 4096

	// maxStrangers bounds the connections from the network that have not joined a room
	// yet: a further one takes the place of the oldest.
	maxStrangers = 512

	// refuseTimeout bounds how long a connection beyond the limits stays.
	refuseTimeout = 250 * time.Millisecond

	// identityShare is the part of the connections from the network, and of the bytes
	// below, that one identity may use: 1/identityShare.
	identityShare = 4

	// freeBytes is what a connection may make the server hold in each direction, in
	// bytes, without taking from the budgets: ordinary messages never wait.
	freeBytes = 64 << 10
	// maxBytes bounds the bytes that are more than that: of unfinished messages and
	// unread responses in sum, and of an identity also of calls and events that wait.
	maxBytes = 128 << 20

	// The packets of an identity per second, and how many it may send at once: two of
	// the largest messages.
	packetRate  = 16 << 10
	packetBurst = 32 << 10
	// The same of pings.
	pingRate  = 50
	pingBurst = 200
)

var errFull = errors.New("too many connections, try again later")

// A pool has the allowances of the identities that share limits.
type pool struct {
	connections, max, maxEach int
	latest                    time.Time // when the latest connection came
	bytes                     *semaphore.Weighted
	bytesEach                 int64
	unpaced                   bool
	allowances                map[string]*allowance
}

func newPool(connections int) *pool {
	return &pool{
		max: connections, maxEach: max(1, connections/identityShare),
		bytes: semaphore.NewWeighted(maxBytes), bytesEach: maxBytes / identityShare,
		allowances: map[string]*allowance{},
	}
}

// newLocalPool is for the processes of one user, which have one identity as a rule.
func newLocalPool() *pool {
	return &pool{
		max: maxLocalConnections, maxEach: maxLocalConnections,
		bytes: semaphore.NewWeighted(maxBytes), bytesEach: maxBytes,
		unpaced: true, allowances: map[string]*allowance{},
	}
}

// enter counts a connection of an identity. The caller holds Server.mu.
func (p *pool) enter(identity string) (*allowance, error) {
	a := p.allowances[identity]
	if a == nil {
		a = &allowance{identity: identity, pool: p, own: semaphore.NewWeighted(p.bytesEach)}
		a.packets, a.pings = rate.NewLimiter(packetRate, packetBurst), rate.NewLimiter(pingRate, pingBurst)
		if p.unpaced {
			a.packets, a.pings = rate.NewLimiter(rate.Inf, 0), rate.NewLimiter(rate.Inf, 0)
		}
	}
	if p.connections >= p.max || a.connections >= p.maxEach {
		return nil, errFull
	}
	p.allowances[identity] = a
	p.connections++
	p.latest = time.Now()
	a.connections++
	return a, nil
}

// An allowance has what the connections of one identity use.
type allowance struct {
	identity string
	pool     *pool

	connections    int // guarded by Server.mu
	own            *semaphore.Weighted
	packets, pings *rate.Limiter
}

// leave is the inverse of pool.enter. The caller holds Server.mu.
func (a *allowance) leave() {
	a.pool.connections--
	if a.connections--; a.connections == 0 {
		delete(a.pool.allowances, a.identity)
	}
}

// acquire waits until n more bytes may be held.
func (a *allowance) acquire(ctx context.Context, n int64) error {
	if err := a.own.Acquire(ctx, n); err != nil {
		return err
	}
	if err := a.pool.bytes.Acquire(ctx, n); err != nil {
		a.own.Release(n)
		return err
	}
	return nil
}

// try is acquire without waiting.
func (a *allowance) try(n int64) bool {
	if !a.own.TryAcquire(n) {
		return false
	}
	if !a.pool.bytes.TryAcquire(n) {
		a.own.Release(n)
		return false
	}
	return true
}

func (a *allowance) release(n int64) {
	a.pool.bytes.Release(n)
	a.own.Release(n)
}
