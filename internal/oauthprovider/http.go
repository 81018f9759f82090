package oauthprovider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"code.dny.dev/ssrf"
	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/oauth2"
)

// Limits of a call.
const (
	defaultTimeout = 30 * time.Second // with retries and body
	maxResponse    = 64 << 10         // bytes; a token has to fit into a message

	// A provider that restarts refuses connections for a short time.
	retries  = 2
	retryMin = 100 * time.Millisecond
	retryMax = time.Second
)

// Providers calls providers. The zero value works. Methods are safe for concurrent use.
type Providers struct {
	Timeout time.Duration // of a call; 30 s when zero

	// Public is for callers that are not trusted with the network of this machine: only
	// public addresses are called, and an error that is not a registered error code does
	// not say more than [ErrFailed], but Logger does.
	Public bool
	Logger *slog.Logger // nil discards
}

// ErrFailed is the error of a call while [Providers.Public] is set.
var ErrFailed = errors.New("the provider sent no usable response")

// public permits the addresses that are not in a special-purpose registry of IANA.
var public = ssrf.New(ssrf.WithAnyPort())

// report returns err for callers.
func (p *Providers) report(err error) error {
	if _, ok := errors.AsType[*Error](err); ok || err == nil || !p.Public {
		return err
	}
	if p.Logger != nil {
		p.Logger.Warn("call of an OAuth provider failed", "error", err)
	}
	return ErrFailed
}

func (p *Providers) timeout() time.Duration {
	if p.Timeout > 0 {
		return p.Timeout
	}
	return defaultTimeout
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// client returns a client that repeats a request only if no connection was made,
// follows no redirects, since a request has secrets in it, and reads at most
// maxResponse.
func (p *Providers) client() *http.Client {
	bounded := func(r *http.Request) (*http.Response, error) {
		transport, err := p.transport(r)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Header.Set("Accept", "application/json") // some respond with a form otherwise
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxResponse), resp.Body}
		return resp, nil
	}
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client := (&retryablehttp.Client{
		HTTPClient:   &http.Client{Transport: roundTripper(bounded), CheckRedirect: noRedirect},
		RetryMax:     retries,
		RetryWaitMin: retryMin,
		RetryWaitMax: retryMax,
		Backoff:      retryablehttp.DefaultBackoff,
		CheckRetry: func(ctx context.Context, _ *http.Response, err error) (bool, error) {
			op, ok := errors.AsType[*net.OpError](err)
			return ok && op.Op == "dial" && ctx.Err() == nil, nil
		},
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}).StandardClient()
	client.CheckRedirect = noRedirect
	return client
}

// transport returns the transport for r, for which no connection is reused. An address is
// checked when the connection to it is made, so that a name cannot change its addresses
// after a check. A proxy looks up names itself, and is trusted with them.
func (p *Providers) transport(r *http.Request) (*http.Transport, error) {
	if err := p.checkCalled(r.URL.String()); err != nil {
		return nil, err
	}
	proxy, err := http.ProxyFromEnvironment(r)
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	if p.Public && proxy == nil {
		dialer.Control = public.Safe
	}
	return &http.Transport{
		Proxy:                  http.ProxyURL(proxy),
		DialContext:            dialer.DialContext,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}, nil
}

// explain returns an error of a call of endpoint without the text of net/http, which may
// quote the response.
func explain(ctx context.Context, endpoint string, err error) error {
	var (
		answer      *oauth2.RetrieveError
		network     *net.OpError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &answer):
		return refusal(endpoint, answer.ErrorCode, answer.Response.StatusCode)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s: timed out", host(endpoint))
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &network):
		return fmt.Errorf("%s is unreachable: %w", host(endpoint), network.Err)
	case errors.As(err, &certificate):
		return fmt.Errorf("%s has an untrusted certificate: %w", host(endpoint), certificate.Err)
	}
	return fmt.Errorf("%s sent an invalid response", host(endpoint))
}

// host returns the host of a URL, for errors.
func host(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "the provider"
	}
	return u.Host
}
