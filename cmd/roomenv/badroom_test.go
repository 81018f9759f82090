package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// misbehaviour is what a room does with a connection instead of serving it.
// The keys are the modes of the command badroom.
var misbehaviour = map[string]http.HandlerFunc{
	"forbidden": answers(http.StatusForbidden),
	"absent":    answers(http.StatusNotFound),
	"disabled":  answers(http.StatusLocked),
	"html": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<html>\x1b[31mnot a room\x1b[0m</html>")
	},
	"garbage": upgraded(func(c *websocket.Conn, r *http.Request) {
		_ = c.Write(r.Context(), websocket.MessageBinary, []byte("\xff\xfe\x1b[2Jgarbage that is no packet"))
	}),
	"text": upgraded(func(c *websocket.Conn, r *http.Request) {
		_ = c.Write(r.Context(), websocket.MessageText, []byte("{}"))
	}),
	// A first packet that announces 2^32-1 packets of 1 KiB: 4 TiB.
	"terabyte": upgraded(func(c *websocket.Conn, r *http.Request) {
		packet := binary.BigEndian.AppendUint64(nil, 1)
		packet = binary.BigEndian.AppendUint32(packet, 0)
		packet = binary.BigEndian.AppendUint32(packet, 1<<32-1)
		_ = c.Write(r.Context(), websocket.MessageBinary, append(packet, "room_ready"...))
	}),
	"silent": upgraded(func(c *websocket.Conn, r *http.Request) {
		ready(c, r)
		for err := error(nil); err == nil; {
			_, _, err = c.Read(r.Context())
		}
	}),
	"closes": upgraded(func(c *websocket.Conn, r *http.Request) {
		ready(c, r)
		_, _, _ = c.Read(r.Context())
		_ = c.Close(websocket.StatusNormalClosure, "\x1b[31mbye")
	}),
	// Answers the first request with the first packet of two, and ends.
	"halfanswer": upgraded(func(c *websocket.Conn, r *http.Request) {
		ready(c, r)
		_, _, _ = c.Read(r.Context())
		packet := binary.BigEndian.AppendUint64(nil, 1)
		packet = binary.BigEndian.AppendUint32(packet, 0)
		packet = binary.BigEndian.AppendUint32(packet, 2)
		_ = c.Write(r.Context(), websocket.MessageBinary, append(packet, "__response__"...))
		_ = c.Close(websocket.StatusNormalClosure, "")
	}),
}

func answers(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func upgraded(then func(*websocket.Conn, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		then(c, r)
	}
}

// badroom starts a room that misbehaves; the mode "refused" is a port where
// nobody listens.
func badroom(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] == "refused" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Check(l.Close())
		ts.Setenv("ROOM_URL", "http://"+l.Addr().String())
		return
	}
	handler, ok := misbehaviour[args[0]]
	if !ok {
		ts.Fatalf("no such mode: %s", args[0])
	}
	server := httptest.NewServer(handler)
	ts.Defer(server.Close)
	ts.Setenv("ROOM_URL", server.URL)
}

// ready opens a session as a room does.
func ready(c *websocket.Conn, r *http.Request) {
	send(c, r, 1, wire.TypeRoomReady, wire.RoomReady{RoomName: "demo", RoomURL: "http://room", SessionID: "s"})
	send(c, r, 2, wire.TypeConnected, wire.Connected{Type: "init", ParticipantID: "p", Attributes: map[string]any{"name": "me"}})
}

func send(c *websocket.Conn, r *http.Request, id uint64, typ string, header any) {
	b, _ := json.Marshal(header)
	for packet := range (wire.Message{ID: id, Type: typ, Payload: wire.Pack(b, nil)}).Packets() {
		_ = c.Write(r.Context(), websocket.MessageBinary, packet)
	}
}

// badtoken sets VAR to a token that the server of DATA should not take:
// expired, for another room, signed with another key or with "none", or, for
// noscope, without the secrets grant.
func badtoken(ts *testscript.TestScript, _ bool, args []string) {
	room, err := localroom.Open(ts.MkAbs(args[0]), localroom.Options{})
	ts.Check(err)
	defer room.Close()
	t := token.Token{Name: "alice", Room: "demo", API: token.UserScope(), Expires: time.Now().Add(time.Hour)}
	sign := room.Sign
	switch args[1] {
	case "expired":
		t.Expires = time.Now().Add(-time.Hour)
	case "otherroom":
		t.Room = "elsewhere"
	case "otherkey":
		t.KeyID = localroom.KeyID
		sign = func(t token.Token) (secret.Value, error) {
			return t.Sign(secret.New([]byte("another key of 32 bytes, no less")))
		}
	case "noscope":
		t.API = &token.Scope{}
	}
	signed, err := sign(t)
	ts.Check(err)
	jwt := string(signed.Reveal())
	if args[1] == "none" {
		jwt = unsigned(jwt)
	}
	ts.Setenv(args[2], jwt)
}

// unsigned is the token with the algorithm "none" and no signature.
func unsigned(signed string) string {
	parts := strings.Split(signed, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."
}

// damage cuts a file to half its size (truncate) or flips a bit in each of its
// pages (flip).
func damage(ts *testscript.TestScript, _ bool, args []string) {
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	switch args[1] {
	case "truncate":
		b = b[:len(b)/2]
	case "meta":
		clear(b[:2*os.Getpagesize()])
	case "flip":
		for i := 24; i < len(b); i += os.Getpagesize() {
			b[i] ^= 1
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

func nul(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("A=1\x00B=2\n"), 0o600))
}

func big(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Repeat([]byte("x"), size), 0o600))
}
