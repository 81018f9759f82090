package retry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/internal/retry"
)

func TestNext(t *testing.T) {
	b := retry.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for range 2 { // again after Reset
		for n, whole := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
			whole *= time.Millisecond
			if got := b.Next(); got <= whole/2-1 || got > whole {
				t.Errorf("delay %d is %v, want between %v and %v", n, got, whole/2, whole)
			}
		}
		b.Reset()
	}
	for range 100 { // no overflow
		if got := b.Next(); got <= 0 || got > time.Second {
			t.Fatalf("delay %v after %d failures", got, b.Failures())
		}
	}
}

// A peer that returns is found within an eighth of its outage, or 2 s.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := retry.Outage()
		for range 2 { // again after Reset
			start := time.Now()
			for n := range 60 {
				lasted := time.Since(start)
				longest := min(500*time.Millisecond<<min(n, 6), max(2*time.Second, lasted/8), 30*time.Second)
				if err := b.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(start) - lasted; d < longest/2 || d > longest {
					t.Errorf("after %v the delay is %v, want %v to %v", lasted, d, longest/2, longest)
				}
			}
			b.Reset()
			time.Sleep(time.Hour) // does not count
		}
	})
}

// What a peer asks for is the least that it gets, and peers have jitter then too.
func TestWaitAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := fmt.Errorf("busy: %w", &retry.AfterError{Err: io.EOF, Delay: 7 * time.Second})
		if !errors.Is(why, io.EOF) || retry.After(why) != 7*time.Second || retry.After(io.EOF) != 0 || !strings.Contains(why.Error(), "7s") {
			t.Errorf("%v: after %v", why, retry.After(why))
		}
		seen := map[time.Duration]bool{}
		for range 20 {
			b, start := retry.Outage(), time.Now()
			if err := b.WaitAfter(t.Context(), retry.After(why)); err != nil {
				t.Fatal(err)
			}
			d := time.Since(start)
			if seen[d] = true; d < 7*time.Second || d > 8*time.Second {
				t.Errorf("waited %v", d)
			}
		}
		if len(seen) < 2 {
			t.Errorf("no jitter: %v", seen)
		}
	})
}

// Without jitter, all delays of one step are equal.
func TestJitter(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 20 {
		b := retry.Backoff{Min: time.Second, Max: time.Minute}
		seen[b.Next()] = true
	}
	if len(seen) < 2 {
		t.Errorf("20 backoffs have the same first delay: %v", seen)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := retry.Backoff{Min: time.Second, Max: time.Minute}
		start := time.Now()
		if err := b.Wait(t.Context()); err != nil {
			t.Errorf("Wait: %v", err)
		}
		if waited := time.Since(start); waited < 500*time.Millisecond || waited > time.Second {
			t.Errorf("waited %v, want 0.5 s to 1 s", waited)
		}
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if err := b.Wait(ctx); !errors.Is(err, why) {
			t.Errorf("Wait = %v, want the cause %v", err, why)
		}
	})
}
