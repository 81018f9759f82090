package localroom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
)

// open asks for a stream of changes, and returns what came of it.
func (p *peer) open(t testing.TB, callID string) string {
	t.Helper()
	payload, err := wire.PackOpen(wire.Secrets, wire.Watch, callID)
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.request(t.Context(), wire.TypeInvokeTool, payload)
	if control, ok := c.(wire.Control); ok {
		return control.Method
	}
	return outcome(c, err)
}

func (p *peer) mustOpen(t testing.TB, callID string) {
	t.Helper()
	if got := p.open(t, callID); got != "open" {
		t.Fatal(got)
	}
}

func chunk(t testing.TB, callID string, c wire.Content) []byte {
	t.Helper()
	payload, err := wire.PackChunk(callID, c)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func closing(t testing.TB, callID string) []byte {
	return chunk(t, callID, wire.Control{Method: wire.Close, StatusCode: wire.CloseNormal})
}

// chunk waits for the next piece of a stream, which has to be the next message.
func (p *peer) chunk(t testing.TB) (callID string, c wire.Content) {
	t.Helper()
	m, err := p.receive(t.Context())
	if err != nil || m.Type != wire.TypeResponseChunk {
		t.Fatalf("%v came, error %v", m, err)
	}
	if strings.Contains(string(m.Payload), "canary") {
		t.Fatalf("a value is in %q", m.Payload)
	}
	if callID, c, err = wire.UnpackChunk(m.Payload); err != nil {
		t.Fatal(err)
	}
	return callID, c
}

// change waits for a change and returns it in words.
func (p *peer) change(t testing.TB) (words string, revision uint64) {
	t.Helper()
	_, c := p.chunk(t)
	var change wire.Change
	if object, ok := c.(wire.JSON); !ok || json.Unmarshal(object.Object, &change) != nil {
		t.Fatalf("%+v came", c)
	}
	words = "set"
	if change.Deleted {
		words = "deleted"
	}
	return fmt.Sprintf("%s %s/%s", words, change.ID, change.DelegatedTo), change.Revision
}

func (p *peer) wantChanges(t testing.TB, want ...string) {
	t.Helper()
	for _, want := range want {
		if got, _ := p.change(t); got != want {
			t.Fatalf("%s came, want %s", got, want)
		}
	}
}

func setFor(id, delegatedTo, forIdentity string) wire.Content {
	return setArguments(wire.SetHeaders{SecretID: wire.Nullable(id), DelegatedTo: wire.Nullable(delegatedTo), ForIdentity: wire.Nullable(forIdentity)}, []byte("canary"))
}

func deletion(id, delegatedTo string) wire.Content {
	return wire.JSON{Object: object(wire.DeleteArguments{ID: wire.Nullable(id), DelegatedTo: wire.Nullable(delegatedTo)})}
}

func (p *peer) mustInvoke(t testing.TB, tool string, arguments wire.Content) {
	t.Helper()
	if got := outcome(p.invoke(t.Context(), wire.Secrets, tool, arguments)); got != "empty" {
		t.Fatalf("%s: %s", tool, got)
	}
}

// Everyone sees what is theirs and what was delegated to them, in every way in
// which it changes, and nothing else.
func TestWatch(t *testing.T) {
	s := serve(t)
	ann, root := s.connect("ann", scoped()), s.connect("root", admin())
	watchers := map[string]*peer{}
	for _, name := range []string{"ann", "bot", "eve", "root"} {
		watchers[name] = s.connect(name, scoped())
		watchers[name].mustOpen(t, "w")
	}
	elsewhere, err := connect(t.Context(), nil, s.URL+"/rooms/other", sign(t, s.dir, token.Token{Name: "ann", Room: "other", API: scoped()}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { elsewhere.conn.CloseNow() })
	elsewhere.mustOpen(t, "w")

	ann.mustInvoke(t, wire.SetSecret, setFor("a", "", ""))
	ann.mustInvoke(t, wire.SetSecret, setFor("a", "", "")) // again
	ann.mustInvoke(t, wire.SetSecret, setFor("a", "bot", ""))
	root.mustInvoke(t, wire.SetSecret, setFor("b", "", "ann"))
	root.mustInvoke(t, wire.SetSecret, setFor("c", "bot", "bot")) // told once
	ann.mustInvoke(t, wire.DeleteSecret, deletion("a", "bot"))
	ann.mustInvoke(t, wire.DeleteSecret, deletion("a", ""))
	if got := outcome(ann.invoke(t.Context(), wire.Secrets, wire.DeleteSecret, deletion("a", ""))); got != "1003" {
		t.Error(got) // and no news
	}
	asked := s.connect("eve", scoped())
	id := ann.ask(t, asked, dbURL, "") // belongs to eve, who delegates it to ann
	request := asked.asked(t)
	requested := localroom.RequestedID(dbURL, "text/plain")
	if got := asked.provide(t, request.RequestID, "canary"); got != "empty" {
		t.Error(got)
	}
	ann.response(t, id)
	ann.mustInvoke(t, wire.DeleteRequestedSecret, jsonObject(`{"url":"`+dbURL+`","type":"text/plain"}`))

	// The last one tells that there was no more.
	for _, name := range []string{"ann", "bot", "eve", "root"} {
		root.mustInvoke(t, wire.SetSecret, setFor("last", "", name))
	}
	for name, want := range map[string][]string{
		"ann":  {"set a/", "set a/", "set a/bot", "set b/", "deleted a/bot", "deleted a/", "set " + requested + "/ann", "deleted " + requested + "/ann"},
		"bot":  {"set a/bot", "set c/bot", "deleted a/bot"},
		"eve":  {"set " + requested + "/ann", "deleted " + requested + "/ann"},
		"root": {},
	} {
		watchers[name].wantChanges(t, append(want, "set last/")...)
	}
	list, err := elsewhere.invoke(t.Context(), wire.Secrets, wire.ListSecrets, wire.JSON{})
	if got := outcome(list, err); got != "" { // it is the next message: no change came
		t.Error(got)
	}
}

// A stream is what the protocol says it is: opened once, bounded, and quiet
// after it was closed.
func TestWatchStreams(t *testing.T) {
	s := serve(t)
	p := s.connect("ann", scoped())
	for name, scope := range map[string]*token.Scope{"quiet": {}, "mute": nil} {
		if got := s.connect(name, scope).open(t, "w"); got != "1001" {
			t.Errorf("%s gets %s", name, got)
		}
	}
	for _, id := range []string{"", strings.Repeat("x", 129)} {
		if got := p.open(t, id); got != "1002" {
			t.Errorf("tool_call_id of %d bytes: %s", len(id), got)
		}
	}
	p.mustOpen(t, "w")
	if got := p.open(t, "w"); got != "1004" {
		t.Errorf("a second time: %s", got)
	}
	for i := 1; i < localroom.MaxStreams; i++ {
		p.mustOpen(t, fmt.Sprint(i))
	}
	if got := p.open(t, "one more"); got != "1006" {
		t.Errorf("too many: %s", got)
	}
	for i := 1; i < localroom.MaxStreams; i++ {
		if got := outcome(p.request(t.Context(), wire.TypeRequestChunk, closing(t, fmt.Sprint(i)))); got != "empty" {
			t.Fatal(got)
		}
		if id, c := p.chunk(t); id != fmt.Sprint(i) || c != (wire.Control{Method: wire.Close, StatusCode: wire.CloseNormal}) {
			t.Errorf("%+v came of %s", c, id)
		}
	}
	for name, payload := range map[string][]byte{
		"something else": chunk(t, "w", wire.Text{Text: "x"}), "another open": chunk(t, "w", wire.Control{Method: wire.Open}),
		"no content": wire.Pack([]byte(`{"tool_call_id":"w"}`), nil),
	} {
		if got := outcome(p.request(t.Context(), wire.TypeRequestChunk, payload)); got != "1002" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if err := setSecret(t.Context(), s.connect("ann", scoped()), "a", "v"); err != nil {
		t.Fatal(err)
	}
	p.wantChanges(t, "set a/") // it is open still
	if got := outcome(p.request(t.Context(), wire.TypeRequestChunk, closing(t, "w"))); got != "empty" {
		t.Fatal(got)
	}
	p.chunk(t)
	if got := outcome(p.request(t.Context(), wire.TypeRequestChunk, closing(t, "w"))); got != "1003" {
		t.Errorf("closed twice: %s", got)
	}
	if err := setSecret(t.Context(), s.connect("ann", scoped()), "a", "v"); err != nil {
		t.Fatal(err)
	}
	p.mustOpen(t, "w") // the next message: the change was told nobody
	if n := localroom.Watches(s.store); n != 1 {
		t.Errorf("%d watch", n)
	}
	p.conn.CloseNow()
	s.local.Close()
	if n := localroom.Watches(s.store); n != 0 {
		t.Errorf("%d watch when all have gone", n)
	}
}

// Changes made at once by many, and streams opened meanwhile: each one hears
// in order of all that it did not find there when it was open.
func TestWatchMany(t *testing.T) {
	s := serve(t)
	const writers, each, watchers = 5, 20, 4
	var writing sync.WaitGroup
	started := make(chan struct{}, writers)
	for w := range writers {
		p := s.connect("ann", scoped())
		writing.Go(func() {
			for i := range each {
				if i == each/4 {
					started <- struct{}{}
				}
				if err := setSecret(t.Context(), p, fmt.Sprint(w, "-", i), "v"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var watching sync.WaitGroup
	for range watchers {
		<-started
		p, last := s.connect("ann", scoped()), s.connect("ann", scoped())
		p.mustOpen(t, "w")
		found := strings.Fields(outcome(last.invoke(t.Context(), wire.Secrets, wire.ListSecrets, wire.JSON{})))
		watching.Go(func() {
			seen := map[string]bool{}
			for _, f := range found {
				seen["set "+f] = true
			}
			var before uint64
			for len(seen) < writers*each {
				words, revision := p.change(t)
				if revision <= before {
					t.Errorf("%s has revision %d after %d", words, revision, before)
				}
				seen[words], before = true, revision
			}
		})
	}
	writing.Wait()
	watching.Wait()
}

// Who does not read what changes is dropped, and holds up nobody.
func TestWatchSlow(t *testing.T) {
	s := serve(t)
	slow, quick := s.connect("ann", scoped()), s.connect("ann", scoped())
	slow.mustOpen(t, "w")
	if err := setSecret(t.Context(), quick, "a", "v"); err != nil {
		t.Fatal(err)
	}
	slow.wantChanges(t, "set a/")
	localroom.SetUnsent(s.local, slow.id, localroom.MaxEventBytes)
	if err := setSecret(t.Context(), quick, "a", "v"); err != nil {
		t.Fatal(err)
	}
	if m, err := slow.receive(t.Context()); err == nil {
		t.Errorf("%v came", m)
	}
}

// A change that was not committed is none.
func TestWatchFailedChange(t *testing.T) {
	s := serve(t)
	p := s.connect("ann", scoped())
	p.mustOpen(t, "w")
	if err := localroom.FailWrites(s.store); err != nil {
		t.Fatal(err)
	}
	payload, err := wire.PackInvoke(wire.Secrets, wire.SetSecret, setArguments(wire.SetHeaders{SecretID: "a"}, []byte("v")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.send(t.Context(), wire.TypeInvokeTool, payload); err != nil {
		t.Fatal(err)
	}
	if m, err := p.receive(t.Context()); err != nil || m.Type != wire.TypeResponse { // which comes after events
		t.Errorf("%v came, error %v", m, err)
	}
}

// What a provider does to a credential is news; that a refresh makes sure of
// the store first is not, or who looks at each change would refresh for ever.
func TestWatchCredential(t *testing.T) {
	s, p := serve(t), newProvider(t)
	ann, bot := s.dial("ann", scoped(), provides("good")), s.dial("bot", scoped(), asksNobody(t))
	watchers := []*peer{s.connect("ann", scoped()), s.connect("bot", scoped())}
	for _, w := range watchers {
		w.mustOpen(t, "w")
	}
	if _, err := ask(t.Context(), bot, ann, p.client()); err != nil {
		t.Fatal(err)
	}
	id := s.credential("ann").ID + "/bot"
	s.expire("ann")
	p.set(func() { p.fault = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) } })
	if _, err := offline(t.Context(), bot, p.client(), "ann"); err == nil {
		t.Fatal("the provider fails and there is a token")
	}
	p.set(func() { p.fault = nil })
	if _, err := offline(t.Context(), bot, p.client(), "ann"); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Delete(s.credential("ann").RecordKey); err != nil {
		t.Fatal(err)
	}
	for _, w := range watchers {
		w.wantChanges(t, "set "+id, "set "+id, "set "+id, "deleted "+id) // authorized, expired by hand, refreshed, deleted
	}
}

// A follower is a client that watches, and what it heard.
type follower struct {
	*room.Client
	heard chan string
}

func follow(t testing.TB, c *room.Client) follower {
	f := follower{c, make(chan string, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		err := c.Secrets().Watch(ctx, func(changes []room.Change) {
			if changes == nil {
				f.heard <- "anything"
			}
			for _, c := range changes {
				words := "set"
				if c.Deleted {
					words = "deleted"
				}
				f.heard <- words + " " + c.ID + "/" + c.DelegatedTo
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		watching.Wait()
	})
	f.want(t, "anything")
	return f
}

func (f follower) want(t testing.TB, want ...string) {
	t.Helper()
	for _, want := range want {
		select {
		case got := <-f.heard:
			if got != want {
				t.Fatalf("heard %s, want %s", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("heard nothing, want %s", want)
		}
	}
}

// What our client hears of this room, beginning with what it may have missed
// when another process takes it over.
func TestClientWatches(t *testing.T) {
	dir := t.TempDir()
	first, second := openRoom(t, dir), openRoom(t, dir)
	if err := first.Acquire(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	ann := dialAs(t, second, "ann", func(c *room.Config) {
		c.OnSecretRequested = func(ctx context.Context, c *room.Client, r room.SecretRequested) {
			if err := c.Secrets().Provide(ctx, r.ID, value("v")); err != nil {
				t.Error(err)
			}
		}
	})
	bot := follow(t, dialAs(t, second, "bot", unasked))
	set := func(c *room.Client, id, delegatedTo string) {
		t.Helper()
		if err := c.Secrets().Set(ctx, room.NewSecret{ID: id, DelegatedTo: delegatedTo, Value: value("v")}); err != nil {
			t.Fatal(err)
		}
	}
	set(bot.Client, "own", "")
	set(bot.Client, "own", "")
	set(ann, "hers", "")
	set(ann, "shared", "bot")
	if err := bot.Secrets().Delete(ctx, "own", ""); err != nil {
		t.Fatal(err)
	}
	if err := ann.Secrets().Delete(ctx, "shared", "bot"); err != nil {
		t.Fatal(err)
	}
	if _, err := bot.Secrets().Request(ctx, room.SecretRequest{ParticipantID: ann.Session().ParticipantID, URL: "u", Type: "t"}); err != nil {
		t.Fatal(err)
	}
	bot.want(t, "set own/", "set own/", "set shared/bot", "deleted own/", "deleted shared/bot", "set "+localroom.RequestedID("u", "t")+"/bot")

	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	bot.want(t, "anything")
	var want []string
	for i := range 100 {
		set(ann, fmt.Sprint(i), "bot")
		want = append(want, fmt.Sprintf("set %d/bot", i))
	}
	bot.want(t, want...)
	bot.Reconnect()
	bot.want(t, "anything")
	set(ann, "last", "bot")
	bot.want(t, "set last/bot")
}

// A watch that ends leaves nothing in the room, nor does one that a client
// without the scope asks for.
func TestClientWatchEnds(t *testing.T) {
	s := serve(t)
	c := s.dial("ann", scoped(), asksNobody(t))
	for range 2 * localroom.MaxStreams {
		ctx, cancel := context.WithCancel(t.Context())
		if err := c.Secrets().Watch(ctx, func([]room.Change) { cancel() }); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if _, err := c.Secrets().List(t.Context()); err != nil { // answered behind the last close
		t.Fatal(err)
	}
	quiet := s.dial("quiet", &token.Scope{}, asksNobody(t))
	if err := quiet.Secrets().Watch(t.Context(), func([]room.Change) { t.Error("it is not open") }); !errors.Is(err, room.ErrPermissionDenied) {
		t.Error(err)
	}
	if n := localroom.Watches(s.store); n != 0 {
		t.Errorf("%d watch", n)
	}
}
