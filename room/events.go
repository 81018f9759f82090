package room

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/roomenv/roomenv/internal/wire"
)

// What is held for handlers that are slower than the room.
const (
	maxEvents     = 1024
	maxEventBytes = wire.DefaultMaxMessage
)

// A Handler takes a message that a room sent unasked: its header, a JSON
// object, and its trailer. Handlers run one at a time, in the order the room
// sent, and off the connection's reader, so they may make requests. They
// should return soon: while one runs the next messages wait, up to 1,024 and
// 16 MiB of them, and then new ones are dropped and logged.
//
// ctx ends with the client, which waits for its handlers. A handler can run
// before [Dial] has returned to its caller.
type Handler func(ctx context.Context, c *Client, header json.RawMessage, trailer []byte)

// handlers are all that there are: what is not handled otherwise but wants an
// answer is rejected.
func (config Config) handlers() map[string]Handler {
	all := map[string]Handler{
		wire.TypeRequestSecret:     secretRequested(rejectSecretRequest),
		wire.TypeRequestOAuthToken: oauthRequested(rejectOAuthRequest),
	}
	maps.Copy(all, config.Handlers)
	if f := config.OnSecretRequested; f != nil {
		all[wire.TypeRequestSecret] = secretRequested(f)
	}
	if f := config.OnOAuthRequested; f != nil {
		all[wire.TypeRequestOAuthToken] = oauthRequested(f)
	}
	if f := config.OnMessage; f != nil {
		all[wire.TypeMessagingSend] = messageReceived(f)
	}
	return all
}

// event queues m for its handler.
func (c *Client) event(m wire.Message) {
	if m.Type == wire.TypeMessagingSend {
		c.observe(m)
	}
	if c.handlers[m.Type] == nil {
		return
	}
	size := int64(len(m.Payload))
	if c.eventBytes.Add(size) <= maxEventBytes {
		select {
		case c.events <- m:
			return
		default:
		}
	}
	c.eventBytes.Add(-size)
	if !c.eventsLost.Swap(true) {
		c.log.Error("dropping events: their handlers are too slow", "first", m)
	}
}

func (c *Client) handleEvents() {
	for {
		var m wire.Message
		select {
		case <-c.ctx.Done():
			return
		case m = <-c.events:
		}
		header, trailer, err := wire.Unpack(m.Payload)
		if err != nil {
			c.log.Warn("dropped an event that is not a packed message", "event", m, "error", err)
		} else if c.ctx.Err() == nil {
			c.handlers[m.Type](c.ctx, c, header, trailer)
		}
		c.eventBytes.Add(-int64(len(m.Payload)))
		c.eventsLost.Store(false)
	}
}
