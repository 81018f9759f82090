package oauthprovider

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/roomenv/roomenv/internal/wire"
)

// Endpoint parses the URL of an endpoint: https, or http on loopback, without parts that
// hide the host.
func Endpoint(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "":
		return nil, errors.New("invalid URL of a server")
	case u.User != nil || strings.Contains(raw, "#"):
		return nil, errors.New("want a URL without user and fragment")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("%s: want https, or http on loopback", u.Host)
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// requestParameters are those of an authorization request that decide what is consented
// to, by whom or where the response goes (RFC 6749 section 4.1.1, RFC 7636 section 4.3,
// RFC 9396 section 2, RFC 9449 section 10, OpenID Connect Core sections 3.1.2.1, 5.5, 6
// and 7.2.1), and those of single providers that extend the scopes or skip the page.
var requestParameters = []string{
	"approval_prompt", "authorization_details", "claims", "client_id", "client_secret", "code_challenge", "code_challenge_method", "dpop_jkt",
	"id_token_hint", "nonce", "permissions", "redirect_uri", "registration", "request", "request_uri", "response_mode", "response_type",
	"state",
}

// plainName matches names that no server takes for others, as some do with "scope[]".
var plainName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// AuthorizationEndpoint is [Endpoint] for the endpoint that a browser opens. Its query is
// part of the request (RFC 6749 section 3.1), so it may not say what the request says.
func AuthorizationEndpoint(raw string) (*url.URL, error) {
	u, err := Endpoint(raw)
	if err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("invalid query")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		// Some servers ignore case.
		lower := strings.ToLower(name)
		switch {
		case !plainName.MatchString(name):
			return nil, fmt.Errorf("unsupported parameter %.80q in the query: want letters, digits, _ and -", name)
		case slices.Contains(requestParameters, lower), strings.Contains(lower, "scope"):
			return nil, fmt.Errorf("parameter %q in the query: it is part of the request, not of the endpoint", name)
		case lower == "prompt" && slices.ContainsFunc(query[name], skipsPerson):
			return nil, fmt.Errorf("parameter %q in the query: want login, consent or select_account", name)
		}
	}
	return u, nil
}

// skipsPerson reports whether prompt, a list, may let the provider respond without
// showing a page.
func skipsPerson(prompt string) bool {
	words := strings.Fields(prompt)
	return len(words) == 0 || slices.ContainsFunc(words, func(w string) bool {
		return !slices.Contains([]string{"login", "consent", "select_account"}, w)
	})
}

// Check fails unless people, codes and tokens may be sent to the endpoints of c.
func (p *Providers) Check(c wire.OAuth) error {
	if _, err := AuthorizationEndpoint(string(c.AuthorizationEndpoint)); err != nil {
		return fmt.Errorf("authorization_endpoint: %w", err)
	}
	if err := p.checkCalled(string(c.TokenEndpoint)); err != nil {
		return fmt.Errorf("token_endpoint: %w", err)
	}
	return nil
}

// checkCalled fails unless this process may call the endpoint. Names are looked up when
// it is called.
func (p *Providers) checkCalled(raw string) error {
	u, err := Endpoint(raw)
	if err != nil {
		return err
	}
	host := u.Hostname()
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if address, err := netip.ParseAddr(host); err == nil && p.Public && public.SafeAddr(address) != nil {
		return fmt.Errorf("%s: the room calls public addresses only", u.Host)
	}
	return nil
}
