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
	// Who is not here may be called by name, for what they provided before.
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
		return nil, refuse(wire.InvalidRequest, "there is no url")
	}
	a.Type = cmp.Or(a.Type, DefaultType)
	a.Timeout = new(int(timeout.Seconds()))

	key := RecordKey{caller.room.name, owner, delegatee, requestedID(a.URL, a.Type)}
	if err := checkNames(key, string(a.Type), string(a.URL)); err != nil {
		return nil, err // before anybody provides what cannot be stored
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
			return answer(provided), s.store.Set(key, string(a.Type), string(a.URL), provided)
		},
	}, timeout)
}

// concerns reports whether what is stored under key answers a request of caller. Who
// asks for a third one is told what that one is given, not what it has.
func concerns(key RecordKey, caller *session) bool {
	return caller.who.Name == key.Owner || caller.who.Name == key.DelegatedTo
}

func (s *session) requester() wire.Requester { return wire.Requester{ID: s.id, Name: s.who.Name} }

// delegatee is for whom is stored what caller requests of approver, "" for nobody
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
	return "", refuse(wire.PermissionDenied, "delegate_to may name the caller; others only when the caller asks itself or its token grants api.admin")
}

// requestedID is the id under which a requested secret is stored.
func requestedID(url, typ wire.Nullable) string { return "requested-" + fingerprint(url, typ) }

// provide is provide_secret. What is provided is on the disk before either
// side is answered.
func (s secrets) provide(ctx context.Context, caller *session, h wire.ProvideHeaders, value secret.Value) (wire.Content, error) {
	if h.Error != nil {
		return wire.Empty{}, s.pending.reject(caller, wire.ProvideSecret, h.RequestID, *h.Error)
	}
	return wire.Empty{}, s.pending.provide(ctx, caller, wire.ProvideSecret, h.RequestID, value)
}

// deleteRequested is delete_requested_secret: it removes what a request of the
// caller is answered with from now on, its own or what others delegated to it.
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
