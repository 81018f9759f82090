// Package roomsource fetches what rooms hold, and what their participants provide.
package roomsource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// A Source is the [fetch.Source] of the scheme [manifest.SchemeRoom]: a
// [fetch.TryResolver], a [fetch.Watcher] and a [fetch.Reconnector]. It has one
// connection to each room of which something is fetched.
type Source struct {
	// OnRequest is called with the status of each request to a participant, one call
	// at a time; nil is for a caller that does not want it. It returns soon, and is set
	// before the first call of a method.
	OnRequest func(RequestStatus)

	dial func(ctx context.Context, room string) (*room.Client, error)

	ctx     context.Context // of what outlives the call that began it
	cancel  context.CancelFunc
	running sync.WaitGroup

	observing sync.Mutex
	requests  atomic.Uint64

	mu      sync.Mutex
	conns   map[string]*roomConn // by name of the room
	pending map[manifest.Target]*pendingRequest
	owners  map[manifest.Target]string // see owner
	slow    map[string]bool            // rooms that are reported not to answer
}

var _ interface {
	fetch.TryResolver
	fetch.Watcher
	fetch.Reconnector
} = (*Source)(nil)

// New returns a source that calls dial when the first target of a room is fetched,
// with its name; that of the default room is "". It calls dial again when that failed
// or the client has ended for good, with exponential backoff; until then all that is
// fetched of that room fails.
func New(dial func(ctx context.Context, room string) (*room.Client, error)) *Source {
	s := &Source{
		dial:    dial,
		conns:   make(map[string]*roomConn),
		pending: make(map[manifest.Target]*pendingRequest),
		owners:  make(map[manifest.Target]string),
		slow:    make(map[string]bool),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// FromEnv returns the source of the room that the environment names ([room.FromEnv]).
func FromEnv() (fetch.Source, error) {
	env := room.FromEnv()
	if _, err := env.Config(); err != nil {
		return nil, err
	}
	return New(env.Dial), nil
}

// Requests is how many requests were sent to rooms so far.
func (s *Source) Requests() uint64 { return s.requests.Load() }

// Resolve fetches t of its room, and of a participant where the room has no value,
// for as long as t says (docs/room-api.md sections 6 and 7). A participant is not asked
// for what the room holds.
func (s *Source) Resolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	return s.resolve(ctx, t, true)
}

// TryResolve is Resolve that waits for no participant.
func (s *Source) TryResolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	return s.resolve(ctx, t, false)
}

func (s *Source) resolve(ctx context.Context, t manifest.Target, wait bool) (secret.Value, error) {
	client, err := direct(ctx, s, t, func(ctx context.Context) (*room.Client, error) { return s.client(ctx, t.Group) })
	if err != nil {
		return secret.Value{}, classify(err)
	}
	switch t.Kind() {
	case manifest.KindSecret:
		return s.secret(ctx, client, t)
	case manifest.KindRequest:
		ask := func(ctx context.Context, participantID string) (secret.Value, error) {
			s.requests.Add(1)
			return client.Secrets().Request(ctx, room.SecretRequest{
				ParticipantID: participantID, URL: t.Param("url"), Type: t.Param("type"), DelegateTo: t.Param("delegate_to"),
			})
		}
		if value, ok := provided(ctx, t.ID(), ask); ok {
			return value, nil
		}
		return s.request(ctx, client, t, wait, t.ID(), ask)
	case manifest.KindOAuth:
		return s.token(ctx, client, t, wait)
	}
	return secret.Value{}, fmt.Errorf("%w: unknown kind of reference room:%s", fetch.ErrUnsupported, t.Kind())
}

// secret returns a secret. One that another participant delegated belongs to that
// participant from then on: it is denied when the secret of a different owner takes its place.
func (s *Source) secret(ctx context.Context, client *room.Client, t manifest.Target) (secret.Value, error) {
	before, known := s.owner(t)
	by := cmp.Or(t.Param("delegated_by"), before)
	get := func(by string) (room.Secret, error) {
		s.requests.Add(1)
		return direct(ctx, s, t, func(ctx context.Context) (room.Secret, error) {
			return client.Secrets().Get(ctx, room.SecretQuery{
				ID: t.ID(), Type: t.Param("type"), Name: t.Param("name"), DelegatedTo: t.Param("delegated_to"), DelegatedBy: by,
			})
		})
	}
	found, err := get(by)
	if before != "" && errors.Is(err, room.ErrNotFound) {
		if other, ok := get(""); ok == nil {
			found, err = other, nil
		}
	}
	switch err = classify(err); {
	case errors.Is(err, fetch.ErrMissing): // others of the room may have it
		return secret.Value{}, fmt.Errorf("%w for identity %q", err, client.Session().Name)
	case err != nil:
		return secret.Value{}, err
	case known && found.DelegatedBy != before:
		name := func(owner string) string { return text.Printable(cmp.Or(owner, client.Session().Name), maxName) }
		return secret.Value{}, fmt.Errorf("%w: the secret of %s is gone; this one is of %s", fetch.ErrDenied, name(before), name(found.DelegatedBy))
	case !known && t.Param("delegated_to") != "":
		s.mu.Lock()
		s.owners[t] = found.DelegatedBy
		s.mu.Unlock()
	}
	return found.Value, nil
}

// maxName bounds the name of a participant in an error, in bytes.
const maxName = 80

// owner returns who had the secret when it was fetched first; "" is this identity. It
// is not known for one that is not delegated.
func (s *Source) owner(t manifest.Target) (name string, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, known = s.owners[t]
	return name, known
}

// DelegatedBy returns the participant who delegated the secret of t to this identity; ""
// if none did, or that is not known.
func (s *Source) DelegatedBy(t manifest.Target) string {
	owner, _ := s.owner(t)
	return cmp.Or(t.Param("delegated_by"), owner)
}

// provided returns what was provided before by a participant, who need not be in the
// room. It may answer that to their name instead of an id, as the local room does.
func provided(ctx context.Context, name string, ask func(context.Context, string) (secret.Value, error)) (secret.Value, bool) {
	ctx, cancel := context.WithTimeout(ctx, directAnswerTimeout)
	defer cancel()
	value, err := ask(ctx, name)
	return value, err == nil
}

// token returns a token that the room has, or that a participant authorizes.
func (s *Source) token(ctx context.Context, client *room.Client, t manifest.Target, wait bool) (secret.Value, error) {
	c, ok := t.OAuthClient()
	if !ok {
		return secret.Value{}, fmt.Errorf("%w: the OAuth client %s is not defined", fetch.ErrUnsupported, t.ID())
	}
	oauth := &room.OAuth{
		ClientID:              c.ClientID,
		AuthorizationEndpoint: c.AuthorizationEndpoint,
		TokenEndpoint:         c.TokenEndpoint,
		NoPKCE:                c.NoPKCE,
		Scopes:                c.Scopes,
	}
	if c.ClientSecret != nil {
		var err error
		if oauth.ClientSecret, err = s.resolve(ctx, *c.ClientSecret, wait); err != nil {
			return secret.Value{}, fmt.Errorf("client_secret %s: %w", *c.ClientSecret, err)
		}
	}
	connector := (*room.Connector)(c.Connector)

	// A participant who authorizes the client for this identity delegates it to it.
	from := cmp.Or(t.Param("from"), c.From)
	by := t.Param("delegated_by")
	if by == "" && from != client.Session().Name {
		by = from
	}
	s.requests.Add(1)
	token, err := direct(ctx, s, t, func(ctx context.Context) (secret.Value, error) {
		return client.Secrets().OfflineOAuthToken(ctx, room.OfflineOAuthQuery{
			Connector: connector, OAuth: oauth, DelegatedTo: t.Param("delegated_to"), DelegatedBy: by,
		})
	})
	switch {
	case !errors.Is(err, room.ErrNotFound):
		return token, classify(err)
	case from == "":
		return token, fmt.Errorf("%w: the OAuth client is not authorized, and from= is not set", fetch.ErrMissing)
	}
	return s.request(ctx, client, t, wait, from, func(ctx context.Context, participantID string) (secret.Value, error) {
		s.requests.Add(1)
		return client.Secrets().RequestOAuthToken(ctx, room.OAuthRequest{
			ParticipantID: participantID, Connector: connector, OAuth: oauth, RedirectURI: c.RedirectURI, DelegateTo: t.Param("delegated_to"),
		})
	})
}

// Watch is that of a [fetch.Watcher]; local rooms push changes.
func (s *Source) Watch(ctx context.Context, name string, f func(changed func(manifest.Target) bool)) error {
	client, err := s.client(ctx, name)
	if err != nil {
		return classify(err)
	}
	return classify(client.Secrets().Watch(ctx, func(changes []room.Change) {
		if changes == nil {
			s.requests.Add(1) // that opened the stream
			f(nil)
			return
		}
		ids := make(map[string]bool, len(changes))
		for _, c := range changes {
			ids[c.ID] = true
		}
		// A secret that was provided has an id of the room's choice.
		f(func(t manifest.Target) bool { return t.Kind() != manifest.KindSecret || ids[t.ID()] })
	}))
}

// Disconnected returns since when there is no connection to the room of that name, and
// why. The error is nil if there is a connection, and if the room was not dialed yet.
func (s *Source) Disconnected(room string) (since time.Time, reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[room]
	if c == nil {
		return time.Time{}, nil
	}
	return c.disconnected()
}

// Reconnect makes every connection again, with a token that is read then.
func (s *Source) Reconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.reconnect()
	}
}

// Close ends all requests and connections. What is resolved later is unreachable.
func (s *Source) Close() error {
	s.mu.Lock()
	s.cancel()
	s.mu.Unlock()
	s.running.Wait()
	var errs []error
	for _, c := range s.conns {
		if c.client != nil {
			errs = append(errs, c.client.Close())
		}
	}
	return errors.Join(errs...)
}

var errClosed = fmt.Errorf("%w: the source is closed", fetch.ErrUnreachable)

// A refusal of the connection says nothing of the value.
type refusal struct{ error }

func (r refusal) Unwrap() error      { return r.error }
func (refusal) Is(target error) bool { return target == fetch.ErrUnknown }

// classify wraps the error of package fetch that one of package room means.
func classify(err error) error {
	if err == nil {
		return nil
	}
	// The name of the operation is the same in every row.
	if answer, ok := errors.AsType[*room.Error](err); ok {
		err = &room.Error{Code: answer.Code, Text: answer.Text}
	}
	for _, c := range []struct{ of, state error }{
		{room.ErrNotFound, fetch.ErrMissing},
		{room.ErrUnsupported, fetch.ErrUnsupported},
		{room.ErrPermissionDenied, fetch.ErrDenied},
		{room.ErrForbidden, refusal{fetch.ErrDenied}},
		{room.ErrNoRoom, fetch.ErrUnreachable},
		{room.ErrRoomDisabled, fetch.ErrUnreachable},
		{room.ErrUnreachable, fetch.ErrUnreachable},
		{room.ErrClosed, fetch.ErrUnreachable},
		{room.ErrDisconnected, fetch.ErrUnreachable},
		{room.ErrTimeout, fetch.ErrUnreachable},
		{errNoAnswer, fetch.ErrUnreachable},
	} {
		if errors.Is(err, c.of) {
			return fmt.Errorf("%w: %w", c.state, err)
		}
	}
	return err
}
