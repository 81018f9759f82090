package local

import (
	"sync"

	"github.com/roomenv/roomenv/room/wire"
)

// An activation is a room with somebody in it.
type activation struct {
	name, sessionID string
	connections     int // guarded by Server.mu

	mu      sync.Mutex
	present map[string]*session // by participant id; an identity may have several
}

func (a *activation) join(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.present[s.id] = s
}

func (a *activation) part(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.present, s.id)
}

// find returns the participant called id, whether it enabled messaging or not.
func (a *activation) find(id string) (*session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.present[id]; s != nil {
		return s, nil
	}
	return nil, errNoParticipant
}

// errNoParticipant has a text that one client looks for (section 5.4).
var errNoParticipant = wire.Error{Code: wire.NotFound, Text: "the participant was not found"}
