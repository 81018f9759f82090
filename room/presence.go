package room

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/roomenv/roomenv/internal/wire"
)

// maxParticipants bounds the list of participants.
const maxParticipants = 10_000

var errMessagingDisabled = errors.New("messaging is not enabled")

// presence is the list of other participants, which a room sends on each connection.
// The zero value is messaging that is not enabled.
type presence struct {
	mu      sync.Mutex
	changed chan struct{} // closed at the next change; nil if no goroutine waits
	wanted  bool          // by the user of the client
	on      bool          // enabled on this connection, as far as the room knows
	here    bool          // the list is complete
	more    int           // participants of the list that follow
	err     error         // why the room rejected it
	list    []Participant // in the order they appeared
}

// enabled returns nil if participants can appear.
func (p *presence) enabled() error {
	switch {
	case p.wanted:
		return nil
	case p.err != nil:
		return p.err
	}
	return errMessagingDisabled
}

// change applies f and wakes the goroutines that wait.
func (p *presence) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// off resets what a connection reported.
func (p *presence) off() { p.on, p.here, p.more, p.list = false, false, 0, nil }

// waitFor calls f after each change until it is done or fails.
func (c *Client) waitFor(ctx context.Context, f func() (done bool, err error)) error {
	p := &c.presence
	for {
		p.mu.Lock()
		done, err := f()
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()
		switch {
		case done:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-changed:
		case <-c.done:
			return c.Err()
		case <-ctx.Done():
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.ended(ctx)
		}
	}
}

// keepMessaging enables messaging on each connection once it is wanted, with one call.
func (c *Client) keepMessaging() {
	p := &c.presence
	for c.waitFor(c.ctx, func() (bool, error) {
		enable := p.wanted && !p.on
		p.on = p.on || enable
		return enable, nil
	}) == nil {
		_, _, err := c.invoke(c.ctx, wire.Messaging, wire.EnableMessaging, wire.JSON{}, false)
		switch {
		case c.ctx.Err() != nil || c.Err() != nil:
			return // waitFor returns the error of the client
		case err == nil, errors.Is(err, ErrDisconnected): // the next connection enables it again
		default:
			p.change(func() {
				p.off()
				p.wanted, p.err = false, err
			})
			c.log.Warn("enabling messaging failed", "error", err)
		}
	}
}

// observe updates the list of participants. It does not wait for handlers.
func (c *Client) observe(m wire.Message) {
	var e wire.ReceivedMessage
	if unpackJSON(m, &e) != nil {
		return
	}
	p, us := &c.presence, c.Session().ParticipantID
	p.change(func() {
		switch e.Type {
		case wire.MessagingEnabled:
			if all, ok := decode[wire.Participants](e.Message); ok {
				p.on = p.on || p.wanted // of a call that outlived its connection
				p.here, p.more, p.list = p.on && all.More <= 0, all.More, nil
				for _, w := range all.Participants {
					p.add(us, w)
				}
			}
		case wire.ParticipantEnabled:
			if w, ok := decode[wire.Participant](e.Message); ok {
				p.add(us, w)
			}
			p.more--
			p.here = p.here || p.on && p.more == 0
		case wire.ParticipantDisabled:
			if w, ok := decode[wire.ParticipantID](e.Message); ok {
				p.list = slices.DeleteFunc(p.list, func(other Participant) bool { return other.ID == w.ID })
			}
		case wire.ParticipantAttributes:
			if w, ok := decode[wire.ChangedAttributes](e.Message); ok {
				p.merge(e.FromParticipantID, w.Attributes)
			}
		}
	})
}

func decode[T any](object json.RawMessage) (v T, ok bool) {
	err := json.Unmarshal(object, &v)
	return v, err == nil
}

// add adds or replaces a participant other than this client.
func (p *presence) add(us string, w wire.Participant) {
	other := Participant{w.ID, w.Role, w.Attributes}
	i := p.index(w.ID)
	switch {
	case !p.on || w.ID == us:
	case i >= 0:
		p.list[i] = other
	case len(p.list) < maxParticipants:
		p.list = append(p.list, other)
	}
}

// merge makes a new map: callers have the old one.
func (p *presence) merge(id string, changed wire.Attributes) {
	if i := p.index(id); i >= 0 {
		all := maps.Clone(p.list[i].Attributes)
		if all == nil {
			all = map[string]any{}
		}
		maps.Copy(all, changed)
		p.list[i].Attributes = all
	}
}

func (p *presence) index(id string) int {
	return slices.IndexFunc(p.list, func(p Participant) bool { return p.ID == id })
}
