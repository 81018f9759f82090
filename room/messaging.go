package room

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/roomenv/roomenv/internal/wire"
)

// Messaging is a room's messaging toolkit (section 9): who is here, and messages
// between participants. Only those who have it enabled see each other.
//
// It stays as [Messaging.Enable] and [Messaging.Disable] last left it, on every
// connection that the client comes back with.
type Messaging struct{ client *Client }

// Messaging returns the room's messaging.
func (c *Client) Messaging() *Messaging { return &Messaging{c} }

// A Participant is a connection to the room. Several can be of one identity.
type Participant struct {
	ID         string
	Role       string         // user, agent or tool
	Attributes map[string]any // not to be changed
}

// Name is the participant's identity: the attribute "name", or "".
func (p Participant) Name() string {
	name, _ := p.Attributes["name"].(string)
	return name
}

// Enable enables messaging and returns when the room has said who is here.
func (m *Messaging) Enable(ctx context.Context) error {
	p := &m.client.presence
	p.change(func() { p.wanted, p.err = true, nil })
	return m.client.waitFor(ctx, func() (bool, error) { return p.here, p.enabled() })
}

// Disable ends what [Messaging.Enable] began.
func (m *Messaging) Disable(ctx context.Context) error {
	p := &m.client.presence
	p.change(func() { p.wanted, p.err = false, nil })
	return m.client.waitFor(ctx, func() (bool, error) { return !p.on || p.wanted, p.err })
}

// Participants returns who else is here, in the order they appeared. Without a
// connection nobody is.
func (m *Messaging) Participants() []Participant {
	p := &m.client.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.list)
}

// Find returns the first participant that is wanted, and waits until there is
// one. Messaging has to be enabled.
func (m *Messaging) Find(ctx context.Context, wanted func(Participant) bool) (found Participant, err error) {
	err = m.Await(ctx, func(here []Participant) bool {
		i := slices.IndexFunc(here, wanted)
		if i >= 0 {
			found = here[i]
		}
		return i >= 0
	})
	return found, err
}

// Await waits until those who are here are as wanted, which does not keep them
// and calls nothing of the client. Messaging has to be enabled.
func (m *Messaging) Await(ctx context.Context, wanted func(here []Participant) bool) error {
	p := &m.client.presence
	return m.client.waitFor(ctx, func() (bool, error) { return wanted(p.list), p.enabled() })
}

// A Message is what participants send each other.
type Message struct {
	Type       string
	Body       json.RawMessage // an object; nil is {}
	Attachment []byte
}

// Send sends a message to a participant (send). One who is not here or has
// messaging disabled is [ErrNotFound]. It is not sent twice and can fail with
// [ErrDisconnected].
func (m *Messaging) Send(ctx context.Context, participantID string, message Message) error {
	return m.send(ctx, wire.SendMessage, wire.SendArguments{ToParticipantID: participantID, BroadcastArguments: packMessage(message)})
}

// Broadcast sends a message to all others who have messaging enabled
// (broadcast). It is not sent twice and can fail with [ErrDisconnected].
func (m *Messaging) Broadcast(ctx context.Context, message Message) error {
	return m.send(ctx, wire.BroadcastMessage, packMessage(message))
}

func packMessage(m Message) wire.BroadcastArguments {
	if m.Body == nil {
		m.Body = json.RawMessage("{}")
	}
	return wire.BroadcastArguments{Type: m.Type, MessageJSON: string(m.Body), Attachment: m.Attachment}
}

func (m *Messaging) send(ctx context.Context, tool string, arguments any) error {
	object, err := wire.EncodeJSON(arguments)
	if err != nil {
		return err
	}
	_, err = m.client.Invoke(ctx, wire.Messaging, tool, wire.JSON{Object: object})
	return err
}

// MessageReceived is the event that a participant sends us a message. Its
// strings are that participant's, as they came.
type MessageReceived struct {
	From string // the id of the sender
	Message
}

func messageReceived(f func(context.Context, *Client, MessageReceived)) Handler {
	return func(ctx context.Context, c *Client, header json.RawMessage, trailer []byte) {
		var e wire.ReceivedMessage
		switch err := json.Unmarshal(header, &e); {
		case err != nil:
			c.log.Warn("dropped a message that is malformed")
		case e.Type == wire.MessagingEnabled, e.Type == wire.ParticipantEnabled, e.Type == wire.ParticipantDisabled, e.Type == wire.ParticipantAttributes:
			// the room's own, see observe
		default:
			f(ctx, c, MessageReceived{e.FromParticipantID, Message{e.Type, e.Message, trailer}})
		}
	}
}
