package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// A house is a source that holds what a test puts there: by id a text, an error,
// or nil for a question that is never answered.
type house struct {
	mu    sync.Mutex
	holds map[string]any
	asked []string
}

func (h *house) put(id string, what any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds[id] = what
}

// questions returns how often was asked for each id since it was called last.
func (h *house) questions() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := make(map[string]int)
	for _, id := range h.asked {
		n[id]++
	}
	h.asked = nil
	return n
}

func (h *house) Resolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	h.mu.Lock()
	h.asked = append(h.asked, t.ID())
	held := h.holds[t.ID()]
	h.mu.Unlock()
	switch held := held.(type) {
	case string:
		return secret.New([]byte(held)), nil
	case error:
		return secret.Value{}, held
	}
	<-ctx.Done()
	return secret.Value{}, ctx.Err()
}

// A pushingHouse tells of changes.
type pushingHouse struct {
	*house
	changes chan []string
}

func newPushing(holds map[string]any) pushingHouse {
	return pushingHouse{&house{holds: holds}, make(chan []string)}
}

func (h pushingHouse) Watch(ctx context.Context, _ string, f func(func(manifest.Target) bool)) error {
	f(nil)
	for {
		select {
		case ids := <-h.changes:
			if ids == nil {
				f(nil)
				continue
			}
			f(func(t manifest.Target) bool { return t.Kind() != manifest.KindSecret || slices.Contains(ids, t.ID()) })
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// change puts what under id and tells of it.
func (h pushingHouse) change(id string, what any) {
	h.put(id, what)
	h.changes <- []string{id}
}

// follow resolves m and follows it until the test ends.
func follow(t *testing.T, f *fetch.Refresher, m *manifest.Manifest) <-chan *fetch.Snapshot {
	t.Helper()
	last, err := fetch.Resolve(t.Context(), m, f.Sources)
	if err != nil {
		t.Fatal(err)
	}
	return followFrom(t, f, m, last)
}

func followFrom(t *testing.T, f *fetch.Refresher, m *manifest.Manifest, last *fetch.Snapshot) <-chan *fetch.Snapshot {
	snapshots := make(chan *fetch.Snapshot, 1000)
	go func() {
		defer close(snapshots)
		for s := range f.Run(t.Context(), m, last) {
			snapshots <- s
		}
	}()
	return snapshots
}

// settle waits for what goes on in the bubble, after d.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// newest returns the last of n snapshots, which are all that there are.
func newest(t *testing.T, snapshots <-chan *fetch.Snapshot, n int) *fetch.Snapshot {
	t.Helper()
	synctest.Wait()
	if len(snapshots) != n {
		t.Fatalf("%d snapshots, want %d", len(snapshots), n)
	}
	var s *fetch.Snapshot
	for range n {
		s = <-snapshots
	}
	return s
}

func wantValue(t *testing.T, s *fetch.Snapshot, id, want string) {
	t.Helper()
	if v, ok := s.Value(target(id)); !ok || string(v.Reveal()) != want {
		t.Errorf("%s is %q, %t, want %q", id, v.Reveal(), ok, want)
	}
}

// A room that tells of nothing is asked for everything in rounds, and what it
// answers is no news unless it is another value.
func TestPoll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &house{holds: map[string]any{}}
		var values []manifest.Expr
		for i := range 100 {
			h.put(fmt.Sprint(i), "old")
			values = append(values, manifest.Expr{ref(fmt.Sprint(i))})
		}
		snapshots := follow(t, &fetch.Refresher{Sources: mux(h), Interval: 10 * time.Second}, file(values...))
		h.questions()

		var gaps []time.Duration
		for last := time.Now(); len(gaps) < 20; {
			settle(100 * time.Millisecond)
			switch n := h.questions(); {
			case len(n) == 0:
				continue
			case len(n) != 100:
				t.Fatalf("%d were asked for at once", len(n))
			}
			gaps = append(gaps, time.Since(last))
			last = time.Now()
		}
		if shortest, longest := slices.Min(gaps), slices.Max(gaps); shortest < 9*time.Second || longest > 11200*time.Millisecond || longest-shortest < 100*time.Millisecond {
			t.Errorf("rounds came after %v to %v", shortest, longest)
		}
		newest(t, snapshots, 0)

		h.put("7", "new")
		h.put("8", "new")
		settle(11 * time.Second)
		s := newest(t, snapshots, 1)
		wantValue(t, s, "7", "new")
		wantValue(t, s, "8", "new")
		wantValue(t, s, "9", "old")
	})
}

// What a room does not hold, or denies, is asked for less and less.
func TestBackOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &house{holds: map[string]any{"here": "v", "missing": fetch.ErrMissing, "denied": "v", "away": "v"}}
		m := file(manifest.Expr{ref("here")}, manifest.Expr{optional("missing")}, manifest.Expr{ref("denied")}, manifest.Expr{ref("away")})
		snapshots := follow(t, &fetch.Refresher{Sources: mux(h), Interval: time.Minute}, m)
		h.put("denied", fetch.ErrDenied)
		h.put("away", fetch.ErrUnreachable)
		h.questions()
		settle(64*time.Minute + 30*time.Second)
		n := h.questions()
		// Rounds 2 apart, 4, 8, then 16 each.
		if n["here"] < 58 || n["away"] != n["here"] || n["missing"] < 6 || n["missing"] > 8 || n["denied"] < 6 || n["denied"] > 8 {
			t.Errorf("asked %v", n)
		}
		newest(t, snapshots, 1)
		h.put("missing", "there")
		settle(18 * time.Minute)
		wantValue(t, newest(t, snapshots, 1), "missing", "there")
		h.questions()
		settle(10 * time.Minute)
		if n := h.questions(); n["missing"] != n["here"] {
			t.Errorf("asked %v", n)
		}
	})
}

// A question without an answer ends when it is time for the next one, and holds up
// nothing.
func TestHang(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &house{holds: map[string]any{"good": "1", "hangs": "v"}}
		snapshots := follow(t, &fetch.Refresher{Sources: mux(h), Interval: 10 * time.Second}, file(manifest.Expr{ref("good")}, manifest.Expr{ref("hangs")}))
		h.put("hangs", nil)
		h.put("good", "new")
		settle(12 * time.Second)
		wantValue(t, newest(t, snapshots, 1), "good", "new")
		settle(12 * time.Second)
		s := newest(t, snapshots, 1)
		wantValue(t, s, "hangs", "v")
		if st := s.State(target("hangs")); st.Stale.IsZero() || !errors.Is(st.Err, fetch.ErrUnreachable) || !errors.Is(st.Err, context.DeadlineExceeded) {
			t.Errorf("the state is %+v", st)
		}
		h.put("hangs", "v")
		settle(45 * time.Second)
		if st := newest(t, snapshots, 1).State(target("hangs")); !st.Stale.IsZero() || st.Err != nil {
			t.Errorf("the state is %+v", st)
		}
	})
}

// The first change is told at once and the others together.
func TestDebounce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newPushing(map[string]any{"a": "0"})
		snapshots := follow(t, &fetch.Refresher{Sources: mux(h)}, file(manifest.Expr{ref("a")}))
		settle(0)

		h.change("a", "1")
		wantValue(t, newest(t, snapshots, 1), "a", "1")
		for i := range 99 {
			h.change("a", fmt.Sprint("x", i))
			settle(10 * time.Millisecond)
		}
		newest(t, snapshots, 0)
		settle(480 * time.Millisecond)
		newest(t, snapshots, 0)
		settle(20 * time.Millisecond)
		wantValue(t, newest(t, snapshots, 1), "a", "x98")

		// What is set back before it is told was nothing.
		h.change("a", "other")
		settle(100 * time.Millisecond)
		h.change("a", "x98")
		settle(time.Minute)
		newest(t, snapshots, 0)

		// It never waits longer than ten times.
		h.change("a", "first")
		newest(t, snapshots, 1)
		for i := range 56 {
			h.change("a", fmt.Sprint(i))
			settle(99 * time.Millisecond)
		}
		wantValue(t, newest(t, snapshots, 1), "a", "50")
		settle(time.Second)
		wantValue(t, newest(t, snapshots, 1), "a", "55")
	})
}

// What changes while the snapshot before is dealt with is one snapshot, and does
// not hold up who tells of it.
func TestSlowLoop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newPushing(map[string]any{"a": "0"})
		m := file(manifest.Expr{ref("a")})
		last, err := fetch.Resolve(t.Context(), m, mux(h))
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 10)
		f := &fetch.Refresher{Sources: mux(h)}
		go func() {
			for s := range f.Run(t.Context(), m, last) {
				v, _ := s.Value(target("a"))
				got <- string(v.Reveal())
				select {
				case <-time.After(time.Hour):
				case <-t.Context().Done():
				}
			}
		}()
		settle(0)
		h.change("a", "1")
		settle(time.Second)
		for i := range 10 {
			h.change("a", fmt.Sprint("x", i))
			settle(time.Minute)
		}
		h.change("a", "1") // and what is set back is nothing here too
		settle(time.Minute)
		h.change("a", "last")
		settle(time.Hour)
		if first, second := <-got, <-got; first != "1" || second != "last" || len(got) > 0 {
			t.Errorf("got %s, %s and %d more", first, second, len(got))
		}
	})
}

// A room that tells of changes is asked for what they concern, and for one value
// now and then.
func TestPush(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newPushing(map[string]any{"a": "a", "b": "b", "c": "c", "client": "t"})
		token := manifest.Target{Scheme: manifest.SchemeRoom, Path: "oauth/client"}
		m := file(manifest.Expr{ref("a")}, manifest.Expr{ref("b")}, manifest.Expr{ref("c")}, manifest.Expr{{Reference: &manifest.Reference{Target: token}}})
		h.put("client", jwt(time.Now().Add(1000*time.Hour)))
		f := &fetch.Refresher{Sources: mux(h), Interval: time.Minute}
		snapshots := follow(t, f, m)
		settle(time.Second)
		if n := h.questions(); n["a"] != 2 {
			t.Errorf("asked %v: what has changed before is lost", n)
		}
		h.change("b", "b2")
		wantValue(t, newest(t, snapshots, 1), "b", "b2")
		h.change("b", "b2")
		settle(0)
		if n := h.questions(); n["a"] != 0 || n["b"] != 2 || n["client"] != 0 {
			t.Errorf("asked %v", n)
		}
		settle(10 * time.Second)
		if n := h.questions(); len(n) != 1 || n["client"] != 1 {
			t.Errorf("asked %v", n)
		}

		settle(40 * time.Minute)
		total := 0
		n := h.questions()
		for _, id := range []string{"a", "b", "c", "client"} {
			total += n[id]
			if n[id] == 0 {
				t.Errorf("never asked for %s", id)
			}
		}
		if total < 36 || total > 45 {
			t.Errorf("asked %v in 40 rounds", n)
		}

		// One that does not answer has all of them asked for.
		for _, id := range []string{"a", "b", "c", "client"} {
			h.put(id, fetch.ErrUnreachable)
		}
		settle(67 * time.Second)
		s := newest(t, snapshots, 1)
		for _, id := range []string{"a", "b", "c"} {
			st := s.State(target(id))
			if st.Stale.IsZero() || !st.Revoked.IsZero() || time.Since(st.Confirmed) > 3*time.Minute {
				t.Errorf("the state of %s is %+v", id, st)
			}
		}
		// After a gap only what is another value counts.
		h.put("a", "a")
		h.put("b", "b3")
		h.put("c", "c")
		h.put("client", jwt(time.Now().Add(1000*time.Hour)))
		h.changes <- nil
		s = newest(t, snapshots, 1)
		wantValue(t, s, "b", "b3")
		if !s.State(target("a")).Stale.IsZero() || s.State(target("a")).Err != nil {
			t.Errorf("the state is %+v", s.State(target("a")))
		}
		h.changes <- nil
		settle(time.Minute)
		newest(t, snapshots, 0)
		h.questions()
		f.Refresh()
		synctest.Wait()
		if n := h.questions(); len(n) != 4 {
			t.Errorf("refreshed %v", n)
		}
	})
}

// Who refuses the connection has revoked nothing; who refuses or lacks the value
// itself has.
func TestRevoked(t *testing.T) {
	for name, test := range map[string]struct {
		err            error
		optional       bool
		held           bool
		stale, revoked bool
	}{
		"missing":              {fetch.ErrMissing, false, true, false, true},
		"denied":               {fetch.ErrDenied, false, true, false, true},
		"optional and missing": {fetch.ErrMissing, true, false, false, false},
		"optional and denied":  {fetch.ErrDenied, true, true, false, true},
		"expired token":        {fmt.Errorf("%w: %w", fetch.ErrDenied, fetch.ErrUnknown), false, true, true, false},
		"away":                 {fetch.ErrUnreachable, true, true, true, false},
		"no toolkit":           {fetch.ErrUnsupported, false, true, true, false},
		"asked anew":           {&fetch.PendingError{From: "bob"}, true, true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newPushing(map[string]any{"a": "1"})
				m := file(manifest.Expr{{Reference: &manifest.Reference{Target: target("a"), Optional: test.optional}}})
				snapshots := follow(t, &fetch.Refresher{Sources: mux(h)}, m)
				synctest.Wait()
				h.change("a", test.err)
				s := newest(t, snapshots, 1)
				_, held := s.Value(target("a"))
				st := s.State(target("a"))
				if held != test.held || st.Stale.IsZero() == test.stale || st.Revoked.IsZero() == test.revoked || !errors.Is(st.Err, test.err) {
					t.Errorf("held is %t, the state %+v", held, st)
				}
				if (s.Err(target("a")) == nil) != held {
					t.Errorf("there is no value because of %v", s.Err(target("a")))
				}
				lapses := s.Violations(m, time.Now())
				if len(lapses) > 0 != test.revoked {
					t.Errorf("lapsed is %v", lapses)
				}
				// A room that is away then takes nothing back.
				if test.revoked {
					h.change("a", fetch.ErrUnreachable)
					settle(time.Second)
					newest(t, snapshots, 0)
				}
				h.change("a", "1")
				settle(time.Second)
				s = newest(t, snapshots, 1)
				wantValue(t, s, "a", "1")
				if st := s.State(target("a")); !st.Stale.IsZero() || !st.Revoked.IsZero() || st.Err != nil || len(s.Violations(m, time.Now())) > 0 {
					t.Errorf("the state is %+v", st)
				}
			})
		})
	}
}

// What an optional reference lacks stays that way while the room is away.
func TestAbsentStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newPushing(map[string]any{"a": fetch.ErrMissing})
		snapshots := follow(t, &fetch.Refresher{Sources: mux(h)}, file(manifest.Expr{optional("a")}))
		synctest.Wait()
		h.change("a", fetch.ErrUnreachable)
		if s := newest(t, snapshots, 1); !fetch.IsAbsent(s.Err(target("a"))) || s.State(target("a")).Stale.IsZero() {
			t.Errorf("the state is %+v", s.State(target("a")))
		}
	})
}

// A value is too stale at a time of its own, by what its entry says.
func TestMaxStale(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &house{holds: map[string]any{"a": "a", "b": "b"}}
		m := file(manifest.Expr{ref("a")}, manifest.Expr{ref("a")}, manifest.Expr{ref("b"), ref("b")})
		m.Entries[0].UpdatePolicy = manifest.UpdatePolicy{MaxStale: 20 * time.Minute, OnStale: manifest.ActionExit, OnRevoked: manifest.ActionKeep}
		m.Entries[1].UpdatePolicy = manifest.UpdatePolicy{MaxStale: 10 * time.Minute, OnStale: manifest.ActionStop, OnRevoked: manifest.ActionKeep}
		m.Entries[2].UpdatePolicy = manifest.UpdatePolicy{MaxStale: 10 * time.Minute, OnStale: manifest.ActionStop}
		m.Files = []manifest.File{{Path: "f", Entries: []manifest.Entry{{Value: manifest.Expr{ref("a")}}}}}
		m.Files[0].UpdatePolicy = manifest.UpdatePolicy{MaxStale: time.Hour, OnRevoked: manifest.ActionKeep}
		start := time.Now()
		snapshots := follow(t, &fetch.Refresher{Sources: mux(h), Interval: time.Minute}, m)
		h.put("a", fetch.ErrUnreachable)
		h.put("b", fetch.ErrUnreachable)

		lapsed := func(after time.Duration) (names []string) {
			t.Helper()
			settle(time.Until(start.Add(after)))
			for _, l := range newest(t, snapshots, 1).Violations(m, time.Now()) {
				if l.Since.IsZero() || l.Err == nil || l.Reference == "" || l.Pos.Line == 0 && l.Name != "f" {
					t.Errorf("incomplete: %+v", l)
				}
				names = append(names, fmt.Sprint(l.Name, " ", l.Action, " ", l.Revoked))
			}
			return names
		}
		for _, step := range []struct {
			after time.Duration
			want  []string
		}{
			{2 * time.Minute, nil},
			{10 * time.Minute, []string{"B stop false", "C stop false"}},
			{20 * time.Minute, []string{"A exit false", "B stop false", "C stop false"}},
			{time.Hour, []string{"A exit false", "B stop false", "C stop false", "f warn false"}},
		} {
			if got := lapsed(step.after); !slices.Equal(got, step.want) {
				t.Errorf("after %v %v have lapsed, want %v", step.after, got, step.want)
			}
		}
		h.put("a", "a")
		h.put("b", fetch.ErrMissing)
		if got := lapsed(62 * time.Minute); !slices.Equal(got, []string{"C stop true"}) {
			t.Errorf("%v have lapsed", got)
		}
		h.put("a", fetch.ErrDenied)
		if got, want := lapsed(64*time.Minute), []string{"C stop true", "A keep true", "B keep true", "f keep true"}; !slices.Equal(got, want) {
			t.Errorf("%v have lapsed, want %v", got, want)
		}
	})
}

// A suspended machine's timers stand still; the wall clock does not. What is due
// is done soon after.
func TestSuspend(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 8 * time.Hour, "backward": -8 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var mu sync.Mutex
				var offset time.Duration
				h := &house{holds: map[string]any{"a": "old"}}
				f := &fetch.Refresher{Sources: mux(h), Interval: time.Hour}
				f.SetNow(func() time.Time {
					mu.Lock()
					defer mu.Unlock()
					return time.Now().Add(offset).Round(0)
				})
				snapshots := follow(t, f, file(manifest.Expr{ref("a")}))
				settle(time.Minute)
				h.put("a", "new")
				mu.Lock()
				offset = jump
				mu.Unlock()
				settle(11 * time.Second)
				wantValue(t, newest(t, snapshots, 1), "a", "new")
				h.questions()
				settle(50 * time.Minute)
				if n := h.questions(); len(n) > 0 {
					t.Errorf("asked %v before it is time", n)
				}
				settle(20 * time.Minute)
				if n := h.questions(); n["a"] != 1 {
					t.Errorf("asked %v", n)
				}
			})
		})
	}
}

// A target that the snapshot before does not know is asked for, and all of it has
// ended with the loop.
func TestFollowFromNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newPushing(map[string]any{"a": "1", "b": nil})
		f := &fetch.Refresher{Sources: mux(h)}
		ctx, cancel := context.WithCancel(t.Context())
		snapshots := f.Run(ctx, file(manifest.Expr{ref("a")}, manifest.Expr{ref("b")}), new(fetch.Snapshot))
		wantValue(t, <-snapshots, "a", "1")
		cancel()
		for range snapshots {
			t.Error("a snapshot after the end")
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range f.Run(ctx, file(manifest.Expr{ref("b")}), new(fetch.Snapshot)) {
			t.Error("a snapshot of nothing")
		}
		if ctx.Err() == nil {
			t.Error("it ended by itself")
		}
	})
}

// people is an Asker whose every value takes a person, who answers after a time.
type people map[string]struct {
	after time.Duration
	err   error
}

func (p people) TryResolve(context.Context, manifest.Target) (secret.Value, error) {
	return secret.Value{}, &fetch.PendingError{From: "bob"}
}

func (p people) Resolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	select {
	case <-time.After(p[t.ID()].after):
		return secret.New([]byte(t.ID())), p[t.ID()].err
	case <-ctx.Done():
		return secret.Value{}, ctx.Err()
	}
}

// What is pending is waited for, and nobody is asked again in a round.
func TestFollowPending(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := people{"slow": {after: 3 * time.Hour}, "quick": {after: time.Second}, "unwilling": {after: time.Hour, err: fetch.ErrRejected}}
		values := make([]manifest.Expr, 0, 3)
		for _, id := range []string{"slow", "quick", "unwilling"} {
			values = append(values, manifest.Expr{{Reference: &manifest.Reference{
				Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: "request/" + id}, Optional: true,
			}}})
		}
		m := file(values...)
		last, err := fetch.Resolve(t.Context(), m, mux(s))
		pending := func(s *fetch.Snapshot) (n int) {
			for _, e := range m.Entries {
				if s.State(e.Value[0].Reference.Target).Status() == fetch.Pending {
					n++
				}
			}
			return n
		}
		if err != nil || pending(last) != 3 {
			t.Fatalf("%v, %d pending", err, pending(last))
		}
		snapshots := followFrom(t, &fetch.Refresher{Sources: mux(s)}, m, last)
		for i, after := range []time.Duration{2 * time.Second, 2 * time.Hour, 2 * time.Hour} {
			settle(after)
			s := newest(t, snapshots, 1)
			unwilling := manifest.Target{Scheme: manifest.SchemeRoom, Path: "request/unwilling"}
			if refused := errors.Is(s.Err(unwilling), fetch.ErrRejected); refused != (i > 0) {
				t.Errorf("refused is %t", refused)
			}
			if _, ok := s.Value(manifest.Target{Scheme: manifest.SchemeRoom, Path: "request/slow"}); ok != (i == 2) {
				t.Errorf("the slow one is there: %t", ok)
			}
			if pending(s) != 2-i {
				t.Errorf("%d pending", pending(s))
			}
		}
		if pending(last) != 3 {
			t.Error("the snapshot before has changed")
		}
		settle(time.Hour)
		newest(t, snapshots, 0)
	})
}

// Who refused is not asked again because something else changes.
func TestRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newPushing(map[string]any{"a": "1", "bob": fetch.ErrRejected, "client": fetch.ErrNoAnswer})
		asked := func(kind manifest.Kind, id string) manifest.Expr {
			return manifest.Expr{{Reference: &manifest.Reference{Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: string(kind) + "/" + id}, Optional: true}}}
		}
		f := &fetch.Refresher{Sources: mux(h)}
		follow(t, f, file(manifest.Expr{ref("a")}, asked(manifest.KindRequest, "bob"), asked(manifest.KindOAuth, "client")))
		settle(0)
		h.change("a", "2")
		h.changes <- nil
		f.Refresh()
		settle(time.Hour)
		if n := h.questions(); n["bob"] != 1 || n["client"] != 1 {
			t.Errorf("asked %v", n)
		}
	})
}

// That a value was confirmed is no snapshot, but is known to who asks.
func TestLatest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &house{holds: map[string]any{"a": "a"}}
		f := &fetch.Refresher{Sources: mux(h), Interval: time.Minute}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if s := f.Latest(ended); s != nil {
			t.Errorf("%v is known before anything is followed", s)
		}
		snapshots := follow(t, f, file(manifest.Expr{ref("a")}))
		start := time.Now()
		settle(10 * time.Minute)
		s := f.Latest(t.Context())
		if confirmed := s.State(target("a")).Confirmed.Sub(start); confirmed < 8*time.Minute || len(snapshots) > 0 {
			t.Errorf("confirmed %v after the start, and %d snapshots", confirmed, len(snapshots))
		}
	})
}

// What somebody else was told later is known, too.
func TestWith(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &house{holds: map[string]any{"a": "a1", "b": "b1", "c": "c1"}}
		resolve := func(m *manifest.Manifest) *fetch.Snapshot {
			s, err := fetch.Resolve(t.Context(), m, mux(h))
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			return s
		}
		first := resolve(file(manifest.Expr{ref("a")}, manifest.Expr{ref("b")}))
		h.put("a", "a2")
		h.put("c", "c2")
		later := resolve(file(manifest.Expr{ref("a")}, manifest.Expr{ref("c")}))
		for _, s := range []*fetch.Snapshot{first.With(later), later.With(first).With(nil)} {
			wantValue(t, s, "a", "a2")
		}
		wantValue(t, first.With(later), "b", "b1")
		if _, held := first.With(later).Value(target("c")); held {
			t.Error("it has what it was not asked for")
		}
		wantValue(t, first, "a", "a1")
	})
}
