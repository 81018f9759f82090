package room

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/roomenv/roomenv/internal/wire"
)

// A Change is a secret that was set or deleted: one of this identity, or one that is
// delegated to it. Several participants can delegate secrets with the same ID: when one
// is deleted, others may remain.
type Change struct {
	ID          string
	DelegatedTo string
	Revision    uint64 // increases with each change of a secret
	Deleted     bool
}

// Watch calls f with changes of the secrets that this identity can read, in order, until
// ctx ends or the client is closed, and returns why. Calls do not overlap, and none
// follows the return. nil means that any secret may have changed: it is the first call,
// and follows each time that changes were missed, because the connection dropped or f
// took too long.
//
// A room without this stream, such as one of the hosted service, is [ErrUnsupported]. If
// the room rejects or closes the stream, it is a different error.
func (s *Secrets) Watch(ctx context.Context, f func([]Change)) error {
	for {
		err := s.watch(ctx, f)
		if !errors.Is(err, ErrDisconnected) && !errors.Is(err, errBehind) {
			return unsupported(err)
		}
	}
}

// watch is Watch until it misses changes.
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
