package room

import (
	"context"
	"encoding/json"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// OAuth is a client of an OAuth provider. With a [Connector] that the room can
// ask, any of it may be missing.
type OAuth struct {
	ClientID              string
	ClientSecret          secret.Value // empty for a public client
	AuthorizationEndpoint string
	TokenEndpoint         string
	NoPKCE                bool // for providers that do not know it
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
	ParticipantID string // who is asked
	Connector     *Connector
	OAuth         *OAuth
	RedirectURI   string
	DelegateTo    string        // for whom the token is stored, an identity; "" is us
	Timeout       time.Duration // as in [SecretRequest]
}

// RequestOAuthToken returns an access token (request_oauth_token): one that the
// room has stored, refreshed where it has to be, or else one that the
// participant, who is asked, authorizes. The token is empty when the connector
// needs none.
//
// A rejection, and a provider that does not play along, are
// [ErrOperationFailed]; else errors are as those of [Secrets.Request], and so
// is what happens when the connection drops. A client that the token's grant
// does not allow is [ErrPermissionDenied].
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
	DelegatedTo string // whom the token is for; "" is us
	DelegatedBy string // who authorized it; "" is us
}

// OfflineOAuthToken returns an access token without asking anyone, refreshed
// where it has to be (get_offline_oauth_token). None is [ErrNotFound].
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
		return secret.Value{}, &Error{Op: op(wire.GetOfflineOAuthToken), Code: int(wire.NotFound), Text: "there is no such token"}
	}
	return token.AccessToken.Value, nil
}

// ProvideAuthorization answers a request with the code that the provider
// redirected with (provide_oauth_authorization). Any connection of the identity
// that was asked may do so. The room exchanges the code; when that fails it is
// [ErrOperationFailed] here too. A request that is not open (any more) is
// [ErrNotFound], but not after a connection was lost.
func (s *Secrets) ProvideAuthorization(ctx context.Context, requestID string, code secret.Value) error {
	return s.provideAuthorization(ctx, wire.ProvideAuthorizationArguments{RequestID: requestID, Code: wire.Secret{Value: code}})
}

// RejectAuthorization answers a request with the reason why there is no
// authorization (provide_oauth_authorization with an error).
func (s *Secrets) RejectAuthorization(ctx context.Context, requestID, reason string) error {
	return s.provideAuthorization(ctx, wire.ProvideAuthorizationArguments{RequestID: requestID, Error: &reason})
}

func (s *Secrets) provideAuthorization(ctx context.Context, a wire.ProvideAuthorizationArguments) error {
	return doneBefore(s.ask(ctx, wire.ProvideOAuthAuthorization, a, nil))
}

// OAuthRequested is the event that someone asks us to authorize an OAuth client
// (section 6.1). Its strings are the room's and the requester's, as they came.
type OAuthRequested struct {
	ID string // for [Secrets.ProvideAuthorization] and [Secrets.RejectAuthorization]
	// Challenge is the PKCE challenge, by S256; "" is for providers that do
	// not know it.
	Challenge     string
	Request       OAuthRequest // OAuth is not nil and has both endpoints
	RequesterID   string       // as in [SecretRequested]
	RequesterName string
}

func unpackOAuthRequested(header json.RawMessage) (OAuthRequested, bool) {
	var e wire.OAuthRequest
	if json.Unmarshal(header, &e) != nil || e.RequestID == "" || e.Request.OAuth == nil ||
		e.Request.OAuth.AuthorizationEndpoint == "" || e.Request.OAuth.TokenEndpoint == "" {
		return OAuthRequested{}, false
	}
	r := e.Request
	return OAuthRequested{
		ID:        e.RequestID,
		Challenge: string(e.Challenge),
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
