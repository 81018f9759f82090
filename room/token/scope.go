package token

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// A Scope is the scope of an api grant: the permitted operations (section 8.3). A nil
// field permits nothing, an empty one is a grant with its defaults.
type Scope struct {
	Secrets   *SecretsScope
	Admin     bool // permits to manage what belongs to other identities
	Messaging *MessagingScope

	// Other has the grants that roomenv does not use, unchanged.
	Other map[string]json.RawMessage
}

// SecretsScope permits the secrets toolkit.
type SecretsScope struct {
	// RequestOAuthToken lists the OAuth clients that may be used. nil permits all
	// clients, an empty list permits no client.
	RequestOAuthToken []OAuthClient `json:"request_oauth_token,omitzero"`
}

// An OAuthClient permits a client id at an authorization endpoint, which may end in "*"
// to match a prefix. As an argument it is a client.
type OAuthClient struct {
	Endpoint string `json:"endpoint"`
	ClientID string `json:"client_id"`

	// TokenEndpoint may end in "*" too. "" permits those at the origin of the
	// authorization endpoint.
	TokenEndpoint string `json:"token_endpoint,omitempty"`

	// NoPKCE permits requests without PKCE.
	NoPKCE bool `json:"no_pkce,omitempty"`
}

// MessagingScope permits messaging. A nil field is true.
type MessagingScope struct {
	Broadcast *bool `json:"broadcast,omitempty"`
	List      *bool `json:"list,omitempty"`
	Send      *bool `json:"send,omitempty"`
}

// AgentScope returns what the SDKs grant to agents.
func AgentScope() *Scope {
	s := UserScope()
	s.Other["llm"] = json.RawMessage("{}")
	return s
}

// UserScope returns what the SDKs grant to users.
func UserScope() *Scope {
	s := &Scope{Secrets: &SecretsScope{}, Messaging: &MessagingScope{}, Other: map[string]json.RawMessage{}}
	for _, name := range []string{
		"livekit", "queues", "dataset", "memory", "sync", "storage", "containers", "developer", "agents", "services",
	} {
		s.Other[name] = json.RawMessage("{}")
	}
	return s
}

// IsAdmin reports whether s has the admin grant. s may be nil.
func (s *Scope) IsAdmin() bool {
	return s != nil && s.Admin
}

// Allows reports whether s permits the OAuth client (section 8.4). A nil SecretsScope
// permits no client.
func (s *SecretsScope) Allows(client OAuthClient) bool {
	if s == nil {
		return false
	}
	if s.RequestOAuthToken == nil {
		return true
	}
	client.Endpoint, client.ClientID = strings.TrimSpace(client.Endpoint), strings.TrimSpace(client.ClientID)
	if client.Endpoint == "" || client.ClientID == "" {
		return false
	}
	return slices.ContainsFunc(s.RequestOAuthToken, func(c OAuthClient) bool {
		token := c.TokenEndpoint != "" && matches(c.TokenEndpoint, client.TokenEndpoint) ||
			c.TokenEndpoint == "" && sameOrigin(client.Endpoint, client.TokenEndpoint)
		return c.ClientID == client.ClientID && matches(c.Endpoint, client.Endpoint) && token && (c.NoPKCE || !client.NoPKCE)
	})
}

// AllowsDiscovery reports whether the endpoints of the client with this id may be asked of
// the server: whether s permits a client with this id at the origin of the server.
func (s *SecretsScope) AllowsDiscovery(server, clientID string) bool {
	if s == nil {
		return false
	}
	return s.RequestOAuthToken == nil || slices.ContainsFunc(s.RequestOAuthToken, func(c OAuthClient) bool {
		return clientID != "" && c.ClientID == clientID && sameOrigin(strings.TrimSuffix(c.Endpoint, "*"), server)
	})
}

func matches(pattern, endpoint string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	return pattern == endpoint || wild && strings.HasPrefix(endpoint, prefix)
}

func sameOrigin(a, b string) bool {
	u, err := url.Parse(a)
	if err != nil {
		return false
	}
	v, err := url.Parse(b)
	return err == nil && u.Host != "" && u.Scheme == v.Scheme && u.Host == v.Host
}

// MarshalJSON encodes an object with a key for each grant.
func (s Scope) MarshalJSON() ([]byte, error) {
	grants := make(map[string]any, len(s.Other)+3)
	for name, grant := range s.Other {
		grants[name] = grant
	}
	if s.Secrets != nil {
		grants["secrets"] = s.Secrets
	}
	if s.Admin {
		grants["admin"] = struct{}{}
	}
	if s.Messaging != nil {
		grants["messaging"] = s.Messaging
	}
	return json.Marshal(grants)
}

// UnmarshalJSON is the inverse of [Scope.MarshalJSON]. A null grant permits nothing.
func (s *Scope) UnmarshalJSON(b []byte) error {
	*s = Scope{}
	if json.Unmarshal(b, &s.Other) != nil {
		return fmt.Errorf("decode api scope: %w: not an object", ErrMalformed)
	}
	var admin *struct{ Config *bool }
	for name, grant := range map[string]any{"secrets": &s.Secrets, "admin": &admin, "messaging": &s.Messaging} {
		raw, ok := s.Other[name]
		if !ok {
			continue
		}
		if json.Unmarshal(raw, grant) != nil {
			return fmt.Errorf("decode api scope: %w: invalid grant %s", ErrMalformed, name)
		}
		delete(s.Other, name)
	}
	s.Admin = admin != nil && (admin.Config == nil || *admin.Config)
	maps.DeleteFunc(s.Other, func(_ string, grant json.RawMessage) bool { return string(grant) == "null" })
	return nil
}
