package oauthprovider_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/internal/oauthprovider"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "canary-7f3a"

func value(s string) secret.Value { return secret.New([]byte(s)) }

// serve returns a client of a provider that answers with h.
func serve(t *testing.T, h http.HandlerFunc) wire.OAuth {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return wire.OAuth{ClientID: "id", AuthorizationEndpoint: wire.Nullable(s.URL + "/auth"), TokenEndpoint: wire.Nullable(s.URL + "/token")}
}

func answer(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func form(t *testing.T, r *http.Request) url.Values {
	t.Helper()
	if err := r.ParseForm(); err != nil {
		t.Error(err)
	}
	return r.PostForm
}

func TestExchange(t *testing.T) {
	var got url.Values
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = form(t, r)
		if r.Method != http.MethodPost || r.Header.Get("Accept") != "application/json" || r.URL.Path != "/token" {
			t.Errorf("%s %s accepting %q", r.Method, r.URL.Path, r.Header.Get("Accept"))
		}
		answer(200, "application/json", `{"access_token":"a","refresh_token":"r","expires_in":60,"token_type":"Bearer"}`)(w, r)
	})
	c.ClientSecret.Value = value("s")
	const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	token, err := new(oauthprovider.Providers).Exchange(t.Context(), c, oauthprovider.Grant{Code: value("c"), RedirectURI: "http://127.0.0.1/cb", Verifier: value(verifier)})
	if err != nil || !token.Access.Equal(value("a")) || !token.Refresh.Equal(value("r")) {
		t.Errorf("got %q, %q, %v", token.Access.Reveal(), token.Refresh.Reveal(), err)
	}
	if left := time.Until(token.Expires); left < 50*time.Second || left > time.Minute {
		t.Errorf("expires in %s", left)
	}
	want := url.Values{
		"grant_type": {"authorization_code"}, "code": {"c"}, "redirect_uri": {"http://127.0.0.1/cb"},
		"client_id": {"id"}, "client_secret": {"s"}, "code_verifier": {verifier},
	}
	if got.Encode() != want.Encode() {
		t.Errorf("sent %s, want %s", got.Encode(), want.Encode())
	}
}

func TestExchangeWithoutPKCE(t *testing.T) {
	var got url.Values
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = form(t, r)
		answer(200, "application/x-www-form-urlencoded", "access_token=a&scope=repo")(w, r)
	})
	token, err := new(oauthprovider.Providers).Exchange(t.Context(), c, oauthprovider.Grant{Code: value("c"), RedirectURI: "http://127.0.0.1/cb"})
	if err != nil || !token.Access.Equal(value("a")) || !token.Expires.IsZero() || token.Refresh.Len() != 0 {
		t.Errorf("got %+v, %v", token, err)
	}
	if got.Has("code_verifier") || got.Has("client_secret") {
		t.Errorf("sent %s", got.Encode())
	}
}

func TestRefreshKeepsTheOldOne(t *testing.T) {
	for body, want := range map[string]string{
		`{"access_token":"a","refresh_token":"new"}`: "new",
		`{"access_token":"a"}`:                       "old",
	} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if f := form(t, r); f.Get("grant_type") != "refresh_token" || f.Get("refresh_token") != "old" || f.Get("client_id") != "id" {
				t.Errorf("sent %s", f.Encode())
			}
			answer(200, "application/json", body)(w, r)
		})
		token, err := new(oauthprovider.Providers).Refresh(t.Context(), c, value("old"))
		if err != nil || !token.Refresh.Equal(value(want)) {
			t.Errorf("%s: got %q, %v", body, token.Refresh.Reveal(), err)
		}
	}
}

// Some providers take a client's secret in the header only.
func TestSecretInTheHeader(t *testing.T) {
	sent := 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		sent++
		if id, key, ok := r.BasicAuth(); !ok || id != "id" || key != "s%3A" || form(t, r).Has("client_secret") {
			answer(401, "application/json", `{"error":"invalid_client"}`)(w, r)
			return
		}
		answer(200, "application/json", `{"access_token":"a"}`)(w, r)
	})
	c.ClientSecret.Value = value("s:")
	if _, err := new(oauthprovider.Providers).Refresh(t.Context(), c, value("r")); err != nil || sent != 2 {
		t.Errorf("%v after %d", err, sent)
	}
}

// Whatever a provider does, what comes out says what is wrong, quotes nothing,
// and was asked once.
func TestFaults(t *testing.T) {
	page := "<html>" + canary + "</html>"
	hijack := func(raw string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			io.WriteString(conn, raw)
			conn.Close()
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
		code   string
	}{
		"wrong code":              {answer(400, "application/json", `{"error":"invalid_grant","error_description":"`+canary+`"}`), "returned invalid_grant", "invalid_grant"},
		"refused with status 200": {answer(200, "application/json", `{"error":"bad_verification_code","error_uri":"`+canary+`"}`), "returned status 200 without a registered error code", ""},
		"refused in a form":       {answer(400, "application/x-www-form-urlencoded", "error=invalid_client&error_description="+canary), "returned invalid_client", "invalid_client"},
		"a code of a provider":    {answer(400, "application/json", `{"error":"the_flag_is_canary"}`), "status 400 without a registered error code", ""},
		"a code that is none":     {answer(400, "application/json", `{"error":"`+canary+`"}`), "status 400 without a registered error code", ""},
		"a long code":             {answer(400, "application/json", `{"error":"`+strings.Repeat("x", 41)+canary+`"}`), "status 400 without a registered error code", ""},
		"a page":                  {answer(502, "text/html", page), "status 502 without a registered error code", ""},
		"a page that is well":     {answer(200, "text/html", page), "an invalid response", ""},
		"a text":                  {answer(500, "text/plain", canary+";%zz"), "status 500 without a registered error code", ""},
		"a text that is well":     {answer(200, "text/plain", canary+";%zz"), "an invalid response", ""},
		"nothing":                 {answer(200, "application/json", ""), "an invalid response", ""},
		"no token":                {answer(200, "application/json", `{"refresh_token":"`+canary+`"}`), "an invalid response", ""},
		"a wrong type":            {answer(200, "application/json", `{"access_token":["`+canary+`"]}`), "an invalid response", ""},
		"too much":                {answer(200, "application/json", `{"access_token":"`+strings.Repeat("x", 1<<20)+`"}`), "an invalid response", ""},
		"more than is read":       {answer(200, "application/json", `{"access_token":"a","padding":"`+strings.Repeat("x", 64<<10)+`"}`), "an invalid response", ""},
		"unavailable":             {answer(503, "application/json", `{"error":"temporarily_unavailable"}`), "returned temporarily_unavailable", "temporarily_unavailable"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/"+canary, http.StatusTemporaryRedirect)
		}, "status 307 without a registered error code", ""},
		"no HTTP":        {hijack(canary + " is no HTTP\r\n\r\n"), "an invalid response", ""},
		"a bad header":   {hijack("HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n"), "an invalid response", ""},
		"a lost answer":  {hijack(""), "an invalid response", ""},
		"half an answer": {hijack("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\":\"" + canary), "an invalid response", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int32
			client := serve(t, func(w http.ResponseWriter, r *http.Request) { sent.Add(1); c.answer(w, r) })
			for _, err := range []error{
				second(new(oauthprovider.Providers).Exchange(t.Context(), client, oauthprovider.Grant{Code: value(canary), Verifier: value(canary)})),
				second(new(oauthprovider.Providers).Refresh(t.Context(), client, value(canary))),
			} {
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary) {
					t.Errorf("error %v, want %q", err, c.want)
				}
				var refused *oauthprovider.Error
				if errors.As(err, &refused) != (c.code != "") || refused != nil && refused.Code != c.code {
					t.Errorf("%v has the code %+v, want %q", err, refused, c.code)
				}
			}
			if n := sent.Load(); n != 2 {
				t.Errorf("sent %d requests for two calls", n)
			}
		})
	}
}

func second(_ oauthprovider.Token, err error) error { return err }

func TestNoAnswer(t *testing.T) {
	gone := make(chan struct{})
	for name, h := range map[string]http.HandlerFunc{
		"accepts and never answers": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"never ends": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "{")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			h(w, r)
			gone <- struct{}{}
		})
		p := oauthprovider.Providers{Timeout: 50 * time.Millisecond}
		ctx, cancel := context.WithCancel(t.Context())
		late := time.AfterFunc(10*time.Second, cancel)
		err := second(p.Refresh(ctx, client, value("r")))
		if err == nil || !strings.Contains(err.Error(), "timed out") {
			t.Errorf("%s: %v", name, err)
		}
		late.Stop()
		cancel()
		<-gone
	}
	ctx, cancel := context.WithCancel(t.Context())
	client := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	if err := second(new(oauthprovider.Providers).Refresh(ctx, client, value("r"))); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What was not sent is sent again.
func TestRefusedConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	client := wire.OAuth{ClientID: "id", AuthorizationEndpoint: wire.Nullable("http://" + at), TokenEndpoint: wire.Nullable("http://" + at)}
	if err := second(new(oauthprovider.Providers).Refresh(t.Context(), client, value("r"))); err == nil || !strings.Contains(err.Error(), at+" is unreachable") {
		t.Errorf("down: %v", err)
	}
	// It comes up while the call is made.
	s := httptest.NewUnstartedServer(answer(200, "application/json", `{"access_token":"a"}`))
	up := time.AfterFunc(30*time.Millisecond, func() {
		if l, err := net.Listen("tcp", at); err == nil {
			s.Listener.Close()
			s.Listener = l
		}
		s.Start()
	})
	defer up.Stop()
	if err := second(new(oauthprovider.Providers).Refresh(t.Context(), client, value("r"))); err != nil {
		t.Errorf("coming up: %v", err)
	}
	s.Close()
}

func TestEndpoints(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"https://example.com/token":   true,
		"http://127.0.0.1:80/token":   true,
		"http://[::1]/token":          true,
		"http://localhost:80/token":   true,
		"http://example.com/token":    false,
		"http://localhost.example/":   false,
		"http://127.0.0.1.example/":   false,
		"javascript:alert(1)":         false,
		"javascript://localhost/%0a1": false,
		"file:///etc/passwd":          false,
		"":                            false,
		"https://":                    false,
		"/token":                      false,
		"https://%zz/":                false,
		"https://user@example.com/":   false,
		"https://example.com/#x":      false,
	} {
		for _, c := range []wire.OAuth{
			{AuthorizationEndpoint: wire.Nullable(endpoint), TokenEndpoint: "https://example.com"},
			{AuthorizationEndpoint: "https://example.com", TokenEndpoint: wire.Nullable(endpoint)},
		} {
			if err := new(oauthprovider.Providers).Check(c); (err == nil) != ok {
				t.Errorf("%+v: %v", c, err)
			}
		}
	}
}

func TestVerifier(t *testing.T) {
	verifier, challenge := oauthprovider.NewVerifier()
	other, _ := oauthprovider.NewVerifier()
	if verifier.Len() != 43 || len(challenge) != 43 || verifier.Equal(other) {
		t.Errorf("%d bytes make %q", verifier.Len(), challenge)
	}
}

func metadata(base string) map[string]any {
	return map[string]any{
		"authorization_endpoint": base + "/auth", "token_endpoint": base + "/token", "registration_endpoint": base + "/register",
		"code_challenge_methods_supported": []string{"plain", "S256"}, "token_endpoint_auth_methods_supported": []string{"none"},
	}
}

func TestDiscoveryOrder(t *testing.T) {
	all := []string{
		"/.well-known/oauth-authorization-server/mcp/v1", "/.well-known/openid-configuration/mcp/v1",
		"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration",
	}
	for n, last := range all {
		var asked []string
		var base string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.URL.Path)
			switch {
			case r.URL.Path == last:
				json.NewEncoder(w).Encode(metadata(base))
			case len(asked)%2 == 0:
				answer(200, "text/html", "<html>"+canary)(w, r)
			case len(asked)%3 == 0:
				answer(200, "application/json", `{"authorization_endpoint":"https://example.com"}`)(w, r)
			default:
				http.NotFound(w, r)
			}
		}))
		base = s.URL
		m, err := new(oauthprovider.Providers).Discover(t.Context(), s.URL+"/mcp/v1")
		s.Close()
		if err != nil || m.TokenEndpoint != base+"/token" || fmt.Sprint(asked) != fmt.Sprint(all[:n+1]) {
			t.Errorf("got %+v, %v, asked for %s", m, err, asked)
		}
	}
}

func TestDiscoveryFails(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"nothing":  {http.NotFound, "no OAuth metadata of this issuer found"},
		"not safe": {answer(200, "application/json", `{"authorization_endpoint":"javascript://x","token_endpoint":"http://example.com"}`), "no OAuth metadata of this issuer found"},
		"hangs":    {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timed out"},
		"other host": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://localhost:1", http.StatusFound)
		}, "no OAuth metadata of this issuer found"},
		"without end":   {answer(200, "application/json", `{"x":"`+strings.Repeat(canary, 1<<17)), "no OAuth metadata of this issuer found"},
		"no HTTP at it": {func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, "an invalid response"},
	} {
		s := httptest.NewServer(c.answer)
		var p oauthprovider.Providers
		if name == "hangs" {
			p.Timeout = 100 * time.Millisecond
		}
		if _, err := p.Discover(t.Context(), s.URL); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
		s.Close()
	}
	if _, err := new(oauthprovider.Providers).Discover(t.Context(), "http://example.com"); err == nil {
		t.Error("http was taken")
	}
}

// metadataOf returns those of a provider that does everything at one endpoint.
func metadataOf(c wire.OAuth) oauthprovider.Metadata {
	endpoint := string(c.TokenEndpoint)
	return oauthprovider.Metadata{AuthorizationEndpoint: endpoint, TokenEndpoint: endpoint, RegistrationEndpoint: endpoint}
}

func TestRegister(t *testing.T) {
	for _, c := range []struct {
		redirect string
		methods  []string
		want     string
	}{
		{"https://app.example/cb", nil, `{"client_name":"roomenv","grant_types":["authorization_code","refresh_token"],"redirect_uris":["https://app.example/cb"],"response_types":["code"],"token_endpoint_auth_method":"none"}`},
		{"http://127.0.0.1/cb", []string{"client_secret_basic", "client_secret_post"}, `{"application_type":"native","client_name":"roomenv","grant_types":["authorization_code","refresh_token"],"redirect_uris":["http://127.0.0.1/cb"],"response_types":["code"],"token_endpoint_auth_method":"client_secret_post"}`},
		{"http://127.0.0.1/cb", []string{"client_secret_basic"}, `{"application_type":"native","client_name":"roomenv","grant_types":["authorization_code","refresh_token"],"redirect_uris":["http://127.0.0.1/cb"],"response_types":["code"],"token_endpoint_auth_method":"client_secret_basic"}`},
	} {
		var sent string
		at := serve(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			sent = string(b)
			answer(201, "application/json", `{"client_id":"made","client_secret":"s"}`)(w, r)
		})
		m := metadataOf(at)
		m.AuthMethods = c.methods
		client, err := new(oauthprovider.Providers).Register(t.Context(), m, c.redirect)
		if err != nil || client.ClientID != "made" || !client.ClientSecret.Equal(value("s")) || client.TokenEndpoint != at.TokenEndpoint || *client.NoPKCE || sent != c.want {
			t.Errorf("got %+v, %v, sent %s", client, err, sent)
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"refused": {answer(400, "application/json", `{"error":"invalid_redirect_uri","error_description":"`+canary+`"}`), "returned invalid_redirect_uri"},
		"no id":   {answer(201, "application/json", `{"client_secret":"`+canary+`"}`), "without an id"},
		"a page":  {answer(200, "text/html", canary), "an invalid response"},
	} {
		at := serve(t, c.answer)
		m := metadataOf(at)
		if _, err := new(oauthprovider.Providers).Register(t.Context(), m, "http://127.0.0.1/cb"); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := new(oauthprovider.Providers).Register(t.Context(), oauthprovider.Metadata{TokenEndpoint: "https://example.com/t"}, "http://127.0.0.1/cb"); err == nil {
		t.Error("registered nowhere")
	}
}

func TestPKCEAsMetadataTell(t *testing.T) {
	for _, c := range []struct {
		methods []string
		noPKCE  bool
	}{{nil, false}, {[]string{"S256"}, false}, {[]string{"plain"}, true}, {[]string{}, true}} {
		if got := (oauthprovider.Metadata{ChallengeMethods: c.methods}).Client("id").NoPKCE; *got != c.noPKCE {
			t.Errorf("%q makes no_pkce %t", c.methods, *got)
		}
	}
}
