package room

import (
	"context"
	"encoding/json"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// OAuth is a client of an OAuth provider. With a [Connector] that the room resolves,
// any field may be empty.
type OAuth struct {
	ClientID              string
	ClientSecret          secret.Value // empty for a public client
	AuthorizationEndpoint string
	TokenEndpoint         string
	NoPKCE                bool // for a provider without PKCE
	Scopes                []string
}

// A Connector names a service that OAuth gives access to (section 7.7).
type Connector struct {
	OpenAIConnectorID string
	ServerURL         string // of an MCP server
	ClientSecretID    string // a secret of the room
}

// An OAuthRequest asks a participant to authorize an OAuth client (section
// 7.6).
type OAuthRequest struct {
	ParticipantID string // the approver
	Connector     *Connector
	OAuth         *OAuth
	RedirectURI   string
	DelegateTo    string        // identity that the token is stored for; "" is this one
	Timeout       time.Duration // as in [SecretRequest]
}

// RequestOAuthToken returns an access token (request_oauth_token): a stored one,
// refreshed if needed, or else one that the approver authorizes. The token is empty if
// the connector needs none.
//
// A rejection or an error of the provider is [ErrOperationFailed], a client that the
// grants of the token do not allow is [ErrPermissionDenied]. Otherwise errors and
// reconnects are those of [Secrets.Request].
func (s *Secrets) RequestOAuthToken(ctx context.Context, r OAuthRequest) (secret.Value, error) {
	ctx, cancel, seconds := withTimeout(ctx, r.Timeout)
	defer cancel()
	var token wire.AccessToken
	_, err := s.ask(ctx, wire.RequestOAuthToken, wire.RequestOAuthTokenArguments{
		Connector:     packConnector(r.Connector),
		OAuth:         packOAuth(r.OAuth),
		RedirectURI:   wire.Nullable(r.RedirectURI),
		ParticipantID: wire.Nullable(r.ParticipantID),
		Timeout:       &seconds,
		DelegateTo:    wire.Nullable(r.DelegateTo),
	}, &token)
	return token.AccessToken.Value, err
}

// An OfflineOAuthQuery names a stored token (section 7.4).
type OfflineOAuthQuery struct {
	Connector   *Connector
	OAuth       *OAuth
	DelegatedTo string // identity that may use the token; "" is this one
	DelegatedBy string // identity that authorized it; "" is this one
}

// OfflineOAuthToken returns a stored access token, refreshed if needed
// (get_offline_oauth_token). If there is no such token, it is [ErrNotFound].
func (s *Secrets) OfflineOAuthToken(ctx context.Context, q OfflineOAuthQuery) (secret.Value, error) {
	var token wire.AccessToken
	if _, err := s.ask(ctx, wire.GetOfflineOAuthToken, wire.OfflineOAuthTokenArguments{
		Connector:   packConnector(q.Connector),
		OAuth:       packOAuth(q.OAuth),
		DelegatedTo: wire.Nullable(q.DelegatedTo),
		DelegatedBy: wire.Nullable(q.DelegatedBy),
	}, &token); err != nil {
		return secret.Value{}, unsupported(err)
	}
	if token.AccessToken.Len() == 0 {
		return secret.Value{}, &Error{Op: op(wire.GetOfflineOAuthToken), Code: int(wire.NotFound), Text: "token not found"}
	}
	return token.AccessToken.Value, nil
}

// ProvideAuthorization answers a request with the authorization code of the redirect
// (provide_oauth_authorization), on any connection of the approver. If the room cannot
// exchange the code, it is [ErrOperationFailed]. A request that is closed is
// [ErrNotFound], except after a reconnect.
func (s *Secrets) ProvideAuthorization(ctx context.Context, requestID string, code secret.Value) error {
	return s.provideAuthorization(ctx, wire.ProvideAuthorizationArguments{RequestID: requestID, Code: wire.Secret{Value: code}})
}

// RejectAuthorization rejects a request, with a reason (provide_oauth_authorization
// with an error).
func (s *Secrets) RejectAuthorization(ctx context.Context, requestID, reason string) error {
	return s.provideAuthorization(ctx, wire.ProvideAuthorizationArguments{RequestID: requestID, Error: &reason})
}

func (s *Secrets) provideAuthorization(ctx context.Context, a wire.ProvideAuthorizationArguments) error {
	return doneBefore(s.ask(ctx, wire.ProvideOAuthAuthorization, a, nil))
}

// OAuthRequested is the event that a participant asks this one to authorize an OAuth
// client (section 6.1). Its strings are unchanged ones of the requester.
type OAuthRequested struct {
	ID string // for [Secrets.ProvideAuthorization] and [Secrets.RejectAuthorization]
	// Challenge is the PKCE challenge (S256); "" without PKCE.
	Challenge string
	// Issuer is the provider's issuer identifier, if the room knows it; IssuerRequired
	// is true if its responses have it (RFC 9207).
	Issuer         string
	IssuerRequired bool
	Request        OAuthRequest // OAuth is not nil and has both endpoints
	RequesterID    string       // as in [SecretRequested]
	RequesterName  string
}

func unpackOAuthRequested(header json.RawMessage) (OAuthRequested, bool) {
	var e wire.OAuthRequest
	if json.Unmarshal(header, &e) != nil || e.RequestID == "" || e.Request.OAuth == nil ||
		e.Request.OAuth.AuthorizationEndpoint == "" || e.Request.OAuth.TokenEndpoint == "" {
		return OAuthRequested{}, false
	}
	r := e.Request
	return OAuthRequested{
		ID:             e.RequestID,
		Challenge:      string(e.Challenge),
		Issuer:         e.Issuer,
		IssuerRequired: e.IssuerRequired,
		Request: OAuthRequest{
			ParticipantID: string(r.ParticipantID),
			Connector:     unpackConnector(r.Connector),
			OAuth:         unpackOAuth(r.OAuth),
			RedirectURI:   string(r.RedirectURI),
			DelegateTo:    string(r.DelegateTo),
			Timeout:       duration(r.Timeout),
		},
		RequesterID:   e.Requester.ID,
		RequesterName: e.Requester.Name,
	}, true
}

func packConnector(c *Connector) *wire.Connector {
	if c == nil {
		return nil
	}
	return &wire.Connector{
		OpenAIConnectorID: wire.Nullable(c.OpenAIConnectorID),
		ServerURL:         wire.Nullable(c.ServerURL),
		ClientSecretID:    wire.Nullable(c.ClientSecretID),
	}
}

func unpackConnector(c *wire.Connector) *Connector {
	if c == nil {
		return nil
	}
	return &Connector{string(c.OpenAIConnectorID), string(c.ServerURL), string(c.ClientSecretID)}
}

func packOAuth(o *OAuth) *wire.OAuth {
	if o == nil {
		return nil
	}
	w := &wire.OAuth{
		ClientID:              wire.Nullable(o.ClientID),
		ClientSecret:          wire.Secret{Value: o.ClientSecret},
		AuthorizationEndpoint: wire.Nullable(o.AuthorizationEndpoint),
		TokenEndpoint:         wire.Nullable(o.TokenEndpoint),
		Scopes:                o.Scopes,
	}
	if o.NoPKCE {
		w.NoPKCE = &o.NoPKCE
	}
	return w
}

func unpackOAuth(o *wire.OAuth) *OAuth {
	return &OAuth{
		ClientID:              string(o.ClientID),
		ClientSecret:          o.ClientSecret.Value,
		AuthorizationEndpoint: string(o.AuthorizationEndpoint),
		TokenEndpoint:         string(o.TokenEndpoint),
		NoPKCE:                o.NoPKCE != nil && *o.NoPKCE,
		Scopes:                o.Scopes,
	}
}
