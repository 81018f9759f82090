package localroom

import (
	"cmp"
	"context"
	"errors"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// request is request_secret (section 7.5).
func (s secrets) request(ctx context.Context, caller *session, a wire.RequestSecretArguments) (wire.Content, error) {
	timeout, err := requestTimeout(a.Timeout)
	if err != nil {
		return nil, err
	}
	// A participant that is not in the room may be named, for reuse.
	owner := string(a.ParticipantID)
	approver, notPresent := caller.room.find(owner)
	if notPresent == nil {
		owner = approver.who.Name
	}
	delegatee, err := delegatee(caller, owner, string(a.DelegateTo))
	if err != nil {
		return nil, err
	}
	if a.URL == "" {
		return nil, refuse(wire.InvalidRequest, "missing url")
	}
	a.Type = cmp.Or(a.Type, DefaultType)
	a.Timeout = new(int(timeout.Seconds()))

	key := RecordKey{caller.room.name, owner, delegatee, requestedID(a.URL, a.Type)}
	if err := checkNames(key, string(a.Type), string(a.URL)); err != nil {
		return nil, err // before a value is provided that cannot be stored
	}
	answer := func(value secret.Value) wire.Content {
		return wire.File{Name: string(a.URL), MimeType: string(a.Type), Data: value}
	}
	look := func(context.Context) (wire.Content, error) {
		if !concerns(key, caller) {
			return nil, nil
		}
		_, value, err := s.store.Get(key, "", "")
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		return answer(value), err
	}
	if notPresent != nil {
		content, err := look(ctx)
		if err == nil && content == nil {
			err = notPresent
		}
		return content, err
	}
	return s.pending.ask(ctx, &request{
		requestKey: requestKey{wire.ProvideSecret, caller.who.Name, approver, key},
		look:       look,
		event: func(id string) (event, error) {
			return newEvent(wire.TypeRequestSecret, wire.SecretRequest{RequestID: id, Request: a, Requester: caller.requester()}, nil)
		},
		accept: func(_ context.Context, provided secret.Value) (wire.Content, error) {
			return answer(provided), s.store.setWithin(caller.quota(), key, string(a.Type), string(a.URL), provided)
		},
	}, timeout)
}

// concerns reports whether caller may get what is stored under key. An admin that
// requests for a third participant may not read what that one has.
func concerns(key RecordKey, caller *session) bool {
	return caller.who.Name == key.Owner || caller.who.Name == key.DelegatedTo
}

func (s *session) requester() wire.Requester { return wire.Requester{ID: s.id, Name: s.who.Name} }

// delegatee returns the identity that the answer is stored for, which may be ""
// (section 7.4).
func delegatee(caller *session, approver, delegateTo string) (string, error) {
	name := caller.who.Name
	switch {
	case delegateTo == "" && name == approver:
		return "", nil
	case delegateTo == "":
		return name, nil
	case delegateTo == name || name == approver || caller.who.API.IsAdmin():
		return delegateTo, nil
	}
	return "", refuse(wire.PermissionDenied, "delegate_to of another identity requires the grant api.admin, or a request of the caller to itself")
}

// requestedID returns the id that a requested secret is stored under.
func requestedID(url, typ wire.Nullable) string { return "requested-" + fingerprint(url, typ) }

// provide is provide_secret. The value is on disk before either side gets a response.
func (s secrets) provide(ctx context.Context, caller *session, h wire.ProvideHeaders, value secret.Value) (wire.Content, error) {
	if h.Error != nil {
		return wire.Empty{}, s.pending.reject(caller, wire.ProvideSecret, h.RequestID, *h.Error)
	}
	return wire.Empty{}, s.pending.provide(ctx, caller, wire.ProvideSecret, h.RequestID, value)
}

// deleteRequested is delete_requested_secret: it deletes every secret that would answer
// the request, those of the caller and those that others delegated to it.
func (s secrets) deleteRequested(_ context.Context, caller *session, a wire.DeleteRequestedArguments) (wire.Content, error) {
	key := caller.key(a.DelegatedTo, wire.Nullable(requestedID(a.URL, cmp.Or(a.Type, DefaultType))))
	keys := []RecordKey{key}
	if key.DelegatedTo == "" || key.DelegatedTo == key.Owner {
		delegated, err := s.store.Delegated(key.Room, key.Owner, key.ID)
		if err != nil {
			return nil, err
		}
		keys = append(keys, delegated...)
	}
	for _, k := range keys {
		if err := s.store.Delete(k); err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return wire.Empty{}, nil
}
