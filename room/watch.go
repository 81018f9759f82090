package room

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/roomenv/roomenv/internal/wire"
)

// A Change is a secret that was set or deleted: one of our own, or one that was
// delegated to us. Several participants can have delegated secrets of one id to
// us: when one was deleted there may be another.
type Change struct {
	ID          string
	DelegatedTo string
	Revision    uint64 // a later change of a secret has a higher one
	Deleted     bool
}

// Watch calls f with what changes among the secrets that we may see, in the
// order of the changes, until ctx or the client ends, and returns why. It calls
// f one at a time, and not after it has returned. Nil stands for whatever may
// have changed before: it comes first, and again each time that changes were
// missed, because the connection was lost or f took longer than the room goes
// on sending.
//
// A room that has no such stream is [ErrUnsupported]; the hosted service has
// none. One that refuses or ends it is another error.
func (s *Secrets) Watch(ctx context.Context, f func([]Change)) error {
	for {
		err := s.watch(ctx, f)
		if !errors.Is(err, ErrDisconnected) && !errors.Is(err, errBehind) {
			return unsupported(err)
		}
	}
}

// watch is Watch until changes are missed.
func (s *Secrets) watch(ctx context.Context, f func([]Change)) error {
	stream, err := s.client.openStream(ctx, wire.Secrets, wire.Watch)
	if err != nil {
		return err
	}
	defer s.client.closeStream(stream)
	f(nil)
	for {
		chunks, err := s.client.take(ctx, stream)
		if err != nil {
			return err
		}
		changes := make([]Change, len(chunks))
		for i, chunk := range chunks {
			object, ok := chunk.(wire.JSON)
			if !ok {
				return unexpected(wire.Watch, contentType(chunk))
			}
			var c wire.Change
			if json.Unmarshal(object.Object, &c) != nil {
				return unexpected(wire.Watch, "a field of a wrong type")
			}
			changes[i] = Change{c.ID, string(c.DelegatedTo), c.Revision, c.Deleted}
		}
		f(changes)
	}
}
