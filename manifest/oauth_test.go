package manifest_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/manifest"
)

func TestLoadOAuth(t *testing.T) {
	write(t, map[string]string{
		"a.yaml": `version: 1
oauth:
  github:
    client_id: Iv1.abc
    client_secret: room://shared/secret/github?delegated_to=ci
    authorization_endpoint: https://github.com/login/oauth/authorize
    token_endpoint: https://github.com/login/oauth/access_token
    scopes: [repo, "read:user"]
    redirect_uri: http://127.0.0.1:8765/callback
    no_pkce: true
    from: alice
  mcp: {connector: {server_url: https://old.example.com}}
`,
		"b.yaml": `version: 1
oauth:
  mcp:
    connector: {server_url: https://mcp.example.com, openai_connector_id: o, client_secret_id: s}
    scopes:
      - one
      - two
`,
		"c.env": "GITHUB=room:oauth/github\nMCP=${A:-room:oauth/mcp}\n",
	})
	m, err := manifest.Load([]string{"a.yaml", "b.yaml", "c.env"}, []string{"INHERITED=room:oauth/mcp"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]manifest.OAuthClient{
		"github": {
			ClientID:              "Iv1.abc",
			ClientSecret:          &manifest.Target{Scheme: manifest.SchemeRoom, Group: "shared", Path: "secret/github", Params: "delegated_to=ci"},
			AuthorizationEndpoint: "https://github.com/login/oauth/authorize",
			TokenEndpoint:         "https://github.com/login/oauth/access_token",
			Scopes:                []string{"repo", "read:user"},
			RedirectURI:           "http://127.0.0.1:8765/callback",
			NoPKCE:                true,
			From:                  "alice",
		},
		"mcp": {
			Connector: &manifest.Connector{ServerURL: "https://mcp.example.com", OpenAIConnectorID: "o", ClientSecretID: "s"},
			Scopes:    []string{"one", "two"},
		},
	}
	if !reflect.DeepEqual(m.OAuth, want) {
		t.Errorf("got %+v", m.OAuth)
	}
}

// Which client a reference means is known when all files are read.
func TestLoadOAuthErrors(t *testing.T) {
	write(t, map[string]string{
		"m.yaml": `version: 1
env:
  A: room:oauth/nope
  B: x ${C:-${room:oauth/mcp?from=alice}}
  OVER: room:oauth/nope
oauth:
  mcp: {connector: {server_url: https://mcp.example.com}}
`,
		"over.env": "OVER=1\n",
	})
	_, err := manifest.Load([]string{"m.yaml", "over.env"}, []string{"INHERITED=room:oauth/hunter2"})
	if err == nil {
		t.Fatal("no error")
	}
	want := `environment: INHERITED: the OAuth client is not defined
  hint: define it under oauth: in a YAML manifest, also in another -m
m.yaml:3:3: A: the OAuth client is not defined
    A: room:oauth/nope
    ^
  hint: define it under oauth: in a YAML manifest, also in another -m
m.yaml:4:3: B: from requires that the OAuth client has a redirect_uri
    B: … ${C:-${room:oauth/mcp?from=alice}}
    ^
  hint: add redirect_uri to the client under oauth:`
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// A secret in place of a reference to it is not repeated.
func TestClientSecretIsAReference(t *testing.T) {
	for text, want := range map[string]string{
		"hunter2":                               "want a reference to a secret",
		"room:request/alice?url=hunter2&type=t": "want a reference to a secret",
		"room:secret/x?default=hunter2":         "want a whole secret",
		"room:secret/x?optional=true":           "want a whole secret",
		"room:secret/hunter2#field":             "want a whole secret",
		"\"room:secret/x\\nhunter2\"":           "want a reference to a secret",
		"8080":                                  "invalid client_secret: want text",
		"":                                      "invalid client_secret: want text",
		"[hunter2]":                             "invalid client_secret: want text",
		"{secret: hunter2}":                     "invalid client_secret: want text",
	} {
		_, errs := manifest.Parse("m.yaml", "version: 1\noauth:\n  x:\n    connector: {server_url: https://mcp}\n    client_secret: "+text)
		if errs == nil || !strings.Contains(errs.Error(), want) || strings.Contains(errs.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q", text, errs, want)
		}
	}
}
