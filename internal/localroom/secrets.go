package localroom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
		description: "Values that participants store in the room, for themselves and for participants they delegate them to",
		tools: map[string]tool{
			wire.ListSecrets:  {description: "List the secrets of the caller, without values", run: scoped(with(s.list)), reads: true},
			wire.Exists:       {description: "Check whether a secret exists", run: scoped(with(s.exists))},
			wire.GetSecret:    {description: "Return a secret", run: scoped(with(s.get)), reads: true},
			wire.SetSecret:    {description: "Store a secret", run: scoped(withValue(s.set))},
			wire.DeleteSecret: {description: "Delete a secret", run: scoped(with(s.delete))},
			wire.Watch:        {description: "Report changes of the secrets of the caller and of those delegated to it", run: scoped(opened), stream: s.watch},

			wire.RequestSecret:         {description: "Return a secret, which a participant is asked for unless it is stored", run: scoped(with(s.request)), waits: true},
			wire.DeleteRequestedSecret: {description: "Delete a secret that a participant provided", run: scoped(with(s.deleteRequested))},
			// The approver needs no grant.
			wire.ProvideSecret: {description: "Provide a requested secret, or reject the request", run: withValue(s.provide)},

			wire.RequestOAuthToken:         {description: "Return an OAuth access token, which a participant is asked to authorize unless it is stored", run: scoped(with(o.request)), waits: true},
			wire.GetOfflineOAuthToken:      {description: "Return a stored OAuth access token", run: scoped(with(o.offline)), waits: true},
			wire.ProvideOAuthAuthorization: {description: "Provide a requested OAuth authorization code, or reject the request", run: with(o.provide), waits: true},
		},
	}
}

// scoped is for tools that need the secrets scope (section 7.3).
func scoped(run toolFunc) toolFunc {
	return func(ctx context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
		if caller.who.API == nil || caller.who.API.Secrets == nil {
			return nil, refuse(wire.PermissionDenied, "the token does not grant api.secrets")
		}
		return run(ctx, caller, arguments)
	}
}

// key names a secret of s.
func (s *session) key(delegatedTo, id wire.Nullable) RecordKey {
	return RecordKey{s.room.name, s.who.Name, string(delegatedTo), string(id)}
}

func (s secrets) list(_ context.Context, caller *session, a wire.ListArguments) (wire.Content, error) {
	var infos []Info
	var next string
	var err error
	if a.Paged {
		infos, next, err = s.store.Page(caller.room.name, caller.who.Name, string(a.After))
	} else {
		infos, err = s.store.List(caller.room.name, caller.who.Name)
	}
	if err != nil {
		return nil, err
	}
	list := wire.SecretList{Next: wire.Nullable(next)}
	for _, i := range infos {
		list.Secrets = append(list.Secrets, wire.SecretInfo{
			ID: i.ID, Type: i.Type, Name: i.Name, DelegatedTo: wire.Nullable(i.DelegatedTo), DelegatedBy: wire.Nullable(delegatedBy(caller, i)),
		})
	}
	return jsonContent(list)
}

// delegatedBy returns the owner of a secret that is not the caller's.
func delegatedBy(caller *session, i Info) string {
	if i.Owner == caller.who.Name {
		return ""
	}
	return i.Owner
}

func (s secrets) exists(_ context.Context, caller *session, a wire.ExistsArguments) (wire.Content, error) {
	key, err := ownKey(caller, a.ForIdentity, a.DelegatedTo, a.SecretID)
	if err != nil {
		return nil, err
	}
	found, err := s.store.Exists(key)
	if err == nil && !found && key.Owner == caller.who.Name {
		_, err = s.delegated(caller, key)
		found = err == nil
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	return jsonContent(wire.ExistsResult{Exists: found})
}

func (s secrets) get(_ context.Context, caller *session, a wire.GetArguments) (wire.Content, error) {
	info, value, err := s.getFrom(caller, a)
	if errors.Is(err, ErrNotFound) {
		return wire.Empty{}, nil
	}
	return wire.File{Name: info.Name, MimeType: info.Type, Data: value, DelegatedBy: delegatedBy(caller, info)}, err
}

// getFrom reads the secret of the owner that a names, if it names one (section 7.2).
func (s secrets) getFrom(caller *session, a wire.GetArguments) (Info, secret.Value, error) {
	key := caller.key(a.DelegatedTo, a.SecretID)
	if a.DelegatedBy == "" {
		return s.read(caller, key, string(a.Type), string(a.Name))
	}
	key.Owner, key.DelegatedTo = string(a.DelegatedBy), cmp.Or(key.DelegatedTo, caller.who.Name)
	if key.Owner != caller.who.Name && key.DelegatedTo != caller.who.Name {
		return Info{}, secret.Value{}, refuse(wire.PermissionDenied, "neither delegated_by nor delegated_to is the caller")
	}
	info, value, err := s.store.Get(key, string(a.Type), string(a.Name))
	if err != nil {
		return info, value, err
	}
	return shown(caller, info, value)
}

// read returns what the caller may read of the secret called key, or of the one that
// another participant delegated to the caller under its id.
func (s secrets) read(caller *session, key RecordKey, typ, name string) (Info, secret.Value, error) {
	info, value, err := s.store.Get(key, typ, name)
	if errors.Is(err, ErrNotFound) {
		if key, err = s.delegated(caller, key); err == nil {
			info, value, err = s.store.Get(key, typ, name)
		}
	}
	if err != nil {
		return info, value, err
	}
	return shown(caller, info, value)
}

// shown returns what the caller may read of a secret.
func shown(caller *session, info Info, value secret.Value) (_ Info, _ secret.Value, err error) {
	if info.Type == credentialType {
		if info.Owner != caller.who.Name {
			return Info{}, secret.Value{}, ErrNotFound // only the access token is for others
		}
		value, err = shownCredential(value)
	}
	return info, value, err
}

type setHeaders struct {
	wire.SetHeaders
	HasData *bool `json:"has_data"` // unset by clients up to 0.29
}

func (s secrets) set(_ context.Context, caller *session, h setHeaders, value secret.Value) (wire.Content, error) {
	if h.HasData != nil && !*h.HasData {
		return nil, refuse(wire.InvalidRequest, "missing value")
	}
	key, err := ownKey(caller, h.ForIdentity, h.DelegatedTo, h.SecretID)
	if err != nil {
		return nil, err
	}
	return wire.Empty{}, s.store.setWithin(caller.quota(), key, string(h.Type), string(h.Name), value)
}

func (s secrets) delete(_ context.Context, caller *session, a wire.DeleteArguments) (wire.Content, error) {
	return wire.Empty{}, s.store.Delete(caller.key(a.DelegatedTo, a.ID))
}

func opened(context.Context, *session, wire.Content) (wire.Content, error) {
	return wire.Control{Method: wire.Open}, nil
}

// watch reports changes to the caller, without values.
func (s secrets) watch(caller *session, send func(wire.Content)) (stop func()) {
	return s.store.watch(caller.room.name, caller.who.Name, func(e changeEvent) {
		c, _ := jsonContent(wire.Change{ID: e.ID, DelegatedTo: wire.Nullable(e.DelegatedTo), Revision: e.Updated, Deleted: e.deleted}) // all UTF-8
		send(c)
	})
}

// ownKey names a secret of the caller or, for an admin, of forIdentity (section 7.3).
func ownKey(caller *session, forIdentity, delegatedTo, id wire.Nullable) (RecordKey, error) {
	key := caller.key(delegatedTo, id)
	if forIdentity != "" && string(forIdentity) != key.Owner {
		if !caller.who.API.IsAdmin() {
			return key, refuse(wire.PermissionDenied, "for_identity requires the grant api.admin")
		}
		key.Owner = string(forIdentity)
	}
	return key, nil
}

// delegated returns the key of the secret that another participant delegated to the
// caller, if key names that (section 7.2).
func (s secrets) delegated(caller *session, key RecordKey) (RecordKey, error) {
	if key.ID == "" || key.DelegatedTo != caller.who.Name {
		return RecordKey{}, ErrNotFound
	}
	found, err := s.store.Delegated(key.Room, key.DelegatedTo, key.ID)
	switch {
	case err != nil:
		return RecordKey{}, err
	case len(found) == 0:
		return RecordKey{}, ErrNotFound
	case len(found) > 1:
		return RecordKey{}, refuse(wire.Conflict, "%d participants delegated a secret with this id to %.80q: %s", len(found), key.DelegatedTo, owners(found))
	}
	return found[0], nil
}

// maxOwners is how many owners an error names.
const maxOwners = 5

// owners lists who has the secrets called keys.
func owners(keys []RecordKey) string {
	var names []string
	for _, k := range keys[:min(len(keys), maxOwners)] {
		names = append(names, fmt.Sprintf("%.80q", k.Owner))
	}
	slices.Sort(names)
	if more := len(keys) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
