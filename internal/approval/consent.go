package approval

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/secret"
)

// LoopbackRedirect reports whether the provider sends the browser back to this
// machine, where [Inbox.Consent] waits for it.
func (r Request) LoopbackRedirect() bool {
	u, err := webURL(r.RedirectURI)
	return err == nil && u.Scheme == "http"
}

// Provider is the host that asks for the consent.
func (r Request) Provider() string {
	u, err := webURL(r.AuthorizationEndpoint)
	if err != nil {
		return r.AuthorizationEndpoint
	}
	return u.Host
}

// ErrWrongRedirect refuses an address that is not where the provider sends a
// browser after the consent that was asked for.
var ErrWrongRedirect = errors.New("this is not the address that the provider sends the browser to after this sign-in")

// authFlow is one authorization code flow (RFC 8252), from the consent page to the
// redirect.
type authFlow struct {
	state    string
	redirect *url.URL
	stop     func() // listening for the redirect; nil when nobody does
}

// Consent begins the way through the provider's consent page (RFC 8252), in the
// place of one that was begun before, and returns the address to open in a
// browser. Where the redirect is [Request.LoopbackRedirect] the request then ends by
// itself. Else, and for a browser on another machine, [Inbox.CompleteRedirect] takes
// the address that the browser ended at.
func (i *Inbox) Consent(id string) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.find(id)
	switch {
	case e == nil || e.State != Pending || e.answering:
		return "", ErrClosed
	case e.Kind != OAuth:
		return "", errors.New("a secret is not asked of a provider")
	}
	endpoint, err := webURL(e.AuthorizationEndpoint)
	if err != nil {
		return "", fmt.Errorf("cannot open the authorization endpoint %q: %w", e.AuthorizationEndpoint, err)
	}
	redirect, err := webURL(e.RedirectURI)
	if err != nil {
		return "", fmt.Errorf("cannot use the redirect URI %q: %w", e.RedirectURI, err)
	}

	i.leave(e)
	flow := &authFlow{state: rand.Text(), redirect: redirect}
	if redirect.Scheme == "http" {
		flow.stop, err = i.callbacks.await(redirect, flow.state, func(ctx context.Context, q url.Values) error {
			return i.redirected(ctx, e.ID, q)
		})
		if err != nil {
			return "", fmt.Errorf("cannot catch the provider's redirect: %w", err)
		}
	}
	e.flow = flow

	// Parameters of ours replace those that the endpoint may bring.
	q := endpoint.Query()
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

// CompleteRedirect takes the address that a browser ended at after the consent page.
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
	flow := e.flow
	i.mu.Unlock()
	if flow == nil || got.Scheme != flow.redirect.Scheme || got.Host != flow.redirect.Host || cmp.Or(got.Path, "/") != cmp.Or(flow.redirect.Path, "/") {
		return ErrWrongRedirect
	}
	return i.redirected(ctx, id, got.Query())
}

// redirected hands what the provider said to the room (RFC 6749 section 4.1.2).
// A state is good for one use.
func (i *Inbox) redirected(ctx context.Context, id string, q url.Values) error {
	i.mu.Lock()
	e := i.find(id)
	if e == nil || e.State != Pending || e.flow == nil || q.Get("state") != e.flow.state {
		i.mu.Unlock()
		return ErrWrongRedirect
	}
	i.leave(e)
	i.mu.Unlock()

	code := q.Get("code")
	if code == "" {
		reason := text.Printable("the provider refused: "+cmp.Or(q.Get("error"), "it sent neither a code nor an error"), maxField)
		return i.answer(id, Rejected, reason, func(e *entry) error {
			return e.room.RejectAuthorization(ctx, id, reason)
		})
	}
	return i.answer(id, Provided, "", func(e *entry) error {
		return e.room.ProvideAuthorization(ctx, id, secret.New([]byte(code)))
	})
}

// leave ends the flow of e, if there is one. It is called with mu held.
func (i *Inbox) leave(e *entry) {
	if e.flow != nil && e.flow.stop != nil {
		e.flow.stop()
	}
	e.flow = nil
}

// webURL parses an address that a browser may be sent to: https, or http on
// this machine, and nothing that hides its host.
func webURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("it is no URL")
	case u.Host == "" || u.User != nil || strings.Contains(s, "#"):
		return nil, errors.New("it has no host, or a user or a fragment")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	}
	return nil, errors.New("it is neither https nor on this machine")
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// address is where to listen for u.
func address(u *url.URL) string {
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80"))
}
