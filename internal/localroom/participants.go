package localroom

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room/token"
)

const (
	// maxAttributes bounds what describes a participant, in bytes.
	maxAttributes = 16 << 10
	// maxList bounds what describes all participants in one message.
	maxList = wire.MaxHeader / 2
)

// An activation is a room with somebody in it.
type activation struct {
	name, sessionID string
	connections     int // guarded by Server.mu

	// mu also guards the presence of each participant, and is held while news of
	// it are posted: all see the same changes in the same order.
	mu      sync.Mutex
	present map[string]*session // by participant id; an identity may have several
}

func (a *activation) join(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.present[s.id] = s
}

func (a *activation) part(s *session) {
	a.disable(s)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.present, s.id)
}

// errNoParticipant has a text that one client looks for (section 5.4).
var errNoParticipant = wire.Error{Code: wire.NotFound, Text: "the participant was not found"}

// find returns the participant called id, whether it enabled messaging or not.
func (a *activation) find(id string) (*session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.present[id]; s != nil {
		return s, nil
	}
	return nil, errNoParticipant
}

// reachable returns the participant called id if it enabled messaging.
func (a *activation) reachable(id string) (*session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.present[id]; s != nil && s.enabled {
		return s, nil
	}
	return nil, errNoParticipant
}

// audience returns who hears what s broadcasts.
func (a *activation) audience(s *session) []*session {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.others(s)
}

// others returns who enabled messaging, but s; the caller holds the lock.
func (a *activation) others(s *session) []*session {
	var others []*session
	for _, p := range a.present {
		if p != s && p.enabled {
			others = append(others, p)
		}
	}
	slices.SortFunc(others, func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	return others
}

// enable sends s who else has messaging enabled, and tells them of s.
func (a *activation) enable(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list wire.Participants
	var rest []*session // who does not fit
	if s.sees() {
		size := 0
		for _, p := range a.others(s) {
			if size += p.size; size > maxList {
				rest = append(rest, p)
			} else {
				list.Participants = append(list.Participants, p.info())
			}
		}
	}
	self := []*session{s}
	tell(self, s, wire.MessagingEnabled, list)
	for _, p := range rest {
		tell(self, p, wire.ParticipantEnabled, p.info())
	}
	if !s.enabled {
		s.enabled = true
		tell(a.others(s), s, wire.ParticipantEnabled, s.info())
	}
}

func (a *activation) disable(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.enabled {
		s.enabled = false
		tell(a.others(s), s, wire.ParticipantDisabled, wire.ParticipantID{ID: s.id})
	}
}

// setAttributes keeps what s tells of itself, and tells the others what
// changed. Its name is not for it to tell: others find it by that.
func (a *activation) setAttributes(s *session, changed wire.Attributes) {
	delete(changed, wire.ReservedKey)
	delete(changed, "name")
	if len(changed) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	info := s.info()
	info.Attributes = maps.Clone(s.attributes)
	maps.Copy(info.Attributes, changed)
	e, err := newMessage(s.id, wire.MessagingEnabled, wire.Participants{Participants: []wire.Participant{info}}, nil)
	if err != nil || len(e.payload) > maxAttributes {
		s.log.Warn("dropped attributes that others would not take", "bytes", len(e.payload), "reason", err)
		return
	}
	s.attributes, s.size = info.Attributes, len(e.payload)
	if s.enabled {
		tell(a.others(s), s, wire.ParticipantAttributes, wire.ChangedAttributes{Attributes: changed})
	}
}

// tell posts news of about to those of them who may know.
func tell(to []*session, about *session, typ string, news any) {
	e, err := newMessage(about.id, typ, news, nil)
	if err != nil {
		about.log.Error("cannot tell others of a participant", "reason", err)
		return
	}
	for _, p := range to {
		if p == about || p.sees() {
			p.mustPost(e)
		}
	}
}

// info describes s to others.
func (s *session) info() wire.Participant {
	return wire.Participant{ID: s.id, Role: cmp.Or(s.who.Role, token.User), Attributes: s.attributes}
}

// newMessage is a message of messaging (section 9).
func newMessage(from, typ string, message any, attachment []byte) (event, error) {
	m, err := wire.EncodeJSON(message)
	if err != nil {
		return event{}, err
	}
	return newEvent(wire.TypeMessagingSend, wire.ReceivedMessage{FromParticipantID: from, Type: typ, Message: m}, attachment)
}
