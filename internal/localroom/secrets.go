package localroom

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/roomenv/roomenv/internal/oauthprovider"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// secrets is the secrets toolkit (sections 6 and 7).
type secrets struct {
	store   *Store
	pending *pending
}

func secretsToolkit(store *Store, pending *pending, providers *oauthprovider.Providers, now func() time.Time) toolkit {
	s := secrets{store, pending}
	o := authorizations{s, providers, now, new(singleflight.Group)}
	return toolkit{
		title:       "Secrets",
		description: "Values that participants store in the room, each for itself and for those it delegates them to",
		tools: map[string]tool{
			wire.ListSecrets:  {description: "Describe the secrets of the caller", run: scoped(s.list)},
			wire.Exists:       {description: "Tell whether there is a secret", run: scoped(s.exists)},
			wire.GetSecret:    {description: "Return a secret", run: scoped(s.get)},
			wire.SetSecret:    {description: "Store a secret", run: scoped(s.set)},
			wire.DeleteSecret: {description: "Remove a secret", run: scoped(s.delete)},
			wire.Watch:        {description: "Tell which secrets of the caller, and of those delegated to it, change", run: scoped(opened), stream: s.watch},

			wire.RequestSecret:         {description: "Ask a participant for a secret, unless it has provided that before", run: scoped(s.request), waits: true},
			wire.DeleteRequestedSecret: {description: "Remove a secret that was provided", run: scoped(s.deleteRequested)},
			// Who is asked may always answer.
			wire.ProvideSecret: {description: "Provide a secret that was asked for, or reject to", run: s.provide},

			wire.RequestOAuthToken:         {description: "Return an OAuth access token, for which a participant is asked unless it has authorized that before", run: scoped(o.request), waits: true},
			wire.GetOfflineOAuthToken:      {description: "Return an OAuth access token that was authorized before", run: scoped(o.offline), waits: true},
			wire.ProvideOAuthAuthorization: {description: "Provide an OAuth authorization code that was asked for, or reject to", run: o.provide, waits: true},
		},
	}
}

// scoped is for tools that need the secrets scope (section 7.3).
func scoped(run toolFunc) toolFunc {
	return func(ctx context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
		if caller.who.API == nil || caller.who.API.Secrets == nil {
			return nil, wire.Error{Code: wire.PermissionDenied, Text: "the token does not grant api.secrets"}
		}
		c, err := run(ctx, caller, arguments)
		return c, secretsError(caller, err)
	}
}

// secretsError says what a caller can know of what went wrong.
func secretsError(caller *session, err error) error {
	var said wire.Error
	switch {
	case err == nil || errors.As(err, &said):
		return err
	case errors.Is(err, ErrNotFound):
		return wire.Error{Code: wire.NotFound, Text: ErrNotFound.Error()}
	case errors.Is(err, ErrInvalid):
		return wire.Error{Code: wire.InvalidRequest, Text: err.Error()}
	}
	caller.log.Error("the store fails", "reason", err)
	return err
}

func (s secrets) list(_ context.Context, caller *session, _ wire.Content) (wire.Content, error) {
	infos, err := s.store.List(caller.room.name, caller.who.Name)
	if err != nil {
		return nil, err
	}
	list := wire.SecretList{Secrets: []wire.SecretInfo{}}
	for _, i := range infos {
		list.Secrets = append(list.Secrets, wire.SecretInfo{ID: i.ID, Type: i.Type, Name: i.Name, DelegatedTo: wire.Nullable(i.DelegatedTo)})
	}
	return jsonContent(list)
}

func (s secrets) exists(_ context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
	var a wire.ExistsArguments
	if err := decode(arguments, &a); err != nil {
		return nil, err
	}
	owner, err := s.owner(caller, a.ForIdentity)
	if err != nil {
		return nil, err
	}
	address := RecordKey{caller.room.name, owner, string(a.DelegatedTo), string(a.SecretID)}
	found, err := s.store.Exists(address)
	if err == nil && !found && owner == caller.who.Name {
		_, err = s.delegated(caller, address)
		if found = err == nil; errors.Is(err, ErrNotFound) {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	return jsonContent(wire.ExistsResult{Exists: found})
}

func (s secrets) get(_ context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
	var a wire.GetArguments
	if err := decode(arguments, &a); err != nil {
		return nil, err
	}
	address := RecordKey{caller.room.name, caller.who.Name, string(a.DelegatedTo), string(a.SecretID)}
	info, value, err := s.read(caller, address, string(a.Type), string(a.Name))
	if errors.Is(err, ErrNotFound) {
		return wire.Empty{}, nil
	}
	return wire.File{Name: info.Name, MimeType: info.Type, Data: value}, err
}

// read returns the secret at address, or the one that somebody delegated to the
// caller there, as the caller may know it.
func (s secrets) read(caller *session, address RecordKey, typ, name string) (Info, secret.Value, error) {
	info, value, err := s.store.Get(address, typ, name)
	if errors.Is(err, ErrNotFound) {
		if address, err = s.delegated(caller, address); err == nil {
			info, value, err = s.store.Get(address, typ, name)
		}
	}
	if err == nil && info.Type == credentialType {
		if info.Owner != caller.who.Name {
			return Info{}, secret.Value{}, ErrNotFound // others get its access token only
		}
		value, err = shownCredential(value)
	}
	return info, value, err
}

func (s secrets) set(_ context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
	value, ok := arguments.(wire.Binary)
	if !ok {
		return nil, wire.Error{Code: wire.InvalidRequest, Text: "set_secret takes binary arguments"}
	}
	var h struct {
		wire.SetHeaders
		HasData *bool `json:"has_data"` // absent from clients up to 0.29
	}
	if err := decode(arguments, &h); err != nil {
		return nil, err
	}
	if h.HasData != nil && !*h.HasData {
		return nil, wire.Error{Code: wire.InvalidRequest, Text: "set_secret brings no value"}
	}
	owner, err := s.owner(caller, h.ForIdentity)
	if err != nil {
		return nil, err
	}
	address := RecordKey{caller.room.name, owner, string(h.DelegatedTo), string(h.SecretID)}
	return wire.Empty{}, s.store.Set(address, string(h.Type), string(h.Name), value.Data)
}

func (s secrets) delete(_ context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
	var a wire.DeleteArguments
	if err := decode(arguments, &a); err != nil {
		return nil, err
	}
	return wire.Empty{}, s.store.Delete(RecordKey{caller.room.name, caller.who.Name, string(a.DelegatedTo), string(a.ID)})
}

func opened(context.Context, *session, wire.Content) (wire.Content, error) {
	return wire.Control{Method: wire.Open}, nil
}

// watch tells the caller of changes, and of no values.
func (s secrets) watch(caller *session, send func(wire.Content)) (stop func()) {
	return s.store.watch(caller.room.name, caller.who.Name, func(e changeEvent) {
		c, _ := jsonContent(wire.Change{ID: e.ID, DelegatedTo: wire.Nullable(e.DelegatedTo), Revision: e.Updated, Deleted: e.deleted}) // all UTF-8
		send(c)
	})
}

// owner is whose secrets a call is about: those of the caller, or for an admin
// those of forIdentity (section 7.3).
func (secrets) owner(caller *session, forIdentity wire.Nullable) (string, error) {
	name := caller.who.Name
	if forIdentity == "" || string(forIdentity) == name {
		return name, nil
	}
	if !caller.who.API.IsAdmin() {
		return "", wire.Error{Code: wire.PermissionDenied, Text: "for_identity needs a token that grants api.admin"}
	}
	return string(forIdentity), nil
}

// delegated returns where the secret is that somebody delegated to the caller
// under the id of a, when a asks for that (section 7.4).
func (s secrets) delegated(caller *session, a RecordKey) (RecordKey, error) {
	if a.ID == "" || a.DelegatedTo != caller.who.Name {
		return RecordKey{}, ErrNotFound
	}
	found, err := s.store.Delegated(a.Room, a.DelegatedTo, a.ID)
	switch {
	case err != nil:
		return RecordKey{}, err
	case len(found) == 0:
		return RecordKey{}, ErrNotFound
	case len(found) > 1:
		return RecordKey{}, wire.Error{Code: wire.Conflict, Text: fmt.Sprintf("%d participants delegated a secret of this id to %.80q", len(found), a.DelegatedTo)}
	}
	return found[0], nil
}
