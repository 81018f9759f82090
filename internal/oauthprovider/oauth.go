// Package oauthprovider is what a room server asks of OAuth 2.0 providers: to exchange
// a code, to refresh a token, to tell where their endpoints are, and to
// register a client (RFC 6749, 7636, 8414 and 7591).
//
// What a provider answers may hold tokens, on its error pages too. Errors of
// this package repeat nothing of an answer but the error code in it.
package oauthprovider

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"time"

	"golang.org/x/oauth2"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// Check fails unless both endpoints of c are such that codes, tokens and people may
// be sent there.
func Check(c wire.OAuth) error {
	if err := checkURL(string(c.AuthorizationEndpoint)); err != nil {
		return fmt.Errorf("authorization_endpoint: %w", err)
	}
	if err := checkURL(string(c.TokenEndpoint)); err != nil {
		return fmt.Errorf("token_endpoint: %w", err)
	}
	return nil
}

// checkURL takes https, and http to this machine.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return errors.New("not the URL of a server")
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme == "https" || u.Scheme == "http" && loopback {
		return nil
	}
	return fmt.Errorf("%s is not reached by https", u.Host)
}

// A Grant is what a person's consent came back as.
type Grant struct {
	Code        secret.Value
	RedirectURI string       // where the code came back to
	Verifier    secret.Value // of PKCE; empty for none
}

// A Token is an access token, and how to get the next one.
type Token struct {
	Access   secret.Value
	Refresh  secret.Value  // empty for none
	Expires  time.Time     // zero when the provider does not say
	Lifetime time.Duration // until then, when it was granted
}

// Error codes of providers that a caller acts on (RFC 6749 section 5.2).
const (
	InvalidGrant  = "invalid_grant"  // code or refresh token are of no use any more
	InvalidClient = "invalid_client" // the client is not known, or not by this secret
)

// An Error is a provider that refuses, in a word.
type Error struct{ Code string }

func (e *Error) Error() string { return "the provider answers " + e.Code }

// NewVerifier returns a random PKCE verifier and its S256 challenge.
func NewVerifier() (verifier secret.Value, challenge string) {
	v := oauth2.GenerateVerifier()
	return secret.New([]byte(v)), oauth2.S256ChallengeFromVerifier(v)
}

// Exchange returns the token that g stands for. A code is sent once.
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

// Refresh returns the token that follows the one that refresh came with, and
// refresh itself in it when the provider sends no other. A refresh token is
// sent once: a provider that replaces it may take a second use for a theft.
func (p *Providers) Refresh(ctx context.Context, c wire.OAuth, refresh secret.Value) (Token, error) {
	return p.token(ctx, c, func(ctx context.Context, config *oauth2.Config) (*oauth2.Token, error) {
		return config.TokenSource(ctx, &oauth2.Token{RefreshToken: string(refresh.Reveal())}).Token()
	})
}

func (p *Providers) token(ctx context.Context, c wire.OAuth, fetch func(context.Context, *oauth2.Config) (*oauth2.Token, error)) (Token, error) {
	if err := Check(c); err != nil {
		return Token{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, p.client())
	config := &oauth2.Config{
		ClientID: string(c.ClientID), ClientSecret: string(c.ClientSecret.Reveal()),
		// The style has to be given: x/oauth2 would find out by sending twice.
		Endpoint: oauth2.Endpoint{TokenURL: string(c.TokenEndpoint), AuthStyle: oauth2.AuthStyleInParams},
	}
	t, err := fetch(ctx, config)
	// Some take a client's secret in the header only. They refuse the client
	// before they look at what it brings, so that this is no second use of it.
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok && answer.ErrorCode == InvalidClient && c.ClientSecret.Len() > 0 {
		config.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
		t, err = fetch(ctx, config)
	}
	if err != nil {
		return Token{}, explain(ctx, string(c.TokenEndpoint), err)
	}
	return Token{
		Access:   secret.New([]byte(t.AccessToken)),
		Refresh:  secret.New([]byte(t.RefreshToken)),
		Expires:  t.Expiry,
		Lifetime: time.Duration(t.ExpiresIn) * time.Second,
	}, nil
}

// errorCode is what codes look like. Anything else may be a part of a page.
var errorCode = regexp.MustCompile(`^[a-z_]{1,40}$`)

// refusal is for an answer that brings no token.
func refusal(endpoint, code string, status int) error {
	if errorCode.MatchString(code) {
		return &Error{code}
	}
	return fmt.Errorf("%s answers with status %d and no error code", host(endpoint), status)
}
