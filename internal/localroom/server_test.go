package localroom_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// A testServer serves a new store over TCP.
type testServer struct {
	*httptest.Server
	t     testing.TB
	local *localroom.Server
	store *localroom.Store
	dir   string
	log   *lockedBuffer
	ahead atomic.Int64 // what the clock is ahead of the real one
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func serve(t testing.TB) *testServer { return serveAudited(t, nil) }

func serveAudited(t testing.TB, audit *localroom.Audit) *testServer {
	s := &testServer{t: t, dir: t.TempDir(), log: &lockedBuffer{}}
	s.store = openStore(t, s.dir+"/room.db")
	s.local = localroom.NewServer(localroom.ServerConfig{
		Audit:  audit,
		Store:  s.store,
		Now:    func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) },
		Key:    func(keyID string) (secret.Value, bool) { return value("other"), keyID == "other" },
		Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	s.Server = httptest.NewServer(s.local)
	t.Cleanup(func() {
		s.local.Close()
		s.Server.Close()
	})
	return s
}

func (s *testServer) token(name string, scope *token.Scope) secret.Value {
	return sign(s.t, s.dir, token.Token{Name: name, Room: "demo", API: scope})
}

func (s *testServer) connect(name string, scope *token.Scope) *peer {
	s.t.Helper()
	p, err := connect(s.t.Context(), nil, s.URL+"/rooms/demo", s.token(name, scope))
	if err != nil {
		s.t.Fatal(err)
	}
	p.patience = patience
	s.t.Cleanup(func() { p.conn.CloseNow() })
	return p
}

func TestHandshake(t *testing.T) {
	s := serve(t)
	valid := token.Token{Name: "ann", Room: "demo", API: scoped(), Expires: time.Now().Add(time.Hour)}
	jwt := func(change func(*token.Token)) string {
		tok := valid
		change(&tok)
		return string(sign(t, s.dir, tok).Reveal())
	}
	good := jwt(func(*token.Token) {})
	other, err := token.Token{Name: "ann", Room: "demo", KeyID: "other", Expires: valid.Expires}.Sign(value("other"))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := token.Token{Name: "ann", Room: "demo", KeyID: localroom.KeyID, Expires: valid.Expires}.Sign(value("other"))
	if err != nil {
		t.Fatal(err)
	}
	bearer := func(jwt string) http.Header { return http.Header{"Authorization": {"Bearer " + jwt}} }

	// alg none, by hand: {"alg":"none"}, the claims of a good one, no signature
	none := "eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + "."

	for name, c := range map[string]struct {
		path         string
		header       http.Header
		subprotocols []string
		status       int
	}{
		"bearer":                 {"/rooms/demo", bearer(good), nil, 101},
		"bearer and two slashes": {"//rooms/demo", bearer(good), nil, 101},
		"bearer, other case":     {"/rooms/demo", http.Header{"Authorization": {"bearer " + good}}, nil, 101},
		"query":                  {"/rooms/demo?token=" + good, nil, nil, 101},
		"query and version":      {"/rooms/demo?v=0.44.11&token=" + good, nil, nil, 101},
		"subprotocol":            {"/rooms/demo", nil, []string{"meshagent-room." + good}, 101},
		"second subprotocol":     {"/rooms/demo", nil, []string{"x", "meshagent-room." + good}, 101},
		"another key":            {"/rooms/demo", bearer(string(other.Reveal())), nil, 101},
		"another origin":         {"/rooms/demo", http.Header{"Authorization": {"Bearer " + good}, "Origin": {"https://example.com"}}, nil, 101},
		"no token":               {"/rooms/demo", nil, nil, 403},
		"no JWT":                 {"/rooms/demo", bearer("x"), nil, 403},
		"alg none":               {"/rooms/demo", bearer(none), nil, 403},
		"expired":                {"/rooms/demo", bearer(jwt(func(t *token.Token) { t.Expires = time.Now().Add(-time.Hour) })), nil, 403},
		"another room":           {"/rooms/demo", bearer(jwt(func(t *token.Token) { t.Room = "other" })), nil, 403},
		"no room":                {"/rooms/demo", bearer(jwt(func(t *token.Token) { t.Room = "" })), nil, 403},
		"forged":                 {"/rooms/demo", bearer(string(forged.Reveal())), nil, 403},
		"no room name":           {"/rooms/", bearer(good), nil, 404},
		"capitals":               {"/rooms/Demo", bearer(good), nil, 404},
		"64 characters":          {"/rooms/" + strings.Repeat("a", 64), bearer(good), nil, 404},
		"another path":           {"/rooms/demo/x", bearer(good), nil, 404},
	} {
		t.Run(name, func(t *testing.T) {
			conn, response, err := websocket.Dial(t.Context(), s.URL+c.path, &websocket.DialOptions{
				HTTPClient: httpClient(nil), HTTPHeader: c.header, Subprotocols: c.subprotocols, CompressionMode: websocket.CompressionContextTakeover,
			})
			if response == nil {
				t.Fatal(err)
			}
			if response.StatusCode != c.status {
				t.Fatalf("status %d, want %d", response.StatusCode, c.status)
			}
			if err != nil {
				return
			}
			defer conn.CloseNow()
			if n := len(c.subprotocols); n > 0 && conn.Subprotocol() != c.subprotocols[n-1] {
				t.Error("the subprotocol is not echoed")
			}
			if e := response.Header.Get("Sec-WebSocket-Extensions"); e != "" {
				t.Errorf("the extension %s is agreed on", e)
			}
			p := peer{conn: conn}
			for _, want := range []string{wire.TypeRoomReady, wire.TypeConnected} {
				if m, err := p.receive(t.Context()); err != nil || m.Type != want {
					t.Errorf("%v, error %v; want %s", m, err, want)
				}
			}
		})
	}

	response, err := httpClient(nil).Get(s.URL + "/")
	if err != nil || response.StatusCode != 200 {
		t.Errorf("GET /: %v, error %v", response, err)
	}
	response.Body.Close()

	// The token came in every way; the log tells the parts of none.
	signature := good[strings.LastIndex(good, ".")+1:]
	if log := s.log.String(); strings.Contains(log, signature) || !strings.Contains(log, "expired") {
		t.Errorf("the log has a token, or no reason:\n%s", log)
	}
}

func TestGreeting(t *testing.T) {
	s := serve(t)
	read := func(p *peer, typ string) map[string]any {
		t.Helper()
		m, err := p.receive(t.Context())
		if err != nil || m.Type != typ {
			t.Fatalf("%v, error %v; want %s", m, err, typ)
		}
		header, _, err := wire.Unpack(m.Payload)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(header, &fields); err != nil {
			t.Fatal(err)
		}
		return fields
	}
	var sessions, participants []any
	for range 2 {
		conn, _, err := websocket.Dial(t.Context(), s.URL+"/rooms/demo?token="+string(s.token("ann", nil).Reveal()), &websocket.DialOptions{HTTPClient: httpClient(nil)})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		p := &peer{conn: conn}
		ready, connected := read(p, wire.TypeRoomReady), read(p, wire.TypeConnected)
		if want := "ws" + strings.TrimPrefix(s.URL, "http") + "/rooms/demo"; ready["room_name"] != "demo" || ready["room_url"] != want {
			t.Errorf("room_ready is %v", ready)
		}
		if connected["type"] != "init" || !reflect.DeepEqual(connected["attributes"], map[string]any{"name": "ann"}) {
			t.Errorf("connected is %v", connected)
		}
		sessions, participants = append(sessions, ready["session_id"]), append(participants, connected["participantId"])
	}
	if sessions[0] != sessions[1] || participants[0] == participants[1] || sessions[0] == "" || participants[0] == "" {
		t.Errorf("sessions %v, participants %v", sessions, participants)
	}
}

func TestEveryRequestIsAnsweredInOrder(t *testing.T) {
	s := serve(t)
	p := s.connect("ann", scoped())
	packed := func(header string) []byte { return wire.Pack([]byte(header), nil) }
	invoke := func(kit, tool string, c wire.Content) []byte {
		b, err := wire.PackInvoke(kit, tool, c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	requests := []struct {
		typ     string
		payload []byte
		code    wire.Code // 0: no error
	}{
		{wire.TypeListToolkits, packed(`{}`), 0},
		{wire.TypeInvokeTool, invoke("secrets", "list_secrets", wire.JSON{}), 0},
		{wire.TypeInvokeTool, packed(`{"toolkit":"secrets","tool":"list_secrets","arguments":{"type":"json","json":{}},"participant_id":"x","on_behalf_of_id":null,"tool_call_id":"1","caller_context":{},"__meshagent__":{"v":1}}`), 0},
		{wire.TypeInvokeTool, invoke("nope", "list_secrets", wire.JSON{}), wire.NotFound},
		{wire.TypeInvokeTool, invoke("secrets", "nope", wire.JSON{}), wire.NotFound},
		{wire.TypeInvokeTool, invoke("secrets", "set_secret", wire.JSON{}), wire.InvalidRequest},
		{wire.TypeInvokeTool, invoke("secrets", "get_secret", wire.Text{Text: "x"}), wire.InvalidRequest},
		{wire.TypeInvokeTool, invoke("secrets", "get_secret", wire.JSON{}), wire.InvalidRequest},
		{wire.TypeInvokeTool, invoke("secrets", "get_secret", wire.Control{Method: "open"}), wire.InvalidRequest},
		{wire.TypeInvokeTool, invoke("secrets", "get_secret", wire.JSON{Object: []byte(`{"secret_id":5}`)}), wire.InvalidRequest},
		{wire.TypeInvokeTool, invoke("secrets", "get_secret", wire.JSON{Object: []byte(`{"secret_id":"none"}`)}), 0},
		{wire.TypeInvokeTool, invoke("secrets", "delete_secret", wire.JSON{Object: []byte(`{"id":"none"}`)}), wire.NotFound},
		{wire.TypeInvokeTool, invoke("secrets", "set_secret", wire.Binary{Headers: []byte(`{"secret_id":"a","has_data":false}`)}), wire.InvalidRequest},
		{wire.TypeInvokeTool, packed(`{"toolkit":"secrets","tool":"list_secrets","arguments":{"type":"odd"}}`), wire.InvalidRequest},
		{wire.TypeInvokeTool, packed(`{"toolkit":7}`), wire.InvalidRequest},
		{wire.TypeInvokeTool, packed(`[]`), wire.InvalidRequest},
		{wire.TypeInvokeTool, []byte("short"), wire.InvalidRequest},
		{wire.TypeInvokeTool, nil, wire.InvalidRequest},
		{wire.TypeInvokeTool, packed(`{"toolkit":"secrets","tool":"list_secrets","arguments":{"type":"json","json":{}},"on_behalf_of_id":"somebody"}`), wire.PermissionDenied},
		{wire.TypeInvokeTool, packed(`{"toolkit":"secrets","tool":"list_secrets","arguments":{"type":"json","json":{}},"on_behalf_of_id":"` + p.id + `"}`), 0},
		{"room.call", packed(`{"name":"x"}`), wire.InvalidRequest},
		{"room.tool_call_request_chunk", packed(`{}`), wire.NotFound},
		{"room.tool_call_request_chunk", packed(`{"tool_call_id":"x","chunk":{"type":"control","method":"close"}}`), wire.NotFound},
		{"room.tool_call_request_chunk", []byte("short"), wire.NotFound},
		{wire.TypeInvokeTool, invoke("secrets", "watch", wire.JSON{}), wire.InvalidRequest},
		{wire.TypeInvokeTool, invoke("secrets", "watch", wire.Control{Method: "close"}), wire.InvalidRequest},
		{wire.TypeInvokeTool, invoke("secrets", "watch", wire.Control{Method: "open"}), wire.InvalidRequest}, // no tool_call_id
		{"secrets.watch", packed(`{}`), wire.InvalidRequest},
		{"services.list", packed(`{}`), wire.NotFound},
		{"nonsense", nil, wire.NotFound},
		{"secrets.list_secrets", packed(`{}`), 0},
		{"secrets.set_secret", wire.Pack([]byte(`{"secret_id":"old"}`), []byte("legacy")), 0},
		{"secrets.get_secret", packed(`{"secret_id":"old"}`), 0},
		{"secrets.nope", packed(`{}`), wire.NotFound},
		{"secrets.get_secret", []byte("short"), wire.InvalidRequest},
	}
	// All are on their way before the first answer is read; what needs no answer
	// gets none.
	ids := make([]uint64, len(requests))
	for i, r := range requests {
		var err error
		if ids[i], err = p.send(t.Context(), r.typ, r.payload); err != nil {
			t.Fatal(err)
		}
		if _, err := p.send(t.Context(), wire.TypeSetAttributes, packed(`{"name":"mallory","__meshagent__":{}}`)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.send(t.Context(), wire.TypeResponse, packed(`{"type":"empty"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if ids[0] != 0 {
		t.Fatal("the first id is not 0")
	}
	for i, r := range requests {
		m, err := p.receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m.ID != ids[i] || m.Type != wire.TypeResponse {
			t.Fatalf("%v came, not the response to %d", m, ids[i])
		}
		c, err := wire.UnpackContent(m.Payload)
		if err != nil {
			t.Fatal(err)
		}
		e, _ := c.(wire.Error)
		if e.Code != r.code {
			t.Errorf("%s %q: %+v, want code %d", r.typ, r.payload, c, r.code)
		}
		if r.typ == "secrets.get_secret" && r.code == 0 {
			if f, ok := c.(wire.File); !ok || string(f.Data.Reveal()) != "legacy" {
				t.Errorf("the old wire brings %+v", c)
			}
		}
	}
}

// Events precede the response to what was done after them.
func TestEventsComeFirst(t *testing.T) {
	p := serve(t).connect("ann", talking())
	p.must(t, wire.Messaging, wire.EnableMessaging, `{}`)
	if m, err := p.receive(t.Context()); err != nil || m.Type != wire.TypeMessagingSend {
		t.Fatal(m, err)
	}
	payload, err := wire.PackInvoke(wire.Messaging, wire.SendMessage, wire.JSON{Object: object(map[string]any{
		"to_participant_id": p.id, "type": "note", "message_json": "{}",
	})})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := p.send(t.Context(), wire.TypeInvokeTool, payload); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{wire.TypeMessagingSend, wire.TypeResponse} {
			if m, err := p.receive(t.Context()); err != nil || m.Type != want {
				t.Fatalf("%v came, error %v; want %s", m, err, want)
			}
		}
	}
}

// What is wrong with the store is for the log, and not for peers.
func TestStoreErrorsAreNotSent(t *testing.T) {
	s := serve(t)
	p := s.connect("ann", scoped())
	if err := localroom.FailWrites(s.store); err != nil {
		t.Fatal(err)
	}
	c, err := p.invoke(t.Context(), wire.Secrets, wire.SetSecret, setArguments(wire.SetHeaders{SecretID: "a"}, []byte("v")))
	if e, _ := c.(wire.Error); err != nil || e.Code != wire.OperationFailed || e.Text != "internal error; see the log of the room" {
		t.Errorf("got %+v, error %v", c, err)
	}
	if !strings.Contains(s.log.String(), "room.db") {
		t.Errorf("the log is %s", s.log)
	}
}

// A client takes a response for final, and a dropped connection for a restart.
func TestHandshakeWithClosedServer(t *testing.T) {
	s := serve(t)
	jwt := s.token("ann", scoped())
	s.local.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/rooms/demo", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+string(jwt.Reveal()))
	if response, err := http.DefaultClient.Do(r); err == nil {
		response.Body.Close()
		t.Errorf("the response is %s", response.Status)
	}
}

func TestToolkitsAreListed(t *testing.T) {
	p := serve(t).connect("ann", scoped())
	c, err := p.request(t.Context(), wire.TypeListToolkits, wire.Pack([]byte(`{"timeout":5}`), nil))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Tools map[string]struct {
			Title, Description string
			Tools              map[string]map[string]any
		}
	}
	if err := json.Unmarshal(c.(wire.JSON).Object, &list); err != nil {
		t.Fatal(err)
	}
	secrets, messaging := list.Tools["secrets"], list.Tools["messaging"]
	if secrets.Title == "" || len(secrets.Tools) != 12 || secrets.Tools["get_secret"]["title"] != "get_secret" || len(messaging.Tools) != 4 {
		t.Errorf("the list is %+v", list)
	}
}

// broken sends frames after the greeting and returns the code the server
// closes with.
func broken(t *testing.T, s *testServer, typ websocket.MessageType, frames ...[]byte) websocket.StatusCode {
	t.Helper()
	p := s.connect("ann", scoped())
	for _, f := range frames {
		if err := p.conn.Write(t.Context(), typ, f); err != nil {
			break // the server is quicker
		}
	}
	_, err := p.receive(t.Context())
	return websocket.CloseStatus(err)
}

func TestBrokenProtocolIsClosed(t *testing.T) {
	s := serve(t)
	first := func(id uint64, count uint32, typ string) []byte {
		b := binary.BigEndian.AppendUint64(nil, id)
		b = binary.BigEndian.AppendUint32(b, 0)
		b = binary.BigEndian.AppendUint32(b, count)
		return append(b, typ...)
	}
	var large [][]byte
	for number := range byte(5) {
		packet := make([]byte, 4<<20)
		packet[11] = number + 1
		large = append(large, packet)
	}
	for name, frames := range map[string][][]byte{
		"empty frame":      {{}},
		"garbage":          {[]byte("garbage that is no packet at all")},
		"4 TB":             {first(0, 1<<32-1, "x")},
		"a wrong number":   {first(0, 2, "x"), {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}},
		"another id":       {first(0, 2, "x"), {0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1}},
		"a long type":      {first(0, 0, strings.Repeat("x", 300))},
		"type not UTF-8":   {first(0, 0, "\xff")},
		"bad attributes":   {first(0, 0, wire.TypeSetAttributes)},
		"more than 16 MiB": append([][]byte{first(0, 5, "x")}, large...),
	} {
		if code := broken(t, s, websocket.MessageBinary, frames...); code != websocket.StatusProtocolError {
			t.Errorf("%s: closed with %d", name, code)
		}
	}
	if code := broken(t, s, websocket.MessageText, []byte("hello")); code != websocket.StatusUnsupportedData {
		t.Errorf("text: closed with %d", code)
	}
	if code := broken(t, s, websocket.MessageBinary, make([]byte, 5<<20)); code != websocket.StatusMessageTooBig {
		t.Errorf("a large frame: closed with %d", code)
	}

	// A length inside a message that is not there fails the request alone.
	p := s.connect("ann", scoped())
	payload := append(binary.BigEndian.AppendUint64(nil, 1<<40), "{}"...)
	c, err := p.request(t.Context(), wire.TypeInvokeTool, payload)
	if e, ok := c.(wire.Error); err != nil || !ok || e.Code != wire.InvalidRequest {
		t.Errorf("a header of 1 TB: %v, error %v", c, err)
	}
	if err := setSecret(t.Context(), p, "a", "v"); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestValuesOverTheWire(t *testing.T) {
	s := serve(t)
	p := s.connect("ann", scoped())
	for name, v := range map[string][]byte{
		"empty": {}, "NUL": {0}, "not UTF-8": {0xff, 0xfe, 0x00}, "1024": make([]byte, 1024), "4 MB": bytes.Repeat([]byte("0123456789abcdef"), 4<<16),
	} {
		if err := setSecret(t.Context(), p, name, string(v)); err != nil {
			t.Fatal(err)
		}
		c, err := p.invoke(t.Context(), wire.Secrets, wire.GetSecret, wire.JSON{Object: object(wire.GetArguments{SecretID: wire.Nullable(name)})})
		f, ok := c.(wire.File)
		if err != nil || !ok || !bytes.Equal(f.Data.Reveal(), v) || f.Name != name || f.MimeType != localroom.DefaultType {
			t.Errorf("%s: %T of %d bytes, error %v", name, c, f.Data.Len(), err)
		}
	}
	if strings.Contains(s.log.String(), "0123456789abcdef") {
		t.Error("the log has a value")
	}
}

func TestAnswerThatDoesNotFit(t *testing.T) {
	s := serve(t)
	name := strings.Repeat("<", 1024)
	for i := range 200 { // of 6 KiB each in JSON
		mustSet(t, s.store, at("ann", "", fmt.Sprint(i)), "", name, "v")
	}
	p := s.connect("ann", scoped())
	for range 2 {
		if got := outcome(p.invoke(t.Context(), wire.Secrets, wire.ListSecrets, wire.JSON{})); got != "1008" {
			t.Errorf("%.100s", got)
		}
	}
}

// Close drops connections without a close frame, so that clients come back.
func TestCloseSendsNoCloseFrame(t *testing.T) {
	s := serve(t)
	p := s.connect("ann", scoped())
	if err := s.local.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.receive(t.Context()); err == nil || websocket.CloseStatus(err) != -1 {
		t.Errorf("the connection ended with %v", err)
	}
	if _, err := connect(t.Context(), nil, s.URL+"/rooms/demo", s.token("ann", nil)); err == nil {
		t.Error("a closed server takes connections")
	}
}

// A peer that asks and never reads is held up alone, and holds little memory.
func TestSlowReader(t *testing.T) {
	s := serve(t)
	quick := s.connect("ann", scoped())
	if err := setSecret(t.Context(), quick, "big", strings.Repeat("x", 1<<20)); err != nil {
		t.Fatal(err)
	}
	slow := s.connect("ann", scoped())
	payload, err := wire.PackInvoke(wire.Secrets, wire.GetSecret, wire.JSON{Object: []byte(`{"secret_id":"big"}`)})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := slow.send(t.Context(), wire.TypeInvokeTool, payload); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		if err := setSecret(t.Context(), quick, fmt.Sprint(i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	// It is not too late for the slow one.
	for i := range 20 {
		m, err := slow.receive(t.Context())
		if err != nil || len(m.Payload) < 1<<20 {
			t.Fatalf("answer %d: %v, error %v", i, m, err)
		}
	}
}

func TestFullServer(t *testing.T) {
	s := serve(t)
	defer localroom.SetConnections(s.local, 0)
	localroom.SetConnections(s.local, localroom.DefaultMaxConnections)
	_, err := connect(t.Context(), nil, s.URL+"/rooms/demo", s.token("ann", nil))
	if websocket.CloseStatus(err) != websocket.StatusTryAgainLater {
		t.Errorf("a full server: %v", err)
	}
}

// Half a handshake is no reason to wait for.
func TestConnectionsThatSayNothing(t *testing.T) {
	s := serve(t)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /rooms/demo HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := setSecret(context.Background(), s.connect("ann", scoped()), "a", "v"); err != nil {
		t.Error(err)
	}
}
