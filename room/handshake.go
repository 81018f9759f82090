package room

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/coder/websocket"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/roomenv/roomenv/internal/cork"
	"github.com/roomenv/roomenv/internal/notify"
	"github.com/roomenv/roomenv/internal/retry"
	"github.com/roomenv/roomenv/internal/wire"
)

// protocolVersion is the query parameter v (section 1.3): the version of the SDK that
// this client behaves like.
const protocolVersion = "0.44.11"

// handshakeTimeout bounds each of TLS and HTTP within one attempt.
const handshakeTimeout = 10 * time.Second

// roomURL returns the address to dial, and the same without query and user, which may
// be secret, for messages.
func roomURL(raw string) (dial, shown string, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", "", fmt.Errorf("invalid room URL: %w", cause(err))
	}
	switch {
	case u.Scheme == "ws":
		u.Scheme = "http"
	case u.Scheme == "wss":
		u.Scheme = "https"
	case u.Scheme != "http" && u.Scheme != "https":
		return "", "", fmt.Errorf("invalid room URL: scheme %q, want https, http, wss or ws", u.Scheme)
	}
	if u.Host == "" {
		return "", "", errors.New("invalid room URL: missing host")
	}
	shown = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	query := u.Query()
	query.Set("v", protocolVersion)
	u.RawQuery = query.Encode()
	return u.String(), shown, nil
}

// cleartext reports whether a network could read the token.
func cleartext(c Config, dialURL string) bool {
	u, err := url.Parse(dialURL)
	if err != nil || u.Scheme != "http" || c.Token == nil || c.DialContext != nil || u.Hostname() == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err != nil || !ip.Unmap().IsLoopback()
}

func newTransport(c Config) *http.Transport {
	t := &http.Transport{
		DialContext:            c.DialContext,
		DisableKeepAlives:      true,
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  handshakeTimeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if c.DialContext == nil {
		t.Proxy = http.ProxyFromEnvironment
		t.DialContext = (&net.Dialer{Timeout: handshakeTimeout}).DialContext
		return t
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := c.DialContext(ctx, network, address)
		if _, network := errors.AsType[net.Error](err); err != nil && !network {
			err = lasting{err}
		}
		return conn, err
	}
	return t
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A lasting error does not pass soon: no token, or a server that is not a room.
type lasting struct{ error }

func (l lasting) Unwrap() error { return l.error }

// mayPass reports whether another attempt soon after err has a chance.
func mayPass(err error) bool {
	_, lasts := errors.AsType[lasting](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return !lasts && !untrusted
}

// handshake opens a connection, with one attempt.
func (c *Client) handshake(ctx context.Context) (*connection, error) {
	header := make(http.Header)
	if c.config.Token != nil {
		token, err := c.config.Token(ctx)
		if err != nil {
			return nil, lasting{fmt.Errorf("get token: %w", err)}
		}
		header.Set("Authorization", "Bearer "+string(token.Reveal()))
	}
	var line *cork.Cork
	// Every other response is an error, also a redirect: the token goes to the
	// address of the config and nowhere else.
	upgrade := func(r *http.Request) (*http.Response, error) {
		resp, err := c.transport.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		rwc, ok := resp.Body.(io.ReadWriteCloser)
		if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
			_ = resp.Body.Close() // which may be endless
			return nil, statusError(resp)
		}
		line = cork.New(rwc)
		resp.Body = line
		return resp, nil
	}
	ws, _, err := websocket.Dial(ctx, c.dialURL, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: roundTripper(upgrade)},
		HTTPHeader: header,
	})
	switch {
	case err == nil:
		ws.SetReadLimit(wire.DefaultMaxMessage)
		return &connection{ws: ws, cork: line, renew: notify.Slot()}, nil
	case line != nil:
		return nil, lasting{fmt.Errorf("the server is not a MeshAgent room: %w", cause(err))}
	}
	return nil, cause(err)
}

// maxRetryAfter bounds how long a room may keep a client away that it has not rejected.
const maxRetryAfter = time.Minute

// statusError includes no text of the server.
func statusError(resp *http.Response) error {
	status := resp.StatusCode
	switch status {
	case http.StatusForbidden:
		return fmt.Errorf("%w (status 403): it may be expired or for a different room", ErrForbidden)
	case http.StatusNotFound:
		return fmt.Errorf("%w (status 404)", ErrNoRoom)
	case http.StatusLocked:
		return fmt.Errorf("%w (status 423)", ErrRoomDisabled)
	}
	err := fmt.Errorf("status %d %s", status, http.StatusText(status))
	// Without a minimum this is the Retry-After of the response (RFC 9110 section
	// 10.2.3), or 0.
	if after := retryablehttp.DefaultBackoff(0, 0, 0, resp); after > 0 {
		return &retry.AfterError{Err: err, Delay: min(after, maxRetryAfter)}
	}
	return err
}

// cause is err without the URLs that net/http puts around it: their query may
// hold a token.
func cause(err error) error {
	for {
		var u *url.Error
		if !errors.As(err, &u) {
			return peerError{err}
		}
		err = u.Err
	}
}
