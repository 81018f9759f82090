package manifest

import (
	"net/url"
	"strings"
)

// An OAuthClient is a client of an OAuth provider, which room:oauth/NAME means.
type OAuthClient struct {
	ClientID              string
	ClientSecret          *Target // a secret of a room; nil for a public client
	AuthorizationEndpoint string
	TokenEndpoint         string
	Scopes                []string
	RedirectURI           string
	NoPKCE                bool
	From                  string // who is asked when there is no token; "" is nobody
	Connector             *Connector
}

// A Connector names a service that a room completes an [OAuthClient] for.
type Connector struct {
	OpenAIConnectorID string
	ServerURL         string // of an MCP server
	ClientSecretID    string // a secret of the room
}

const (
	scopesKey     = "scopes"
	clientHint    = "write client_id, authorization_endpoint and token_endpoint, or a connector"
	endpointHint  = "write https://HOST/PATH"
	redirectHint  = "write where the provider sends the browser back to, as http://127.0.0.1:8765/callback"
	connectorHint = "write {server_url: URL} or {openai_connector_id: ID}"
)

var (
	clientKeys = []string{
		"client_id", "client_secret", "authorization_endpoint", "token_endpoint", scopesKey, "redirect_uri", "no_pkce", "from", "connector",
	}
	connectorKeys = []string{"server_url", "openai_connector_id", "client_secret_id"}
)

// clients reads the mapping of names to clients.
func (y *yamlFile) clients(n node) map[string]OAuthClient {
	clients := map[string]OAuthClient{}
	for _, f := range y.fields(n, "oauth", "write NAME: {client_id: …}, indented, below oauth:") {
		if f.key == "" {
			y.fail(f.off, "the name of the client is empty", oauthHint)
		}
		clients[f.key] = y.client(f)
	}
	return clients
}

func (y *yamlFile) client(client field) OAuthClient {
	var c OAuthClient
	faults := len(y.fault)
	from := 0
	for _, f := range y.fields(client.value, "the client", clientHint) {
		switch f.key {
		case "client_id":
			c.ClientID = y.name(f)
		case "client_secret":
			c.ClientSecret = y.clientSecret(f)
		case "authorization_endpoint":
			c.AuthorizationEndpoint = y.endpoint(f)
		case "token_endpoint":
			c.TokenEndpoint = y.endpoint(f)
		case scopesKey:
			c.Scopes = y.scopes(f)
		case "redirect_uri":
			c.RedirectURI = y.name(f)
			if u, err := url.Parse(c.RedirectURI); c.RedirectURI != "" && (err != nil || !u.IsAbs() || u.Fragment != "") {
				y.fail(f.value.off, "redirect_uri is no absolute URI", redirectHint)
			}
		case "no_pkce":
			c.NoPKCE = y.boolean(f)
		case "from":
			c.From, from = y.name(f), f.off
		case "connector":
			c.Connector = y.connector(f)
		default:
			y.fail(f.off, "unknown key", didYouMean(f.key, clientKeys...))
		}
	}
	switch {
	case len(y.fault) > faults:
	case c.Connector == nil && (c.ClientID == "" || c.AuthorizationEndpoint == "" || c.TokenEndpoint == ""):
		y.fail(client.off, "the client is not complete", clientHint)
	case c.From != "" && c.RedirectURI == "":
		y.fail(from, "from without redirect_uri", redirectHint)
	}
	return c
}

// clientSecret reads a reference: a manifest is no place for a secret.
func (y *yamlFile) clientSecret(f field) *Target {
	const hint = "store it with `roomenv secret set ID` and write room:secret/ID"
	text := y.name(f)
	r, fault := y.parseReference(text)
	written, _, ok := strings.Cut(text, ":")
	switch {
	case text == "":
	case ok && y.of(text) == "" && nearest(written, y.schemes...) != "":
		y.fail(f.value.off, fault.message, fault.hint)
	case fault != nil || r.Scheme != SchemeRoom || r.Kind() != KindSecret:
		y.fail(f.value.off, "client_secret is no reference to a secret", hint)
	case strings.ContainsAny(text, "#") || r.Optional || r.Default != nil || r.Base64 || r.File != "" || r.UpdatePolicy != (UpdatePolicy{}):
		y.fail(f.value.off, "client_secret is not a whole secret", hint)
	}
	return &r.Target
}

func (y *yamlFile) endpoint(f field) string {
	text := y.name(f)
	if u, err := url.Parse(text); text != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "") {
		y.fail(f.value.off, f.key+" is no URL", endpointHint)
	}
	return text
}

func (y *yamlFile) scopes(f field) []string {
	const hint = "write scopes: [one, two]"
	nodes := y.list(f, hint)
	scopes := make([]string, 0, len(nodes))
	for _, n := range nodes {
		scope := y.name(field{"a scope", 0, n})
		if strings.ContainsAny(scope, " \t\n") {
			y.fail(n.off, "a scope has no spaces", hint)
		}
		scopes = append(scopes, scope)
	}
	return scopes
}

func (y *yamlFile) connector(connector field) *Connector {
	var c Connector
	faults := len(y.fault)
	for _, f := range y.fields(connector.value, "the connector", connectorHint) {
		switch f.key {
		case "server_url":
			c.ServerURL = y.endpoint(f)
		case "openai_connector_id":
			c.OpenAIConnectorID = y.name(f)
		case "client_secret_id":
			c.ClientSecretID = y.name(f)
		default:
			y.fail(f.off, "unknown key", didYouMean(f.key, connectorKeys...))
		}
	}
	if c.ServerURL == "" && c.OpenAIConnectorID == "" && len(y.fault) == faults {
		y.fail(connector.off, "the connector names no service", connectorHint)
	}
	return &c
}

// setClients puts the clients into the targets that name them. It records each
// reference to a client that is not described, or not well enough to ask for its
// authorization.
func setClients(items []item, files []fileItem, clients map[string]OAuthClient) {
	check := func(t Expr, fail func(message, hint string)) {
		t.targets(func(t *Target, expiry bool) {
			if t.Scheme != SchemeRoom || t.Kind() != KindOAuth {
				return
			}
			client, ok := clients[t.ID()]
			t.setClient(client)
			switch {
			case expiry: // of a reference that is checked too
			case !ok:
				fail("refers to an OAuth client that no manifest describes", "describe it below oauth: in a YAML manifest; another -m will do")
			case t.Param("from") != "" && client.RedirectURI == "":
				fail("asks for the authorization of a client that has no redirect_uri", redirectHint)
			}
		})
	}
	for _, it := range items {
		check(it.Value, func(message, hint string) { it.source.fail(it.off, it.Name+" "+message, hint) })
	}
	for _, f := range files {
		for _, e := range f.Entries {
			check(e.Value, func(message, hint string) { f.fail("it "+message, hint) })
		}
	}
}

// targets calls f for each target in the value.
func (t Expr) targets(f func(t *Target, expiry bool)) {
	for _, p := range t {
		switch {
		case p.Reference != nil:
			f(&p.Reference.Target, false)
		case p.Expiry != nil:
			f(p.Expiry, true)
		case p.Variable != nil:
			p.Variable.Operand.targets(f)
		}
	}
}

// references calls f for each reference in the template.
func (t Expr) references(f func(*Reference)) {
	for _, p := range t {
		switch {
		case p.Reference != nil:
			f(p.Reference)
		case p.Variable != nil:
			p.Variable.Operand.references(f)
		}
	}
}
