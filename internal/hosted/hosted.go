// Package hosted makes a local room behave like one of the hosted service, without change
// notifications, for tests and measurements.
package hosted

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"
)

// A Proxy stands between clients and the room server at the URL Upstream.
type Proxy struct {
	Upstream string
	// Push keeps the change notifications of the room.
	Push bool
	// Requests counts the messages of clients.
	Requests atomic.Int64

	conns sync.WaitGroup
}

// maxFrame is more than clients and rooms put into one.
const maxFrame = 4 << 20

// ServeHTTP passes one connection on, until one side ends it.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.conns.Add(1)
	defer p.conns.Done()
	upstream, response, err := websocket.Dial(r.Context(), p.Upstream+r.URL.RequestURI(), &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": r.Header["Authorization"]},
	})
	if err != nil {
		status := http.StatusBadGateway
		if response != nil {
			status = response.StatusCode
		}
		http.Error(w, "the room does not let you in", status)
		return
	}
	defer func() { _ = upstream.CloseNow() }()
	client, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = client.CloseNow() }()

	ctx, cancel := context.WithCancel(r.Context())
	var passing sync.WaitGroup
	passing.Go(func() {
		defer cancel()
		pass(ctx, client, upstream, p.request)
	})
	passing.Go(func() {
		defer cancel()
		pass(ctx, upstream, client, func([]byte) {})
	})
	passing.Wait()
}

// Wait returns when no connection is left.
func (p *Proxy) Wait() { p.conns.Wait() }

// request looks at a packet of a client: one with the number 0 begins a
// message. The tool is renamed to one that there is not.
func (p *Proxy) request(packet []byte) {
	if len(packet) >= 12 && binary.BigEndian.Uint32(packet[8:]) == 0 {
		p.Requests.Add(1)
	}
	tool := []byte(`"tool":"watch"`)
	if i := bytes.Index(packet, tool); i >= 0 && !p.Push {
		copy(packet[i:], `"tool":"hctaw"`)
	}
}

// pass copies frames and, in the end, the close frame: whether there is one
// tells a client if the room is gone for good.
func pass(ctx context.Context, from, to *websocket.Conn, look func([]byte)) {
	from.SetReadLimit(maxFrame)
	for {
		typ, frame, err := from.Read(ctx)
		if closed, ok := errors.AsType[websocket.CloseError](err); ok {
			_ = to.Close(closed.Code, closed.Reason)
		}
		if err != nil {
			return
		}
		look(frame)
		if to.Write(ctx, typ, frame) != nil {
			return
		}
	}
}
