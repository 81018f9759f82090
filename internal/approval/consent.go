package approval

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/secret"
)

// LoopbackRedirect reports whether the redirect URI is on this machine, where
// [Inbox.Consent] listens for the redirect.
func (r Request) LoopbackRedirect() bool {
	return strings.HasPrefix(r.RedirectURI, "http:")
}

// Provider returns the host of the consent page.
func (r Request) Provider() string {
	u, err := url.Parse(r.AuthorizationEndpoint)
	if err != nil {
		return r.AuthorizationEndpoint
	}
	return u.Host
}

var (
	// ErrWrongRedirect rejects an address that is not the redirect of a running flow.
	ErrWrongRedirect = errors.New("this is not the redirect URL of this request")
	// ErrWrongIssuer rejects a response of another provider than the person was shown
	// (RFC 9207).
	ErrWrongIssuer = errors.New("the response is not from the provider of this request: reject the request if you did not expect that")
)

// authFlow is one authorization code flow (RFC 8252), from the consent page to the
// redirect.
type authFlow struct {
	state string
	stop  func() // stops to listen for the redirect; nil if it is not on loopback
}

// Consent starts an authorization code flow (RFC 8252), which replaces a previous one of
// the request, and returns the URL of the consent page for a browser. With a
// [Request.LoopbackRedirect] the redirect completes the request. Otherwise, or if the
// browser runs on a different machine, [Inbox.CompleteRedirect] does.
func (i *Inbox) Consent(id string) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.find(id)
	switch {
	case e == nil || e.State != Pending || e.answering:
		return "", ErrClosed
	case e.Kind != OAuth:
		return "", errors.New("a secret request has no consent page")
	}
	i.leave(e)
	flow := &authFlow{state: rand.Text()}
	if e.redirect.Scheme == "http" {
		stop, err := i.callbacks.await(e.redirect, flow.state, func(ctx context.Context, q url.Values) error {
			return i.redirected(ctx, e.ID, q)
		})
		if err != nil {
			return "", fmt.Errorf("listen for the redirect: %w", err)
		}
		flow.stop = stop
	}
	e.flow = flow
	endpoint := *e.endpoint
	q := endpoint.Query() // without the following parameters
	q.Set("response_type", "code")
	q.Set("client_id", e.ClientID)
	q.Set("redirect_uri", e.RedirectURI)
	q.Set("state", flow.state)
	if len(e.Scopes) > 0 {
		q.Set("scope", strings.Join(e.Scopes, " "))
	}
	if e.Challenge != "" {
		q.Set("code_challenge", e.Challenge)
		q.Set("code_challenge_method", "S256")
	}
	endpoint.RawQuery = q.Encode()
	return endpoint.String(), nil
}

// CompleteRedirect completes a request with the redirect URL that a browser shows.
func (i *Inbox) CompleteRedirect(ctx context.Context, id, address string) error {
	got, err := url.Parse(address)
	if err != nil {
		return ErrWrongRedirect // err would quote the code
	}
	i.mu.Lock()
	e := i.find(id)
	if e == nil || e.State != Pending {
		i.mu.Unlock()
		return ErrClosed
	}
	running, want := e.flow != nil, e.redirect
	i.mu.Unlock()
	if !running || got.Scheme != want.Scheme || got.Host != want.Host || cmp.Or(got.Path, "/") != cmp.Or(want.Path, "/") {
		return ErrWrongRedirect
	}
	return i.redirected(ctx, id, got.Query())
}

// redirected sends the result of the provider to the room (RFC 6749 section 4.1.2). A
// state is valid once.
func (i *Inbox) redirected(ctx context.Context, id string, q url.Values) error {
	i.mu.Lock()
	e := i.find(id)
	if e == nil || e.State != Pending || e.flow == nil || q.Get("state") != e.flow.state {
		i.mu.Unlock()
		return ErrWrongRedirect
	}
	i.leave(e)
	if !e.issued(q["iss"]) {
		e.Reason = ErrWrongIssuer.Error()
		i.notify()
		i.mu.Unlock()
		return ErrWrongIssuer
	}
	i.mu.Unlock()

	code := q.Get("code")
	if code == "" {
		reason := text.Printable("the provider refused: "+cmp.Or(q.Get("error"), "neither a code nor an error"), maxField)
		return i.answer(id, Rejected, reason, func(e *entry) error {
			return e.room.RejectAuthorization(ctx, id, reason)
		})
	}
	return i.answer(id, Provided, "", func(e *entry) error {
		return e.room.ProvideAuthorization(ctx, id, secret.New([]byte(code)))
	})
}

// leave ends the flow of e, if any. It is called with mu held.
func (i *Inbox) leave(e *entry) {
	if e.flow != nil && e.flow.stop != nil {
		e.flow.stop()
	}
	e.flow = nil
}

// issued reports whether a response with these parameters iss may be from the provider
// of r (RFC 9207 section 2.4). If its issuer is not known, it has to be at the origin of the
// authorization endpoint.
func (r Request) issued(iss []string) bool {
	switch {
	case len(iss) == 0:
		return !r.IssuerRequired
	case len(iss) > 1:
		return false
	case r.Issuer != "":
		return iss[0] == r.Issuer
	}
	return origin(iss[0]) == origin(r.AuthorizationEndpoint)
}

// address returns the address to listen on for u.
func address(u *url.URL) string {
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80"))
}
