package localroom

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/roomenv/roomenv/internal/oauthprovider"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// discoveredType is the type of the secrets that clients are kept as which the
// room found out about or registered. Their owner is nobody: no participant has
// an empty name.
const discoveredType = "application/vnd.roomenv.oauth-client+json"

// complete reports whether c can be used as it is.
func complete(c oauthprovider.Client) bool {
	return c.ID != "" && c.AuthorizationEndpoint != "" && c.TokenEndpoint != ""
}

// resolve returns the client that caller means (section 7.7).
func (s authorizations) resolve(ctx context.Context, caller *session, a wire.RequestOAuthTokenArguments) (oauthprovider.Client, error) {
	given, connector := clientOf(a.OAuth), deref(a.Connector)
	client := given
	if !complete(given) {
		switch {
		case connector.ServerURL != "":
		case connector.OpenAIConnectorID != "":
			return client, refuse(wire.DependencyMissing, "this room knows no OpenAI connectors: give the client in oauth")
		default:
			return client, refuse(wire.InvalidRequest, "oauth has to name client_id, authorization_endpoint and token_endpoint, or connector a server_url")
		}
		var err error
		if client, err = s.discovered(ctx, discoveredAddress(caller.room.name, a), connector, given.ID, string(a.RedirectURI)); err != nil {
			return client, err
		}
		client.NoPKCE = client.NoPKCE || given.NoPKCE
		if given.ID == "" {
			return client, nil // registered, with a secret of its own if any
		}
		client.Secret = given.Secret
	}
	if err := client.Check(); err != nil {
		return client, wire.Error{Code: wire.InvalidRequest, Text: err.Error()}
	}
	if connector.ClientSecretID != "" {
		var err error
		if client.Secret, err = s.clientSecret(caller, string(connector.ClientSecretID)); err != nil {
			return client, err
		}
	}
	return client, nil
}

// clientSecret is a secret that the caller can get: one of somebody else's
// would go to whatever token endpoint the caller names.
func (s authorizations) clientSecret(caller *session, id string) (secret.Value, error) {
	_, value, err := s.read(caller, RecordKey{caller.room.name, caller.who.Name, "", id}, "", "")
	if errors.Is(err, ErrNotFound) {
		_, value, err = s.read(caller, RecordKey{caller.room.name, caller.who.Name, caller.who.Name, id}, "", "")
	}
	if errors.Is(err, ErrNotFound) {
		return value, refuse(wire.DependencyMissing, "client_secret_id names no secret of the caller")
	}
	return value, err
}

// discoveredAddress is where the client is kept that a request with a
// server_url leads to.
func discoveredAddress(room string, a wire.RequestOAuthTokenArguments) RecordKey {
	return RecordKey{Room: room, ID: "client-" + fingerprint(deref(a.Connector).ServerURL, deref(a.OAuth).ClientID, a.RedirectURI)}
}

// discovered returns the client kept at a, or else the one called id at the
// provider that guards the connector's server. With no id it registers one. It
// is found out once and kept: a client is what a person has consented to.
func (s authorizations) discovered(ctx context.Context, a RecordKey, connector wire.Connector, id, redirectURI string) (oauthprovider.Client, error) {
	ctx = context.WithoutCancel(ctx)
	v, err, _ := s.inFlight.Do(fingerprint(a), func() (any, error) {
		_, value, err := s.store.Get(a, discoveredType, "")
		if !errors.Is(err, ErrNotFound) {
			var kept wire.OAuth
			if err == nil && json.Unmarshal(value.Reveal(), &kept) != nil {
				err = errors.New("a kept OAuth client cannot be read")
			}
			return clientOf(&kept), err
		}
		metadata, err := s.providers.Discover(ctx, string(connector.ServerURL))
		if err != nil {
			return nil, wire.Error{Code: wire.DependencyMissing, Text: err.Error()}
		}
		client := metadata.Client(id, secret.Value{})
		if id == "" {
			if client, err = s.providers.Register(ctx, metadata, redirectURI); err != nil {
				return nil, wire.Error{Code: wire.DependencyMissing, Text: err.Error()}
			}
		}
		b, err := json.Marshal(wireOf(client, nil))
		if err != nil {
			return nil, errors.New("a client's secret is not UTF-8") // err may quote it
		}
		return client, s.store.Set(a, discoveredType, "", secret.New(b))
	})
	client, _ := v.(oauthprovider.Client)
	return client, err
}
