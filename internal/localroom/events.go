package localroom

import (
	"context"
	"sync"

	"github.com/roomenv/roomenv/internal/notify"
	"github.com/roomenv/roomenv/internal/wire"
)

// Limits of the events that are queued for a participant.
const (
	maxEvents     = 1024
	maxEventBytes = 2 * wire.DefaultMaxMessage
)

// An event is a message to a participant other than a response.
type event struct {
	typ     string
	payload []byte
}

// newEvent packs an event, and fails if clients would not accept it.
func newEvent(typ string, header any, trailer []byte) (event, error) {
	h, err := wire.EncodeJSON(header)
	if err != nil {
		return event{}, err
	}
	payload := wire.Pack(h, trailer)
	_, _, err = wire.Unpack(payload)
	return event{typ, payload}, err
}

// An outbox has the events of a participant until they are sent.
type outbox struct {
	allowance *allowance
	mu        sync.Mutex
	closed    bool
	queue     []event
	bytes     int           // of the queue and of what is being sent
	held      int64         // bytes taken from the allowance
	filled    chan struct{} // one slot
}

// post queues e without blocking, so that a participant that does not read delays no
// other. It reports false if the queue is full.
func (s *session) post(e event) bool {
	o := &s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	bytes := o.bytes + len(e.payload)
	if o.closed || len(o.queue) >= maxEvents || bytes > maxEventBytes || !o.hold(bytes) {
		return false
	}
	o.queue = append(o.queue, e)
	o.bytes = bytes
	notify.Send(o.filled)
	return true
}

// hold takes as much from the allowance, or gives back, as bytes are more than freeBytes.
func (o *outbox) hold(bytes int) bool {
	more := int64(max(0, bytes-freeBytes)) - o.held
	if more > 0 && !o.allowance.own.TryAcquire(more) {
		return false
	} else if more < 0 {
		o.allowance.own.Release(-more)
	}
	o.held += more
	return true
}

// close drops what is queued.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.queue, o.bytes = true, nil, 0
	o.hold(0)
}

// take empties the queue.
func (o *outbox) take() []event {
	o.mu.Lock()
	defer o.mu.Unlock()
	queue := o.queue
	o.queue = nil
	return queue
}

// sent frees the space of e.
func (o *outbox) sent(e event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= len(e.payload)
	o.hold(o.bytes)
}

// mustPost queues e, or drops the participant, which reconnects and starts over.
func (s *session) mustPost(e event) {
	if !s.post(e) {
		s.log.Warn("participant dropped: it does not read its events")
		s.drop()
	}
}

// sendEvents writes the posted events in their order.
func (s *session) sendEvents(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.outbox.filled:
		}
		s.writing.Lock()
		err := s.flush(ctx)
		s.writing.Unlock()
		if err != nil {
			s.drop()
			return
		}
	}
}

// flush writes the posted events. The caller holds s.writing.
func (s *session) flush(ctx context.Context) error {
	for _, e := range s.outbox.take() {
		s.lastID++
		if err := s.write(ctx, wire.Message{ID: s.lastID, Type: e.typ, Payload: e.payload}); err != nil {
			return err
		}
		s.outbox.sent(e)
	}
	return nil
}
