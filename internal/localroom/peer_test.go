package localroom_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// A peer speaks the protocol with no client of ours in between.
type peer struct {
	conn *websocket.Conn
	in   wire.Assembler
	next uint64 // the first id is 0, as with two of the SDKs
	id   string // participant id

	patience time.Duration // with the next message; 0 is any
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func httpClient(dial dialFunc) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
}

// connect returns a peer that was greeted.
func connect(ctx context.Context, dial dialFunc, url string, jwt secret.Value) (*peer, error) {
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient: httpClient(dial),
		HTTPHeader: http.Header{"Authorization": {"Bearer " + string(jwt.Reveal())}},
	})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1)
	p := &peer{conn: conn}
	for range 2 {
		m, err := p.receive(ctx)
		if err != nil {
			conn.CloseNow()
			return nil, err
		}
		if m.Type == wire.TypeConnected {
			header, _, err := wire.Unpack(m.Payload)
			if err != nil {
				return nil, err
			}
			var c wire.Connected
			if err := json.Unmarshal(header, &c); err != nil {
				return nil, err
			}
			p.id = c.ParticipantID
		}
	}
	return p, nil
}

func (p *peer) send(ctx context.Context, typ string, payload []byte) (id uint64, err error) {
	m := wire.Message{ID: p.next, Type: typ, Payload: payload}
	p.next++
	for packet := range m.Packets() {
		if err := p.conn.Write(ctx, websocket.MessageBinary, packet); err != nil {
			return m.ID, err
		}
	}
	return m.ID, nil
}

func (p *peer) receive(ctx context.Context) (wire.Message, error) {
	if p.patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.patience)
		defer cancel()
	}
	for {
		_, b, err := p.conn.Read(ctx)
		if err != nil {
			return wire.Message{}, err
		}
		if m, ok, err := p.in.Add(b); ok || err != nil {
			return m, err
		}
	}
}

// request sends a request and returns the content of its response.
func (p *peer) request(ctx context.Context, typ string, payload []byte) (wire.Content, error) {
	id, err := p.send(ctx, typ, payload)
	if err != nil {
		return nil, err
	}
	for {
		m, err := p.receive(ctx)
		if err != nil {
			return nil, err
		}
		if m.Type == wire.TypeResponse && m.ID == id {
			return wire.UnpackContent(m.Payload)
		}
	}
}

func (p *peer) invoke(ctx context.Context, toolkit, tool string, arguments wire.Content) (wire.Content, error) {
	payload, err := wire.PackInvoke(toolkit, tool, arguments)
	if err != nil {
		return nil, err
	}
	return p.request(ctx, wire.TypeInvokeTool, payload)
}

func object(fields any) json.RawMessage {
	b, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return b
}

func setArguments(h wire.SetHeaders, v []byte) wire.Content {
	h.HasData = true
	return wire.Binary{Headers: object(h), Data: secret.New(v)}
}

func setSecret(ctx context.Context, p *peer, id, v string) error {
	c, err := p.invoke(ctx, wire.Secrets, wire.SetSecret, setArguments(wire.SetHeaders{SecretID: wire.Nullable(id)}, []byte(v)))
	if err == nil {
		if e, failed := c.(wire.Error); failed {
			err = e
		}
	}
	return err
}

// sign returns a token of the room's own key, as the leader of key(1) mints it.
func sign(t testing.TB, dir string, tok token.Token) secret.Value {
	t.Helper()
	e, err := localroom.Open(dir, localroom.Options{Key: key(1)})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if tok.Expires.IsZero() {
		tok.Expires = time.Now().Add(time.Hour)
	}
	jwt, err := e.Sign(tok)
	if err != nil {
		t.Fatal(err)
	}
	return jwt
}

func scoped() *token.Scope { return &token.Scope{Secrets: &token.SecretsScope{}} }

func admin() *token.Scope {
	return &token.Scope{Secrets: &token.SecretsScope{}, Admin: true}
}

func getArguments(id string) wire.Content {
	return wire.JSON{Object: object(wire.GetArguments{SecretID: wire.Nullable(id)})}
}

func jsonObject(s string) wire.Content { return wire.JSON{Object: json.RawMessage(s)} }
