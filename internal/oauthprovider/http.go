package oauthprovider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/oauth2"
)

// Limits of a call.
const (
	defaultTimeout = 30 * time.Second // with retries and body
	maxResponse    = 128 << 10        // bytes; a token has to fit into a message

	// A provider that restarts refuses connections for a short time.
	retries  = 2
	retryMin = 100 * time.Millisecond
	retryMax = time.Second
)

// Providers calls providers. The zero value works. Methods are safe for concurrent use.
type Providers struct {
	Timeout time.Duration // of a call; 30 s when zero
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
func (*Providers) client() *http.Client {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	bounded := func(r *http.Request) (*http.Response, error) {
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
