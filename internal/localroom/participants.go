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

// A liveRoom is a room with somebody in it.
type liveRoom struct {
	name, sessionID string
	connections     int // guarded by Server.mu

	// mu also guards the presence of each participant, and is held while news of
	// it are posted: all see the same changes in the same order.
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

// errNoParticipant has a text that one client looks for (section 5.4).
var errNoParticipant = wire.Error{Code: wire.NotFound, Text: "the participant was not found"}

// find returns the participant called id, whether it enabled messaging or not.
func (r *liveRoom) find(id string) (*session, error) { return r.lookUp(id, false) }

// reachable returns the participant called id if it enabled messaging.
func (r *liveRoom) reachable(id string) (*session, error) { return r.lookUp(id, true) }

func (r *liveRoom) lookUp(id string, enabled bool) (*session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.present[id]; s != nil && (s.enabled || !enabled) {
		return s, nil
	}
	return nil, errNoParticipant
}

// audience returns who hears what s broadcasts.
func (r *liveRoom) audience(s *session) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.others(s)
}

// others returns who enabled messaging, but s; the caller holds the lock.
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

// enable sends s who else has messaging enabled, and tells them of s.
func (r *liveRoom) enable(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list wire.Participants
	var rest []*session // who does not fit
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
	self := []*session{s}
	notify(self, s, wire.MessagingEnabled, list)
	for _, p := range rest {
		notify(self, p, wire.ParticipantEnabled, p.info())
	}
	if !s.enabled {
		s.enabled = true
		notify(r.others(s), s, wire.ParticipantEnabled, s.info())
	}
}

func (r *liveRoom) disable(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.enabled {
		s.enabled = false
		notify(r.others(s), s, wire.ParticipantDisabled, wire.ParticipantID{ID: s.id})
	}
}

// setAttributes keeps what s tells of itself, and tells the others what
// changed. Its name is not for it to tell: others find it by that.
func (r *liveRoom) setAttributes(s *session, changed wire.Attributes) {
	delete(changed, wire.ReservedKey)
	delete(changed, "name")
	if len(changed) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
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
		notify(r.others(s), s, wire.ParticipantAttributes, wire.ChangedAttributes{Attributes: changed})
	}
}

// notify posts an event about about to those of them who may know.
func notify(to []*session, about *session, typ string, content any) {
	e, err := newMessage(about.id, typ, content, nil)
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
