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
// alike. s may be any text; a URL may be without a scheme. Text without a host that can be
// looked up is escaped, since a person or a program may find one in it.
func ASCIIHost(s string) string {
	if isASCII(s) {
		return s
	}
	host := hostOf(s)
	ascii, err := toASCII(host)
	if err != nil || host == "" {
		return escape(s)
	}
	return strings.Replace(s, host, ascii, 1)
}

// hostOf returns the host of s, a URL that may be without a scheme, with its port, or "".
func hostOf(s string) string {
	address := s
	if !strings.Contains(s, "//") {
		address = "//" + s
	}
	u, err := url.Parse(address)
	if err != nil || u.User != nil || address != s && !strings.ContainsAny(u.Host, dots) {
		return ""
	}
	return u.Host
}

// dots separate the labels of a host (RFC 3490 section 3.1).
const dots = ".\u3002\uff0e\uff61"

// escape returns s with its characters that are not ASCII in the form of Go's string
// literals.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
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
