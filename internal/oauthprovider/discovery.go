package oauthprovider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
)

// discoveryTimeout bounds all requests of a discovery.
const discoveryTimeout = 10 * time.Second

// Metadata describes a provider (RFC 8414 section 2).
type Metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	RegistrationEndpoint  string   `json:"registration_endpoint"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	IssuerInResponse      bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207 section 3
}

// A Client is a client with what the metadata of its provider say about the parameter iss
// of responses (RFC 9207).
type Client struct {
	wire.OAuth
	Issuer         string `json:"issuer,omitempty"`
	IssuerRequired bool   `json:"issuer_required,omitempty"`
}

// Client returns the client with this id. It uses PKCE also if the metadata do not list
// challenge methods: a provider ignores parameters that it does not know (RFC 6749
// section 3.1).
func (m Metadata) Client(id string) Client {
	return Client{
		OAuth: wire.OAuth{
			ClientID:              wire.Nullable(id),
			AuthorizationEndpoint: wire.Nullable(m.AuthorizationEndpoint),
			TokenEndpoint:         wire.Nullable(m.TokenEndpoint),
			NoPKCE:                new(m.ChallengeMethods != nil && !slices.Contains(m.ChallengeMethods, "S256")),
		},
		Issuer:         m.Issuer,
		IssuerRequired: m.IssuerInResponse && m.Issuer != "",
	}
}

// Discover returns the metadata of the provider of server: the first of four well-known
// documents that has both endpoints (docs/room-api.md section 7.7), and no issuer other
// than the one that the document is for (RFC 8414 section 3.3).
func (p *Providers) Discover(ctx context.Context, server string) (Metadata, error) {
	u, err := Endpoint(server)
	if err == nil {
		err = p.checkCalled(server)
	}
	if err != nil {
		return Metadata{}, fmt.Errorf("server_url: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, min(discoveryTimeout, p.timeout()))
	defer cancel()
	paths := []string{strings.TrimSuffix(u.Path, "/"), ""}
	for _, path := range slices.Compact(paths) {
		for _, document := range []string{"oauth-authorization-server", "openid-configuration"} {
			at := url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/.well-known/" + document + path}
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
			if err != nil {
				return Metadata{}, errors.New("server_url: not a URL")
			}
			var m Metadata
			status, err := p.object(r, &m)
			if err != nil && status == 0 {
				return Metadata{}, p.report(err) // the other documents are on the same host
			}
			issuer := url.URL{Scheme: u.Scheme, Host: u.Host, Path: path}
			mixedUp := m.Issuer != "" && strings.TrimSuffix(m.Issuer, "/") != issuer.String()
			if err == nil && !mixedUp && p.Check(m.Client("").OAuth) == nil {
				return m, nil
			}
		}
	}
	return Metadata{}, p.report(fmt.Errorf("%s: no OAuth metadata of this issuer found", u.Host))
}

// Register registers a client with this redirect URI (RFC 7591 section 3).
func (p *Providers) Register(ctx context.Context, m Metadata, redirectURI string) (Client, error) {
	if m.RegistrationEndpoint == "" {
		return Client{}, p.report(fmt.Errorf("%s does not support client registration", host(m.TokenEndpoint)))
	}
	if err := p.checkCalled(m.RegistrationEndpoint); err != nil {
		return Client{}, p.report(fmt.Errorf("registration_endpoint: %w", err))
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	method := "none"
	if m.AuthMethods != nil && !slices.Contains(m.AuthMethods, method) {
		method = "client_secret_post"
		if !slices.Contains(m.AuthMethods, method) {
			method = "client_secret_basic"
		}
	}
	wanted := map[string]any{
		"client_name":                "roomenv",
		"redirect_uris":              []string{redirectURI},
		"grant_types":                []string{"authorization_code", "refresh_token"},
		"response_types":             []string{"code"},
		"token_endpoint_auth_method": method,
	}
	if u, err := url.Parse(redirectURI); err == nil && u.Scheme == "http" {
		wanted["application_type"] = "native" // OpenID Connect forbids http to others
	}
	body, err := json.Marshal(wanted)
	if err != nil {
		return Client{}, errors.New("redirect_uri: not a URL")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.RegistrationEndpoint, bytes.NewReader(body))
	if err != nil {
		return Client{}, errors.New("registration_endpoint: not a URL")
	}
	r.Header.Set("Content-Type", "application/json")
	var made struct {
		ID     string      `json:"client_id"`
		Secret wire.Secret `json:"client_secret"`
	}
	if _, err := p.object(r, &made); err != nil {
		return Client{}, p.report(err)
	}
	if made.ID == "" {
		return Client{}, p.report(fmt.Errorf("%s returned a client without an id", r.URL.Host))
	}
	client := m.Client(made.ID)
	client.ClientSecret = made.Secret
	return client, nil
}

// object decodes the JSON object in the response to r. The status is 0 without a
// response.
func (p *Providers) object(r *http.Request, into any) (status int, err error) {
	resp, err := p.client().Do(r)
	if err != nil {
		return 0, explain(r.Context(), r.URL.String(), err)
	}
	defer resp.Body.Close()
	var refused struct {
		Error string `json:"error"`
	}
	if resp.StatusCode/100 != 2 {
		_ = json.NewDecoder(resp.Body).Decode(&refused)
		return resp.StatusCode, refusal(r.URL.String(), refused.Error, resp.StatusCode)
	}
	// A JSON error may quote its input, which may have secrets in it.
	if json.NewDecoder(resp.Body).Decode(into) != nil {
		return resp.StatusCode, fmt.Errorf("%s sent an invalid response", r.URL.Host)
	}
	return resp.StatusCode, nil
}
