package localroom

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/roomenv/roomenv/internal/oauthprovider"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// authorizations is the OAuth part of the secrets toolkit (sections 7.6 and 7.7).
type authorizations struct {
	secrets
	providers *oauthprovider.Providers
	now       func() time.Time
	inFlight  *singleflight.Group // refreshes and registrations, by address
}

// request is request_oauth_token.
func (s authorizations) request(ctx context.Context, caller *session, a wire.RequestOAuthTokenArguments) (wire.Content, error) {
	timeout, err := requestTimeout(a.Timeout)
	if err != nil {
		return nil, err
	}
	if a.RedirectURI == "" {
		return nil, refuse(wire.InvalidRequest, "missing redirect_uri")
	}
	approver, err := caller.room.find(string(a.ParticipantID))
	if err != nil {
		return nil, err
	}
	delegatee, err := delegatee(caller, approver.who.Name, string(a.DelegateTo))
	if err != nil {
		return nil, err
	}
	found, err := s.resolve(ctx, caller, a)
	if err != nil {
		return nil, err
	}
	client := found.OAuth
	key := RecordKey{caller.room.name, approver.who.Name, delegatee, credentialID(a.Connector, a.OAuth)}
	name := credentialName(a.Connector, client)
	if err := checkNames(key, credentialType, name); err != nil {
		return nil, err // before a client is authorized that cannot be stored
	}
	equal := key
	equal.ID += fingerprint(a.RedirectURI, client.ClientID, client.NoPKCE, client.Scopes)

	var verifier secret.Value
	var challenge string
	if !deref(client.NoPKCE) {
		verifier, challenge = oauthprovider.NewVerifier()
	}
	discovered := discoveredKey(caller.room.name, a)
	shown := client
	shown.ClientSecret = wire.Secret{}
	a.Timeout, a.OAuth = new(int(timeout.Seconds())), &shown

	// The request outlives its caller: the consent of a person must not be lost.
	return s.pending.ask(caller.server.running, &request{
		requestKey: requestKey{wire.ProvideOAuthAuthorization, caller.who.Name, approver, equal},
		look: func(ctx context.Context) (wire.Content, error) {
			if !concerns(key, caller) {
				return nil, nil
			}
			c, err := s.fresh(ctx, key, client)
			if errors.Is(err, ErrNotFound) {
				return nil, nil
			}
			return tokenContent(c, err)
		},
		event: func(id string) (event, error) {
			return newEvent(wire.TypeRequestOAuthToken, wire.OAuthRequest{
				RequestID: id, Challenge: wire.Nullable(challenge), Issuer: found.Issuer, IssuerRequired: found.IssuerRequired,
				Request: a, Requester: caller.requester(),
			}, nil)
		},
		accept: func(ctx context.Context, code secret.Value) (wire.Content, error) {
			if err := s.permit(caller.quota(), key, client); err != nil {
				return nil, err
			}
			// A code can be sent only once, so the exchange outlives its callers.
			t, err := s.providers.Exchange(context.WithoutCancel(ctx), client, oauthprovider.Grant{Code: code, RedirectURI: string(a.RedirectURI), Verifier: verifier})
			if refused, ok := errors.AsType[*oauthprovider.Error](err); ok && refused.Code == oauthprovider.InvalidClient {
				// A provider may delete clients that it registered.
				_ = s.store.Delete(discovered)
			}
			if err != nil {
				return nil, providerError(fmt.Errorf("exchange authorization code: %w", err))
			}
			return tokenContent(s.save(caller.quota(), key, name, client, t))
		},
	}, timeout)
}

// provide is provide_oauth_authorization. It returns when the code was exchanged and the
// tokens are on disk.
func (s authorizations) provide(ctx context.Context, caller *session, a wire.ProvideAuthorizationArguments) (wire.Content, error) {
	switch {
	case a.Error != nil:
		return wire.Empty{}, s.pending.reject(caller, wire.ProvideOAuthAuthorization, a.RequestID, *a.Error)
	case a.Code.Len() == 0:
		return nil, refuse(wire.InvalidRequest, "missing code or error")
	}
	return wire.Empty{}, s.pending.provide(ctx, caller, wire.ProvideOAuthAuthorization, a.RequestID, a.Code.Value)
}

// offline is get_offline_oauth_token.
func (s authorizations) offline(ctx context.Context, caller *session, a wire.OfflineOAuthTokenArguments) (wire.Content, error) {
	owner, delegatee, err := offlineAddress(caller, string(a.DelegatedTo), string(a.DelegatedBy))
	if err != nil {
		return nil, err
	}
	key := RecordKey{caller.room.name, owner, delegatee, credentialID(a.Connector, a.OAuth)}
	stored, err := s.load(key)
	missing := errors.Is(err, ErrNotFound)
	if err != nil && !missing {
		return nil, err
	}
	client, granted := deref(a.OAuth), deref(stored.OAuth)
	if !complete(client) {
		granted.Scopes = client.Scopes
		client = granted
	} else if value, err := s.clientSecret(caller, deref(a.Connector).ClientSecretID); err == nil {
		client.ClientSecret.Value = value
	} else if client.ClientSecret.Len() == 0 {
		client.ClientSecret = granted.ClientSecret
	}
	if err := allowed(caller, client); err != nil {
		return nil, err
	}
	if !missing {
		stored, err = s.fresh(ctx, key, client)
	}
	if errors.Is(err, ErrNotFound) {
		return jsonContent(wire.AccessToken{})
	}
	return tokenContent(stored, err)
}

// offlineAddress returns the owner of the credential that a caller looks up, and the
// identity that it is delegated to, which may be "" (section 7.4).
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
	return "", "", refuse(wire.PermissionDenied, "delegated_to and delegated_by of other identities require the grant api.admin")
}

// allowed checks the token's list of OAuth clients (section 8.4).
func allowed(caller *session, c wire.OAuth) error {
	if caller.who.API.Secrets.Allows(token.OAuthClient{
		Endpoint: string(c.AuthorizationEndpoint), ClientID: string(c.ClientID), TokenEndpoint: string(c.TokenEndpoint), NoPKCE: deref(c.NoPKCE),
	}) {
		return nil
	}
	return errNotAllowed
}

var errNotAllowed = refuse(wire.PermissionDenied, "the token does not permit this OAuth client, with this token endpoint and PKCE, in api.secrets.request_oauth_token")

func tokenContent(c credential, err error) (wire.Content, error) {
	if err != nil {
		return nil, err
	}
	return jsonContent(wire.AccessToken{AccessToken: c.AccessToken})
}
