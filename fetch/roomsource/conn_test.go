package roomsource_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/internal/retry"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
)

// A call returns when its context ends, while the room is being dialled for another
// one, and the dial goes on for who waits longer.
func TestCallsEndWithTheirContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		late := errors.New("late")
		s := roomsource.New(func(ctx context.Context, _ string) (*room.Client, error) {
			dials.Add(1)
			select {
			case <-time.After(10 * time.Second):
				return nil, late
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		start := time.Now()
		var calls sync.WaitGroup
		for _, patience := range []time.Duration{time.Second, 2 * time.Second, time.Minute} {
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				want, after := context.DeadlineExceeded, patience
				if patience > 10*time.Second {
					want, after = late, 10*time.Second
				}
				if _, err := s.Resolve(ctx, target("a")); !errors.Is(err, want) || time.Since(start) != after {
					t.Errorf("with %v: %v after %v, want %v after %v", patience, err, time.Since(start), want, after)
				}
			})
			synctest.Wait()
		}
		calls.Wait()
		if n := dials.Load(); n != 1 {
			t.Errorf("%d dials", n)
		}

		// Close ends a dial, and what is resolved later.
		time.Sleep(time.Minute)
		calls.Go(func() {
			if _, err := s.Resolve(t.Context(), target("a")); !errors.Is(err, context.Canceled) {
				t.Errorf("closed: %v", err)
			}
		})
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		calls.Wait()
		if _, err := s.Resolve(t.Context(), target("a")); !errors.Is(err, fetch.ErrUnreachable) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// The pause between two dials grows with each failure, up to half a minute, and has
// jitter: rooms are not dialled by everybody at once. After a short outage it is short.
func TestRedialBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dialled []time.Time
		s := roomsource.New(func(context.Context, string) (*room.Client, error) {
			dialled = append(dialled, time.Now())
			return nil, room.ErrUnreachable
		})
		for range 3000 { // five minutes
			if _, err := s.Resolve(t.Context(), target("a")); !errors.Is(err, fetch.ErrUnreachable) {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		gaps := map[time.Duration]bool{}
		for i := range len(dialled) - 1 {
			gap, longest := dialled[i+1].Sub(dialled[i]), min(time.Second<<min(i, 5), max(2*time.Second, dialled[i].Sub(dialled[0])/8), 30*time.Second)
			if gap < longest/2 || gap > longest+100*time.Millisecond {
				t.Errorf("dial %d came after %v, want %v to %v", i+2, gap, longest/2, longest)
			}
			gaps[gap] = true
		}
		if len(dialled) < 10 || len(gaps) < 5 {
			t.Errorf("%d dials, gaps %v", len(dialled), gaps)
		}
	})
}

// A room that asks for time is not dialed before.
func TestRedialAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dialed []time.Time
		s := roomsource.New(func(context.Context, string) (*room.Client, error) {
			dialed = append(dialed, time.Now())
			return nil, &retry.AfterError{Err: room.ErrUnreachable, Delay: 20 * time.Second}
		})
		for len(dialed) < 3 {
			_, _ = s.Resolve(t.Context(), target("a"))
			time.Sleep(100 * time.Millisecond)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for i := range 2 {
			if d := dialed[i+1].Sub(dialed[i]); d < 20*time.Second || d > 23*time.Second {
				t.Errorf("dialed again after %v", d)
			}
		}
	})
}

// Since when a room is disconnected, and why, whether it cannot be dialed or its client
// has ended.
func TestDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, func(string, string) wire.Content { return wire.File{} })
		down := true
		var client *room.Client
		s := roomsource.New(func(ctx context.Context, name string) (_ *room.Client, err error) {
			if down {
				return nil, room.ErrUnreachable
			}
			client, err = p.dial(ctx, name)
			return client, err
		})
		want := func(when string, since time.Time, reason error) {
			t.Helper()
			if got, err := s.Disconnected(""); !got.Equal(since) || !errors.Is(err, reason) {
				t.Errorf("%s: %v since %v, want %v since %v", when, err, got, reason, since)
			}
		}
		resolve := func() { _, _ = s.Resolve(t.Context(), target("a")) }

		want("not dialed", time.Time{}, nil)
		start := time.Now()
		resolve()
		want("refused", start, room.ErrUnreachable)
		time.Sleep(time.Minute)
		resolve()
		want("refused again", start, room.ErrUnreachable)
		down = false
		time.Sleep(time.Minute)
		resolve()
		want("connected", time.Time{}, nil)

		time.Sleep(time.Minute)
		down, start = true, time.Now()
		_ = client.Close()
		want("ended", start, room.ErrClosed)
		time.Sleep(time.Minute)
		resolve()
		want("ended, and refused", start, room.ErrUnreachable)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A room that is joined and never answers is reported once, and has a minute for an
// answer of its own.
func TestRoomThatNeverAnswers(t *testing.T) {
	for name, resolve := range map[string]func(context.Context, *roomsource.Source, string) error{
		"secret": func(ctx context.Context, s *roomsource.Source, id string) error {
			_, err := s.Resolve(ctx, target(id))
			return err
		},
		"token": func(ctx context.Context, s *roomsource.Source, id string) error {
			_, err := s.Resolve(ctx, manifest.OAuthClient{ClientID: id}.Target(id))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t, func(string, string) wire.Content { return nil })
				s := roomsource.New(p.dial)
				start := time.Now()
				var reports []string
				s.OnRequest = func(r roomsource.RequestStatus) {
					reports = append(reports, fmt.Sprint(r.Stage, " ", r.From, " ", time.Since(start), " ", r.Deadline.Sub(start), " ", r.Err != nil))
				}
				var calls sync.WaitGroup
				for _, id := range []string{"a", "b", "c"} {
					calls.Go(func() {
						if err := resolve(t.Context(), s, id); !errors.Is(err, fetch.ErrUnreachable) || !strings.Contains(err.Error(), "no answer within 1m0s") {
							t.Errorf("%s: %v", id, err)
						}
					})
				}
				calls.Wait()
				if d := time.Since(start); d != time.Minute {
					t.Errorf("failed after %v", d)
				}
				want := []string{
					fmt.Sprint(roomsource.WaitingForRoom, "  3s 1m0s false"),
					fmt.Sprint(roomsource.Done, "  1m0s 1m0s true"),
				}
				if !slices.Equal(reports, want) {
					t.Errorf("reported %q, want %q", reports, want)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// One that answers soon is not reported.
func TestRoomThatAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, func(string, string) wire.Content {
			time.Sleep(2 * time.Second)
			return wire.File{}
		})
		s := roomsource.New(p.dial)
		s.OnRequest = func(r roomsource.RequestStatus) { t.Errorf("reported %v", r) }
		if _, err := s.Resolve(t.Context(), target("a")); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
