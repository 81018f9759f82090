package room

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/roomenv/roomenv/internal/wire"
)

// protocolVersion is the query parameter v (section 1.3): the SDK whose
// dialect we speak.
const protocolVersion = "0.44.11"

// handshakeTimeout bounds each of TLS and HTTP within one attempt.
const handshakeTimeout = 10 * time.Second

// roomURL is the address to dial, and the same without what may be secret in
// it, for people.
func roomURL(raw string) (dial, shown string, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", "", fmt.Errorf("the room's address is not a URL: %w", cause(err))
	}
	switch {
	case u.Scheme == "ws":
		u.Scheme = "http"
	case u.Scheme == "wss":
		u.Scheme = "https"
	case u.Scheme != "http" && u.Scheme != "https":
		return "", "", fmt.Errorf("the room's address has the scheme %q: use https, http, wss or ws", u.Scheme)
	}
	if u.Host == "" {
		return "", "", errors.New("the room's address names no host")
	}
	shown = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	query := u.Query()
	query.Set("v", protocolVersion)
	u.RawQuery = query.Encode()
	return u.String(), shown, nil
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

// A roundTripper is one attempt at the handshake.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A lasting error is one that trying again at once does not mend: no token to
// be had, or nothing to connect to.
type lasting struct{ error }

func (l lasting) Unwrap() error { return l.error }

// handshake opens a connection. It tries again as b allows, except after
// answers that are final and after failures that time does not mend.
func (c *Client) handshake(ctx context.Context, b *backoff) (*connection, error) {
	var line *cork
	attempt := func(r *http.Request) (*http.Response, error) {
		if c.config.Token != nil {
			token, err := c.config.Token(r.Context())
			if err != nil {
				return nil, lasting{fmt.Errorf("cannot get a token for the room: %w", err)}
			}
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer "+string(token.Reveal()))
		}
		resp, err := c.transport.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		if rwc, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
			line = newCork(rwc)
			resp.Body = line
			return resp, nil
		}
		// The status says it all; nobody waits for a body.
		_ = resp.Body.Close()
		resp.Body = http.NoBody
		return resp, nil
	}
	// The token goes where the address says and nowhere else.
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var last error
	client := (&retryablehttp.Client{
		HTTPClient: &http.Client{Transport: roundTripper(attempt), CheckRedirect: noRedirect},
		RetryMax:   math.MaxInt, // b is the limit
		Backoff:    func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return b.next() },
		CheckRetry: func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			// What an ended context makes of an attempt is no news.
			if err != nil && ctx.Err() != nil {
				return false, nil
			}
			retry := false
			if err != nil {
				last = cause(err)
				retry, _ = retryablehttp.DefaultRetryPolicy(ctx, nil, err)
				if _, ok := errors.AsType[lasting](err); ok {
					retry = false
				}
			} else if last = statusError(resp); last != nil {
				retry = !final(last)
			}
			if retry = retry && b.again(); retry {
				c.logDisconnect(last)
			}
			return retry, nil
		},
	}).StandardClient()
	client.CheckRedirect = noRedirect

	ws, _, err := websocket.Dial(ctx, c.dialURL, &websocket.DialOptions{HTTPClient: client})
	switch {
	case err == nil:
		ws.SetReadLimit(wire.DefaultMaxMessage)
		return &connection{ws: ws, cork: line, renew: make(chan struct{}, 1)}, nil
	case line != nil:
		return nil, fmt.Errorf("what answers is no room: %w", cause(err))
	case last == nil:
		return nil, cause(err)
	case ctx.Err() != nil && !final(last):
		return nil, fmt.Errorf("%w (%w)", last, ctx.Err())
	}
	return nil, last
}

// statusError is nil for a handshake that succeeded. It repeats nothing of
// what the server wrote.
func statusError(r *http.Response) error {
	switch r.StatusCode {
	case http.StatusSwitchingProtocols:
		return nil
	case http.StatusForbidden:
		return fmt.Errorf("%w (status 403): check that it has not expired and is for this room", ErrForbidden)
	case http.StatusNotFound:
		return fmt.Errorf("%w (status 404): check the name and the address", ErrNoRoom)
	case http.StatusLocked:
		return fmt.Errorf("%w (status 423)", ErrRoomDisabled)
	}
	return fmt.Errorf("it answers with status %d %s", r.StatusCode, http.StatusText(r.StatusCode))
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
