package approval

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/roomenv/roomenv/internal/oauthprovider"
)

// checkURLs fails unless the person can be shown where the codes and tokens of r go. It
// writes the endpoints in ASCII: what is shown is what is opened.
func checkURLs(r *Request) (endpoint, redirect *url.URL, err error) {
	if endpoint, err = oauthprovider.AuthorizationEndpoint(r.AuthorizationEndpoint); err == nil {
		err = inASCII(endpoint)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("invalid authorization endpoint: %w", err)
	}
	if r.TokenEndpoint != "" {
		token, err := oauthprovider.Endpoint(r.TokenEndpoint)
		if err == nil {
			err = inASCII(token)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("invalid token endpoint: %w", err)
		}
		r.TokenEndpoint = token.String()
	}
	redirect, err = oauthprovider.Endpoint(r.RedirectURI)
	if err == nil && !isASCII(r.RedirectURI) {
		err = errors.New("it is not ASCII")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("invalid redirect URI: %w", err)
	}
	r.AuthorizationEndpoint = endpoint.String()
	return endpoint, redirect, nil
}

// inASCII encodes what is not ASCII in u.
func inASCII(u *url.URL) error {
	host, err := toASCII(u.Host)
	if err != nil {
		return fmt.Errorf("the host is not a domain name: %w", err)
	}
	u.Host = host
	if !isASCII(u.RawQuery) {
		u.RawQuery = u.Query().Encode()
	}
	return nil
}

// ASCIIHost returns s with its host in punycode, since letters of different scripts look
// alike. s may be any text; a URL may be without a scheme.
func ASCIIHost(s string) string {
	if isASCII(s) {
		return s
	}
	address := s
	if !strings.Contains(s, "//") {
		address = "//" + s
	}
	u, err := url.Parse(address)
	if err != nil || isASCII(u.Host) || !strings.Contains(u.Host, ".") {
		return s
	}
	host, err := toASCII(u.Host)
	if err != nil {
		host = strings.Trim(strconv.QuoteToASCII(u.Host), `"`)
	}
	return strings.Replace(s, u.Host, host, 1)
}

// toASCII returns a host, with or without a port, as browsers look it up.
func toASCII(host string) (string, error) {
	if isASCII(host) {
		return host, nil
	}
	name, port, found := strings.Cut(host, ":")
	name, err := idna.Lookup.ToASCII(name)
	if found {
		name += ":" + port
	}
	return name, err
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

// origin returns the scheme and host of a URL.
func origin(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
