package room

import (
	"context"
	"encoding/json"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
)

// Bounds of the queue of events for handlers.
const (
	maxEvents     = 1024
	maxEventBytes = wire.DefaultMaxMessage
)

const (
	// DefaultRequestTimeout is how long a participant has to answer a request that
	// gives no timeout.
	DefaultRequestTimeout = 300 * time.Second
	// NoHandler is the reason that answers a request for which there is no handler:
	// without it the requester would wait for its whole timeout.
	NoHandler = wire.NoHandler
)

// rejectTimeout bounds that answer: other events wait for it.
const rejectTimeout = 10 * time.Second

// A handler takes the header of an event and reports whether it was well-formed.
type handler func(ctx context.Context, c *Client, header json.RawMessage) bool

// handlers returns those for requests of participants, by message type.
func (config Config) handlers() map[string]handler {
	onSecret, onOAuth := config.OnSecretRequested, config.OnOAuthRequested
	if onSecret == nil {
		onSecret = func(ctx context.Context, c *Client, e SecretRequested) {
			c.rejectUnhandled(ctx, c.Secrets().Reject, e.ID)
		}
	}
	if onOAuth == nil {
		onOAuth = func(ctx context.Context, c *Client, e OAuthRequested) {
			c.rejectUnhandled(ctx, c.Secrets().RejectAuthorization, e.ID)
		}
	}
	return map[string]handler{
		wire.TypeRequestSecret:     handle(unpackSecretRequested, onSecret),
		wire.TypeRequestOAuthToken: handle(unpackOAuthRequested, onOAuth),
	}
}

func handle[E any](unpack func(json.RawMessage) (E, bool), f func(context.Context, *Client, E)) handler {
	return func(ctx context.Context, c *Client, header json.RawMessage) bool {
		e, ok := unpack(header)
		if ok {
			f(ctx, c, e)
		}
		return ok
	}
}

func (c *Client) rejectUnhandled(ctx context.Context, reject func(ctx context.Context, id, reason string) error, id string) {
	ctx, cancel := context.WithTimeout(ctx, rejectTimeout)
	defer cancel()
	if err := reject(ctx, id, NoHandler); err != nil {
		c.log.Warn("rejecting request failed", "error", err)
	}
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
		c.log.Error("dropping events, handler too slow", "first", m)
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
		header, _, err := wire.Unpack(m.Payload)
		if c.ctx.Err() == nil && (err != nil || !c.handlers[m.Type](c.ctx, c, header)) {
			c.log.Warn("dropped malformed event", "event", m)
		}
		c.eventBytes.Add(-int64(len(m.Payload)))
		c.eventsLost.Store(false)
	}
}
