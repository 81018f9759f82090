package localroom_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room/token"
)

func talking() *token.Scope { return &token.Scope{Messaging: &token.MessagingScope{}} }

// event waits for the next event and reads its header.
func (p *peer) event(t testing.TB, typ string, header any) (trailer []byte) {
	t.Helper()
	m, err := p.receive(t.Context())
	if err != nil || m.Type != typ {
		t.Fatalf("%v came, error %v; want %s", m, err, typ)
	}
	h, trailer, err := wire.Unpack(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(h, header); err != nil {
		t.Fatal(err)
	}
	return trailer
}

// news waits for the next message of messaging and returns it in a line, with
// the names of participants for their ids.
func (p *peer) news(t testing.TB, names map[string]string) string {
	t.Helper()
	var m wire.ReceivedMessage
	attachment := p.event(t, wire.TypeMessagingSend, &m)
	line := fmt.Sprintf("%s %s %s", m.FromParticipantID, m.Type, m.Message)
	if len(attachment) > 0 {
		line += fmt.Sprintf(" %q", attachment)
	}
	for id, name := range names {
		line = strings.ReplaceAll(line, id, name)
	}
	return line
}

func (p *peer) wantNews(t testing.TB, names map[string]string, want ...string) {
	t.Helper()
	for _, want := range want {
		if got := p.news(t, names); got != want {
			t.Fatalf("%s heard\n%s\nwant\n%s", names[p.id], got, want)
		}
	}
}

func (p *peer) must(t testing.TB, toolkit, tool, arguments string) {
	t.Helper()
	if got := outcome(p.invoke(t.Context(), toolkit, tool, jsonObject(arguments))); got != "empty" {
		t.Fatalf("%s %.200s: %.200s", tool, arguments, got)
	}
}

// Who is there is told in the order of section 9.
func TestPresence(t *testing.T) {
	s := serve(t)
	ann, bot, silent := s.connect("ann", talking()), s.connect("bot", talking()), s.connect("silent", talking())
	names := map[string]string{ann.id: "ANN", bot.id: "BOT", silent.id: "SILENT"}

	attributes := func(p *peer, object string) {
		t.Helper()
		if _, err := p.send(t.Context(), wire.TypeSetAttributes, wire.Pack([]byte(object), nil)); err != nil {
			t.Fatal(err)
		}
	}
	attributes(ann, `{"mood":"good","name":"mallory","__meshagent__":{"v":1}}`)
	attributes(silent, `{"mood":"bad"}`)
	ann.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	ann.wantNews(t, names, `ANN messaging.enabled {"participants":[]}`)

	bot.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	bot.wantNews(t, names, `BOT messaging.enabled {"participants":[{"id":"ANN","role":"user","attributes":{"mood":"good","name":"ann"}}]}`)
	ann.wantNews(t, names, `BOT participant.enabled {"id":"BOT","role":"user","attributes":{"name":"bot"}}`)

	// A second time brings the list again and is no news to others.
	bot.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	bot.wantNews(t, names, `BOT messaging.enabled {"participants":[{"id":"ANN","role":"user","attributes":{"mood":"good","name":"ann"}}]}`)

	attributes(bot, `{"name":"ann"}`) // no news either
	attributes(bot, `{"busy":null,"n":[1,"<&>"]}`)
	ann.wantNews(t, names, `BOT participant.attributes {"attributes":{"busy":null,"n":[1,"\u003c\u0026\u003e"]}}`)

	bot.must(t, wire.Messaging, wire.DisableMessaging, `{}`)
	bot.must(t, wire.Messaging, wire.DisableMessaging, `{}`)
	ann.wantNews(t, names, `BOT participant.disabled {"id":"BOT"}`)
	attributes(bot, `{"busy":1}`)
	bot.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	ann.wantNews(t, names, `BOT participant.enabled {"id":"BOT","role":"user","attributes":{"busy":1,"n":[1,"\u003c\u0026\u003e"],"name":"bot"}}`)
	bot.conn.CloseNow()
	ann.wantNews(t, names, `BOT participant.disabled {"id":"BOT"}`)
}

func TestMessages(t *testing.T) {
	s := serve(t)
	ann, bot, eve := s.connect("ann", talking()), s.connect("bot", talking()), s.connect("eve", talking())
	silent := s.connect("silent", talking())
	names := map[string]string{ann.id: "ANN", bot.id: "BOT", eve.id: "EVE"}
	for _, p := range []*peer{ann, bot, eve} {
		p.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
		p.event(t, wire.TypeMessagingSend, &struct{}{})
	}
	ann.wantNews(t, names, `BOT participant.enabled {"id":"BOT","role":"user","attributes":{"name":"bot"}}`, `EVE participant.enabled {"id":"EVE","role":"user","attributes":{"name":"eve"}}`)
	bot.wantNews(t, names, `EVE participant.enabled {"id":"EVE","role":"user","attributes":{"name":"eve"}}`)

	ann.must(t, wire.Messaging, wire.SendMessage, `{"to_participant_id":"`+bot.id+`","type":"chat","message_json":"{\"text\":\"<hi> \"}","attachment_base64":"AP8="}`)
	bot.wantNews(t, names, `ANN chat {"text":"<hi> "} "\x00\xff"`)
	bot.must(t, wire.Messaging, wire.BroadcastMessage, `{"type":"chat","message_json":"{}","attachment_base64":null}`)
	ann.wantNews(t, names, `BOT chat {}`)
	eve.wantNews(t, names, `BOT chat {}`)

	for name, c := range map[string]struct{ arguments, want string }{
		"nobody":                   {`{"to_participant_id":"none","type":"chat","message_json":"{}"}`, "1003"},
		"no id":                    {`{"type":"chat","message_json":"{}"}`, "1003"},
		"one who did not enable":   {`{"to_participant_id":"` + silent.id + `","type":"chat","message_json":"{}"}`, "1003"},
		"no object":                {`{"to_participant_id":"` + bot.id + `","type":"chat","message_json":"[]"}`, "1002"},
		"null":                     {`{"to_participant_id":"` + bot.id + `","type":"chat","message_json":"null"}`, "1002"},
		"no JSON":                  {`{"to_participant_id":"` + bot.id + `","type":"chat","message_json":"{"}`, "1002"},
		"no message":               {`{"to_participant_id":"` + bot.id + `","type":"chat"}`, "1002"},
		"no base64":                {`{"to_participant_id":"` + bot.id + `","type":"chat","message_json":"{}","attachment_base64":"!"}`, "1002"},
		"deep":                     {`{"to_participant_id":"` + bot.id + `","type":"chat","message_json":"` + strings.Repeat(`{\"a\":`, 64) + "{}" + strings.Repeat("}", 64) + `"}`, "1002"},
		"poses as the room: list":  {`{"to_participant_id":"` + bot.id + `","type":"messaging.enabled","message_json":"{\"participants\":[]}"}`, "1002"},
		"poses as the room: came":  {`{"to_participant_id":"` + bot.id + `","type":"participant.enabled","message_json":"{}"}`, "1002"},
		"poses as the room: went":  {`{"to_participant_id":"` + bot.id + `","type":"participant.disabled","message_json":"{}"}`, "1002"},
		"poses as the room: other": {`{"to_participant_id":"` + bot.id + `","type":"participant.attributes","message_json":"{}"}`, "1002"},
	} {
		content, err := ann.invoke(t.Context(), wire.Messaging, wire.SendMessage, jsonObject(c.arguments))
		if got := outcome(content, err); got != c.want {
			t.Errorf("to send to %s: %s, want %s", name, got, c.want)
		}
		if e, _ := content.(wire.Error); e.Code == wire.NotFound && e.Text != "the participant was not found" {
			t.Errorf("to send to %s: %q", name, e.Text)
		}
	}
	// None of it arrived.
	ann.must(t, wire.Messaging, wire.BroadcastMessage, `{"type":"end","message_json":"{}"}`)
	bot.wantNews(t, names, `ANN end {}`)
}

// A message that HTML would have escaped stays within the limits.
func TestLargeMessage(t *testing.T) {
	s := serve(t)
	ann, bot := s.connect("ann", talking()), s.connect("bot", talking())
	bot.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	bot.event(t, wire.TypeMessagingSend, &struct{}{})
	text := strings.Repeat("<", 900<<10)
	call := fmt.Sprintf(`{"toolkit":"messaging","tool":"send","arguments":{"type":"json","json":{"to_participant_id":%q,"type":"chat","message_json":"{\"text\":\"%s\"}"}}}`, bot.id, text)
	if got := outcome(ann.request(t.Context(), wire.TypeInvokeTool, wire.Pack([]byte(call), nil))); got != "empty" {
		t.Fatalf("%.100s", got)
	}
	var m wire.ReceivedMessage
	bot.event(t, wire.TypeMessagingSend, &m)
	if want := fmt.Sprintf(`{"text":"%s"}`, text); string(m.Message) != want {
		t.Errorf("%d bytes came, want %d", len(m.Message), len(want))
	}
}

func TestMessagingPermissions(t *testing.T) {
	no := false
	for name, c := range map[string]struct {
		scope *token.Scope
		want  map[string]string
	}{
		"all":               {talking(), map[string]string{"enable": "empty", "disable": "empty", "send": "empty", "broadcast": "empty"}},
		"no api":            {nil, map[string]string{"enable": "1001", "disable": "1001", "send": "1001", "broadcast": "1001"}},
		"no messaging":      {admin(), map[string]string{"enable": "1001", "disable": "1001", "send": "1001", "broadcast": "1001"}},
		"no send":           {&token.Scope{Messaging: &token.MessagingScope{Send: &no}}, map[string]string{"enable": "empty", "disable": "empty", "send": "1001", "broadcast": "empty"}},
		"no broadcast":      {&token.Scope{Messaging: &token.MessagingScope{Broadcast: &no}}, map[string]string{"enable": "empty", "disable": "empty", "send": "empty", "broadcast": "1001"}},
		"no list, but this": {&token.Scope{Messaging: &token.MessagingScope{List: &no}}, map[string]string{"enable": "empty", "disable": "empty", "send": "empty", "broadcast": "empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			bot := s.connect("bot", talking())
			bot.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
			bot.event(t, wire.TypeMessagingSend, &struct{}{})
			p := s.connect("ann", c.scope)
			got := map[string]string{}
			for _, tool := range []string{"enable", "disable", "send", "broadcast"} {
				got[tool] = outcome(p.invoke(t.Context(), wire.Messaging, tool, jsonObject(`{"to_participant_id":"`+bot.id+`","type":"chat","message_json":"{}"}`)))
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// Who may not list is seen and reached, and sees nobody.
func TestNoList(t *testing.T) {
	s := serve(t)
	no := false
	bot, blind := s.connect("bot", talking()), s.connect("blind", &token.Scope{Messaging: &token.MessagingScope{List: &no}})
	names := map[string]string{bot.id: "BOT", blind.id: "BLIND"}
	bot.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	bot.wantNews(t, names, `BOT messaging.enabled {"participants":[]}`)
	blind.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	blind.wantNews(t, names, `BLIND messaging.enabled {"participants":[]}`)
	bot.wantNews(t, names, `BLIND participant.enabled {"id":"BLIND","role":"user","attributes":{"name":"blind"}}`)
	bot.must(t, wire.Messaging, wire.DisableMessaging, `{}`)
	bot.must(t, wire.Messaging, wire.SendMessage, `{"to_participant_id":"`+blind.id+`","type":"chat","message_json":"{}"}`)
	blind.wantNews(t, names, `BOT chat {}`)
}

// What one tells of itself must not break the news that others get.
func TestAttributesAreBounded(t *testing.T) {
	s := serve(t)
	ann := s.connect("ann", talking())
	for _, object := range []string{
		`{"long":"` + strings.Repeat("x", 20<<10) + `"}`,
		`{"deep":` + strings.Repeat(`[`, 62) + strings.Repeat("]", 62) + `}`,
		`{"huge":1e999}`,
		`{"fits":"` + strings.Repeat("x", 10<<10) + `"}`,
		`{"fits no more":"` + strings.Repeat("x", 10<<10) + `"}`,
	} {
		if _, err := ann.send(t.Context(), wire.TypeSetAttributes, wire.Pack([]byte(object), nil)); err != nil {
			t.Fatal(err)
		}
	}
	ann.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	ann.event(t, wire.TypeMessagingSend, &struct{}{}) // it is there only now
	bot := s.connect("bot", talking())
	bot.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	var m wire.ReceivedMessage
	bot.event(t, wire.TypeMessagingSend, &m)
	var list wire.Participants
	if err := json.Unmarshal(m.Message, &list); err != nil || len(list.Participants) != 1 {
		t.Fatalf("%s, error %v", m.Message, err)
	}
	got := list.Participants[0].Attributes
	if len(got) != 2 || got["name"] != "ann" || len(got["fits"].(string)) != 10<<10 {
		t.Errorf("ann has the attributes %v", got)
	}
}

// A list that is too long for one message goes on as news of each.
func TestManyParticipants(t *testing.T) {
	s := serve(t)
	const many = 40
	for i := range many {
		p := s.connect(fmt.Sprint(i), talking())
		if _, err := p.send(t.Context(), wire.TypeSetAttributes, wire.Pack([]byte(`{"long":"`+strings.Repeat("x", 15<<10)+`"}`), nil)); err != nil {
			t.Fatal(err)
		}
		p.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	}
	p := s.connect("ann", talking())
	p.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	seen := map[string]bool{}
	var m wire.ReceivedMessage
	p.event(t, wire.TypeMessagingSend, &m)
	var list wire.Participants
	if err := json.Unmarshal(m.Message, &list); err != nil || m.Type != wire.MessagingEnabled {
		t.Fatal(m.Type, err)
	}
	if n := len(list.Participants); n < 20 || n >= many || list.More != many-n {
		t.Fatalf("the list has %d participants, and %d more", n, list.More)
	}
	for _, p := range list.Participants {
		seen[p.ID] = true
	}
	for len(seen) < many {
		p.event(t, wire.TypeMessagingSend, &m)
		var one wire.Participant
		if err := json.Unmarshal(m.Message, &one); err != nil || m.Type != wire.ParticipantEnabled || one.ID != m.FromParticipantID || seen[one.ID] {
			t.Fatal(m.Type, err)
		}
		seen[one.ID] = true
	}
}

// Who does not read holds up nobody: senders are told, and news that it would
// miss end its connection.
func TestParticipantThatDoesNotRead(t *testing.T) {
	s := serve(t)
	ann, deaf := s.connect("ann", talking()), s.connect("deaf", talking())
	names := map[string]string{ann.id: "ANN", deaf.id: "DEAF"}
	deaf.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	deaf.wantNews(t, names, `DEAF messaging.enabled {"participants":[]}`)
	localroom.SetUnsent(s.local, deaf.id, localroom.MaxEventBytes)

	arguments := jsonObject(`{"to_participant_id":"` + deaf.id + `","type":"chat","message_json":"{}"}`)
	for _, tool := range []string{wire.SendMessage, wire.BroadcastMessage} {
		if got := outcome(ann.invoke(t.Context(), wire.Messaging, tool, arguments)); got != "1008" {
			t.Errorf("%s: %s", tool, got)
		}
	}
	ann.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	ann.wantNews(t, names,
		`ANN messaging.enabled {"participants":[{"id":"DEAF","role":"user","attributes":{"name":"deaf"}}]}`,
		`DEAF participant.disabled {"id":"DEAF"}`)
	if _, err := deaf.receive(t.Context()); err == nil || websocket.CloseStatus(err) != -1 {
		t.Errorf("its connection ended with %v", err)
	}
}

// Events are bounded by number too, and count until they are sent.
func TestQueueOfEvents(t *testing.T) {
	s := serve(t)
	ann, deaf := s.connect("ann", talking()), s.connect("deaf", talking())
	deaf.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	deaf.event(t, wire.TypeMessagingSend, &struct{}{})
	if n := localroom.Unsent(s.local, deaf.id); n != 0 {
		t.Errorf("%d bytes are queued after all were sent", n)
	}
	send := func(want string) {
		t.Helper()
		arguments := jsonObject(`{"to_participant_id":"` + deaf.id + `","type":"chat","message_json":"{}"}`)
		if got := outcome(ann.invoke(t.Context(), wire.Messaging, wire.SendMessage, arguments)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	release := sync.OnceFunc(localroom.FillQueue(s.local, deaf.id, localroom.MaxEvents-1))
	defer release()
	send("empty")
	send("1008")
	release()
	for range localroom.MaxEvents {
		if _, err := deaf.receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	send("empty")
}

// What is queued for a participant comes in the order it was sent.
func TestOrderOfMessages(t *testing.T) {
	s := serve(t)
	ann, slow := s.connect("ann", talking()), s.connect("slow", talking())
	slow.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	slow.event(t, wire.TypeMessagingSend, &struct{}{})
	const many = 500
	for i := range many {
		ann.must(t, wire.Messaging, wire.SendMessage, fmt.Sprintf(`{"to_participant_id":%q,"type":"%d","message_json":"{}"}`, slow.id, i))
	}
	for i := range many {
		var m wire.ReceivedMessage
		if slow.event(t, wire.TypeMessagingSend, &m); m.Type != fmt.Sprint(i) {
			t.Fatalf("message %s came, want %d", m.Type, i)
		}
	}
}

// What an answer tells of others, their news told before.
func TestNewsComeBeforeAnswers(t *testing.T) {
	s := serve(t)
	ann, bot := s.connect("ann", talking()), s.connect("bot", talking())
	names := map[string]string{ann.id: "ANN", bot.id: "BOT"}
	ann.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	ann.wantNews(t, names, `ANN messaging.enabled {"participants":[]}`)
	payload, err := wire.PackInvoke(wire.Messaging, wire.SendMessage, jsonObject(`{"to_participant_id":"`+bot.id+`","type":"chat","message_json":"{}"}`))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		bot.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
		ann.wantNews(t, names, `BOT participant.enabled {"id":"BOT","role":"user","attributes":{"name":"bot"}}`)
		bot.must(t, wire.Messaging, wire.DisableMessaging, `{}`)
		id, err := ann.send(t.Context(), wire.TypeInvokeTool, payload)
		if err != nil {
			t.Fatal(err)
		}
		ann.wantNews(t, names, `BOT participant.disabled {"id":"BOT"}`)
		if got := outcome(ann.response(t, id), nil); got != "1003" {
			t.Fatal(got)
		}
	}
}
