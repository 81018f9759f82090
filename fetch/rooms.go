package fetch

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// Rooms is the [Source] of room:secret references. It has one connection to each
// room that is asked for something.
type Rooms struct {
	dial func(ctx context.Context, room string) (*room.Client, error)

	mu      sync.Mutex
	clients map[string]func() (*room.Client, error) // by name of the room
}

// NewRooms returns a source that calls dial for each room once, when the first
// reference to it is resolved, with the context of that call; the name of the
// default room is "". A room that dial fails for stays unreachable.
func NewRooms(dial func(ctx context.Context, room string) (*room.Client, error)) *Rooms {
	return &Rooms{dial: dial, clients: make(map[string]func() (*room.Client, error))}
}

// Resolve asks the room of t (get_secret, docs/room-api.md section 6).
func (r *Rooms) Resolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	if t.Kind != manifest.Secret {
		return secret.Value{}, fmt.Errorf("%w: room:%s references are not fetched by this version", ErrUnsupported, t.Kind)
	}
	client, err := r.client(ctx, t.Room)
	if err != nil {
		return secret.Value{}, classify(err)
	}
	s, err := client.Secrets().Get(ctx, room.SecretQuery{ID: t.ID, Type: t.Type, Name: t.Name, DelegatedTo: t.DelegatedTo})
	if err != nil {
		return secret.Value{}, classify(err)
	}
	return s.Value, nil
}

func (r *Rooms) client(ctx context.Context, name string) (*room.Client, error) {
	r.mu.Lock()
	dialled, ok := r.clients[name]
	if !ok {
		dialled = sync.OnceValues(func() (*room.Client, error) { return r.dial(ctx, name) })
		r.clients[name] = dialled
	}
	r.mu.Unlock()
	return dialled()
}

// Close closes all connections. No Resolve may run then or later.
func (r *Rooms) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, dialled := range r.clients {
		if client, err := dialled(); err == nil {
			errs = append(errs, client.Close())
		}
	}
	return errors.Join(errs...)
}

// classify puts the state that an error of package room means around it.
func classify(err error) error {
	// The name of the operation is the same in every row.
	if answer, ok := errors.AsType[*room.Error](err); ok {
		err = &room.Error{Code: answer.Code, Text: answer.Text}
	}
	for _, c := range []struct{ of, state error }{
		{room.ErrNotFound, ErrMissing},
		{room.ErrUnsupported, ErrUnsupported},
		{room.ErrPermissionDenied, ErrDenied},
		{room.ErrForbidden, ErrDenied},
		{room.ErrNoRoom, ErrUnreachable},
		{room.ErrRoomDisabled, ErrUnreachable},
		{room.ErrUnreachable, ErrUnreachable},
		{room.ErrClosed, ErrUnreachable},
		{room.ErrDisconnected, ErrUnreachable},
		{room.ErrTimeout, ErrUnreachable},
	} {
		if errors.Is(err, c.of) {
			return fmt.Errorf("%w: %w", c.state, err)
		}
	}
	return err
}
