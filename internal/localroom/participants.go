package localroom

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/roomenv/roomenv/internal/wire"
)

const (
	// maxAttributes bounds the description of a participant, in bytes.
	maxAttributes = 16 << 10
	// maxList bounds the descriptions in one message, in bytes.
	maxList = wire.MaxHeader / 2
)

// A liveRoom is a room that has connections.
type liveRoom struct {
	name, sessionID string
	connections     int // guarded by Server.mu

	// mu also guards the presence of each participant, and is held while events about
	// it are posted: all participants see the same changes in the same order.
	mu      sync.Mutex
	present map[string]*session // by participant id; an identity may have several
}

func (r *liveRoom) join(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.present[s.id] = s
}

func (r *liveRoom) leave(s *session) {
	r.disable(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.present, s.id)
}

// errNoParticipant has a text that a client depends on (section 5.4).
var errNoParticipant = wire.Error{Code: wire.NotFound, Text: "the participant was not found"}

// find returns the participant with this id.
func (r *liveRoom) find(id string) (*session, error) { return r.lookUp(id, false) }

// reachable returns the participant with this id if it enabled messaging.
func (r *liveRoom) reachable(id string) (*session, error) { return r.lookUp(id, true) }

func (r *liveRoom) lookUp(id string, enabled bool) (*session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.present[id]; s != nil && (s.enabled || !enabled) {
		return s, nil
	}
	return nil, errNoParticipant
}

// audience returns the recipients of what s broadcasts.
func (r *liveRoom) audience(s *session) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.others(s)
}

// others returns the participants except for s that enabled messaging. The caller holds
// r.mu.
func (r *liveRoom) others(s *session) []*session {
	var others []*session
	for _, p := range r.present {
		if p != s && p.enabled {
			others = append(others, p)
		}
	}
	slices.SortFunc(others, func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	return others
}

// enable lists the others to s, and announces s to them.
func (r *liveRoom) enable(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list wire.Participants
	var rest []*session // do not fit in the list
	if s.sees() {
		size := 0
		for _, p := range r.others(s) {
			if size += p.size; size > maxList {
				rest = append(rest, p)
			} else {
				list.Participants = append(list.Participants, p.info())
			}
		}
	}
	list.More = len(rest)
	self := []*session{s}
	announce(self, s, wire.MessagingEnabled, list)
	for _, p := range rest {
		announce(self, p, wire.ParticipantEnabled, p.info())
	}
	if !s.enabled {
		s.enabled = true
		announce(r.others(s), s, wire.ParticipantEnabled, s.info())
	}
}

func (r *liveRoom) disable(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.enabled {
		s.enabled = false
		announce(r.others(s), s, wire.ParticipantDisabled, wire.ParticipantID{ID: s.id})
	}
}

// setAttributes changes the attributes of s and notifies the others. The name, by which
// others find s, is that of its token.
func (r *liveRoom) setAttributes(s *session, changed wire.Attributes) error {
	delete(changed, wire.ReservedKey)
	delete(changed, "name")
	if len(changed) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	info := s.info()
	info.Attributes = maps.Clone(s.attributes)
	maps.Copy(info.Attributes, changed)
	e, err := newMessage(s.id, wire.MessagingEnabled, wire.Participants{Participants: []wire.Participant{info}}, nil)
	if err != nil || len(e.payload) > maxAttributes {
		s.log.Warn("attributes ignored: too large", "bytes", len(e.payload), "reason", err)
		return refuse(wire.InvalidRequest, "the attributes are too large")
	}
	s.attributes, s.size = info.Attributes, len(e.payload)
	if s.enabled {
		announce(r.others(s), s, wire.ParticipantAttributes, wire.ChangedAttributes{Attributes: changed})
	}
	return nil
}

// announce posts an event about a participant to those that may list participants.
func announce(to []*session, about *session, typ string, content any) {
	e, err := newMessage(about.id, typ, content, nil)
	if err != nil {
		about.log.Error("announce participant", "reason", err)
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
	return wire.Participant{ID: s.id, Role: s.who.Role, Attributes: s.attributes}
}

// newMessage returns a messaging.send event (section 9).
func newMessage(from, typ string, message any, attachment []byte) (event, error) {
	m, err := wire.EncodeJSON(message)
	if err != nil {
		return event{}, err
	}
	return newEvent(wire.TypeMessagingSend, wire.ReceivedMessage{FromParticipantID: from, Type: typ, Message: m}, attachment)
}
