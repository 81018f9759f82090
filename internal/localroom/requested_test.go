package localroom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

const dbURL = "https://db.example"

// call sends a request to the secrets toolkit, to be answered later.
func (p *peer) call(t testing.TB, tool string, arguments wire.Content) (id uint64) {
	t.Helper()
	payload, err := wire.PackInvoke(wire.Secrets, tool, arguments)
	if err != nil {
		t.Fatal(err)
	}
	id, err = p.send(t.Context(), wire.TypeInvokeTool, payload)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// response waits for the response to id and passes over all else.
func (p *peer) response(t testing.TB, id uint64) wire.Content {
	t.Helper()
	for {
		m, err := p.receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m.Type == wire.TypeResponse && m.ID == id {
			c, err := wire.UnpackContent(m.Payload)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
}

// secretRequest is the arguments of request_secret, with more of them as JSON.
func secretRequest(asked *peer, url, more string) wire.Content {
	return jsonObject(fmt.Sprintf(`{"participant_id":%q,"url":%q,"type":"text/plain"%s}`, asked.id, url, more))
}

func (p *peer) ask(t testing.TB, asked *peer, url, more string) (id uint64) {
	t.Helper()
	return p.call(t, wire.RequestSecret, secretRequest(asked, url, more))
}

// asked waits for a request of a secret.
func (p *peer) asked(t testing.TB) wire.SecretRequest {
	t.Helper()
	var r wire.SecretRequest
	p.event(t, wire.TypeRequestSecret, &r)
	return r
}

func provided(requestID, v string) wire.Content {
	return wire.Binary{Headers: object(wire.ProvideHeaders{RequestID: requestID}), Data: value(v)}
}

func rejected(requestID, reason string) wire.Content {
	return wire.Binary{Headers: object(wire.ProvideHeaders{RequestID: requestID, Error: &reason})}
}

func (p *peer) provide(t testing.TB, requestID, v string) string {
	t.Helper()
	return outcome(p.response(t, p.call(t, wire.ProvideSecret, provided(requestID, v))), nil)
}

// stored is what owner has in the store of that type, by delegatee and name.
func (s *testServer) stored(owner, typ string) string {
	s.t.Helper()
	list, err := s.store.List("demo", owner)
	if err != nil {
		s.t.Fatal(err)
	}
	var all []string
	for _, i := range list {
		if i.Type != typ {
			continue
		}
		_, v, err := s.store.Get(i.RecordKey, "", "")
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s/%s=%s", i.DelegatedTo, i.Name, v.Reveal()))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestRequestSecret(t *testing.T) {
	s := serve(t)
	bot, ann := s.connect("bot", scoped()), s.connect("ann", scoped())
	id := bot.ask(t, ann, dbURL, `,"timeout":7`)

	var e map[string]any
	ann.event(t, wire.TypeRequestSecret, &e)
	requestID, _ := e["request_id"].(string)
	delete(e, "request_id")
	want := fmt.Sprintf(`{"request":{"delegate_to":null,"participant_id":%q,"timeout":7,"type":"text/plain","url":%q},"requester":{"id":%q,"name":"bot"}}`, ann.id, dbURL, bot.id)
	if got, _ := json.Marshal(e); string(got) != want || len(requestID) < 22 {
		t.Fatalf("ann is asked %s by %q, want %s", got, requestID, want)
	}
	if got := ann.provide(t, requestID, "hunter2"); got != "empty" {
		t.Fatal(got)
	}
	if got := s.stored("ann", "text/plain"); got != "bot/"+dbURL+"=hunter2" {
		t.Errorf("when ann's answer is acknowledged, the store has %s", got)
	}
	f, _ := bot.response(t, id).(wire.File)
	if string(f.Data.Reveal()) != "hunter2" || f.Name != dbURL || f.MimeType != "text/plain" {
		t.Errorf("bot gets %+v", f)
	}

	// ann is not asked for the same again, until bot says that it is no good.
	if got := outcome(bot.response(t, bot.ask(t, ann, dbURL, "")), nil); got != "hunter2" {
		t.Errorf("the second time: %s", got)
	}
	if got := outcome(bot.response(t, bot.call(t, wire.DeleteRequestedSecret, jsonObject(`{"url":"`+dbURL+`","type":"text/plain","delegated_to":null}`))), nil); got != "empty" {
		t.Fatal(got)
	}
	id = bot.ask(t, ann, dbURL, "")
	if got := ann.provide(t, ann.asked(t).RequestID, "hunter3"); got != "empty" {
		t.Fatal(got)
	}
	if got := outcome(bot.response(t, id), nil); got != "hunter3" {
		t.Errorf("after it was deleted: %s", got)
	}
	// Another type is another secret, and so is another url.
	for _, other := range []wire.Content{
		jsonObject(fmt.Sprintf(`{"participant_id":%q,"url":%q}`, ann.id, dbURL)),
		secretRequest(ann, dbURL+"/", ""),
	} {
		id := bot.call(t, wire.RequestSecret, other)
		r := ann.asked(t)
		if *r.Request.Timeout != 300 || r.Request.Type != "text/plain" && r.Request.Type != localroom.DefaultType {
			t.Errorf("asked for %+v", r)
		}
		ann.response(t, ann.call(t, wire.ProvideSecret, rejected(r.RequestID, "no")))
		if e, _ := bot.response(t, id).(wire.Error); e.Code != wire.OperationFailed || e.Text != "no" {
			t.Errorf("bot gets %+v", e)
		}
	}
	if log := s.log.String(); strings.Contains(log, "hunter") {
		t.Error("the log has a value")
	}
}

func TestRequestToOneself(t *testing.T) {
	s := serve(t)
	ann := s.connect("ann", scoped())
	asking := ann.ask(t, ann, dbURL, `,"delegate_to":"bot"`)
	r := ann.asked(t)
	if r.Request.DelegateTo != "bot" || r.Requester.ID != ann.id {
		t.Errorf("asked for %+v", r)
	}
	// While it waits the connection works.
	if got := outcome(ann.invoke(t.Context(), wire.Secrets, wire.ListSecrets, wire.JSON{})); got != "" {
		t.Errorf("ann has %s", got)
	}
	answering := ann.call(t, wire.ProvideSecret, provided(r.RequestID, "v"))
	got := map[uint64]string{}
	for range 2 {
		m, err := ann.receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, err := wire.UnpackContent(m.Payload)
		got[m.ID] = outcome(c, err)
	}
	if got[asking] != "v" || got[answering] != "empty" {
		t.Errorf("got %v", got)
	}
	if got := s.stored("ann", "text/plain"); got != "bot/"+dbURL+"=v" {
		t.Errorf("stored is %s", got)
	}
}

func TestWhatCannotBeRequested(t *testing.T) {
	s := serve(t)
	bot, ann := s.connect("bot", scoped()), s.connect("ann", scoped())
	long := strings.Repeat("x", 1025)
	for arguments, want := range map[string]string{
		`{"participant_id":"none","url":"u"}`:                                        "1003",
		`{"url":"u"}`:                                                                "1003",
		`{"participant_id":"` + ann.id + `"}`:                                        "1002",
		`{"participant_id":"` + ann.id + `","url":""}`:                               "1002",
		`{"participant_id":"` + ann.id + `","url":"` + long + `"}`:                   "1002",
		`{"participant_id":"` + ann.id + `","url":7}`:                                "1002",
		`{"participant_id":"` + ann.id + `","url":"u","timeout":0}`:                  "1002",
		`{"participant_id":"` + ann.id + `","url":"u","timeout":-1}`:                 "1002",
		`{"participant_id":"` + ann.id + `","url":"u","timeout":0.5}`:                "1002",
		`{"participant_id":"` + ann.id + `","url":"u","timeout":"1"}`:                "1002",
		`{"participant_id":"` + ann.id + `","url":"u","type":"` + long + `"}`:        "1002",
		`{"participant_id":"` + ann.id + `","url":"u","delegate_to":"eve"}`:          "1001",
		`{"participant_id":"` + bot.id + `","url":"u","delegate_to":"` + long + `"}`: "1002",
	} {
		if got := outcome(bot.invoke(t.Context(), wire.Secrets, wire.RequestSecret, jsonObject(arguments))); got != want {
			t.Errorf("%.100s: %s, want %s", arguments, got, want)
		}
	}
	localroom.SetUnsent(s.local, ann.id, localroom.MaxEventBytes)
	if got := outcome(bot.response(t, bot.ask(t, ann, dbURL, "")), nil); got != "1008" {
		t.Errorf("of one who does not read: %s", got)
	}
}

// Whoever is asked answers, on any connection, once.
func TestWhoMayAnswer(t *testing.T) {
	s := serve(t)
	bot, ann := s.connect("bot", scoped()), s.connect("ann", scoped())
	asking := bot.ask(t, ann, dbURL, "")
	id := ann.asked(t).RequestID
	ann.conn.CloseNow()

	for name, scope := range map[string]*token.Scope{"bot": scoped(), "eve": scoped(), "root": admin(), "mute": nil} {
		p := s.connect(name, scope)
		if got := p.provide(t, id, "forged"); got != "1001" {
			t.Errorf("%s provides: %s", name, got)
		}
		if got := outcome(p.response(t, p.call(t, wire.ProvideSecret, rejected(id, "forged"))), nil); got != "1001" {
			t.Errorf("%s rejects: %s", name, got)
		}
	}
	elsewhere, err := connect(t.Context(), nil, s.URL+"/rooms/other", sign(t, s.dir, token.Token{Name: "ann", Room: "other"}))
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.conn.CloseNow()
	if got := elsewhere.provide(t, id, "forged"); got != "1003" {
		t.Errorf("ann provides in another room: %s", got)
	}

	later := s.connect("ann", nil) // who is asked needs no scope
	for _, unknown := range []string{"", "none", strings.ToLower(id)} {
		if got := later.provide(t, unknown, "v"); got != "1003" {
			t.Errorf("the request %q: %s", unknown, got)
		}
	}
	if got := outcome(later.invoke(t.Context(), wire.Secrets, wire.ProvideSecret, jsonObject(`{"request_id":"`+id+`"}`))); got != "1002" {
		t.Errorf("without a value: %s", got)
	}
	if got := later.provide(t, id, "v"); got != "empty" {
		t.Errorf("ann provides later: %s", got)
	}
	if got := outcome(bot.response(t, asking), nil); got != "v" {
		t.Errorf("bot gets %s", got)
	}
	if got := later.provide(t, id, "again"); got != "1003" {
		t.Errorf("ann provides twice: %s", got)
	}
	if got := s.stored("ann", "text/plain"); got != "bot/"+dbURL+"=v" {
		t.Errorf("stored is %s", got)
	}
	// Nobody is told of what was asked before.
	again := s.connect("ann", scoped())
	again.must(t, wire.Secrets, wire.DeleteRequestedSecret, `{"url":"none"}`)
}

// Of many answers at once one counts, for all.
func TestAnswersAtOnce(t *testing.T) {
	s := serve(t)
	bot, ann := s.connect("bot", scoped()), s.connect("ann", scoped())
	for round := range 20 {
		url := fmt.Sprint(round)
		asking := bot.ask(t, ann, url, "")
		id := ann.asked(t).RequestID
		var answering sync.WaitGroup
		won := make(chan string, 8)
		for i := range 8 {
			p := s.connect("ann", scoped())
			answering.Go(func() {
				v := fmt.Sprint(i)
				switch got := p.provide(t, id, v); got {
				case "empty":
					won <- v
				case "1003":
				default:
					t.Error(got)
				}
			})
		}
		answering.Wait()
		if len(won) != 1 {
			t.Fatalf("%d answers count", len(won))
		}
		v := <-won
		if got := outcome(bot.response(t, asking), nil); got != v {
			t.Errorf("bot gets %s, and %s was taken", got, v)
		}
		if _, kept, err := s.store.Get(at("ann", "bot", localroom.RequestedID(url, "text/plain")), "", ""); err != nil || !kept.Equal(value(v)) {
			t.Errorf("stored is %s, and %s was taken", kept.Reveal(), v)
		}
	}
}

func TestReasons(t *testing.T) {
	s := serve(t)
	bot, ann := s.connect("bot", scoped()), s.connect("ann", scoped())
	for n, reason := range []string{"", "no\n\x1b[31m", strings.Repeat("ü", 10_000)} {
		asking := bot.ask(t, ann, fmt.Sprint(dbURL, n), "")
		if got := outcome(ann.response(t, ann.call(t, wire.ProvideSecret, rejected(ann.asked(t).RequestID, reason))), nil); got != "empty" {
			t.Fatal(got)
		}
		e, _ := bot.response(t, asking).(wire.Error)
		if want := reason[:min(len(reason), 1024)]; e.Code != wire.OperationFailed || e.Text != want {
			t.Errorf("bot gets %+v, want %q", e, want)
		}
	}
	if got := s.stored("ann", "text/plain"); got != "" {
		t.Errorf("stored is %s", got)
	}
}

// What the store does not take is an error to both, and can be asked for again.
func TestNotStored(t *testing.T) {
	s := serve(t)
	bot, ann := s.connect("bot", scoped()), s.connect("ann", scoped())
	asking := bot.ask(t, ann, dbURL, "")
	if got := ann.provide(t, ann.asked(t).RequestID, strings.Repeat("x", 16<<20-32<<10)); got != "1002" {
		t.Errorf("a value that fills a message: %s", got)
	}
	if got := outcome(bot.response(t, asking), nil); got != "1002" {
		t.Errorf("bot gets %.100s", got)
	}
	asking = bot.ask(t, ann, dbURL, "")
	r := ann.asked(t)
	s.store.Close()
	if got := ann.provide(t, r.RequestID, "v"); got != "1008" {
		t.Errorf("a store that is closed: %s", got)
	}
	if got := outcome(bot.response(t, asking), nil); got != "1008" {
		t.Errorf("bot gets %s", got)
	}
}

// An answer that came in time counts, however long it takes to store.
func TestAnswerThatIsStoredLate(t *testing.T) {
	s := serve(t)
	bot, ann := s.connect("bot", scoped()), s.connect("ann", scoped())
	asking := bot.ask(t, ann, dbURL, `,"timeout":1`)
	id := ann.asked(t).RequestID
	release := sync.OnceFunc(localroom.HoldCommits(s.store))
	defer release()
	time.AfterFunc(1500*time.Millisecond, release)
	ann.call(t, wire.ProvideSecret, provided(id, "v"))
	if got := outcome(bot.response(t, asking), nil); got != "v" {
		t.Errorf("bot gets %s", got)
	}
}

// Equal requests of one identity are sent once, and answered together.
func TestEqualRequests(t *testing.T) {
	s := serve(t)
	ann, eve := s.connect("ann", scoped()), s.connect("eve", scoped())
	first, second := s.connect("bot", scoped()), s.connect("bot", scoped())
	firstID := first.ask(t, ann, dbURL, "")
	r := ann.asked(t)
	secondID := second.ask(t, ann, dbURL, "")
	s.wantAskers(r.RequestID, 2)
	eveID := eve.ask(t, ann, dbURL, "")
	if e := ann.asked(t); e.Requester.Name != "eve" || e.RequestID == r.RequestID {
		t.Errorf("ann is asked %+v", e)
	} else if got := ann.provide(t, e.RequestID, "for eve"); got != "empty" {
		t.Error(got)
	}
	if got := ann.provide(t, r.RequestID, "for bot"); got != "empty" {
		t.Error(got)
	}
	for id, p := range map[uint64]*peer{firstID: first, secondID: second} {
		if got := outcome(p.response(t, id), nil); got != "for bot" {
			t.Errorf("bot gets %s", got)
		}
	}
	if got := outcome(eve.response(t, eveID), nil); got != "for eve" {
		t.Errorf("eve gets %s", got)
	}
}

// wantAskers returns when n wait for the answer to a request.
func (s *testServer) wantAskers(requestID string, n int) {
	for localroom.Waiters(s.local, requestID) != n {
		if s.t.Context().Err() != nil {
			s.t.FailNow()
		}
		runtime.Gosched()
	}
}

// A request lives as long as one who asks.
func TestAskerGone(t *testing.T) {
	s := serve(t)
	ann, first, second := s.connect("ann", scoped()), s.connect("bot", scoped()), s.connect("bot", scoped())
	first.ask(t, ann, dbURL, "")
	id := ann.asked(t).RequestID
	second.ask(t, ann, dbURL, "")
	s.wantAskers(id, 2)
	first.conn.CloseNow()
	s.wantAskers(id, 1)
	second.conn.CloseNow()
	s.wantAskers(id, 0)
	if got := ann.provide(t, id, "late"); got != "1003" {
		t.Errorf("ann provides: %s", got)
	}
	if got := s.stored("ann", "text/plain"); got != "" {
		t.Errorf("stored is %s", got)
	}
	// It can be asked for again.
	bot := s.connect("bot", scoped())
	asking := bot.ask(t, ann, dbURL, "")
	if got := ann.provide(t, ann.asked(t).RequestID, "v"); got != "empty" {
		t.Error(got)
	}
	if got := outcome(bot.response(t, asking), nil); got != "v" {
		t.Errorf("bot gets %s", got)
	}
}

func TestFloodOfRequests(t *testing.T) {
	s := serve(t)
	bot, ann, bob := s.connect("bot", scoped()), s.connect("ann", scoped()), s.connect("bob", scoped())
	for i := range localroom.MaxPending {
		bot.ask(t, ann, fmt.Sprint(i), "")
	}
	for range localroom.MaxPending {
		ann.asked(t)
	}
	other := s.connect("bot", scoped())
	e, _ := other.response(t, other.ask(t, ann, "one more", "")).(wire.Error)
	if e.Code != wire.InvalidState || e.Text != `too many requests are pending: the limit is 100 for "ann"` {
		t.Errorf("one more: %+v", e)
	}
	// Equal ones are no more of them; others ask and are asked as before.
	bot.ask(t, ann, "0", "")
	eve := s.connect("eve", scoped())
	asking := eve.ask(t, ann, "of eve", "")
	if got := ann.provide(t, ann.asked(t).RequestID, "v"); got != "empty" {
		t.Fatal(got)
	}
	if got := outcome(eve.response(t, asking), nil); got != "v" {
		t.Errorf("eve gets %s", got)
	}
	for i := range localroom.MaxPending {
		bot.ask(t, bob, fmt.Sprint(i), "")
	}
	// Equal ones are bounded too.
	same := s.connect("bot", scoped())
	for range localroom.MaxPending + 1 {
		same.ask(t, same, "same", "")
	}
	for refused := false; !refused; {
		m, err := same.receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if refused = m.Type == wire.TypeResponse; refused {
			c, err := wire.UnpackContent(m.Payload)
			if got := outcome(c, err); got != "1006" {
				t.Errorf("an equal one more: %s", got)
			}
		}
	}
	same.conn.CloseNow()
	// A connection has a bound of its own.
	for i := range localroom.MaxWaiting - 2*localroom.MaxPending - 1 {
		bot.ask(t, bot, fmt.Sprint(i), "")
	}
	e, _ = bot.response(t, bot.ask(t, bot, "one more", "")).(wire.Error)
	if e.Code != wire.InvalidState || e.Text != "too many pending calls: the limit is 256" {
		t.Errorf("one more: %+v", e)
	}
	if err := setSecret(t.Context(), bot, "quick", "v"); err != nil {
		t.Errorf("what does not wait: %v", err)
	}
	// Who goes makes room.
	bot.conn.CloseNow()
	mustSet(t, s.store, at("ann", "bot", localroom.RequestedID(dbURL, "text/plain")), "", "", "v")
	again := s.connect("bot", scoped())
	for {
		got := outcome(again.response(t, again.ask(t, ann, dbURL, "")), nil)
		if got == "v" {
			break
		}
		if got != "1006" {
			t.Fatal(got)
		}
	}
}

func TestThousandRequests(t *testing.T) {
	s := serve(t)
	ann := s.connect("ann", scoped())
	const askers, each = 10, 100
	var asking sync.WaitGroup
	for i := range askers {
		p := s.connect(fmt.Sprint("bot", i), scoped())
		asking.Go(func() {
			urls := map[uint64]string{}
			for j := range each {
				u := fmt.Sprint(i, "-", j)
				urls[p.ask(t, ann, u, "")] = u
			}
			for range each {
				m, err := p.receive(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				c, err := wire.UnpackContent(m.Payload)
				if got := outcome(c, err); got != "v of "+urls[m.ID] {
					t.Errorf("for %s came %s", urls[m.ID], got)
				}
			}
		})
	}
	var all []wire.SecretRequest
	for range askers * each {
		all = append(all, ann.asked(t))
	}
	slices.Reverse(all)
	for _, r := range all {
		if got := ann.provide(t, r.RequestID, "v of "+string(r.Request.URL)); got != "empty" {
			t.Fatal(got)
		}
	}
	asking.Wait()
	if list, err := s.store.List("demo", "ann"); err != nil || len(list) != askers*each {
		t.Errorf("%d are stored, error %v", len(list), err)
	}
}

// The server is killed while a request waits: all come back, and who is asked
// is not asked for what it had provided.
func TestRequestsAndRestart(t *testing.T) {
	dir := t.TempDir()
	first := openRoom(t, dir)
	bot, ann := mustEnter(t, first, "bot"), mustEnter(t, first, "ann")
	asking := bot.ask(t, ann, "provided", "")
	if got := ann.provide(t, ann.asked(t).RequestID, "v"); got != "empty" {
		t.Fatal(got)
	}
	_ = asking // its answer is lost with the connection
	bot.ask(t, ann, "waits", "")
	lost := ann.asked(t)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := openRoom(t, dir)
	bot, ann = mustEnter(t, second, "bot"), mustEnter(t, second, "ann")
	if got := ann.provide(t, lost.RequestID, "v"); got != "1003" {
		t.Errorf("an answer to the old request: %s", got)
	}
	if got := outcome(bot.response(t, bot.ask(t, ann, "provided", "")), nil); got != "v" {
		t.Errorf("what was provided: %s", got)
	}
	asking = bot.ask(t, ann, "waits", "")
	r := ann.asked(t)
	if r.Request.URL != "waits" || r.RequestID == lost.RequestID {
		t.Errorf("ann is asked %+v", r)
	}
	if got := ann.provide(t, r.RequestID, "w"); got != "empty" {
		t.Fatal(got)
	}
	if got := outcome(bot.response(t, asking), nil); got != "w" {
		t.Errorf("what waited: %s", got)
	}
}

// A room that ends answers nothing: to a client an error would be the answer,
// where it asks the next leader after a connection that drops.
func TestRequestsAreNotAnsweredByTheEnd(t *testing.T) {
	s := serve(t)
	ann := s.connect("ann", scoped())
	var bots []*peer
	for range 20 { // of which each had an even chance to be answered
		bots = append(bots, s.connect("bot", scoped()))
	}
	var last wire.SecretRequest
	for i, bot := range bots {
		for range 5 {
			bot.ask(t, ann, dbURL, "")
		}
		if i == 0 {
			last = ann.asked(t)
		}
	}
	s.wantAskers(last.RequestID, 5*len(bots))
	if err := s.local.Close(); err != nil {
		t.Error(err)
	}
	for _, bot := range bots {
		if m, err := bot.receive(t.Context()); err == nil {
			c, _ := wire.UnpackContent(m.Payload)
			t.Errorf("the end of the room is answered with %s %v", m.Type, c)
		}
	}
}

// The process that serves the room is killed while a request waits. Clients
// come back and ask again, under new ids; what was provided is not asked for
// twice.
func TestKill9WhileARequestWaits(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir := t.TempDir()
	holder := startChild(t, dir)
	holder.advance(t, 1)
	e := openRoom(t, dir)
	asked := make(chan room.SecretRequested, 8)
	ann := dialAs(t, e, "ann", func(c *room.Config) {
		c.OnSecretRequested = func(_ context.Context, _ *room.Client, r room.SecretRequested) { asked <- r }
	})
	if err := ann.Messaging().Enable(ctx); err != nil {
		t.Fatal(err)
	}
	bot := dialAs(t, e, "bot", unasked)
	before := meet(t, bot, "ann")
	type answer struct {
		value string
		err   error
	}
	ask := func(id, url string) chan answer {
		answers := make(chan answer, 1)
		go func() {
			v, err := bot.Secrets().Request(ctx, room.SecretRequest{ParticipantID: id, URL: url, Type: "text/plain"})
			answers <- answer{string(v.Reveal()), err}
		}()
		return answers
	}
	provide := func(url string) {
		t.Helper()
		r := next(t, asked)
		if r.Request.URL != url {
			t.Fatalf("ann is asked for %s, not %s", r.Request.URL, url)
		}
		if err := ann.Secrets().Provide(ctx, r.ID, value("v of "+url)); err != nil {
			t.Error(err)
		}
	}
	want := func(answers chan answer, v string) {
		t.Helper()
		if a := next(t, answers); a.err != nil || a.value != v {
			t.Errorf("bot gets %q, %v", a.value, a.err)
		}
	}
	kept := ask(before.ID, "kept")
	provide("kept")
	want(kept, "v of kept")
	waits := ask(before.ID, "waits")
	lost := next(t, asked)
	if err := holder.end(holder.Process.Kill); err != nil {
		t.Fatal(err)
	}

	if a := next(t, waits); !errors.Is(a.err, room.ErrNotFound) { // ann has another id now
		t.Errorf("after the kill bot gets %q, %v", a.value, a.err)
	}
	after, err := bot.Messaging().Find(ctx, func(p room.Participant) bool { return p.Name() == "ann" && p.ID != before.ID })
	if err != nil {
		t.Fatal(err)
	}
	if err := ann.Secrets().Provide(ctx, lost.ID, value("late")); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("an answer to what was lost: %v", err)
	}
	want(ask(after.ID, "kept"), "v of kept")
	waits = ask(after.ID, "waits")
	provide("waits")
	want(waits, "v of waits")
	if len(asked) != 0 {
		t.Errorf("ann is asked %d times more", len(asked))
	}
}

// pipes is a listener in a synctest bubble, where sockets would stop the clock.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p pipes) Close() error   { close(p.done); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours, nil
}

// serveInBubble returns how participants of a room enter. It is for a synctest
// bubble.
func serveInBubble(t *testing.T) (enter func(name string) *peer) {
	store, l := bubble(t)
	return func(name string) *peer {
		p, err := connect(t.Context(), l.dial, "ws://room/rooms/demo", signFor(t, store, name, 24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

// bubble serves a new store in a synctest bubble.
func bubble(t *testing.T) (*localroom.Store, pipes) {
	store, err := localroom.OpenStore(filepath.Join(t.TempDir(), "room.db"), key(1))
	if err != nil {
		t.Fatal(err)
	}
	server := localroom.NewServer(localroom.ServerConfig{Store: store})
	l := pipes{make(chan net.Conn), make(chan struct{})}
	web := &http.Server{Handler: server}
	var serving sync.WaitGroup
	serving.Go(func() { web.Serve(l) })
	t.Cleanup(func() {
		web.Close()
		serving.Wait()
		server.Close()
		store.Close()
	})
	return store, l
}

func signFor(t *testing.T, store *localroom.Store, name string, lifetime time.Duration) secret.Value {
	jwt, err := token.Token{Name: name, Room: "demo", API: scoped(), KeyID: localroom.KeyID, Expires: time.Now().Add(lifetime)}.Sign(store.SigningKey())
	if err != nil {
		t.Fatal(err)
	}
	return jwt
}

// A peer that reads nothing, neither pings nor what it asked for, is dropped within
// two intervals, and one that answers pings stays.
func TestSilentPeerIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		enter := serveInBubble(t)
		bot, ann, eve := enter("bot"), enter("ann"), enter("eve")
		defer bot.conn.CloseNow()
		defer eve.conn.CloseNow()
		begin := time.Now()
		present := func() bool {
			e, _ := bot.response(t, bot.ask(t, ann, dbURL, `,"timeout":1`)).(wire.Error)
			return e.Code == wire.Timeout
		}
		if _, err := eve.send(t.Context(), wire.TypeListToolkits, wire.Pack([]byte("{}"), nil)); err != nil {
			t.Fatal(err) // the response to which blocks
		}
		for present() {
			if time.Since(begin) > 3*time.Minute {
				t.Fatal("a silent participant stays")
			}
		}
		if took := time.Since(begin); took > 62*time.Second || took < 30*time.Second {
			t.Errorf("a silent participant was dropped after %v", took)
		}
		synctest.Wait()
		if _, err := eve.send(t.Context(), wire.TypeListToolkits, wire.Pack([]byte("{}"), nil)); err == nil {
			t.Error("a participant that does not read its responses stays")
		}
	})
}

// Time is that of the server, to the second, whoever is there.
func TestTimeouts(t *testing.T) {
	for more, want := range map[string]time.Duration{
		"":                  300 * time.Second,
		`,"timeout":null`:   300 * time.Second,
		`,"timeout":1`:      time.Second,
		`,"timeout":3600`:   time.Hour,
		`,"timeout":360000`: time.Hour,
	} {
		synctest.Test(t, func(t *testing.T) {
			enter := serveInBubble(t)
			bot, ann := enter("bot"), enter("ann")
			defer bot.conn.CloseNow()
			begin := time.Now()
			asking := bot.ask(t, ann, dbURL, more)
			id := ann.asked(t).RequestID
			ann.conn.CloseNow() // the request stays
			e, _ := bot.response(t, asking).(wire.Error)
			if took := time.Since(begin); e.Code != wire.Timeout || took != want {
				t.Errorf("%q: %+v after %v, want %v", more, e, took, want)
			}
			if e.Text != fmt.Sprintf(`no answer from "ann" within %v`, want) {
				t.Error(e.Text)
			}
			later := enter("ann")
			defer later.conn.CloseNow()
			if got := later.provide(t, id, "late"); got != "1003" {
				t.Errorf("too late: %s", got)
			}
		})
	}
}
