package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// kindOf is a reference of a kind that may take a participant.
func kindOf(kind manifest.Kind, id string) manifest.Part {
	return manifest.Part{Reference: &manifest.Reference{
		Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: string(kind) + "/" + id}, Optional: true,
	}}
}

// Without an interval a source is polled each minute, give or take a tenth.
func TestDefaultInterval(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &house{holds: map[string]any{"a": "a"}}
		follow(t, &fetch.Refresher{Sources: mux(h)}, file(manifest.Expr{ref("a")}))
		settle(time.Second)
		h.questions()
		settle(time.Hour)
		if n := h.questions()["a"]; n < 54 || n > 67 {
			t.Errorf("polled %d times in an hour", n)
		}
	})
}

// A source has a second for its answer, also where it is polled more often.
func TestAnswerTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		late := source(func(ctx context.Context, t manifest.Target) (secret.Value, error) {
			select {
			case <-time.After(900 * time.Millisecond):
				return byID(ctx, t)
			case <-ctx.Done():
				return secret.Value{}, ctx.Err()
			}
		})
		f := &fetch.Refresher{Sources: mux(late), Interval: 100 * time.Millisecond}
		snapshots := follow(t, f, file(manifest.Expr{ref("a")}))
		settle(time.Minute)
		newest(t, snapshots, 0)
		if st := f.Latest(t.Context()).State(target("a")); st.Status() != fetch.Current || time.Since(st.Confirmed) > 3*time.Second {
			t.Errorf("the state is %+v", st)
		}
	})
}

// A requester counts how often a participant would be asked, and waits for them.
type requester struct {
	*house
	tried, waiting atomic.Int64
}

func (r *requester) TryResolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	if t.Kind() == manifest.KindSecret {
		return r.Resolve(ctx, t)
	}
	r.tried.Add(1)
	return secret.Value{}, &fetch.PendingError{From: "bob"}
}

func (r *requester) Resolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	if t.Kind() == manifest.KindSecret {
		return r.house.Resolve(ctx, t)
	}
	r.waiting.Add(1)
	defer r.waiting.Add(-1)
	<-ctx.Done()
	return secret.Value{}, ctx.Err()
}

// Polls do not ask a participant, be it for a secret or for the authorization of a
// client, and a refresh asks none for a secret.
func TestParticipantsAreNotPolled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := &requester{house: &house{holds: map[string]any{"a": "a"}}}
		f := &fetch.Refresher{Sources: mux(r), Interval: time.Minute}
		snapshots := follow(t, f, file(manifest.Expr{ref("a")}, manifest.Expr{kindOf(manifest.KindRequest, "bob")}, manifest.Expr{kindOf(manifest.KindOAuth, "client")}))
		settle(time.Hour)
		if tried, waiting := r.tried.Load(), r.waiting.Load(); tried != 2 || waiting != 2 {
			t.Errorf("asked %d times, waiting for %d", tried, waiting)
		}
		newest(t, snapshots, 0)
	})

	// One who has provided a value is not asked whether it is current.
	bubble(t, func(t *testing.T) {
		h := &house{holds: map[string]any{"a": "a", "bob": "v"}}
		f := &fetch.Refresher{Sources: mux(provider{h}), Interval: time.Minute}
		follow(t, f, file(manifest.Expr{ref("a")}, manifest.Expr{kindOf(manifest.KindRequest, "bob")}))
		settle(time.Second)
		h.questions()
		f.Refresh()
		settle(time.Hour)
		if n := h.questions(); n["bob"] != 0 || n["a"] < 50 {
			t.Errorf("asked %v", n)
		}
	})
}

// A provider is a TryResolver that pushes no changes.
type provider struct{ *house }

func (p provider) TryResolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	return p.Resolve(ctx, t)
}

// A value that came on another way ends the request for it, whose end then changes
// nothing.
func TestRequestEndsWithTheValue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newPushing(map[string]any{"client": &fetch.PendingError{From: "bob"}})
		waits := waiter{h, time.Hour}
		f := &fetch.Refresher{Sources: mux(waits), Interval: time.Minute}
		snapshots := follow(t, f, file(manifest.Expr{kindOf(manifest.KindOAuth, "client")}))
		settle(time.Second)
		h.change("client", "token")
		settle(10 * time.Second)
		newest(t, snapshots, 1)
		settle(2 * time.Hour)
		newest(t, snapshots, 0)
		tg := kindOf(manifest.KindOAuth, "client").Reference.Target
		if st := f.Latest(t.Context()).State(tg); st.Status() != fetch.Current || time.Since(st.Confirmed) > 2*time.Minute {
			t.Errorf("the state is %+v", st)
		}
	})
}

// A waiter is a source whose participants do not answer within a time.
type waiter struct {
	pushingHouse
	patience time.Duration
}

func (w waiter) TryResolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	return w.pushingHouse.Resolve(ctx, t)
}

func (w waiter) Resolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	if v, err := w.pushingHouse.Resolve(ctx, t); !errors.Is(err, fetch.ErrPending) {
		return v, err
	}
	select {
	case <-time.After(w.patience):
		return secret.Value{}, fetch.ErrNoAnswer
	case <-ctx.Done():
		return secret.Value{}, ctx.Err()
	}
}

// What is asked for again takes a participant too: no poll fetches it, though the
// value that there was is in use.
func TestPendingIsNoProbe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newPushing(map[string]any{"a": "a", "bob": "v"})
		f := &fetch.Refresher{Sources: mux(waiter{h, 100 * time.Hour}), Interval: time.Minute}
		follow(t, f, file(manifest.Expr{ref("a")}, manifest.Expr{kindOf(manifest.KindRequest, "bob")}))
		settle(time.Second)
		h.put("bob", &fetch.PendingError{From: "bob"})
		h.changes <- nil
		settle(time.Second)
		h.questions()
		settle(time.Hour)
		if n := h.questions(); n["bob"] != 0 || n["a"] < 50 {
			t.Errorf("asked %v", n)
		}
	})
}

// A token that does not say when it expires is fetched by each poll, though its group
// pushes changes: a provider need not tell the room.
func TestOpaqueTokenIsPolled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newPushing(map[string]any{"client": "t", "a": "a", "b": "b", "c": "c"})
		f := &fetch.Refresher{Sources: mux(h), Interval: time.Minute}
		follow(t, f, file(manifest.Expr{kindOf(manifest.KindOAuth, "client")}, manifest.Expr{ref("a")}, manifest.Expr{ref("b")}, manifest.Expr{ref("c")}))
		settle(time.Second)
		h.questions()
		settle(time.Hour)
		if n := h.questions()["client"]; n < 54 || n > 67 {
			t.Errorf("polled %d times in an hour", n)
		}
	})
}

// A token that its room does not renew is fetched again with a pause, until it
// expires.
func TestRenewalPauses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &house{holds: map[string]any{"client": jwt(time.Now().Add(20 * time.Second))}}
		follow(t, &fetch.Refresher{Sources: mux(h), Interval: time.Hour}, file(manifest.Expr{kindOf(manifest.KindOAuth, "client")}))
		h.questions()
		settle(time.Minute)
		if n := h.questions()["client"]; n < 2 || n > 4 {
			t.Errorf("fetched %d times", n)
		}
	})
}

// The times of a state stay while nothing new is known.
func TestSince(t *testing.T) {
	for name, test := range map[string]struct {
		err error
		of  func(fetch.State) time.Time
	}{
		"stale":   {fetch.ErrUnreachable, func(s fetch.State) time.Time { return s.Stale }},
		"revoked": {fetch.ErrDenied, func(s fetch.State) time.Time { return s.Revoked }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := &house{holds: map[string]any{"a": "a", "b": "b"}}
				f := &fetch.Refresher{Sources: mux(h), Interval: time.Minute}
				follow(t, f, file(manifest.Expr{ref("a")}, manifest.Expr{ref("b")}))
				settle(10 * time.Minute)
				h.put("a", test.err)
				f.Refresh()
				settle(time.Second)
				first := f.Latest(t.Context()).State(target("a"))
				settle(time.Hour)
				last := f.Latest(t.Context()).State(target("a"))
				if test.of(first).IsZero() || !test.of(last).Equal(test.of(first)) || !last.Since.Equal(first.Since) || !last.Confirmed.Equal(first.Confirmed) {
					t.Errorf("the state is %+v, an hour later %+v", first, last)
				}
			})
		})
	}
}

// A source that pushes changes confirms what it holds, and not what it has revoked.
func TestRevokedIsNotConfirmed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newPushing(map[string]any{"a": "a", "b": "b"})
		f := &fetch.Refresher{Sources: mux(h), Interval: time.Minute}
		follow(t, f, file(manifest.Expr{ref("a")}, manifest.Expr{ref("b")}))
		settle(time.Second)
		h.change("a", fetch.ErrMissing)
		settle(time.Hour)
		s := f.Latest(t.Context())
		if st := s.State(target("a")); st.Revoked.IsZero() || st.Confirmed.After(st.Revoked) {
			t.Errorf("the state is %+v", st)
		}
		if st := s.State(target("b")); time.Since(st.Confirmed) > 2*time.Minute {
			t.Errorf("the state is %+v", st)
		}
	})
}

// What one reference may lack and another one may not is a violation of the other one
// alone.
func TestViolationOfTheRequired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newPushing(map[string]any{"a": "a"})
		m := file(manifest.Expr{optional("a")}, manifest.Expr{ref("a")})
		snapshots := follow(t, &fetch.Refresher{Sources: mux(h)}, m)
		settle(time.Second)
		h.change("a", fetch.ErrMissing)
		all := newest(t, snapshots, 1).Violations(m, time.Now())
		if len(all) != 1 || all[0].Name != "B" || !all[0].Revoked {
			t.Errorf("violations: %+v", all)
		}
	})
}

// All references to what is missing are in the table, so that one run finds them.
func TestAllMissingAreNamed(t *testing.T) {
	values := make([]manifest.Expr, 50)
	for i := range values {
		values[i] = manifest.Expr{ref(fmt.Sprint("missing-", i))}
	}
	_, err := fetch.Resolve(t.Context(), file(values...), mux(byID))
	for i := range values {
		if want := fmt.Sprintf("room:secret/missing-%d\n", i); err == nil || !strings.Contains(err.Error()+"\n", want) {
			t.Errorf("%s is not in the table:\n%v", want, err)
			break
		}
	}
}

// A watcher counts how it is watched. It pushes for a while each time, or fails.
type watcher struct {
	*house
	pushes  time.Duration // 0: it fails at once
	err     error
	watched atomic.Int64
}

func (w *watcher) Watch(ctx context.Context, _ string, f func(func(manifest.Target) bool)) error {
	w.watched.Add(1)
	if w.pushes > 0 {
		f(nil)
	}
	select {
	case <-time.After(w.pushes):
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A group that pushes no changes is polled for all values. It is watched again with
// exponential backoff that starts over when it pushed, unless it never pushes.
func TestWatchEnds(t *testing.T) {
	for name, test := range map[string]struct {
		pushes   time.Duration
		err      error
		min, max int64 // how often it is watched in an hour
		polled   bool
	}{
		"unsupported":        {0, fetch.ErrUnsupported, 1, 1, true},
		"unsupported by now": {10 * time.Second, fetch.ErrUnsupported, 1, 1, true},
		"fails":              {0, errors.New("not now"), 100, 300, true},
		"fails now and then": {10 * time.Second, errors.New("not now"), 300, 400, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := &watcher{house: &house{holds: map[string]any{"a": "a", "b": "b", "c": "c"}}, pushes: test.pushes, err: test.err}
				follow(t, &fetch.Refresher{Sources: mux(w), Interval: 2 * time.Second}, file(manifest.Expr{ref("a")}, manifest.Expr{ref("b")}, manifest.Expr{ref("c")}))
				settle(time.Minute)
				w.questions()
				settle(time.Hour)
				if n := w.watched.Load(); n < test.min || n > test.max {
					t.Errorf("watched %d times in an hour", n)
				}
				if n := w.questions(); test.polled && (n["a"] < 1600 || n["b"] != n["a"] || n["c"] != n["a"]) {
					t.Errorf("polled %v in an hour", n)
				}
			})
		})
	}
}

// What changed after the last push is fetched when a group pushes no more, and not only
// by the next poll.
func TestChangesBeforeWatchEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := &watcher{house: &house{holds: map[string]any{"a": "a"}}, pushes: 10 * time.Second, err: errors.New("not now")}
		snapshots := follow(t, &fetch.Refresher{Sources: mux(w), Interval: time.Hour}, file(manifest.Expr{ref("a")}))
		settle(5 * time.Second)
		w.put("a", "new")
		settle(5200 * time.Millisecond)
		wantValue(t, newest(t, snapshots, 1), "a", "new")
	})
}

// A clock that is set back does not hold up a change that was batched.
func TestClockSetBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newPushing(map[string]any{"a": "0"})
		f := &fetch.Refresher{Sources: mux(h), Interval: time.Minute}
		var offset atomic.Int64
		f.SetNow(func() time.Time { return time.Now().Add(time.Duration(offset.Load())).Round(0) })
		snapshots := follow(t, f, file(manifest.Expr{ref("a")}))
		settle(time.Second)
		h.change("a", "1")
		newest(t, snapshots, 1)
		h.change("a", "2")
		newest(t, snapshots, 0) // it is batched
		offset.Store(int64(-8 * time.Hour))
		settle(11 * time.Second)
		wantValue(t, newest(t, snapshots, 1), "a", "2")
	})
}

// A group is watched after a moment, since that fetches all of its values once more: in
// vain for a command that exits at once.
func TestHeadStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := &watcher{house: &house{holds: map[string]any{"a": "a"}}, pushes: time.Hour}
		follow(t, &fetch.Refresher{Sources: mux(w)}, file(manifest.Expr{ref("a")}))
		for after, want := range []int64{0, 1} { // in tenths of a second
			settle(time.Duration(after*100+1) * time.Millisecond)
			if n := w.watched.Load(); n != want {
				t.Errorf("watched %d times, want %d", n, want)
			}
		}
	})
}

// A value that is fetched again and equal is confirmed, and is since when it came.
func TestEqualValue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &house{holds: map[string]any{"a": "a"}}
		f := &fetch.Refresher{Sources: mux(h), Interval: time.Minute}
		follow(t, f, file(manifest.Expr{ref("a")}))
		settle(time.Second)
		first := f.Latest(t.Context()).State(target("a"))
		settle(time.Hour)
		last := f.Latest(t.Context()).State(target("a"))
		if first.Since.IsZero() || !last.Since.Equal(first.Since) || last.Confirmed.Sub(first.Confirmed) < 50*time.Minute {
			t.Errorf("the state is %+v, an hour later %+v", first, last)
		}
	})
}
