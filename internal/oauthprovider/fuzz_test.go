package oauthprovider_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/oauthprovider"
	"github.com/roomenv/roomenv/secret"
)

// Whatever a provider answers, no error repeats it, and what is no error is what
// was asked for.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"a","refresh_token":"r","expires_in":3600}`,
		`{"access_token":"a","expires_in":"3600"}`,
		`{"error":"invalid_grant","error_description":"d"}`,
		`{"error":{"code":"x"}}`,
		`{"authorization_endpoint":"https://a","token_endpoint":"https://t","code_challenge_methods_supported":["plain"]}`,
		`{"client_id":"c","client_secret":"s"}`,
		"access_token=a&expires_in=60", "error=x", "<html>", "", "[]", "null", `{"access_token":`,
	} {
		f.Add(uint16(200), "application/json", body)
		f.Add(uint16(400), "application/x-www-form-urlencoded", body)
	}
	type answer struct {
		status     int
		kind, body string
	}
	var next answer
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", next.kind)
		w.WriteHeader(next.status)
		_, _ = w.Write([]byte(next.body))
	}))
	f.Cleanup(s.Close)
	metadata := oauthprovider.Metadata{AuthorizationEndpoint: s.URL, TokenEndpoint: s.URL, RegistrationEndpoint: s.URL}
	client := metadata.Client("id").OAuth
	client.ClientSecret.Value = value("s")
	f.Fuzz(func(t *testing.T, status uint16, kind, body string) {
		next = answer{200 + int(status)%400, kind, body + canary}
		if status%2 == 0 {
			next.body = strings.Replace(body, `"a"`, `"`+canary+`"`, 1)
		}
		p := new(oauthprovider.Providers)
		var err error
		var got secret.Value
		switch status / 2 % 4 { // one each: connections are not reused, and ports are few
		case 0:
			var token oauthprovider.Token
			token, err = p.Exchange(t.Context(), client, oauthprovider.Grant{Code: value("c"), Verifier: value("v")})
			got = token.Access
		case 1:
			var token oauthprovider.Token
			token, err = p.Refresh(t.Context(), client, value("r"))
			got = token.Access
		case 2:
			var made oauthprovider.Client
			made, err = p.Register(t.Context(), metadata, "http://127.0.0.1/cb")
			got = value(string(made.ClientID))
		case 3:
			var m oauthprovider.Metadata
			m, err = p.Discover(t.Context(), s.URL)
			got = value(m.TokenEndpoint)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("an error repeats the answer: %v", err)
		}
		if err == nil && got.Len() == 0 {
			t.Error("neither an error nor what was asked for")
		}
	})
}

// A browser goes to the host of the endpoint that was checked, and what the request says
// is said once.
func FuzzAuthorizationEndpoint(f *testing.F) {
	for _, endpoint := range []string{
		"https://github.com/login/oauth/authorize?a=b", "https://a/?scope=x", "https://a/?Scope=x", "https://a/?scope[]=x", "https://a/?a;scope=x",
		"https://a/?%73cope=x", "https://a/?prompt=none", "http://127.0.0.1:1/x", "https://github.com@evil.example", "https://g\u0456thub.com", "https://a/?a#b",
	} {
		f.Add(endpoint)
	}
	f.Fuzz(func(t *testing.T, endpoint string) {
		u, err := oauthprovider.AuthorizationEndpoint(endpoint)
		if err != nil {
			return
		}
		q := u.Query()
		for name := range q {
			if strings.EqualFold(name, "scope") || strings.EqualFold(name, "state") || strings.ContainsAny(name, "[]. ;&") {
				t.Errorf("%q is taken", endpoint)
			}
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != u.Host || u.User != nil || u.Fragment != "" {
			t.Errorf("%q is %q", endpoint, u)
		}
	})
}
