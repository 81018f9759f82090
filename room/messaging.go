package room

import (
	"context"
	"slices"
)

// Messaging is a room's messaging toolkit (section 9): the participants of the
// room. Only those that have it enabled see each other.
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

// Enable enables messaging, on this connection and all that follow, and returns when
// the room has sent the list of participants.
func (m *Messaging) Enable(ctx context.Context) error {
	p := &m.client.presence
	p.change(func() { p.wanted, p.err = true, nil })
	return m.client.waitFor(ctx, func() (bool, error) { return p.here, p.enabled() })
}

// Participants returns the other participants, in the order they appeared. Without a
// connection the list is empty.
func (m *Messaging) Participants() []Participant {
	p := &m.client.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.list)
}

// Find waits for a participant that is wanted, and returns the first one. Messaging
// must be enabled.
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

// Await waits until wanted returns true for the list of participants. It must not
// retain the list or call the client. Messaging must be enabled.
func (m *Messaging) Await(ctx context.Context, wanted func(here []Participant) bool) error {
	p := &m.client.presence
	return m.client.waitFor(ctx, func() (bool, error) { return wanted(p.list), p.enabled() })
}
