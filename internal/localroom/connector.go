package localroom

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/roomenv/roomenv/internal/oauthprovider"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// discoveredType is the type of the secrets that have the OAuth clients that the room
// discovered or registered. Their owner is "", which is not the name of a participant.
const discoveredType = "application/vnd.roomenv.oauth-client+json"

const (
	// maxClient bounds a client that the room keeps, in bytes.
	maxClient = 16 << 10
	// maxRegistrations bounds the clients that the room keeps for one identity from the
	// network, whose quota they are not part of. The name of a client is the identity that
	// it was first needed for.
	maxRegistrations = 64
)

// complete reports whether c needs no discovery.
func complete(c wire.OAuth) bool {
	return c.ClientID != "" && c.AuthorizationEndpoint != "" && c.TokenEndpoint != ""
}

// resolve returns the OAuth client of a request (section 7.7), which the token of the
// caller permits. No provider is called for a request that it does not permit.
func (s authorizations) resolve(ctx context.Context, caller *session, a wire.RequestOAuthTokenArguments) (oauthprovider.Client, error) {
	client, connector := oauthprovider.Client{OAuth: deref(a.OAuth)}, deref(a.Connector)
	client.NoPKCE = new(deref(client.NoPKCE))
	registered := false
	if !complete(client.OAuth) {
		switch {
		case connector.ServerURL != "":
		case connector.OpenAIConnectorID != "":
			return client, refuse(wire.DependencyMissing, "openai_connector_id is not supported without a client in oauth")
		default:
			return client, refuse(wire.InvalidRequest, "missing OAuth client: want client_id, authorization_endpoint and token_endpoint in oauth, or server_url in connector")
		}
		found, err := s.discovered(ctx, caller, a)
		if err != nil {
			return client, err
		}
		if registered = client.ClientID == ""; registered {
			client.ClientID, client.ClientSecret = found.ClientID, found.ClientSecret
		}
		client.AuthorizationEndpoint, client.TokenEndpoint = found.AuthorizationEndpoint, found.TokenEndpoint
		client.Issuer, client.IssuerRequired = found.Issuer, found.IssuerRequired
		*client.NoPKCE = *client.NoPKCE || deref(found.NoPKCE)
	}
	if err := allowed(caller, client.OAuth); err != nil {
		return client, err
	}
	if err := s.providers.Check(client.OAuth); err != nil {
		return client, refuse(wire.InvalidRequest, "%v", err)
	}
	if connector.ClientSecretID != "" && !registered {
		var err error
		if client.ClientSecret.Value, err = s.clientSecret(caller, connector.ClientSecretID); err != nil {
			return client, err
		}
	}
	return client, nil
}

// clientSecret returns a secret that the caller can get. A secret of another identity
// would be sent to a token endpoint that the caller names.
func (s authorizations) clientSecret(caller *session, id wire.Nullable) (value secret.Value, err error) {
	for _, delegatedTo := range []string{"", caller.who.Name} {
		if _, value, err = s.read(caller, caller.key(wire.Nullable(delegatedTo), id), "", ""); !errors.Is(err, ErrNotFound) {
			return value, err
		}
	}
	return value, refuse(wire.DependencyMissing, "client_secret_id is not a secret of the caller")
}

// discoveredKey names the secret that has the client of a request with a server_url.
func discoveredKey(room string, a wire.RequestOAuthTokenArguments) RecordKey {
	return RecordKey{Room: room, ID: "client-" + fingerprint(deref(a.Connector).ServerURL, deref(a.OAuth).ClientID, a.RedirectURI)}
}

// discovered returns the client of a at the provider of the connector's server, which
// it discovers and, without a client_id, registers. The client is stored, since a
// person consents to a client.
func (s authorizations) discovered(ctx context.Context, caller *session, a wire.RequestOAuthTokenArguments) (oauthprovider.Client, error) {
	key := discoveredKey(caller.room.name, a)
	client, err := s.storedClient(key)
	if !errors.Is(err, ErrNotFound) {
		return client, err
	}
	server, clientID := string(a.Connector.ServerURL), string(deref(a.OAuth).ClientID)
	if !caller.who.API.Secrets.AllowsDiscovery(server, clientID) {
		return client, errNotAllowed
	}
	ctx = context.WithoutCancel(ctx)
	v, err, _ := s.inFlight.Do(fingerprint(key), func() (any, error) {
		if client, err := s.storedClient(key); !errors.Is(err, ErrNotFound) {
			return client, err
		}
		var client oauthprovider.Client
		metadata, err := s.providers.Discover(ctx, server)
		if err == nil {
			if client = metadata.Client(clientID); clientID == "" {
				client, err = s.providers.Register(ctx, metadata, string(a.RedirectURI))
			}
		}
		if err != nil {
			return nil, refuse(wire.DependencyMissing, "%v", err)
		}
		b, err := json.Marshal(client)
		if err != nil {
			return nil, errors.New("client secret is not UTF-8") // err may quote it
		}
		if len(b) > maxClient {
			return nil, refuse(wire.DependencyMissing, "OAuth client: larger than %d KiB", maxClient>>10)
		}
		retained := maxRegistrations
		if caller.quota() == 0 {
			retained = 0
		}
		return client, s.store.setLatest(retained, key, discoveredType, caller.who.Name, secret.New(b))
	})
	client, _ = v.(oauthprovider.Client)
	return client, err
}

func (s authorizations) storedClient(key RecordKey) (client oauthprovider.Client, err error) {
	_, value, err := s.store.Get(key, discoveredType, "")
	if err == nil && json.Unmarshal(value.Reveal(), &client) != nil {
		err = errors.New("decode stored OAuth client")
	}
	return client, err
}
