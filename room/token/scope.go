package token

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// A Scope is what the api grant opens (section 8.3). A field that is nil is a
// grant that is absent; one that is empty is the grant with its defaults.
type Scope struct {
	Secrets   *SecretsScope
	Admin     bool // opens what belongs to others
	Messaging *MessagingScope

	// Other holds the grants that roomenv does not look into, as they stand.
	Other map[string]json.RawMessage
}

// SecretsScope opens the secrets toolkit.
type SecretsScope struct {
	// RequestOAuthToken lists the OAuth clients that may be asked for. nil
	// allows all of them, an empty list none.
	RequestOAuthToken []OAuthClient `json:"request_oauth_token,omitzero"`
}

// An OAuthClient is an entry of an allow-list: the authorization endpoint,
// where a "*" at the end stands for anything, and the client id.
type OAuthClient struct {
	Endpoint string `json:"endpoint"`
	ClientID string `json:"client_id"`
}

// MessagingScope opens messaging. Each field is true when nil.
type MessagingScope struct {
	Broadcast *bool `json:"broadcast,omitempty"`
	List      *bool `json:"list,omitempty"`
	Send      *bool `json:"send,omitempty"`
}

// AgentScope is what the SDKs grant to an agent.
func AgentScope() *Scope {
	s := UserScope()
	s.Other["llm"] = json.RawMessage("{}")
	return s
}

// UserScope is what the SDKs grant to a user.
func UserScope() *Scope {
	s := &Scope{Secrets: &SecretsScope{}, Messaging: &MessagingScope{}, Other: map[string]json.RawMessage{}}
	for _, name := range []string{
		"livekit", "queues", "dataset", "memory", "sync", "storage", "containers", "developer", "agents", "services",
	} {
		s.Other[name] = json.RawMessage("{}")
	}
	return s
}

// IsAdmin reports whether s opens the secrets of others. A nil Scope does not.
func (s *Scope) IsAdmin() bool {
	return s != nil && s.Admin
}

// Allows reports whether a token may be requested for the OAuth client with
// this authorization endpoint and client id (section 8.4). A nil SecretsScope
// allows none.
func (s *SecretsScope) Allows(endpoint, clientID string) bool {
	if s == nil {
		return false
	}
	if s.RequestOAuthToken == nil {
		return true
	}
	endpoint, clientID = strings.TrimSpace(endpoint), strings.TrimSpace(clientID)
	if endpoint == "" || clientID == "" {
		return false
	}
	for _, c := range s.RequestOAuthToken {
		prefix, wild := strings.CutSuffix(c.Endpoint, "*")
		if c.ClientID == clientID && (c.Endpoint == endpoint || wild && strings.HasPrefix(endpoint, prefix)) {
			return true
		}
	}
	return false
}

// MarshalJSON writes one object with a key for each grant.
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

// UnmarshalJSON is the inverse. A grant that is null is absent.
func (s *Scope) UnmarshalJSON(b []byte) error {
	*s = Scope{}
	if json.Unmarshal(b, &s.Other) != nil {
		return fmt.Errorf("cannot read an api scope: %w: it is not an object", ErrMalformed)
	}
	var admin *struct{ Config *bool }
	for name, grant := range map[string]any{"secrets": &s.Secrets, "admin": &admin, "messaging": &s.Messaging} {
		raw, ok := s.Other[name]
		if !ok {
			continue
		}
		if json.Unmarshal(raw, grant) != nil {
			return fmt.Errorf("cannot read an api scope: %w: its %s grant has a wrong type", ErrMalformed, name)
		}
		delete(s.Other, name)
	}
	s.Admin = admin != nil && (admin.Config == nil || *admin.Config)
	maps.DeleteFunc(s.Other, func(_ string, grant json.RawMessage) bool { return string(grant) == "null" })
	return nil
}
