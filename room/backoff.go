package room

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	minDelay = 500 * time.Millisecond
	maxDelay = 30 * time.Second
)

// A backoff counts failed attempts to connect. The delay after each is double
// the one before, from [minDelay] to [maxDelay], of which a random half is
// taken off so that clients of a room that restarts do not return all at once.
type backoff struct {
	failed int
	limit  int // of attempts; 0 is none
}

// again reports whether another attempt may follow one that fails now.
func (b *backoff) again() bool { return b.limit == 0 || b.failed+1 < b.limit }

// next counts a failure and returns the delay after it.
func (b *backoff) next() time.Duration {
	delay := maxDelay
	if b.failed < 6 { // 0.5 s doubled six times exceeds 30 s
		delay = minDelay << b.failed
	}
	b.failed++
	return delay/2 + rand.N(delay/2)
}

func (b *backoff) wait(ctx context.Context) error {
	timer := time.NewTimer(b.next())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
