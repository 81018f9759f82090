package roomsource_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// A peer is a room that says what a test wants, and notes what it is asked. It has the
// participants bob and carol; the identity is alice. It is served on pipes, for
// bubbles.
type peer struct {
	t      testing.TB
	conns  chan net.Conn
	closed chan struct{}
	answer func(tool, arguments string) wire.Content // nil: no answer

	mu     sync.Mutex
	asked  []string
	ws     *websocket.Conn // the newest
	lastID uint64
}

func newPeer(t testing.TB, answer func(tool, arguments string) wire.Content) *peer {
	p := &peer{t: t, conns: make(chan net.Conn), closed: make(chan struct{}), answer: answer}
	s := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(p)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return p
}

func (p *peer) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *peer) Close() error {
	close(p.closed)
	return nil
}

func (p *peer) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *peer) dial(ctx context.Context, _ string) (*room.Client, error) {
	return room.Dial(ctx, room.Config{URL: "http://pipes/rooms/demo", DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case p.conns <- theirs:
			return ours, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}})
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		p.t.Error(err)
		return
	}
	defer ws.CloseNow()
	p.mu.Lock()
	p.ws = ws
	p.mu.Unlock()
	p.event(wire.TypeRoomReady, wire.RoomReady{RoomName: "demo", RoomURL: "ws://x/rooms/demo", SessionID: "s"})
	p.event(wire.TypeConnected, wire.Connected{Type: "init", ParticipantID: "p", Attributes: map[string]any{"name": "alice"}})
	var packets wire.Assembler
	for {
		_, b, err := ws.Read(context.Background())
		if err != nil {
			return
		}
		m, whole, err := packets.Add(b)
		if err != nil || !whole {
			continue
		}
		invoke, arguments, err := wire.UnpackInvoke(m.Payload)
		if err != nil {
			p.t.Error(err)
			return
		}
		p.call(m.ID, invoke, arguments)
	}
}

func (p *peer) call(id uint64, invoke wire.Invoke, arguments wire.Content) {
	object, _ := arguments.(wire.JSON)
	if invoke.Toolkit == wire.Messaging {
		p.respond(id, wire.Empty{})
		p.say("room", wire.MessagingEnabled, `{"participants":[`+participant("bob")+`,`+participant("carol")+`]}`)
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, invoke.Tool+" "+string(object.Object))
	p.mu.Unlock()
	if content := p.answer(invoke.Tool, string(object.Object)); content != nil {
		p.respond(id, content)
	}
}

// participant is one whose id is the name and a 1.
func participant(name string) string {
	return `{"id":"` + name + `1","role":"user","attributes":{"name":"` + name + `"}}`
}

func (p *peer) respond(id uint64, c wire.Content) {
	payload, err := wire.PackContent(c)
	if err != nil {
		p.t.Error(err)
	}
	p.send(wire.Message{ID: id, Type: wire.TypeResponse, Payload: payload})
}

func (p *peer) say(from, typ, message string) {
	p.event(wire.TypeMessagingSend, wire.ReceivedMessage{FromParticipantID: from, Type: typ, Message: json.RawMessage(message)})
}

func (p *peer) event(typ string, header any) {
	b, err := json.Marshal(header)
	if err != nil {
		p.t.Error(err)
	}
	p.mu.Lock()
	p.lastID++
	id := p.lastID
	p.mu.Unlock()
	p.send(wire.Message{ID: id, Type: typ, Payload: wire.Pack(b, nil)})
}

func (p *peer) send(m wire.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for packet := range m.Packets() {
		_ = p.ws.Write(context.Background(), websocket.MessageBinary, packet) // the client may have left
	}
}

// calls returns what was asked since it was called last.
func (p *peer) calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.asked
	p.asked = nil
	return all
}

// written returns the target of a value in a manifest.
func written(t *testing.T, value, clients string) manifest.Target {
	t.Helper()
	path := filepath.Join(t.TempDir(), "roomenv.yaml")
	text := "version: 1\nenv: {A: '" + value + "'}\n"
	if clients != "" {
		text += "oauth: " + clients + "\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Load([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m.Entries[0].Value[0].Reference.Target
}

// Each key of a reference, and of its client, reaches the room.
func TestKeysReachTheRoom(t *testing.T) {
	const (
		endpoints = `authorization_endpoint: "https://x.test/a", token_endpoint: "https://x.test/t", redirect_uri: "http://127.0.0.1/c"`
		client    = `{gh: {client_id: c, scopes: [repo, user], ` + endpoints + `}}`
		asksBob   = `{gh: {client_id: c, from: bob, no_pkce: true, ` + endpoints + `}}`
		secretive = `{gh: {client_id: c, client_secret: "room:secret/cs", ` + endpoints + `}}`
		connects  = `{gh: {connector: {server_url: "https://mcp.test", openai_connector_id: o, client_secret_id: i}, redirect_uri: "http://127.0.0.1/c"}}`

		ofClient  = `"oauth":{"client_id":"c","client_secret":null,"authorization_endpoint":"https://x.test/a","token_endpoint":"https://x.test/t","no_pkce":null,"scopes":["repo","user"]}`
		ofBob     = `"oauth":{"client_id":"c","client_secret":null,"authorization_endpoint":"https://x.test/a","token_endpoint":"https://x.test/t","no_pkce":true,"scopes":null}`
		ofSecret  = `"oauth":{"client_id":"c","client_secret":"v","authorization_endpoint":"https://x.test/a","token_endpoint":"https://x.test/t","no_pkce":null,"scopes":null}`
		connector = `"connector":{"openai_connector_id":"o","server_url":"https://mcp.test","client_secret_id":"i"},"oauth":{"client_id":null,"client_secret":null,"authorization_endpoint":null,"token_endpoint":null,"no_pkce":null,"scopes":null}`
		asking    = `"redirect_uri":"http://127.0.0.1/c","participant_id":`
	)
	for _, test := range []struct {
		value, clients string
		want           []string
		err            error
	}{
		{"room:secret/s?type=text/plain&name=n&delegated_to=d", "", []string{
			`get_secret {"secret_id":"s","type":"text/plain","name":"n","delegated_to":"d"}`,
		}, nil},
		{"room:request/bob?url=https://u.test&type=git&delegate_to=d&timeout=7", "", []string{
			`request_secret {"url":"https://u.test","type":"git","participant_id":"bob","timeout":1,"delegate_to":"d"}`,
			`request_secret {"url":"https://u.test","type":"git","participant_id":"bob1","timeout":7,"delegate_to":"d"}`,
		}, nil},
		{"room:oauth/gh", client, []string{
			`get_offline_oauth_token {"connector":null,` + ofClient + `,"delegated_to":null,"delegated_by":null}`,
		}, fetch.ErrMissing},
		{"room:oauth/gh", secretive, []string{
			`get_secret {"secret_id":"cs","type":null,"name":null,"delegated_to":null}`,
			`get_offline_oauth_token {"connector":null,` + ofSecret + `,"delegated_to":null,"delegated_by":null}`,
		}, fetch.ErrMissing},
		// Whoever authorizes a client for this identity delegates it to it.
		{"room:oauth/gh", asksBob, []string{
			`get_offline_oauth_token {"connector":null,` + ofBob + `,"delegated_to":null,"delegated_by":"bob"}`,
			`request_oauth_token {"connector":null,` + ofBob + `,` + asking + `"bob1","timeout":300,"delegate_to":null}`,
		}, nil},
		{"room:oauth/gh?from=carol&delegated_to=d", asksBob, []string{
			`get_offline_oauth_token {"connector":null,` + ofBob + `,"delegated_to":"d","delegated_by":"carol"}`,
			`request_oauth_token {"connector":null,` + ofBob + `,` + asking + `"carol1","timeout":300,"delegate_to":"d"}`,
		}, nil},
		{"room:oauth/gh?from=alice", client, []string{ // this identity, who does not answer
			`get_offline_oauth_token {"connector":null,` + ofClient + `,"delegated_to":null,"delegated_by":null}`,
		}, context.DeadlineExceeded},
		{"room:oauth/gh?delegated_by=dave&from=bob", connects, []string{
			`get_offline_oauth_token {` + connector + `,"delegated_to":null,"delegated_by":"dave"}`,
			`request_oauth_token {` + connector + `,` + asking + `"bob1","timeout":300,"delegate_to":null}`,
		}, nil},
	} {
		t.Run(test.value, func(t *testing.T) {
			target := written(t, test.value, test.clients)
			synctest.Test(t, func(t *testing.T) {
				file := wire.File{Data: secret.New([]byte("v"))}
				p := newPeer(t, func(tool, arguments string) wire.Content {
					switch {
					case tool == "get_offline_oauth_token":
						return wire.JSON{Object: []byte(`{"access_token":null}`)}
					case tool == "request_oauth_token":
						return wire.JSON{Object: []byte(`{"access_token":"v"}`)}
					case strings.Contains(arguments, `"participant_id":"bob",`):
						return wire.Error{Code: wire.NotFound}
					}
					return file
				})
				s := roomsource.New(p.dial)
				reported := 0
				s.OnRequest = func(roomsource.RequestStatus) { reported++ }
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := s.Resolve(ctx, target)
				if !errors.Is(err, test.err) {
					t.Errorf("got %v, want %v", err, test.err)
				}
				if err == nil && reported > 0 {
					t.Errorf("%d reports of what the room answers by itself", reported)
				}
				if got := p.calls(); strings.Join(got, "\n") != strings.Join(test.want, "\n") {
					t.Errorf("asked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What a client's secret lacks is said of the secret, and the reason of a refusal does
// not have the name of the call: it is the same for all rows of a table.
func TestReasons(t *testing.T) {
	client := written(t, "room:oauth/gh", `{gh: {client_id: c, client_secret: "room:secret/cs", authorization_endpoint: "https://x.test/a", token_endpoint: "https://x.test/t"}}`)
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, func(_, arguments string) wire.Content {
			if strings.Contains(arguments, `"cs"`) {
				return wire.Empty{}
			}
			return wire.Error{Code: wire.PermissionDenied, Text: "not for you"}
		})
		s := roomsource.New(p.dial)
		_, missing := s.Resolve(t.Context(), client)
		_, denied := s.Resolve(t.Context(), target("a"))
		if missing == nil || !errors.Is(missing, fetch.ErrMissing) || !strings.HasPrefix(missing.Error(), "client_secret room:secret/cs: missing: ") {
			t.Errorf("got %v", missing)
		}
		if want := "denied: not for you"; denied == nil || !strings.HasPrefix(denied.Error(), want) || strings.Contains(denied.Error(), "get_secret") {
			t.Errorf("got %v, want %s", denied, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Whoever leaves and returns soon, as a browser does that was at a provider, is not
// asked twice.
func TestReturnsSoon(t *testing.T) {
	target := written(t, "room:request/bob?url=https://u.test&type=git", "")
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, func(_, arguments string) wire.Content {
			if strings.Contains(arguments, `"participant_id":"bob",`) {
				return wire.Error{Code: wire.NotFound}
			}
			return nil
		})
		s := roomsource.New(p.dial)
		go func() { _, _ = s.Resolve(t.Context(), target) }()
		settle := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		settle(time.Second)
		p.calls()
		p.say("bob1", wire.ParticipantDisabled, `{"id":"bob1"}`)
		settle(50 * time.Millisecond) // half of what tests have as the grace period
		p.say("bob2", wire.ParticipantEnabled, strings.Replace(participant("bob"), "bob1", "bob2", 1))
		settle(40 * time.Millisecond)
		if asked := p.calls(); len(asked) > 0 {
			t.Errorf("asked again at once: %s", asked)
		}
		settle(time.Second)
		if asked := p.calls(); len(asked) != 1 || !strings.Contains(asked[0], `"participant_id":"bob2"`) {
			t.Errorf("asked %s", asked)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A connection that was made has the pauses between dials start over.
func TestRedialStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, func(string, string) wire.Content { return wire.File{} })
		var clients []*room.Client
		dials, away := 0, true
		s := roomsource.New(func(ctx context.Context, name string) (*room.Client, error) {
			dials++
			if away {
				return nil, room.ErrUnreachable
			}
			c, err := p.dial(ctx, name)
			clients = append(clients, c)
			return c, err
		})
		resolve := func() error {
			_, err := s.Resolve(t.Context(), target("a"))
			return err
		}
		for range 300 {
			if err := resolve(); !errors.Is(err, fetch.ErrUnreachable) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		away = false
		time.Sleep(time.Minute)
		if err := resolve(); err != nil {
			t.Fatal(err)
		}
		away, dials = true, 0
		_ = clients[0].Close()
		time.Sleep(1100 * time.Millisecond)
		if err := resolve(); !errors.Is(err, fetch.ErrUnreachable) || dials != 1 {
			t.Errorf("a second later: %v, dialed %d times", err, dials)
		}
		time.Sleep(2 * time.Second)
		if _ = resolve(); dials != 2 {
			t.Errorf("after the first failure: dialed %d times", dials)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A token that is replaced while a room is dialed is used by the next attempt, at once.
func TestReconnectWhileDialing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tokens []string
		var token atomic.Value
		token.Store("old")
		s := roomsource.New(func(context.Context, string) (*room.Client, error) {
			tokens = append(tokens, token.Load().(string))
			time.Sleep(10 * time.Second)
			return nil, room.ErrForbidden
		})
		go func() {
			time.Sleep(time.Second)
			token.Store("new")
			s.Reconnect()
		}()
		for range 2 {
			if _, err := s.Resolve(t.Context(), target("a")); !errors.Is(err, room.ErrForbidden) {
				t.Error(err)
			}
		}
		if strings.Join(tokens, " ") != "old new" {
			t.Errorf("dialed with %q", tokens)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Who delegated a secret first is the one it is fetched from. Another owner is denied
// instead, and says nothing of the connection.
func TestOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var has []string // who delegated the secret; "" is this identity
		p := newPeer(t, func(_, arguments string) wire.Content {
			var a wire.GetArguments
			if err := json.Unmarshal([]byte(arguments), &a); err != nil {
				t.Error(err)
			}
			from := has
			if a.DelegatedBy != "" {
				from = slices.DeleteFunc(slices.Clone(has), func(owner string) bool { return owner != string(a.DelegatedBy) })
			}
			switch len(from) {
			case 0:
				return wire.Empty{}
			case 1:
				return wire.File{Data: secret.New([]byte("of " + from[0])), DelegatedBy: from[0]}
			}
			return wire.Error{Code: wire.Conflict}
		})
		s := roomsource.New(p.dial)
		to := manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/a", Params: "delegated_to=alice"}
		by := manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/a", Params: "delegated_by=mallory"}
		own := manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/b", Params: "delegated_to=alice"}
		for i, tt := range []struct {
			has   []string
			of    manifest.Target
			want  string // the value, or a part of the error
			is    error
			owner string // that DelegatedBy reports
		}{
			{[]string{"bob"}, to, "of bob", nil, "bob"},
			{[]string{"bob", "mallory"}, to, "of bob", nil, "bob"},
			{[]string{"mallory"}, to, "the secret of bob is gone; this one is of mallory", fetch.ErrDenied, "bob"},
			{[]string{""}, to, "the secret of bob is gone; this one is of alice", fetch.ErrDenied, "bob"},
			{[]string{"mallory", "eve"}, to, "missing", fetch.ErrMissing, "bob"},
			{nil, to, "missing", fetch.ErrMissing, "bob"},
			{[]string{"bob"}, to, "of bob", nil, "bob"},

			{[]string{"bob"}, by, "missing", fetch.ErrMissing, "mallory"},
			{[]string{"bob", "mallory"}, by, "of mallory", nil, "mallory"},

			{[]string{""}, own, "of ", nil, ""},
			{[]string{"mallory"}, own, "the secret of alice is gone; this one is of mallory", fetch.ErrDenied, ""},
		} {
			has = tt.has
			value, err := s.Resolve(t.Context(), tt.of)
			got := string(value.Reveal())
			if err != nil {
				got = err.Error()
			}
			if !errors.Is(err, tt.is) || errors.Is(err, fetch.ErrUnknown) || !strings.Contains(got, tt.want) || s.DelegatedBy(tt.of) != tt.owner {
				t.Errorf("%d: %q is %q, owner %q; want %q, owner %q", i, tt.has, got, s.DelegatedBy(tt.of), tt.want, tt.owner)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
