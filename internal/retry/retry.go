// Package retry paces repeated attempts.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Backoff is exponential with jitter: the delay doubles with each failure, from
// Min to Max, and a random part of up to a half is taken off, so that peers of a
// server that restarts do not return all at once. It is for one goroutine.
type Backoff struct {
	Min, Max time.Duration
	failures int
}

// Next counts a failure and returns the delay until the next attempt: between half
// of min(Min<<failures, Max) and the whole of it.
func (b *Backoff) Next() time.Duration {
	delay := b.Max
	if b.Min < b.Max>>b.failures {
		delay = b.Min << b.failures
	}
	b.failures++
	return delay - rand.N(max(1, delay/2))
}

// Failures returns how many failures were counted since the last Reset.
func (b *Backoff) Failures() int { return b.failures }

// Reset is for an attempt that succeeded.
func (b *Backoff) Reset() { b.failures = 0 }

// Wait counts a failure and waits until the next attempt. The error is the cause of
// ctx, if it ends before.
func (b *Backoff) Wait(ctx context.Context) error {
	timer := time.NewTimer(b.Next())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
