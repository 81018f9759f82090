package manifest

import (
	"net/url"
	"strings"
)

// An OAuthClient is a client of an OAuth provider, which room:oauth/NAME names.
type OAuthClient struct {
	ClientID              string
	ClientSecret          *Target // a secret of a room; nil for a public client
	AuthorizationEndpoint string
	TokenEndpoint         string
	Scopes                []string
	RedirectURI           string
	NoPKCE                bool
	From                  string // approver to ask if there is no token
	Connector             *Connector
}

// A Connector names a service whose OAuth client the room completes.
type Connector struct {
	OpenAIConnectorID string
	ServerURL         string // of an MCP server
	ClientSecretID    string // a secret of the room
}

var (
	clientKeys = keys[OAuthClient]{
		on("client_id", plainText, "ID that the provider assigned.", func(c *OAuthClient, id string) { c.ClientID = id }),
		on("client_secret", clientSecret, "Reference to the secret that the provider assigned.", func(c *OAuthClient, secret *Target) { c.ClientSecret = secret }),
		on("authorization_endpoint", endpoint, "URL of the provider for the browser.", func(c *OAuthClient, url string) { c.AuthorizationEndpoint = url }),
		on("token_endpoint", endpoint, "URL of the provider for tokens.", func(c *OAuthClient, url string) { c.TokenEndpoint = url }),
		on("scopes", listOf(scope), "Access to ask for.", func(c *OAuthClient, scopes []string) { c.Scopes = scopes }),
		on("redirect_uri", redirectURI, "Where the provider sends the browser back to, such as `http://127.0.0.1:8765/callback`.", func(c *OAuthClient, uri string) { c.RedirectURI = uri }),
		on("no_pkce", boolean, "For a provider without PKCE support.", func(c *OAuthClient, is bool) { c.NoPKCE = is }),
		on("from", plainText, "Approver to ask if there is no token.", func(c *OAuthClient, from string) { c.From = from }).needing("redirect_uri"),
		on("connector", connector, "A service whose OAuth client the room completes by discovery.", func(c *OAuthClient, to Connector) { c.Connector = &to }),
	}
	connectorKeys = keys[Connector]{
		on("server_url", endpoint, "URL of an MCP server.", func(c *Connector, url string) { c.ServerURL = url }),
		on("openai_connector_id", plainText, "An OpenAI connector, such as `connector_gmail`.", func(c *Connector, id string) { c.OpenAIConnectorID = id }),
		on("client_secret_id", plainText, "ID of the client's secret in the room.", func(c *Connector, id string) { c.ClientSecretID = id }),
	}
	client = mapping("client", clientKeys, "client_id, authorization_endpoint and token_endpoint, or a connector", func(c OAuthClient) bool {
		return c.Connector != nil || c.ClientID != "" && c.AuthorizationEndpoint != "" && c.TokenEndpoint != ""
	})
	connector = mapping("connector", connectorKeys, "{server_url: URL} or {openai_connector_id: ID}", func(c Connector) bool {
		return c.ServerURL != "" || c.OpenAIConnectorID != ""
	})
	// clientSecret is a reference: a manifest must not contain the secret itself.
	clientSecret = kind[*Target]{"reference", `{"type": "string", "pattern": "^room:(//[a-z0-9-]{1,63}/)?secret/."}`, func(s *source, f field) *Target {
		text := plainText.read(s, f)
		r, fault := s.parseReference(text)
		scheme, _, ok := strings.Cut(text, ":")
		switch {
		case text == "":
		case ok && s.of(text) == "" && nearest(scheme, s.schemes...) != "":
			s.fail(f.value.off, fault.message, fault.hint)
		case fault != nil || r.Scheme != SchemeRoom || r.Kind() != KindSecret:
			s.fail(f.value.off, "invalid client_secret: want a reference to a secret", "store it with `roomenv secret set ID`, and write room:secret/ID")
		case strings.ContainsAny(text, "#") || r.Optional || r.Default != nil || r.Base64 || r.syntax != (syntax{}):
			s.fail(f.value.off, "invalid client_secret: want a whole secret", "write room:secret/ID")
		}
		return &r.Target
	}}
	endpoint = scalar("URL", "a URL such as https://HOST/PATH", `{"type": "string", "pattern": "^https?://[^/?#]"}`, func(s string) (string, bool) {
		u, err := url.Parse(s)
		return s, err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
	})
	redirectURI = scalar("URI", "an absolute URI such as http://127.0.0.1:8765/callback", `{"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9+.-]*:[^#]+$"}`, func(s string) (string, bool) {
		u, err := url.Parse(s)
		return s, err == nil && u.IsAbs() && u.Fragment == ""
	})
	scope = matching("text", "a list of scopes without spaces", `^[^ \t\n]+$`)
)

// clients reads the mapping of names to clients.
func (s *source) clients(f field) map[string]OAuthClient {
	clients := map[string]OAuthClient{}
	for _, f := range s.fields(f, "NAME: {client_id: …}, indented") {
		if f.key == "" {
			s.fail(f.off, "the name of the client is empty", "")
		}
		clients[f.key] = client.read(s, field{"client", f.off, f.value})
	}
	return clients
}

// setClients puts the clients into the targets that name them. It records each
// reference to a client that is not defined, or not enough to ask for its authorization.
func setClients(items []item, files []fileItem, clients map[string]OAuthClient) {
	set := func(value Expr, of string, at place) {
		for p := range value.parts(true) {
			t := p.Expiry
			if p.Reference != nil {
				t = &p.Reference.Target
			}
			if t == nil || !t.isOAuth() {
				continue
			}
			client, ok := clients[t.ID()]
			t.setClient(client)
			switch {
			case p.Expiry != nil: // of a reference that is checked too
			case !ok:
				at.fail(of+": the OAuth client is not defined", "define it under oauth: in a YAML manifest, also in another -m")
			case t.Param("from") != "" && client.RedirectURI == "":
				at.fail(of+": from requires that the OAuth client has a redirect_uri", "add redirect_uri to the client under oauth:")
			}
		}
	}
	for _, it := range items {
		set(it.Value, it.Name, it.place)
	}
	for _, f := range files {
		for _, e := range f.Entries {
			set(e.Value, f.label(), f.place)
		}
	}
}
