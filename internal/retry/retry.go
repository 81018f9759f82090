// Package retry paces repeated attempts.
package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// A Backoff is exponential with jitter: the delay doubles with each failure, from
// Min to Max, and a random part of up to a half is taken off, so that peers of a
// server that restarts do not return all at once. It is for one goroutine.
type Backoff struct {
	Min, Max time.Duration
	// Soon, unless it is 0, also bounds the delay by an eighth of the time since the
	// first failure, or by Soon if that is longer: a peer that returns after a short
	// outage is found soon after.
	Soon     time.Duration
	failures int
	since    time.Time // of the first failure
}

// Outage paces attempts to reach a room that is unreachable.
func Outage() Backoff {
	return Backoff{Min: 500 * time.Millisecond, Soon: 2 * time.Second, Max: 30 * time.Second}
}

// Next counts a failure and returns the delay until the next attempt: between half
// of min(Min<<failures, Max) and the whole of it.
func (b *Backoff) Next() time.Duration {
	if b.failures == 0 {
		b.since = time.Now()
	}
	longest := b.Max
	if b.Soon > 0 {
		longest = min(longest, max(b.Soon, time.Since(b.since)/8))
	}
	delay := longest
	if b.Min < longest>>b.failures {
		delay = b.Min << b.failures
	}
	b.failures++
	return delay - rand.N(max(1, delay/2))
}

// An AfterError is an attempt that failed at a peer which wants no other one for the
// time of Delay.
type AfterError struct {
	Err   error
	Delay time.Duration
}

func (e *AfterError) Error() string {
	return fmt.Sprintf("%v; retry after %v", e.Err, e.Delay.Round(time.Second))
}

// Unwrap returns Err.
func (e *AfterError) Unwrap() error { return e.Err }

// After returns the Delay of the [AfterError] in err; 0 without one.
func After(err error) time.Duration {
	if e, ok := errors.AsType[*AfterError](err); ok {
		return e.Delay
	}
	return 0
}

// Failures returns how many failures were counted since the last Reset.
func (b *Backoff) Failures() int { return b.failures }

// Reset is for an attempt that succeeded.
func (b *Backoff) Reset() { b.failures = 0 }

// Wait counts a failure and waits until the next attempt. The error is the cause of
// ctx, if it ends before.
func (b *Backoff) Wait(ctx context.Context) error { return b.WaitAfter(ctx, 0) }

// WaitAfter is Wait that begins after a delay which the peer asked for.
func (b *Backoff) WaitAfter(ctx context.Context, delay time.Duration) error {
	timer := time.NewTimer(delay + b.Next())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
