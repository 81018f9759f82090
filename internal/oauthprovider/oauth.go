// Package oauthprovider calls OAuth 2.0 providers for a room server: to exchange a
// code, to refresh a token, to discover endpoints and to register a client (RFC 6749,
// 7636, 8414 and 7591).
//
// The response of a provider may have tokens in it, also an error page. Errors of this
// package repeat only the error code of a response.
package oauthprovider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/oauth2"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// A Grant is an authorization code.
type Grant struct {
	Code        secret.Value
	RedirectURI string       // that the code was sent to
	Verifier    secret.Value // of PKCE; empty without PKCE
}

// A Token is an access token, with the refresh token for the next one.
type Token struct {
	Access   secret.Value
	Refresh  secret.Value  // may be empty
	Expires  time.Time     // zero if unknown
	Lifetime time.Duration // when it was granted; 0 if unknown
}

// Error codes of providers that a caller acts on (RFC 6749 section 5.2).
const (
	InvalidGrant  = "invalid_grant"  // the code or refresh token is not valid, or no longer
	InvalidClient = "invalid_client" // unknown client, or wrong client secret
)

// An Error is the error code of a provider.
type Error struct{ Code string }

func (e *Error) Error() string { return "the provider returned " + e.Code }

// NewVerifier returns a random PKCE verifier and its S256 challenge.
func NewVerifier() (verifier secret.Value, challenge string) {
	v := oauth2.GenerateVerifier()
	return secret.New([]byte(v)), oauth2.S256ChallengeFromVerifier(v)
}

// Exchange returns the token for g. It sends the code once.
func (p *Providers) Exchange(ctx context.Context, c wire.OAuth, g Grant) (Token, error) {
	var options []oauth2.AuthCodeOption
	if g.Verifier.Len() > 0 {
		options = append(options, oauth2.VerifierOption(string(g.Verifier.Reveal())))
	}
	return p.token(ctx, c, func(ctx context.Context, config *oauth2.Config) (*oauth2.Token, error) {
		config.RedirectURL = g.RedirectURI
		return config.Exchange(ctx, string(g.Code.Reveal()), options...)
	})
}

// Refresh returns the next token, with the same refresh token unless the provider sends
// a new one. It sends the refresh token once: a provider that replaces it may treat a
// second use as theft.
func (p *Providers) Refresh(ctx context.Context, c wire.OAuth, refresh secret.Value) (Token, error) {
	return p.token(ctx, c, func(ctx context.Context, config *oauth2.Config) (*oauth2.Token, error) {
		return config.TokenSource(ctx, &oauth2.Token{RefreshToken: string(refresh.Reveal())}).Token()
	})
}

func (p *Providers) token(ctx context.Context, c wire.OAuth, fetch func(context.Context, *oauth2.Config) (*oauth2.Token, error)) (Token, error) {
	if err := p.Check(c); err != nil {
		return Token{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, p.client())
	config := &oauth2.Config{
		ClientID: string(c.ClientID), ClientSecret: string(c.ClientSecret.Reveal()),
		// Without a style, x/oauth2 would try both.
		Endpoint: oauth2.Endpoint{TokenURL: string(c.TokenEndpoint), AuthStyle: oauth2.AuthStyleInParams},
	}
	t, err := fetch(ctx, config)
	// Some providers accept the client secret only in the header. They reject the
	// client before they use the code or token, which may be sent again then.
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok && answer.ErrorCode == InvalidClient && c.ClientSecret.Len() > 0 {
		config.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
		t, err = fetch(ctx, config)
	}
	if err != nil {
		return Token{}, p.report(explain(ctx, string(c.TokenEndpoint), err))
	}
	return Token{
		Access:   secret.New([]byte(t.AccessToken)),
		Refresh:  secret.New([]byte(t.RefreshToken)),
		Expires:  t.Expiry,
		Lifetime: time.Duration(t.ExpiresIn) * time.Second,
	}, nil
}

// errorCodes are the registered codes that a response of a token or registration endpoint
// may have. Anything else may be part of an error page.
var errorCodes = []string{
	// RFC 6749 sections 4.1.2.1 and 5.2
	"invalid_request", InvalidClient, InvalidGrant, "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	"access_denied", "unsupported_response_type", "server_error", "temporarily_unavailable",
	// RFC 7591 section 3.2.2
	"invalid_redirect_uri", "invalid_client_metadata", "invalid_software_statement", "unapproved_software_statement",
	// RFC 8707 section 2, RFC 9396 section 5, RFC 9449 sections 5 and 8, RFC 6750 section 3.1
	"invalid_target", "invalid_authorization_details", "invalid_dpop_proof", "use_dpop_nonce", "invalid_token", "insufficient_scope",
	// OpenID Connect Core section 3.1.2.6
	"interaction_required", "login_required", "account_selection_required", "consent_required",
}

// refusal returns the error of a response with an error status.
func refusal(endpoint, code string, status int) error {
	if slices.Contains(errorCodes, code) {
		return &Error{code}
	}
	return fmt.Errorf("%s returned status %d without a registered error code", host(endpoint), status)
}
