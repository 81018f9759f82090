package roomsource_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// A person is somebody in the room who is asked for secrets.
type person struct {
	*room.Client
	asked chan room.SecretRequested
}

// join enters the room as name; deaf is without a handler.
func (r *rooms) join(t testing.TB, name string, deaf bool) person {
	t.Helper()
	p := person{asked: make(chan room.SecretRequested, 10)}
	config := r.config("", name)
	if !deaf {
		config.OnSecretRequested = func(_ context.Context, _ *room.Client, e room.SecretRequested) { p.asked <- e }
	}
	c, err := room.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Messaging().Enable(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Client = c
	return p
}

// provide answers the next request.
func (p person) provide(t testing.TB, value string) {
	t.Helper()
	select {
	case e := <-p.asked:
		if err := p.Secrets().Provide(t.Context(), e.ID, secret.New([]byte(value))); err != nil {
			t.Error(err)
		}
	case <-soon(t).Done():
		t.Error("nobody asked")
	}
}

// providing answers the next request while the test goes on, until wait.
func (p person) providing(t testing.TB, value string) (wait func()) {
	var wg sync.WaitGroup
	wg.Go(func() { p.provide(t, value) })
	return wg.Wait
}

// observe returns the progress that s reports, as texts.
func observe(s *roomsource.Source) <-chan string {
	all := make(chan string, 100)
	s.OnRequest = func(p roomsource.RequestStatus) {
		stage := map[roomsource.Stage]string{roomsource.WaitingToJoin: "away", roomsource.WaitingForAnswer: "asked", roomsource.Done: "ended"}[p.Stage]
		if left := time.Until(p.Deadline); left > room.DefaultRequestTimeout {
			stage += fmt.Sprintf(" with %v left", left)
		}
		if p.Err != nil {
			stage += ": " + p.Err.Error()
		}
		all <- p.From + " " + stage
	}
	return all
}

func request(from, address string, timeout time.Duration) manifest.Part {
	t := manifest.Target{Scheme: manifest.SchemeRoom, Path: "request/" + from, Params: "url=" + url.QueryEscape(address) + "&type=text%2Fplain"}
	if timeout > 0 {
		t.Params += fmt.Sprintf("&timeout=%d", int(timeout.Seconds()))
	}
	return manifest.Part{Reference: &manifest.Reference{Target: t}}
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A start waits for who is not there yet, and for their answer; the next one
// asks nobody.
func TestRequest(t *testing.T) {
	t.Parallel()
	r := newRooms(t)
	m := file(manifest.Expr{request("bob", "https://stripe.com", 0)}, manifest.Expr{request("bob", "https://stripe.com", 0)})
	s := r.source(t)
	progress := observe(s)
	bob := make(chan person, 1)
	var deaf person
	var wg sync.WaitGroup
	wg.Go(func() {
		if p := <-progress; p != "bob away" {
			t.Error(p)
		}
		deaf = r.join(t, "bob", true) // who cannot answer, is passed over
		p := r.join(t, "bob", false)
		bob <- p
		stage := "bob away"
		for stage == "bob away" {
			stage = <-progress
		}
		if stage != "bob asked" { // after a second
			t.Error(stage)
		}
		p.provide(t, "sk-1")
	})
	snapshot, err := fetch.Resolve(soon(t), m, mux(s))
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if v, _ := snapshot.Value(m.Entries[0].Value[0].Reference.Target); string(v.Reveal()) != "sk-1" {
		t.Errorf("got %s", v.Reveal())
	}
	if p := <-progress; p != "bob ended" {
		t.Error(p)
	}

	p := <-bob
	for range 2 { // the second time nobody is there
		s = r.source(t)
		progress = observe(s)
		if _, err := fetch.Resolve(soon(t), m, mux(s)); err != nil {
			t.Fatal(err)
		}
		if len(p.asked) > 0 {
			t.Error("asked again for what was provided")
		}
		if len(progress) > 0 {
			t.Errorf("observed %s", <-progress)
		}
		_ = p.Close()
		_ = deaf.Close()
	}
}

// Why a request has no value is a state of the table.
func TestRequestFails(t *testing.T) {
	t.Parallel()
	r := newRooms(t)
	bob := r.join(t, "bob", false)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for range 2 {
			if e := <-bob.asked; e.Request.URL == "no" {
				if err := bob.Secrets().Reject(t.Context(), e.ID, "not today\x1b[2J"); err != nil {
					t.Error(err)
				}
			}
		}
	})
	s := mux(r.source(t))
	for _, of := range []struct {
		part manifest.Part
		is   error
		want string
	}{
		{request("bob", "no", 0), fetch.ErrRejected, `rejected: not today\x1b[2J`},
		{request("bob", "silent", 2*time.Second), fetch.ErrNoAnswer, "no answer: bob did not answer within 2s"},
		{request("carol", "away", 2*time.Second), fetch.ErrNoAnswer, "no answer: no participant named carol who answers requests joined within 2s"},
	} {
		wg.Go(func() {
			_, err := fetch.Resolve(soon(t), file(manifest.Expr{of.part}), s)
			if !errors.Is(err, of.is) || !strings.Contains(err.Error(), of.want) {
				t.Errorf("got\n%v\nwithout %s", err, of.want)
			}
		})
	}
}

// What is optional or has a default holds nothing up, whether there is somebody
// to ask or not. What the room holds is there all the same.
func TestPending(t *testing.T) {
	t.Parallel()
	r := newRooms(t)
	bob := r.join(t, "bob", false)
	optional := func(p manifest.Part) manifest.Expr {
		p.Reference.Optional = true
		return manifest.Expr{p}
	}
	text := "until then"
	byDefault := request("carol", "away", time.Hour)
	byDefault.Reference.Default = &text
	held, pending, away := request("bob", "held", 0), request("bob", "later", 0), byDefault
	s := r.source(t)
	wait := bob.providing(t, "v")
	if _, err := s.Resolve(soon(t), held.Reference.Target); err != nil {
		t.Fatal(err)
	}
	wait()

	start := time.Now()
	snapshot, err := fetch.Resolve(soon(t), file(optional(held), optional(pending), manifest.Expr{away}), mux(s))
	if err != nil {
		t.Fatal(err)
	}
	if time.Since(start) > 30*time.Second {
		t.Error("it waited for somebody")
	}
	if v, ok := snapshot.Value(held.Reference.Target); !ok || string(v.Reveal()) != "v" {
		t.Error("the value that the room holds is not there")
	}
	for _, p := range []manifest.Part{pending, away} {
		if st := snapshot.State(p.Reference.Target).Status(); st != fetch.Pending {
			t.Errorf("%s is %s", p.Reference, st)
		}
	}

	// The request goes on; who waits for it now gets what is provided.
	wait = bob.providing(t, "at last")
	v, err := s.Resolve(soon(t), pending.Reference.Target)
	wait()
	if err != nil || string(v.Reveal()) != "at last" {
		t.Errorf("%s, %v", v.Reveal(), err)
	}
}

// A room that comes back has forgotten who was asked what, and everyone is
// there under another id: they are asked again.
func TestRequestOutlivesTheRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	holder, err := localroom.Open(dir, localroom.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Acquire(); err != nil {
		t.Fatal(err)
	}
	r := openRooms(t, dir)
	bob := r.join(t, "bob", false)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		<-bob.asked
		if err := holder.Close(); err != nil {
			t.Error(err)
		}
		bob.provide(t, "v")
	})
	v, err := r.source(t).Resolve(soon(t), request("bob", "u", 0).Reference.Target)
	if err != nil || string(v.Reveal()) != "v" {
		t.Errorf("%s, %v", v.Reveal(), err)
	}
}

// Who leaves before they answered is asked again when they are back; an answer
// to the first request counts all the same.
func TestAskedAgain(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]bool{"answers the first": true, "answers the second": false} {
		t.Run(name, func(t *testing.T) {
			r := newRooms(t)
			bob := r.join(t, "bob", false)
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() {
				e := <-bob.asked
				_ = bob.Close()
				again := r.join(t, "bob", false)
				if second := <-again.asked; !first {
					e = second
				}
				if err := again.Secrets().Provide(soon(t), e.ID, secret.New([]byte("v"))); err != nil {
					t.Error(err)
				}
			})
			v, err := r.source(t).Resolve(soon(t), request("bob", "u", 0).Reference.Target)
			if err != nil || string(v.Reveal()) != "v" {
				t.Errorf("%s, %v", v.Reveal(), err)
			}
		})
	}
}

// Equal references ask once, and each that waits may give up.
func TestInquiryIsShared(t *testing.T) {
	r := newRooms(t)
	bob := r.join(t, "bob", false)
	s := roomsource.New(r.dial)
	target := request("bob", "u", 0).Reference.Target
	ctx, cancel := context.WithCancel(t.Context())
	var failed atomic.Int64
	done := make(chan struct{})
	for range 10 {
		go func() {
			if _, err := s.Resolve(ctx, target); errors.Is(err, context.Canceled) {
				failed.Add(1)
			}
			done <- struct{}{}
		}()
	}
	<-bob.asked
	cancel()
	for range 10 {
		<-done
	}
	if failed.Load() != 10 || len(bob.asked) > 0 {
		t.Errorf("%d failed, bob was asked %d times more", failed.Load(), len(bob.asked))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A token is authorized once, by who is asked, and with a client secret that the
// room holds; from then on it is the room's to hand out.
func TestOAuth(t *testing.T) {
	t.Parallel()
	r := newRooms(t)
	r.store(t, "", room.NewSecret{ID: "client", Value: secret.New([]byte("hunter2"))})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		_, basic, _ := request.BasicAuth()
		if request.FormValue("code") != "consent" || request.FormValue("client_secret")+basic != "hunter2" {
			t.Errorf("the provider got the code %q", request.FormValue("code"))
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"token-1","token_type":"bearer","refresh_token":"r"}`)
	}))
	defer provider.Close()
	target := manifest.OAuthClient{
		ClientID:              "c",
		ClientSecret:          &manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/client"},
		AuthorizationEndpoint: provider.URL + "/authorize",
		TokenEndpoint:         provider.URL + "/token",
		RedirectURI:           "http://127.0.0.1:1/callback",
		Scopes:                []string{"repo"},
	}.Target("github")
	if _, err := r.source(t).Resolve(soon(t), target); !errors.Is(err, fetch.ErrMissing) {
		t.Errorf("without anybody to ask: %v", err)
	}

	config := r.config("", "bob")
	answered := make(chan error, 1)
	config.OnOAuthRequested = func(ctx context.Context, c *room.Client, e room.OAuthRequested) {
		if o := e.Request.OAuth; o.ClientSecret.Len() > 0 || !slices.Equal(o.Scopes, []string{"repo"}) || e.Challenge == "" {
			t.Errorf("bob is asked for %+v, challenge %q", o, e.Challenge)
		}
		answered <- c.Secrets().ProvideAuthorization(ctx, e.ID, secret.New([]byte("consent")))
	}
	bob, err := room.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := bob.Messaging().Enable(soon(t)); err != nil {
		t.Fatal(err)
	}
	target.Params = "from=bob"
	for range 2 {
		v, err := r.source(t).Resolve(soon(t), target)
		if err != nil || string(v.Reveal()) != "token-1" {
			t.Fatalf("%s, %v", v.Reveal(), err)
		}
		if bob == nil {
			break
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
		_ = bob.Close() // so that nobody is there to be asked again
		bob = nil
	}
}
