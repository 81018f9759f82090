package roomsource_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// rooms are real ones, of the embedded server; the default one is called main.
type rooms struct {
	embedded *localroom.Room
	dials    atomic.Int64
	forged   atomic.Bool // tokens are of another key

	mu    sync.Mutex
	scope *token.Scope
}

// setScope has tokens grant scope from now on, and returns what they did before.
func (r *rooms) setScope(scope *token.Scope) (before *token.Scope) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, r.scope = r.scope, scope
	return before
}

func newRooms(t testing.TB) *rooms { return openRooms(t, t.TempDir()) }

func openRooms(t testing.TB, dir string) *rooms {
	t.Helper()
	e, err := localroom.Open(dir, localroom.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rooms{embedded: e, scope: token.UserScope()}
}

func (r *rooms) dial(ctx context.Context, name string) (*room.Client, error) {
	r.dials.Add(1)
	return room.Dial(ctx, r.config(name, "alice"))
}

func (r *rooms) config(name, identity string) room.Config {
	if name == "" {
		name = "main"
	}
	return room.Config{
		URL:         "http://embedded/rooms/" + name,
		DialContext: r.embedded.DialContext,
		Token: func(context.Context) (secret.Value, error) {
			if r.forged.Load() {
				return secret.New([]byte("forged")), nil
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.embedded.Token(name, identity, r.scope)
		},
	}
}

// source returns a Rooms that is closed with the test.
func (r *rooms) source(t testing.TB) *roomsource.Source {
	s := roomsource.New(r.dial)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (r *rooms) store(t testing.TB, name string, secrets ...room.NewSecret) {
	t.Helper()
	c, err := r.dial(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, s := range secrets {
		if err := c.Secrets().Set(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	r.dials.Store(0)
}

func TestRooms(t *testing.T) {
	r := newRooms(t)
	bytes := "\x00\xff"
	r.store(t, "", room.NewSecret{ID: "bytes", Value: secret.New([]byte(bytes))}, room.NewSecret{ID: "empty"},
		room.NewSecret{ID: "delegated", DelegatedTo: "bob", Value: secret.New([]byte("for bob"))},
		room.NewSecret{ID: "named", Type: "text/plain", Name: "a name", Value: secret.New([]byte("by name"))})
	r.store(t, "other", room.NewSecret{ID: "bytes", Value: secret.New([]byte("another room's"))})

	want := map[manifest.Target]string{
		{Scheme: manifest.SchemeRoom, Path: "secret/bytes"}:                                            bytes,
		{Scheme: manifest.SchemeRoom, Path: "secret/empty"}:                                            "",
		{Scheme: manifest.SchemeRoom, Path: "secret/delegated", Params: "delegated_to=bob"}:            "for bob",
		{Scheme: manifest.SchemeRoom, Path: "secret/named", Params: "type=text%2Fplain&name=a%20name"}: "by name",
		{Scheme: manifest.SchemeRoom, Group: "other", Path: "secret/bytes"}:                            "another room's",
	}
	var values []manifest.Expr
	for tg := range want {
		for range 100 {
			values = append(values, manifest.Expr{{Reference: &manifest.Reference{Target: tg}}})
		}
	}
	snapshot, err := fetch.Resolve(t.Context(), file(values...), mux(r.source(t)))
	if err != nil {
		t.Fatal(err)
	}
	for tg, w := range want {
		if v, ok := snapshot.Value(tg); !ok || string(v.Reveal()) != w {
			t.Errorf("%v is %q, want %q", tg, v.Reveal(), w)
		}
	}
	if n := r.dials.Load(); n != 2 {
		t.Errorf("%d connections to 2 rooms", n)
	}
}

func TestRoomsSayWhy(t *testing.T) {
	refusing := func(status int) func(context.Context, string) (*room.Client, error) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(s.Close)
		return func(ctx context.Context, name string) (*room.Client, error) {
			return room.Dial(ctx, room.Config{URL: s.URL + "/rooms/main"})
		}
	}
	r, noGrant := newRooms(t), newRooms(t)
	noGrant.scope = new(token.Scope)
	noDial := func(context.Context, string) (*room.Client, error) {
		return nil, errors.New("cannot read the token file")
	}
	late := func(context.Context, string) (*room.Client, error) {
		return nil, fmt.Errorf("%w: no answer", room.ErrTimeout)
	}
	nowhere := func(context.Context, string) (*room.Client, error) {
		return nil, fmt.Errorf("%w: no route", room.ErrUnreachable)
	}
	for name, test := range map[string]struct {
		dial func(context.Context, string) (*room.Client, error)
		kind manifest.Kind
		want error
	}{
		"missing":     {r.dial, manifest.KindSecret, fetch.ErrMissing},
		"kind":        {r.dial, "other", fetch.ErrUnsupported},
		"client":      {r.dial, manifest.KindOAuth, fetch.ErrUnsupported},
		"no grant":    {noGrant.dial, manifest.KindSecret, fetch.ErrDenied},
		"403":         {refusing(403), manifest.KindSecret, fetch.ErrDenied},
		"404":         {refusing(404), manifest.KindSecret, fetch.ErrUnreachable},
		"423":         {refusing(423), manifest.KindSecret, fetch.ErrUnreachable},
		"no route":    {nowhere, manifest.KindSecret, fetch.ErrUnreachable},
		"timeout":     {late, manifest.KindSecret, fetch.ErrUnreachable},
		"own failure": {noDial, manifest.KindSecret, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := roomsource.New(test.dial)
			defer s.Close()
			_, err := s.Resolve(t.Context(), manifest.Target{Scheme: manifest.SchemeRoom, Path: string(test.kind) + "/missing"})
			if err == nil {
				t.Fatal("no error")
			}
			for _, state := range []error{fetch.ErrMissing, fetch.ErrDenied, fetch.ErrUnreachable, fetch.ErrUnsupported} {
				if is := errors.Is(err, state); is != (state == test.want) {
					t.Errorf("%v: is %v: %v", err, state, is)
				}
			}
		})
	}
}

func TestAFailedDialIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		s := roomsource.New(func(context.Context, string) (*room.Client, error) {
			dials.Add(1)
			return nil, fmt.Errorf("%w: refused", room.ErrUnreachable)
		})
		values := make([]manifest.Expr, 1000)
		for i := range values {
			values[i] = manifest.Expr{ref(fmt.Sprint(i))}
		}
		_, err := fetch.Resolve(t.Context(), file(values...), mux(s))
		table, ok := errors.AsType[*fetch.Error](err)
		if !ok || len(table.Failures) != 1000 {
			t.Errorf("got %v", err)
		}
		if dials.Load() != 1 {
			t.Errorf("%d dials", dials.Load())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
