package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// Rooms is the [Source] of what rooms hold, and of what their participants
// provide. It has one connection to each room that is asked for something.
//
// Observe is set before the first call.
type Rooms struct {
	// OnRequest hears of values that somebody has to provide, one call at a time;
	// nil hears nothing. It returns soon.
	OnRequest func(RequestStatus)

	dial func(ctx context.Context, room string) (*room.Client, error)

	life   context.Context // of what goes on when no call waits for it
	cancel context.CancelFunc
	wg     sync.WaitGroup

	observing sync.Mutex
	requests  atomic.Uint64

	mu      sync.Mutex
	lines   map[string]*roomConn // by name of the room
	pending map[manifest.Target]*pendingRequest
}

// NewRooms returns a source that calls dial for each room when a reference to it
// is resolved, with the context of that call; the name of the default room is "".
// It is called again when it failed or the client has ended for good, by the first
// call after a while that doubles with each failure, and until then everything
// that is asked of that room fails.
func NewRooms(dial func(ctx context.Context, room string) (*room.Client, error)) *Rooms {
	r := &Rooms{
		dial:    dial,
		lines:   make(map[string]*roomConn),
		pending: make(map[manifest.Target]*pendingRequest),
	}
	r.life, r.cancel = context.WithCancel(context.Background())
	return r
}

// Requests is how many requests rooms were sent so far.
func (r *Rooms) Requests() uint64 { return r.requests.Load() }

// Resolve asks the room of t, and a participant where the room has no answer of
// its own, for as long as t says (docs/room-api.md sections 6 and 7). What the
// room holds already nobody is asked for.
func (r *Rooms) Resolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	return r.resolve(ctx, t, true)
}

// TryResolve is Resolve that waits for no person.
func (r *Rooms) TryResolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	return r.resolve(ctx, t, false)
}

func (r *Rooms) resolve(ctx context.Context, t manifest.Target, wait bool) (secret.Value, error) {
	client, err := r.client(ctx, t.Group)
	if err != nil {
		return secret.Value{}, classify(err)
	}
	switch t.Kind() {
	case manifest.KindSecret:
		r.requests.Add(1)
		s, err := client.Secrets().Get(ctx, room.SecretQuery{
			ID: t.ID(), Type: t.Param("type"), Name: t.Param("name"), DelegatedTo: t.Param("delegated_to"),
		})
		return s.Value, classify(err)
	case manifest.KindRequest:
		ask := func(ctx context.Context, participantID string) (secret.Value, error) {
			r.requests.Add(1)
			return client.Secrets().Request(ctx, room.SecretRequest{
				ParticipantID: participantID, URL: t.Param("url"), Type: t.Param("type"), DelegateTo: t.Param("delegate_to"),
			})
		}
		if value, ok := provided(ctx, t.ID(), ask); ok {
			return value, nil
		}
		return r.request(ctx, client, t, wait, t.ID(), ask)
	case manifest.KindOAuth:
		return r.token(ctx, client, t, wait)
	}
	return secret.Value{}, fmt.Errorf("%w: room:%s references are not fetched by this version", ErrUnsupported, t.Kind())
}

// provided returns what somebody, who need not be here, provided before. A room
// may answer that to their name in place of an id, as this project's does.
func provided(ctx context.Context, name string, ask func(context.Context, string) (secret.Value, error)) (secret.Value, bool) {
	ctx, cancel := context.WithTimeout(ctx, directAnswerTimeout)
	defer cancel()
	value, err := ask(ctx, name)
	return value, err == nil
}

// token returns a token that the room has, or that somebody authorizes.
func (r *Rooms) token(ctx context.Context, client *room.Client, t manifest.Target, wait bool) (secret.Value, error) {
	described, ok := t.OAuthClient()
	if !ok {
		return secret.Value{}, fmt.Errorf("%w: no OAuth client is called %s", ErrUnsupported, t.ID())
	}
	oauth := &room.OAuth{
		ClientID:              described.ClientID,
		AuthorizationEndpoint: described.AuthorizationEndpoint,
		TokenEndpoint:         described.TokenEndpoint,
		NoPKCE:                described.NoPKCE,
		Scopes:                described.Scopes,
	}
	if described.ClientSecret != nil {
		var err error
		if oauth.ClientSecret, err = r.resolve(ctx, *described.ClientSecret, wait); err != nil {
			return secret.Value{}, fmt.Errorf("its client_secret %s: %w", *described.ClientSecret, err)
		}
	}
	connector := (*room.Connector)(described.Connector)

	// Who authorizes it for us has it delegated to us.
	from := cmp.Or(t.Param("from"), described.From)
	by := t.Param("delegated_by")
	if by == "" && from != client.Session().Name {
		by = from
	}
	r.requests.Add(1)
	token, err := client.Secrets().OfflineOAuthToken(ctx, room.OfflineOAuthQuery{
		Connector: connector, OAuth: oauth, DelegatedTo: t.Param("delegated_to"), DelegatedBy: by,
	})
	switch {
	case !errors.Is(err, room.ErrNotFound):
		return token, classify(err)
	case from == "":
		return token, fmt.Errorf("%w: nobody has authorized the client, and from= names nobody to ask", ErrMissing)
	}
	return r.request(ctx, client, t, wait, from, func(ctx context.Context, participantID string) (secret.Value, error) {
		r.requests.Add(1)
		return client.Secrets().RequestOAuthToken(ctx, room.OAuthRequest{
			ParticipantID: participantID, Connector: connector, OAuth: oauth, RedirectURI: described.RedirectURI, DelegateTo: t.Param("delegated_to"),
		})
	})
}

// Watch is that of a [Watcher]; rooms of this project tell of changes.
func (r *Rooms) Watch(ctx context.Context, name string, f func(ids []string)) error {
	client, err := r.client(ctx, name)
	if err != nil {
		return classify(err)
	}
	return classify(client.Secrets().Watch(ctx, func(changes []room.Change) {
		if changes == nil {
			r.requests.Add(1) // that opened the stream
			f(nil)
			return
		}
		ids := make([]string, len(changes))
		for i, c := range changes {
			ids[i] = c.ID
		}
		f(ids)
	}))
}

// Reconnect has every connection made anew, with a token that is asked for then.
func (r *Rooms) Reconnect() {
	r.mu.Lock()
	lines := slices.Collect(maps.Values(r.lines))
	r.mu.Unlock()
	for _, l := range lines {
		l.reconnect()
	}
}

func (r *Rooms) line(name string) *roomConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lines[name]
	if l == nil {
		l = new(roomConn)
		r.lines[name] = l
	}
	return l
}

func (r *Rooms) client(ctx context.Context, name string) (*room.Client, error) {
	return r.line(name).get(func() (*room.Client, error) { return r.dial(ctx, name) })
}

// Close asks nobody any more and closes all connections. No Resolve or TryResolve may
// run then or later.
func (r *Rooms) Close() error {
	r.cancel()
	r.wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, l := range r.lines {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

// classify puts the state that an error of package room means around it.
func classify(err error) error {
	if err == nil {
		return nil
	}
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
