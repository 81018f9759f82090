package localroom

import (
	"cmp"
	"context"
	"errors"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// request is request_secret (section 7.5).
func (s secrets) request(ctx context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
	var a wire.RequestSecretArguments
	if err := decode(arguments, &a); err != nil {
		return nil, err
	}
	timeout, err := requestTimeout(a.Timeout)
	if err != nil {
		return nil, err
	}
	// Who is not here may be called by name, for what they provided before.
	owner := string(a.ParticipantID)
	asked, absent := caller.room.find(owner)
	if absent == nil {
		owner = asked.who.Name
	}
	delegatee, err := delegatee(caller, owner, string(a.DelegateTo))
	if err != nil {
		return nil, err
	}
	if a.URL == "" {
		return nil, wire.Error{Code: wire.InvalidRequest, Text: "there is no url"}
	}
	a.Type = cmp.Or(a.Type, DefaultType)
	seconds := int(timeout.Seconds())
	a.Timeout = &seconds

	address := RecordKey{caller.room.name, owner, delegatee, requestedID(a.URL, a.Type)}
	if err := checkNames(address, string(a.Type), string(a.URL)); err != nil {
		return nil, err // before anybody provides what cannot be stored
	}
	answer := func(value secret.Value) wire.Content {
		return wire.File{Name: string(a.URL), MimeType: string(a.Type), Data: value}
	}
	look := func(context.Context) (wire.Content, error) {
		if caller.who.Name != address.Owner && caller.who.Name != delegatee {
			return nil, nil // who asks for a third one is told what that one is given, not what it has
		}
		_, value, err := s.store.Get(address, "", "")
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		return answer(value), err
	}
	if absent != nil {
		content, err := look(ctx)
		if err == nil && content == nil {
			err = absent
		}
		return content, err
	}
	return s.pending.ask(ctx, &request{
		requestKey: requestKey{wire.ProvideSecret, caller.who.Name, asked, address},
		look:       look,
		event: func(id string) (event, error) {
			return newEvent(wire.TypeRequestSecret, wire.SecretRequest{
				RequestID: id, Request: a, Requester: wire.Requester{ID: caller.id, Name: caller.who.Name},
			}, nil)
		},
		accept: func(_ context.Context, provided secret.Value) (wire.Content, error) {
			return answer(provided), s.store.Set(address, string(a.Type), string(a.URL), provided)
		},
	}, timeout)
}

// delegatee is for whom is stored what caller requests of the identity asked, ""
// for nobody
// (section 7.4).
func delegatee(caller *session, asked, delegateTo string) (string, error) {
	name := caller.who.Name
	switch {
	case delegateTo == "" && name == asked:
		return "", nil
	case delegateTo == "":
		return name, nil
	case delegateTo == name || name == asked || caller.who.API.IsAdmin():
		return delegateTo, nil
	}
	return "", wire.Error{Code: wire.PermissionDenied, Text: "delegate_to may name the caller; others only when the caller asks itself or its token grants api.admin"}
}

// requestedID is the id under which a requested secret is stored.
func requestedID(url, typ wire.Nullable) string { return "requested-" + fingerprint(url, typ) }

// provide is provide_secret. What is provided is on the disk before either
// side is answered.
func (s secrets) provide(ctx context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
	value, ok := arguments.(wire.Binary)
	if !ok {
		return nil, wire.Error{Code: wire.InvalidRequest, Text: "provide_secret takes binary arguments"}
	}
	var h wire.ProvideHeaders
	if err := decode(arguments, &h); err != nil {
		return nil, err
	}
	if h.Error != nil {
		return wire.Empty{}, s.pending.reject(caller, wire.ProvideSecret, h.RequestID, *h.Error)
	}
	return wire.Empty{}, secretsError(caller, s.pending.provide(ctx, caller, wire.ProvideSecret, h.RequestID, value.Data))
}

// deleteRequested is delete_requested_secret: it removes what a request of the
// caller is answered with from now on, its own or what others delegated to it.
func (s secrets) deleteRequested(_ context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
	var a wire.DeleteRequestedArguments
	if err := decode(arguments, &a); err != nil {
		return nil, err
	}
	room, name, delegatedTo := caller.room.name, caller.who.Name, string(a.DelegatedTo)
	id := requestedID(a.URL, cmp.Or(a.Type, DefaultType))
	addresses := []RecordKey{{room, name, delegatedTo, id}}
	if delegatedTo == "" || delegatedTo == name {
		delegated, err := s.store.Delegated(room, name, id)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, delegated...)
	}
	for _, address := range addresses {
		if err := s.store.Delete(address); err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return wire.Empty{}, nil
}
