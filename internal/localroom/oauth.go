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

// authorizations is the part of the secrets toolkit that is about OAuth
// (sections 7.6 and 7.7).
type authorizations struct {
	secrets
	providers *oauthprovider.Providers
	now       func() time.Time
	inFlight  *singleflight.Group // refreshes and registrations, by address
}

// request is request_oauth_token.
func (s authorizations) request(ctx context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
	var a wire.RequestOAuthTokenArguments
	if err := decode(arguments, &a); err != nil {
		return nil, err
	}
	timeout, err := requestTimeout(a.Timeout)
	if err != nil {
		return nil, err
	}
	if a.RedirectURI == "" {
		return nil, wire.Error{Code: wire.InvalidRequest, Text: "redirect_uri is missing"}
	}
	asked, err := caller.room.find(string(a.ParticipantID))
	if err != nil {
		return nil, err
	}
	delegatee, err := delegatee(caller, asked.who.Name, string(a.DelegateTo))
	if err != nil {
		return nil, err
	}
	client, err := s.resolve(ctx, caller, a)
	if err != nil {
		return nil, err
	}
	if err := allowed(caller, client); err != nil {
		return nil, err
	}

	scopes := deref(a.OAuth).Scopes
	address := RecordKey{caller.room.name, asked.who.Name, delegatee, credentialID(a.Connector, a.OAuth)}
	name := credentialName(a.Connector, client)
	if err := checkNames(address, credentialType, name); err != nil {
		return nil, err // before anybody authorizes what cannot be stored
	}
	equal := address
	equal.ID += fingerprint(a.RedirectURI, client.ID, client.NoPKCE, scopes)

	var verifier secret.Value
	var challenge string
	if !client.NoPKCE {
		verifier, challenge = oauthprovider.NewVerifier()
	}
	discovered := discoveredAddress(caller.room.name, a)
	seconds := int(timeout.Seconds())
	a.Timeout = &seconds
	shown := client
	shown.Secret = secret.Value{}
	a.OAuth = wireOf(shown, scopes)

	// The person's consent is worth keeping when the caller has gone, so it is
	// not the caller's context that ends the request.
	return s.pending.ask(caller.server.running, &request{
		requestKey: requestKey{wire.ProvideOAuthAuthorization, caller.who.Name, asked, equal},
		look: func(ctx context.Context) (wire.Content, error) {
			if caller.who.Name != address.Owner && caller.who.Name != delegatee {
				return nil, nil // who asks for a third one is told what that one is given, not what it has
			}
			c, err := s.fresh(ctx, address, client, scopes)
			if errors.Is(err, ErrNotFound) {
				return nil, nil
			}
			return tokenContent(c, err)
		},
		event: func(id string) (event, error) {
			return newEvent(wire.TypeRequestOAuthToken, wire.OAuthRequest{
				RequestID: id, Challenge: wire.Nullable(challenge), Request: a,
				Requester: wire.Requester{ID: caller.id, Name: caller.who.Name},
			}, nil)
		},
		accept: func(ctx context.Context, code secret.Value) (wire.Content, error) {
			// A code that was sent is used up, whoever has gone meanwhile.
			t, err := s.providers.Exchange(context.WithoutCancel(ctx), client, oauthprovider.Grant{Code: code, RedirectURI: string(a.RedirectURI), Verifier: verifier})
			if refused, ok := errors.AsType[*oauthprovider.Error](err); ok && refused.Code == oauthprovider.InvalidClient {
				// A provider may forget whom it registered.
				_ = s.store.Delete(discovered)
			}
			if err != nil {
				return nil, providerError(fmt.Errorf("cannot exchange the code: %w", err))
			}
			return tokenContent(s.save(address, name, client, scopes, t))
		},
	}, timeout)
}

// provide is provide_oauth_authorization. It returns when the code was
// exchanged and what came of it is on disk.
func (s authorizations) provide(ctx context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
	var a wire.ProvideAuthorizationArguments
	if err := decode(arguments, &a); err != nil {
		return nil, err
	}
	switch {
	case a.Error != nil:
		return wire.Empty{}, s.pending.reject(caller, wire.ProvideOAuthAuthorization, a.RequestID, *a.Error)
	case a.Code.Len() == 0:
		return nil, wire.Error{Code: wire.InvalidRequest, Text: "neither a code nor an error is given"}
	}
	return wire.Empty{}, secretsError(caller, s.pending.provide(ctx, caller, wire.ProvideOAuthAuthorization, a.RequestID, a.Code.Value))
}

// offline is get_offline_oauth_token: what is stored, with nobody asked.
func (s authorizations) offline(ctx context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
	var a wire.OfflineOAuthTokenArguments
	if err := decode(arguments, &a); err != nil {
		return nil, err
	}
	owner, delegatee, err := offlineAddress(caller, string(a.DelegatedTo), string(a.DelegatedBy))
	if err != nil {
		return nil, err
	}
	address := RecordKey{caller.room.name, owner, delegatee, credentialID(a.Connector, a.OAuth)}
	stored, err := s.load(address)
	missing := errors.Is(err, ErrNotFound)
	if err != nil && !missing {
		return nil, err
	}
	client, granted := clientOf(a.OAuth), clientOf(stored.OAuth)
	if !complete(client) {
		client = granted
	} else if key, err := s.clientSecret(caller, string(deref(a.Connector).ClientSecretID)); err == nil {
		client.Secret = key
	} else if client.Secret.Len() == 0 {
		client.Secret = granted.Secret
	}
	if err := allowed(caller, client); err != nil {
		return nil, err
	}
	if !missing {
		stored, err = s.fresh(ctx, address, client, deref(a.OAuth).Scopes)
	}
	if errors.Is(err, ErrNotFound) {
		return jsonContent(wire.AccessToken{})
	}
	return tokenContent(stored, err)
}

// offlineAddress is whose credential a caller looks up, and for whom it has to
// be, "" for nobody (section 7.4).
func offlineAddress(caller *session, delegatedTo, delegatedBy string) (owner, delegatee string, err error) {
	name := caller.who.Name
	switch {
	case delegatedBy == "":
		return name, delegatedTo, nil
	case delegatedTo == "":
		return delegatedBy, name, nil
	case delegatedTo == name || delegatedBy == name || caller.who.API.IsAdmin():
		return delegatedBy, delegatedTo, nil
	}
	return "", "", wire.Error{Code: wire.PermissionDenied, Text: "the caller is neither delegated_to nor delegated_by, and its token does not grant api.admin"}
}

// allowed checks the token's list of OAuth clients (section 8.4).
func allowed(caller *session, c oauthprovider.Client) error {
	if caller.who.API.Secrets.Allows(c.AuthorizationEndpoint, c.ID) {
		return nil
	}
	return wire.Error{Code: wire.PermissionDenied, Text: "the token does not allow this OAuth client: api.secrets.request_oauth_token lists others"}
}

func tokenContent(c credential, err error) (wire.Content, error) {
	if err != nil {
		return nil, err
	}
	return jsonContent(wire.AccessToken{AccessToken: c.AccessToken})
}
