package token_test

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/room/token"
)

func TestPresets(t *testing.T) {
	agent := "livekit queues messaging dataset memory sync storage containers developer agents llm secrets services"
	for _, test := range []struct {
		scope *token.Scope
		want  string
	}{
		{token.AgentScope(), agent},
		{token.UserScope(), strings.Replace(agent, " llm", "", 1)},
		{&token.Scope{Admin: true, Other: map[string]json.RawMessage{}}, "admin"},
	} {
		b, err := json.Marshal(test.scope)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]json.RawMessage
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		want := strings.Fields(test.want)
		slices.Sort(want)
		if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
			t.Errorf("got %v, want %v", names, want)
		}
		for name, grant := range got {
			if string(grant) != "{}" {
				t.Errorf("%s is written as %s", name, grant)
			}
		}
		var again token.Scope
		if err := json.Unmarshal(b, &again); err != nil || !reflect.DeepEqual(&again, test.scope) {
			t.Errorf("read back as %+v, %v", again, err)
		}
	}
}

func TestIsAdmin(t *testing.T) {
	for scope, want := range map[string]bool{
		`null`: false, `{}`: false, `{"admin":null}`: false, `{"admin":{}}`: true,
		`{"admin":{"config":true}}`: true, `{"admin":{"config":false}}`: false,
	} {
		var s *token.Scope
		if err := json.Unmarshal([]byte(scope), &s); err != nil {
			t.Fatal(err)
		}
		if s.IsAdmin() != want {
			t.Errorf("%s: %v", scope, !want)
		}
	}
}

func TestAllows(t *testing.T) {
	const github, star = "https://github.com/login/oauth/authorize", `{"request_oauth_token":[{"endpoint":"https://github.com/*","client_id":"c"}]}`
	exact := `{"request_oauth_token":[{"endpoint":"https://x","client_id":"y"},{"endpoint":"` + github + `","client_id":"c"}]}`
	for _, test := range []struct {
		scope, endpoint, clientID string
		want                      bool
	}{
		{`null`, github, "c", false},
		{`{}`, github, "c", true},
		{`{}`, "", "", true},
		{`{"request_oauth_token":null}`, github, "c", true},
		{`{"request_oauth_token":[]}`, github, "c", false},
		{`{"request_oauth_token":[]}`, "", "", false},
		{`{"request_oauth_token":[null]}`, "", "", false},
		{`{"request_oauth_token":[{"endpoint":"*","client_id":""}]}`, github, "", false},
		{`{"request_oauth_token":[{"endpoint":"*","client_id":"c"}]}`, github, "c", true},
		{`{"request_oauth_token":[{"endpoint":"*","client_id":"*"}]}`, github, "c", false},
		{exact, github, "c", true},
		{exact, " " + github + "\n", "\tc ", true},
		{exact, github, "y", false},
		{exact, github + "/", "c", false},
		{exact, "", "c", false},
		{exact, "  ", "c", false},
		{star, github, "c", true},
		{star, "https://github.com/", "c", true},
		{star, "https://github.com/*", "c", true},
		{star, "https://github.com", "c", false},
		{star, "https://github.com.example/", "c", false},
		{star, github, "d", false},
	} {
		var s *token.SecretsScope
		if err := json.Unmarshal([]byte(test.scope), &s); err != nil {
			t.Fatal(err)
		}
		if got := s.Allows(token.OAuthClient{Endpoint: test.endpoint, ClientID: test.clientID, TokenEndpoint: "https://github.com/token"}); got != test.want {
			t.Errorf("%s allows %q, %q: %v", test.scope, test.endpoint, test.clientID, got)
		}
	}
}

// An entry permits token endpoints at the origin of its authorization endpoint, or those
// that it names, and PKCE is left out only if it says so.
func TestAllowsTokenEndpoint(t *testing.T) {
	const google = "https://accounts.google.com/o/oauth2/v2/auth"
	entry := func(more string) string {
		return `{"request_oauth_token":[{"endpoint":"` + google + `","client_id":"c"` + more + `}]}`
	}
	for _, test := range []struct {
		scope, tokenEndpoint string
		noPKCE, want         bool
	}{
		{`{}`, "https://evil.example/steal", true, true},
		{entry(``), "https://accounts.google.com/token", false, true},
		{entry(``), "https://accounts.google.com:443/token", false, false},
		{entry(``), "http://accounts.google.com/token", false, false},
		{entry(``), "https://accounts.google.com.evil.example/token", false, false},
		{entry(``), "https://oauth2.googleapis.com/token", false, false},
		{entry(``), "", false, false},
		{entry(``), "::", false, false},
		{entry(`,"token_endpoint":"https://oauth2.googleapis.com/token"`), "https://oauth2.googleapis.com/token", false, true},
		{entry(`,"token_endpoint":"https://oauth2.googleapis.com/*"`), "https://oauth2.googleapis.com/v4/token", false, true},
		{entry(`,"token_endpoint":"https://oauth2.googleapis.com/token"`), "https://accounts.google.com/token", false, false},
		{entry(``), "https://accounts.google.com/token", true, false},
		{entry(`,"no_pkce":true`), "https://accounts.google.com/token", true, true},
		{entry(`,"no_pkce":true`), "https://accounts.google.com/token", false, true},
	} {
		var s *token.SecretsScope
		if err := json.Unmarshal([]byte(test.scope), &s); err != nil {
			t.Fatal(err)
		}
		got := s.Allows(token.OAuthClient{Endpoint: google, ClientID: "c", TokenEndpoint: test.tokenEndpoint, NoPKCE: test.noPKCE})
		if got != test.want {
			t.Errorf("%s allows %q, no_pkce %t: %t", test.scope, test.tokenEndpoint, test.noPKCE, got)
		}
	}
}

func TestAllowsDiscovery(t *testing.T) {
	const one = `{"request_oauth_token":[{"endpoint":"https://mcp.example/*","client_id":"c"}]}`
	for _, test := range []struct {
		scope, server, clientID string
		want                    bool
	}{
		{`null`, "https://mcp.example", "c", false},
		{`{}`, "https://mcp.example", "", true},
		{`{"request_oauth_token":[]}`, "https://mcp.example", "c", false},
		{one, "https://mcp.example/mcp", "c", true},
		{one, "https://mcp.example/mcp", "d", false},
		{one, "https://mcp.example/mcp", "", false}, // a client would be registered, which the list cannot name
		{one, "https://mcp.example.evil.example/mcp", "c", false},
		{one, "http://mcp.example/mcp", "c", false},
		{one, "http://127.0.0.1/", "c", false},
		{`{"request_oauth_token":[{"endpoint":"*","client_id":"c"}]}`, "http://127.0.0.1/", "c", false},
	} {
		var s *token.SecretsScope
		if err := json.Unmarshal([]byte(test.scope), &s); err != nil {
			t.Fatal(err)
		}
		if got := s.AllowsDiscovery(test.server, test.clientID); got != test.want {
			t.Errorf("%s allows discovery at %q of %q: %t", test.scope, test.server, test.clientID, got)
		}
	}
}

func FuzzScope(f *testing.F) {
	f.Add([]byte(`{"secrets":{"request_oauth_token":[{"endpoint":"https://x/*","client_id":"c"}]},"admin":{"config":false},"llm":{"models":["a"]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var first, second token.Scope
		if err := json.Unmarshal(b, &first); err != nil {
			if json.Valid(b) && !errors.Is(err, token.ErrMalformed) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		again, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		client := token.OAuthClient{Endpoint: "https://x/", ClientID: "c", TokenEndpoint: "https://x/t"}
		if err := json.Unmarshal(again, &second); err != nil {
			t.Fatal(err)
		}
		if (first.Secrets == nil) != (second.Secrets == nil) || first.IsAdmin() != second.IsAdmin() ||
			first.Secrets.Allows(client) != second.Secrets.Allows(client) {
			t.Errorf("%s became %s", b, again)
		}
	})
}
