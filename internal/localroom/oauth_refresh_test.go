package localroom_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// authorized returns bot in a room where ann has authorized the provider's
// client for it, with a token that has expired.
func authorized(t *testing.T, s *testServer, p *provider) (bot, ann *room.Client) {
	t.Helper()
	ann, bot = s.dial("ann", scoped(), provides("good")), s.dial("bot", scoped(), nil)
	if _, err := ask(t.Context(), bot, ann, p.client()); err != nil {
		t.Fatal(err)
	}
	s.expire("ann")
	return bot, ann
}

func TestOneRefreshForManyCallers(t *testing.T) {
	s, p := serve(t), newProvider(t)
	bot, ann := authorized(t, s, p)
	const callers = 50
	var working sync.WaitGroup
	for i := range callers {
		working.Go(func() {
			var got string
			var err error
			if i%2 == 0 {
				got, err = offline(t.Context(), bot, p.client(), "ann")
			} else {
				got, err = ask(t.Context(), bot, ann, p.client())
			}
			if got != "access-2" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	working.Wait()
	if forms := p.sent(); len(forms) != 2 || forms[1].Get("refresh_token") != "refresh-1" || forms[1].Get("client_id") != "client" {
		t.Errorf("the provider was sent %v", forms)
	}
	if got := storedCredential(t, s.store, "ann"); !strings.Contains(got, "refresh-2") {
		t.Errorf("stored is %s", got)
	}
}

// A token that lives for less than others are refreshed ahead of their end is
// good for a while too: it is refreshed once for all who look at it for the news.
func TestTokenOfShortLife(t *testing.T) {
	s, p := serve(t), newProvider(t)
	p.lifetime = 30
	ann, bot := s.dial("ann", scoped(), provides("good")), s.dial("bot", scoped(), asksNobody(t))
	if _, err := ask(t.Context(), bot, ann, p.client()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ahead time.Duration
		want  string
	}{{0, "access-1"}, {5 * time.Second, "access-1"}, {11 * time.Second, "access-2"}, {0, "access-2"}} {
		s.ahead.Store(int64(c.ahead))
		if got, err := offline(t.Context(), bot, p.client(), "ann"); got != c.want || err != nil {
			t.Errorf("%v later: %q, %v, want %q", c.ahead, got, err, c.want)
		}
	}
	if got := storedCredential(t, s.store, "ann"); !strings.Contains(got, `"lifetime":30`) {
		t.Errorf("stored is %s", got)
	}
	shown, err := ann.Secrets().Get(t.Context(), room.SecretQuery{ID: s.credential("ann").ID, DelegatedTo: "bot"})
	if err != nil || strings.Contains(string(shown.Value.Reveal()), "lifetime") {
		t.Errorf("ann gets %s, %v", shown.Value.Reveal(), err)
	}
}

func storedCredential(t *testing.T, store *localroom.Store, owner string) string {
	t.Helper()
	list, err := store.List("demo", owner)
	if err != nil || len(list) != 1 {
		t.Fatalf("%s has %v, %v", owner, list, err)
	}
	_, v, err := store.Get(list[0].RecordKey, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return string(v.Reveal())
}

// Equal requests at one time are one question.
func TestOneQuestionForManyCallers(t *testing.T) {
	s, p := serve(t), newProvider(t)
	var questions atomic.Int32
	all := make(chan struct{})
	ann := s.dial("ann", scoped(), func(ctx context.Context, c *room.Client, r room.OAuthRequested) error {
		questions.Add(1)
		<-all
		return provides("good")(ctx, c, r)
	})
	bot := s.dial("bot", scoped(), nil)
	var working sync.WaitGroup
	for range 50 {
		working.Go(func() {
			if got, err := ask(t.Context(), bot, ann, p.client("read")); got != "access-1" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	close(all)
	working.Wait()
	if n := questions.Load(); n != 1 || len(p.sent()) != 1 {
		t.Errorf("asked %d times, exchanged %d codes", n, len(p.sent()))
	}
}

func TestRefreshRefused(t *testing.T) {
	s, p := serve(t), newProvider(t)
	bot, ann := authorized(t, s, p)
	p.set(func() { p.refresh = "revoked" })
	if _, err := offline(t.Context(), bot, p.client(), "ann"); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("offline: %v", err)
	}
	if list, err := s.store.List("demo", "ann"); err != nil || len(list) != 0 {
		t.Errorf("still stored: %v, %v", list, err)
	}
	if got, err := ask(t.Context(), bot, ann, p.client()); got != "access-2" || err != nil {
		t.Errorf("asked again: %q, %v", got, err)
	}
	// A request finds out by itself.
	s.expire("ann")
	p.set(func() { p.refresh = "revoked" })
	if got, err := ask(t.Context(), bot, ann, p.client()); got != "access-3" || err != nil {
		t.Errorf("asked: %q, %v", got, err)
	}
}

// What passes costs no credential.
func TestRefreshFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault http.HandlerFunc
		want  string
	}{
		"unavailable": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "status 503"},
		"a page":      {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>canary-page") }, "an invalid response"},
		"unknown client": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(401)
			io.WriteString(w, `{"error":"invalid_client","error_description":"canary-page"}`)
		}, "invalid_client"},
		"no answer":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "an invalid response"},
		"never answers": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timed out"},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := serve(t), newProvider(t)
			localroom.SetProviderTimeout(s.local, 200*time.Millisecond)
			bot, ann := authorized(t, s, p)
			p.set(func() { p.fault = c.fault })
			_, requested := ask(t.Context(), bot, ann, p.client())
			_, looked := offline(t.Context(), bot, p.client(), "ann")
			for _, err := range []error{requested, looked} {
				if !errors.Is(err, room.ErrOperationFailed) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary-page") {
					t.Errorf("error %v", err)
				}
			}
			p.set(func() { p.fault = nil })
			if got, err := offline(t.Context(), bot, p.client(), "ann"); got != "access-2" || err != nil {
				t.Errorf("afterwards: %q, %v", got, err)
			}
		})
	}
}

func TestProviderIsDown(t *testing.T) {
	s, p := serve(t), newProvider(t)
	bot, _ := authorized(t, s, p)
	o := p.client()
	p.Close()
	if _, err := offline(t.Context(), bot, o, "ann"); !errors.Is(err, room.ErrOperationFailed) || !strings.Contains(err.Error(), strings.TrimPrefix(p.URL, "http://")+" is unreachable") {
		t.Errorf("error %v", err)
	}
	s.credential("ann")
}

// A provider that has replaced the refresh token, but whose answer is lost,
// refuses the old one from then on. The person is asked; nothing is stuck.
func TestLostRefresh(t *testing.T) {
	s, p := serve(t), newProvider(t)
	bot, ann := authorized(t, s, p)
	p.set(func() {
		p.fault = func(http.ResponseWriter, *http.Request) {
			p.refresh, p.fault = "lost", nil
			panic(http.ErrAbortHandler)
		}
	})
	if _, err := offline(t.Context(), bot, p.client(), "ann"); !errors.Is(err, room.ErrOperationFailed) {
		t.Errorf("lost: %v", err)
	}
	if got, err := ask(t.Context(), bot, ann, p.client()); got != "access-2" || err != nil {
		t.Errorf("asked: %q, %v", got, err)
	}
}

// A token is handed out only when the refresh token that came with it is on
// disk.
func TestRefreshIsDurableFirst(t *testing.T) {
	s, p := serve(t), newProvider(t)
	bot, _ := authorized(t, s, p)
	p.set(func() {
		p.fault = func(w http.ResponseWriter, _ *http.Request) {
			s.store.Close()
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"access_token":"not-durable","refresh_token":"r"}`)
		}
	})
	if got, err := offline(t.Context(), bot, p.client(), "ann"); !errors.Is(err, room.ErrOperationFailed) {
		t.Errorf("got %q, %v", got, err)
	}
}

// A store on a full disk can be read, and nothing that it could not keep is
// asked of the provider.
func TestNoRefreshWithoutStore(t *testing.T) {
	s, p := serve(t), newProvider(t)
	bot, _ := authorized(t, s, p)
	if err := localroom.FailWrites(s.store); err != nil {
		t.Fatal(err)
	}
	if got, err := offline(t.Context(), bot, p.client(), "ann"); !errors.Is(err, room.ErrOperationFailed) || len(p.sent()) != 1 {
		t.Errorf("got %q, %v, the provider was sent %v", got, err, p.sent())
	}
}

// What the owner does while a refresh is under way stands.
func TestRefreshGivesWay(t *testing.T) {
	for name, meanwhile := range map[string]func(*testServer, localroom.Info) error{
		"deleted": func(s *testServer, i localroom.Info) error { return s.store.Delete(i.RecordKey) },
		"replaced": func(s *testServer, i localroom.Info) error {
			_, v, err := s.store.Get(i.RecordKey, "", "")
			if err != nil {
				return err
			}
			newer := strings.NewReplacer("access-1", "newer", "refresh-1", "newer-refresh").Replace(string(v.Reveal()))
			before, after, _ := strings.Cut(newer, `"expiration":"20`)
			return s.store.Set(i.RecordKey, "", "", secret.New([]byte(before+`"expiration":"21`+after)))
		},
		"another's": func(s *testServer, i localroom.Info) error {
			_, v, err := s.store.Get(i.RecordKey, "", "")
			if err != nil {
				return err
			}
			other := strings.NewReplacer(`"client_id":"client"`, `"client_id":"other"`, `"expiration":"20`, `"expiration":"21`).Replace(string(v.Reveal()))
			return s.store.Set(i.RecordKey, "", "", secret.New([]byte(other)))
		},
	} {
		for _, refused := range []bool{false, true} {
			s, p := serve(t), newProvider(t)
			bot, _ := authorized(t, s, p)
			p.set(func() {
				p.fault = func(w http.ResponseWriter, _ *http.Request) {
					if err := meanwhile(s, s.credential("ann")); err != nil {
						t.Error(err)
					}
					w.Header().Set("Content-Type", "application/json")
					if refused {
						w.WriteHeader(400)
						io.WriteString(w, `{"error":"invalid_grant"}`)
						return
					}
					io.WriteString(w, `{"access_token":"late","refresh_token":"late-refresh"}`)
				}
			})
			got, err := offline(t.Context(), bot, p.client(), "ann")
			if name == "another's" {
				if !errors.Is(err, room.ErrNotFound) {
					t.Errorf("%s, refused %t: got %q, %v", name, refused, got, err)
				}
				s.credential("ann")
			} else if name == "deleted" {
				if list, _ := s.store.List("demo", "ann"); !errors.Is(err, room.ErrNotFound) || len(list) != 0 {
					t.Errorf("%s, refused %t: got %q, %v, stored %v", name, refused, got, err, list)
				}
			} else if stored := storedCredential(t, s.store, "ann"); got != "newer" || err != nil || !strings.Contains(stored, "newer-refresh") {
				t.Errorf("%s, refused %t: got %q, %v, stored %s", name, refused, got, err, stored)
			}
		}
	}
}

// A server that ends while a provider works waits for what it says: the old
// refresh token may be of no use any more.
func TestCloseWaitsForRefresh(t *testing.T) {
	s, p := serve(t), newProvider(t)
	bot, _ := authorized(t, s, p)
	eve := s.connect("eve", scoped())
	closed := make(chan struct{})
	p.set(func() {
		p.fault = func(w http.ResponseWriter, _ *http.Request) {
			go func() {
				s.local.Close()
				close(closed)
			}()
			if m, err := eve.receive(t.Context()); err == nil {
				t.Errorf("eve is not dropped but sent %v", m)
			}
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"access_token":"a","refresh_token":"after the end"}`)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() { offline(ctx, bot, p.client(), "ann") })
	<-closed
	if got := storedCredential(t, s.store, "ann"); !strings.Contains(got, "after the end") {
		t.Errorf("stored is %s", got)
	}
	cancel()
	asking.Wait()
}

// A credential that somebody made up leads nowhere: neither to another
// provider, nor to a token that was not asked for.
func TestPlantedCredentials(t *testing.T) {
	s, p, evil := serve(t), newProvider(t), newProvider(t)
	bot, ann := authorized(t, s, p)
	address := s.credential("ann").RecordKey
	stored := storedCredential(t, s.store, "ann")
	for name, c := range map[string]struct{ value, typ string }{
		"another token endpoint": {strings.Replace(stored, p.URL+"/token", evil.URL+"/token", 1), credentialType},
		"another client":         {strings.Replace(stored, `"client_id":"client"`, `"client_id":"other"`, 1), credentialType},
		"no client":              {`{"access_token":"planted","refresh_token":"x"}`, credentialType},
		"no token":               {`{}`, credentialType},
		"no JSON":                {"planted", credentialType},
		"another type":           {stored, "text/plain"},
	} {
		err := ann.Secrets().Set(t.Context(), room.NewSecret{ID: address.ID, DelegatedTo: "bot", Type: c.typ, Value: value(c.value)})
		if err != nil {
			t.Fatal(err)
		}
		if c.typ == credentialType {
			if v, err := ann.Secrets().Get(t.Context(), room.SecretQuery{ID: address.ID, DelegatedTo: "bot"}); err != nil || strings.Contains(string(v.Value.Reveal()), "token_endpoint") {
				t.Errorf("%s: ann gets %s, %v", name, v.Value.Reveal(), err)
			}
		}
		o := p.client()
		o.ClientSecret = value("secret of bot's client")
		if got, err := offline(t.Context(), bot, o, "ann"); !errors.Is(err, room.ErrNotFound) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if sent := evil.sent(); len(sent) != 0 {
		t.Errorf("the other provider was sent %v", sent)
	}
}

// A process that is about to be stopped does not wait for a provider, and the
// refresh token that comes late is not lost: the store is another's only when it is
// in there.
func TestSuspendDuringRefresh(t *testing.T) {
	dir, p := t.TempDir(), newProvider(t)
	p.lifetime = -1
	first, second := openRoom(t, dir), openRoom(t, dir)
	if err := first.Acquire(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := dialAs(t, second, "ann", func(c *room.Config) {
		c.OnOAuthRequested = func(ctx context.Context, c *room.Client, r room.OAuthRequested) {
			_ = provides("good")(ctx, c, r)
		}
	})
	if _, err := ask(ctx, c, c, p.client()); err != nil {
		t.Fatal(err)
	}
	asked, answer := make(chan struct{}), make(chan struct{})
	p.set(func() {
		p.fault = func(w http.ResponseWriter, r *http.Request) {
			close(asked)
			<-answer
			p.fault, p.refresh = nil, "late"
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"access_token":"a","token_type":"Bearer","expires_in":-1,"refresh_token":"late"}`)
		}
	})
	got := make(chan error, 1)
	go func() {
		_, err := offline(ctx, c, p.client(), "")
		got <- err
	}()
	next(t, asked)
	suspended := make(chan func(), 1)
	go func() { suspended <- first.Suspend() }()
	var resume func()
	select {
	case resume = <-suspended:
	case <-time.After(patience / 4):
		t.Error("the provider is waited for")
	}
	if err := second.Acquire(); !errors.Is(err, localroom.ErrLocked) {
		t.Errorf("the store is free while a refresh token is on its way: %v", err)
	}
	close(answer)
	if resume == nil {
		resume = <-suspended
	}
	defer resume()
	if err := next(t, got); err != nil {
		t.Error(err)
	}
	sent := p.sent()
	if last := sent[len(sent)-1].Get("refresh_token"); len(sent) != 3 || last != "late" {
		t.Errorf("the provider was sent %v", sent)
	}
}

// The room changes hands while tokens are refreshed, which end as soon as they
// are granted. No refresh token is used twice, or is lost.
func TestRefreshOverHandover(t *testing.T) {
	dir, p := t.TempDir(), newProvider(t)
	p.lifetime = 1
	rooms := []*localroom.Room{openRoom(t, dir), openRoom(t, dir), openRoom(t, dir)}
	if err := rooms[0].Acquire(); err != nil {
		t.Fatal(err)
	}
	var clients []*room.Client
	for _, e := range rooms[1:] {
		c, err := room.Dial(t.Context(), room.Config{
			URL:         "ws://room/rooms/demo",
			DialContext: e.DialContext,
			Token:       func(context.Context) (secret.Value, error) { return e.Token("demo", "ann", scoped()) },
			OnOAuthRequested: func(ctx context.Context, c *room.Client, r room.OAuthRequested) {
				_ = provides("good")(ctx, c, r)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		clients = append(clients, c)
	}
	if _, err := ask(t.Context(), clients[0], clients[0], p.client()); err != nil {
		t.Fatal(err)
	}
	var working sync.WaitGroup
	const each = 20
	halfway := make(chan struct{}, 8)
	for i := range cap(halfway) {
		working.Go(func() {
			for n := range each {
				if n == each/2 {
					halfway <- struct{}{}
				}
				if got, err := offline(t.Context(), clients[i%2], p.client(), ""); err != nil {
					t.Errorf("got %q, %v", got, err)
				}
			}
		})
	}
	next(t, halfway)
	if err := rooms[0].Close(); err != nil {
		t.Error(err)
	}
	working.Wait()
	used := map[string]bool{}
	for _, form := range p.sent()[1:] {
		if token := form.Get("refresh_token"); used[token] {
			t.Errorf("%s was used twice", token)
		} else {
			used[token] = true
		}
	}
}
