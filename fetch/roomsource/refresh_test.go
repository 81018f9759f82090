package roomsource_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// await reads snapshots until there is one for which is holds.
func await(t *testing.T, snapshots <-chan *fetch.Snapshot, what string, is func(*fetch.Snapshot) bool) *fetch.Snapshot {
	t.Helper()
	for {
		select {
		case s := <-snapshots:
			if s != nil && is(s) {
				return s
			}
			if s == nil {
				t.Fatal("the following has ended")
			}
		case <-soon(t).Done():
			t.Fatalf("no snapshot in which %s", what)
		}
	}
}

func awaitValue(t *testing.T, snapshots <-chan *fetch.Snapshot, tg manifest.Target, want string) {
	t.Helper()
	await(t, snapshots, tg.ID()+" is "+want, func(s *fetch.Snapshot) bool {
		v, ok := s.Value(tg)
		return ok && string(v.Reveal()) == want && s.State(tg).Err == nil
	})
}

func text(id, value string) room.NewSecret {
	return room.NewSecret{ID: id, Value: secret.New([]byte(value))}
}

// pushing follows m in s, and returns when changes are told of: until then what
// is set again is another value. The interval is too long to matter.
func pushing(t *testing.T, r *rooms, s *roomsource.Source, m *manifest.Manifest) (<-chan *fetch.Snapshot, *fetch.Refresher) {
	t.Helper()
	m.Entries = append(m.Entries, manifest.Entry{Name: "ZERO", Value: manifest.Expr{optional("zero")}})
	f := &fetch.Refresher{Sources: mux(s), Interval: time.Hour, Debounce: time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	last, err := fetch.Resolve(ctx, m, mux(s))
	if err != nil {
		t.Fatal(err)
	}
	snapshots := make(chan *fetch.Snapshot, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range f.Run(ctx, m, last) {
			snapshots <- s
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	r.store(t, "", text("zero", "0"))
	awaitValue(t, snapshots, target("zero"), "0")
	return snapshots, f
}

// What is set reaches who follows, and what is deleted is revoked.
func TestFollowRoom(t *testing.T) {
	t.Parallel()
	r := newRooms(t)
	r.store(t, "", text("a", "1"), text("b", "1"))
	m := file(manifest.Expr{ref("a")}, manifest.Expr{ref("b")})
	s := r.source(t)
	snapshots, _ := pushing(t, r, s, m)
	before := s.Requests()
	r.store(t, "", text("a", "2"))
	awaitValue(t, snapshots, target("a"), "2")
	if n := s.Requests() - before; n != 1 {
		t.Errorf("%d requests for one change", n)
	}

	c, err := r.dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Secrets().Delete(t.Context(), "b", ""); err != nil {
		t.Fatal(err)
	}
	snapshot := await(t, snapshots, "b is revoked", func(s *fetch.Snapshot) bool { return !s.State(target("b")).Revoked.IsZero() })
	wantValue(t, snapshot, "b", "1")
	if l := snapshot.Violations(m, time.Now()); len(l) != 1 || l[0].Name != "B" || !l[0].Revoked || l[0].Action != manifest.ActionStop || !errors.Is(l[0].Err, fetch.ErrMissing) {
		t.Errorf("lapsed is %+v", l)
	}
	r.store(t, "", text("b", "3"))
	awaitValue(t, snapshots, target("b"), "3")
}

// A token without the grant revokes; one with it brings all back.
func TestFollowPermission(t *testing.T) {
	t.Parallel()
	r := newRooms(t)
	r.store(t, "", text("a", "1"))
	s := r.source(t)
	snapshots, f := pushing(t, r, s, file(manifest.Expr{ref("a")}))
	full := r.setScope(new(token.Scope))
	s.Reconnect()
	f.Refresh()
	revoked := await(t, snapshots, "a is revoked", func(s *fetch.Snapshot) bool { return !s.State(target("a")).Revoked.IsZero() })
	if st := revoked.State(target("a")); !errors.Is(st.Err, fetch.ErrDenied) {
		t.Errorf("the state is %+v", st)
	}
	r.setScope(full)
	s.Reconnect()
	f.Refresh()
	awaitValue(t, snapshots, target("a"), "1")
}

// A room that is away makes values stale, and brings its news back with it. Who
// refuses the token on the way takes nothing away.
func TestFollowRoomThatGoesAndComes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	holder, err := localroom.Open(dir, localroom.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Acquire(); err != nil {
		t.Fatal(err)
	}
	elsewhere := &rooms{embedded: holder, scope: token.UserScope()}
	elsewhere.store(t, "", text("a", "1"), text("b", "1"))

	r := openRooms(t, dir)
	m := file(manifest.Expr{ref("a")}, manifest.Expr{ref("b")})
	snapshots, _ := pushing(t, elsewhere, r.source(t), m)

	r.forged.Store(true)
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	// Which ends the client for good.
	s := await(t, snapshots, "a is stale", func(s *fetch.Snapshot) bool { return !s.State(target("a")).Stale.IsZero() })
	wantValue(t, s, "a", "1")
	if st := s.State(target("a")); !st.Revoked.IsZero() || !errors.Is(st.Err, room.ErrForbidden) || len(s.Violations(m, time.Now())) > 0 {
		t.Errorf("the state is %+v", st)
	}
	r.forged.Store(false)
	r.store(t, "", text("a", "2"))
	awaitValue(t, snapshots, target("a"), "2")
	r.store(t, "", text("b", "3"))
	awaitValue(t, snapshots, target("b"), "3")
}

// When the room changes hands, what was set meanwhile is not lost.
func TestFollowAcrossHolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	holder, err := localroom.Open(dir, localroom.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Acquire(); err != nil {
		t.Fatal(err)
	}
	old := &rooms{embedded: holder, scope: token.UserScope()}
	old.store(t, "", text("a", "0"))
	r := openRooms(t, dir)
	snapshots, _ := pushing(t, old, r.source(t), file(manifest.Expr{ref("a")}))
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		value := fmt.Sprint("v", i)
		r.store(t, "", text("a", value))
		awaitValue(t, snapshots, target("a"), value)
	}
}

// What is provided reaches who follows, and stays when it is gone in the room and
// asked for again.
func TestFollowRequest(t *testing.T) {
	t.Parallel()
	r := newRooms(t)
	bob := r.join(t, "bob", false)
	part := request("bob", "https://late.example", 0)
	part.Reference.Optional = true
	tg := part.Reference.Target
	snapshots, f := pushing(t, r, r.source(t), file(manifest.Expr{part}))
	bob.provide(t, "sk-1")
	awaitValue(t, snapshots, tg, "sk-1")
	f.Refresh()
	r.store(t, "", text("zero", "1"))
	awaitValue(t, snapshots, target("zero"), "1")
	if len(bob.asked) > 0 {
		t.Fatal("asked again for what is there")
	}

	alice, err := r.dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()
	if err := alice.Secrets().DeleteRequested(t.Context(), tg.Param("url"), tg.Param("type"), ""); err != nil {
		t.Fatal(err)
	}
	s := await(t, snapshots, "it is asked for again", func(s *fetch.Snapshot) bool { return s.State(tg).Status() == fetch.Pending })
	if v, ok := s.Value(tg); !ok || string(v.Reveal()) != "sk-1" {
		t.Error("the value did not stay")
	}
	pending, ok := errors.AsType[*fetch.PendingError](s.State(tg).Err)
	if !ok || pending.From != "bob" || time.Until(pending.Until) <= 0 {
		t.Errorf("pending is %+v", pending)
	}
	bob.provide(t, "sk-2")
	awaitValue(t, snapshots, tg, "sk-2")
}

// A room whose client has ended is dialled again, not at once.
func TestRedial(t *testing.T) {
	t.Parallel()
	r := newRooms(t)
	r.store(t, "", text("a", "1"))
	s := r.source(t)
	r.forged.Store(true)
	for range 3 {
		if _, err := s.Resolve(t.Context(), target("a")); !errors.Is(err, room.ErrForbidden) {
			t.Fatal(err)
		}
	}
	if n := r.dials.Load(); n != 1 {
		t.Errorf("dialled %d times", n)
	}
	r.forged.Store(false)
	s.Reconnect()
	if _, err := s.Resolve(t.Context(), target("a")); err != nil {
		t.Errorf("after a new token: %v", err)
	}
}
