package room_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
)

// say sends a message of the room or of a participant.
func (p *peer) say(from, typ, message, attachment string) {
	p.event(wire.TypeMessagingSend, wire.ReceivedMessage{FromParticipantID: from, Type: typ, Message: json.RawMessage(message)}, attachment)
}

func names(participants []room.Participant) string {
	var all []string
	for _, p := range participants {
		all = append(all, p.ID+":"+p.Name())
	}
	return strings.Join(all, " ")
}

func named(name string) func(room.Participant) bool {
	return func(p room.Participant) bool { return p.Name() == name }
}

// enableIn answers the next call, which is to be enable, and says who is here.
func enableIn(p *peer, participants string) {
	c, ok := p.next()
	if a, _ := c.arguments.(wire.JSON); !ok || c.Toolkit != "messaging" || c.Tool != "enable" || string(a.Object) != "{}" {
		p.t.Errorf("got %s.%s %v, want messaging.enable", c.Toolkit, c.Tool, a)
		return
	}
	p.answer(c.id, wire.Empty{})
	p.say("room", "messaging.enabled", `{"participants":[`+participants+`]}`, "")
}

const alice, bob = `{"id":"a1","role":"user","attributes":{"name":"alice"}}`, `{"id":"b1","role":"agent","attributes":{"name":"bob"}}`

// Who is here follows the events of the room.
func TestPresence(t *testing.T) {
	steps := make(chan func(p *peer))
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		for step := range steps {
			step(p)
		}
		p.hold()
	})))
	m, ctx := c.Messaging(), soon(t)
	if _, err := m.Find(ctx, named("alice")); err == nil || !strings.Contains(err.Error(), "not enabled") {
		t.Errorf("found someone without looking: %v", err)
	}

	go func() {
		steps <- func(p *peer) {
			p.say("a0", "participant.enabled", `{"id":"a0","role":"user","attributes":{"name":"alice"}}`, "") // before we asked
			enableIn(p, alice+`,`+bob+`,{"id":"p","role":"user","attributes":{"name":"ourselves"}}`)
		}
	}()
	if err := m.Enable(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Enable(ctx); err != nil { // changes nothing, asks nothing
		t.Fatal(err)
	}
	if got := names(m.Participants()); got != "a1:alice b1:bob" {
		t.Errorf("here are %s", got)
	}

	before := m.Participants()
	// Each step ends with someone new, so that it is known when all were heard.
	for i, tt := range []struct {
		from, typ, message string
		want               string
	}{
		{"a2", "participant.enabled", `{"id":"a2","role":"user","attributes":{"name":"alice"}}`, "a1:alice b1:bob a2:alice"},
		{"a1", "participant.disabled", `{"id":"a1"}`, "b1:bob a2:alice"},
		{"a1", "participant.disabled", `{"id":"a1"}`, "b1:bob a2:alice"},
		{"b1", "participant.attributes", `{"attributes":{"name":"carol","x":1}}`, "b1:carol a2:alice"},
		{"z9", "participant.attributes", `{"attributes":{"name":"nobody"}}`, "b1:carol a2:alice"},
		{"b1", "participant.enabled", `{"id":"b1","role":"agent","attributes":{"name":"dave"}}`, "b1:dave a2:alice"},
		{"c1", "participant.enabled", `{"id":"c1","role":"agent","attributes":{"name":7}}`, "b1:dave a2:alice c1:"},
		{"c1", "participant.attributes", `{"attributes":null}`, "b1:dave a2:alice c1:"},
		{"c1", "participant.enabled", `[]`, "b1:dave a2:alice c1:"},
		{"c1", "participant.disabled", `{"id":7}`, "b1:dave a2:alice c1:"},
		{"c1", "messaging.enabled", `{"participants":7}`, "b1:dave a2:alice c1:"},
		{"p", "participant.enabled", `{"id":"p"}`, "b1:dave a2:alice c1:"},
		{"room", "messaging.enabled", `{"participants":[` + bob + `]}`, "b1:bob"},
	} {
		mark := fmt.Sprint("mark", i)
		steps <- func(p *peer) {
			p.say(tt.from, tt.typ, tt.message, "")
			p.say(mark, "participant.enabled", `{"id":"`+mark+`","role":"","attributes":{"name":"`+mark+`"}}`, "")
		}
		found, err := m.Find(ctx, named(mark))
		if err != nil || found.ID != mark {
			t.Fatal(found, err)
		}
		if got := strings.TrimSuffix(names(m.Participants()), " "+mark+":"+mark); got != tt.want {
			t.Errorf("after %s of %s here are %s, want %s", tt.typ, tt.message, got, tt.want)
		}
		steps <- func(p *peer) { p.say(mark, "participant.disabled", `{"id":"`+mark+`"}`, "") }
	}
	if got := names(before); got != "a1:alice b1:bob" {
		t.Errorf("the snapshot has become %s", got)
	}

	close(steps)
}

// What a room says of who is here is bounded.
func TestPresenceOfMany(t *testing.T) {
	var all []string
	for i := range 10_500 {
		all = append(all, fmt.Sprintf(`{"id":"p%d"}`, i))
	}
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		enableIn(p, strings.Join(all, ","))
		p.hold()
	})))
	if err := c.Messaging().Enable(soon(t)); err != nil {
		t.Fatal(err)
	}
	if n := len(c.Messaging().Participants()); n != 10_000 {
		t.Errorf("%d participants are here", n)
	}
}

// A list that the room splits is complete when the rest has come.
func TestPresenceOfMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, listenInBubble(t, scripted(t, func(p *peer, _ int) {
			p.ready()
			c, _ := p.next()
			p.answer(c.id, wire.Empty{})
			p.say("room", "messaging.enabled", `{"participants":[`+alice+`],"more":2}`, "")
			for _, id := range []string{"c", "d"} {
				time.Sleep(time.Second)
				p.say(id, "participant.enabled", `{"id":"`+id+`","attributes":{"name":"more"}}`, "")
			}
			p.hold()
		})))
		start := time.Now()
		err := c.Messaging().Enable(t.Context())
		if got := names(c.Messaging().Participants()); err != nil || got != "a1:alice c:more d:more" || time.Since(start) != 2*time.Second {
			t.Errorf("after %v here are %s, error %v", time.Since(start), got, err)
		}
		_ = c.Close()
	})
}

// On each new connection messaging is enabled anew, before and after the room
// said who was here, and nobody of the old one is left.
func TestPresenceAfterReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		enabled := make(chan struct{})
		c := dial(t, listenInBubble(t, scripted(t, func(p *peer, n int) {
			p.ready()
			switch n {
			case 0: // gone before the answer
				p.next()
			case 1: // gone between the answer and the list
				c, _ := p.next()
				p.answer(c.id, wire.Empty{})
			case 2:
				enableIn(p, alice)
				<-enabled
			default:
				enableIn(p, bob)
				p.hold()
			}
		})))
		m, ctx := c.Messaging(), soon(t)
		if err := m.Enable(ctx); err != nil {
			t.Fatal(err)
		}
		if got := names(m.Participants()); got != "a1:alice" {
			t.Errorf("here are %s", got)
		}
		close(enabled)
		if _, err := m.Find(ctx, named("bob")); err != nil {
			t.Fatal(err)
		}
		if got := names(m.Participants()); got != "b1:bob" {
			t.Errorf("here are %s", got)
		}
		_ = c.Close()
	})
}

// Waiting for someone ends with the context, with the client, and with the
// room's refusal.
func TestPresenceFails(t *testing.T) {
	hold := listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		enableIn(p, "")
		p.hold()
	}))
	c := dial(t, hold)
	if err := c.Messaging().Enable(soon(t)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Messaging().Find(ctx, named("alice")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	found := make(chan error)
	go func() {
		_, err := c.Messaging().Find(soon(t), named("alice"))
		found <- err
	}()
	_ = c.Close()
	if err := <-found; !errors.Is(err, room.ErrClosed) {
		t.Error(err)
	}

	refuse := true
	c = dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		for refuse {
			c, _ := p.next()
			refuse = false
			p.answer(c.id, wire.Error{Text: "no messaging", Code: wire.PermissionDenied})
		}
		enableIn(p, alice)
		p.hold()
	})))
	if err := c.Messaging().Enable(soon(t)); !errors.Is(err, room.ErrPermissionDenied) {
		t.Error(err)
	}
	if _, err := c.Messaging().Find(soon(t), named("alice")); !errors.Is(err, room.ErrPermissionDenied) {
		t.Error(err)
	}
	if err := c.Messaging().Enable(soon(t)); err != nil {
		t.Error(err)
	}
}
