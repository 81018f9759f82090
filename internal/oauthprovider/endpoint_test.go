package oauthprovider_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/roomenv/roomenv/internal/oauthprovider"
	"github.com/roomenv/roomenv/internal/wire"
)

// The query of an endpoint is part of what the provider is asked, and does not say what
// the request says.
func TestQueryOfAnEndpoint(t *testing.T) {
	for query, want := range map[string]string{
		"":                                  "",
		"access_type=offline&audience=api":  "",
		"prompt=consent&login_hint=a%40b":   "",
		"prompt=login+select_account":       "",
		"p=B2C_1_signin&hd=example.com":     "",
		"prompt=none":                       `parameter "prompt"`,
		"prompt=consent+none":               `parameter "prompt"`,
		"prompt=consent&prompt=none":        `parameter "prompt"`,
		"prompt=":                           `parameter "prompt"`,
		"PROMPT=none":                       `parameter "PROMPT"`,
		"scope=repo+admin%3Aorg":            `parameter "scope"`,
		"a=b&Scope=repo":                    `parameter "Scope"`,
		"%73cope=repo":                      `parameter "scope"`,
		"scope":                             `parameter "scope"`,
		"scope[]=repo":                      `unsupported parameter "scope[]"`,
		"code.challenge=x":                  `unsupported parameter "code.challenge"`,
		"+scope=repo":                       `unsupported parameter " scope"`,
		"response_type=token":               `parameter "response_type"`,
		"response_mode=query":               `parameter "response_mode"`,
		"client_id=x":                       `parameter "client_id"`,
		"redirect_uri=https://evil.example": `parameter "redirect_uri"`,
		"state=x":                           `parameter "state"`,
		"nonce=x":                           `parameter "nonce"`,
		"code_challenge=x":                  `parameter "code_challenge"`,
		"code_challenge_method=plain":       `parameter "code_challenge_method"`,
		"request=x":                         `parameter "request"`,
		"request_uri=https://evil.example":  `parameter "request_uri"`,
		"claims=x":                          `parameter "claims"`,
		"authorization_details=x":           `parameter "authorization_details"`,
		"user_scope=admin":                  `parameter "user_scope"`,
		"Optional_Scope=admin":              `parameter "Optional_Scope"`,
		"include_granted_scopes=true":       `parameter "include_granted_scopes"`,
		"scopes=repo":                       `parameter "scopes"`,
		"permissions=8":                     `parameter "permissions"`,
		"approval_prompt=auto":              `parameter "approval_prompt"`,
		"a=b;scope=repo":                    "invalid query",
		"%zz=1":                             "invalid query",
	} {
		_, err := oauthprovider.AuthorizationEndpoint("https://example.com/authorize?" + query)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", query, err, want)
		}
	}
}

// resolve makes every name have this address, until the test ends.
func resolve(t *testing.T, address [4]byte) {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for b := make([]byte, 1024); ; {
			n, client, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.AResource{A: address}}}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = server.WriteTo(answer, client)
			}
		}
	}()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		server.Close()
		<-served
	})
}

// Participants that are not trusted reach nothing but public addresses, whatever name
// they have, and cannot tell a closed port from a service.
func TestPublicAddressesOnly(t *testing.T) {
	resolve(t, [4]byte{127, 0, 0, 1})
	var connected atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(http.NotFound))
	defer s.Close()
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connected.Add(1)
		}
	}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())

	client := func(host, port string) wire.OAuth {
		return wire.OAuth{ClientID: "id", AuthorizationEndpoint: "https://example.com", TokenEndpoint: wire.Nullable("https://" + host + ":" + port + "/token")}
	}
	if err := second(new(oauthprovider.Providers).Refresh(t.Context(), client("rebound.example", port), value("r"))); err == nil || connected.Load() != 1 {
		t.Fatalf("without the bound: %v after %d connections", err, connected.Load())
	}
	connected.Store(0)
	var log bytes.Buffer
	p := &oauthprovider.Providers{Public: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	for _, at := range []string{port, "1"} {
		err := second(p.Refresh(t.Context(), client("rebound.example", at), value("r")))
		if !errors.Is(err, oauthprovider.ErrFailed) || err.Error() != oauthprovider.ErrFailed.Error() {
			t.Errorf("a name of this machine, port %s: %v", at, err)
		}
		if _, err := p.Discover(t.Context(), "https://rebound.example:"+at); !errors.Is(err, oauthprovider.ErrFailed) || err.Error() != oauthprovider.ErrFailed.Error() {
			t.Errorf("discovery at a name of this machine, port %s: %v", at, err)
		}
		m := oauthprovider.Metadata{RegistrationEndpoint: "https://rebound.example:" + at}
		if _, err := p.Register(t.Context(), m, "http://127.0.0.1/cb"); !errors.Is(err, oauthprovider.ErrFailed) || err.Error() != oauthprovider.ErrFailed.Error() {
			t.Errorf("registration at a name of this machine, port %s: %v", at, err)
		}
	}
	if !strings.Contains(log.String(), "prohibited IP address") {
		t.Errorf("the log has %s", log.String())
	}
	if _, err := p.Register(t.Context(), oauthprovider.Metadata{TokenEndpoint: "https://example.com"}, "http://127.0.0.1/cb"); !errors.Is(err, oauthprovider.ErrFailed) {
		t.Errorf("no registration: %v", err)
	}
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
		"169.254.169.254", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1", "255.255.255.255",
	} {
		if err := p.Check(client(host, port)); err == nil || !strings.Contains(err.Error(), "public addresses only") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := p.Check(client("93.184.215.14", port)); err != nil {
		t.Errorf("a public address: %v", err)
	}
	if n := connected.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

// Metadata are those of the issuer that the document is for.
func TestIssuerOfMetadata(t *testing.T) {
	for issuer, want := range map[string]bool{"": true, "BASE/mcp": true, "BASE/mcp/": true, "BASE": false, "https://github.com": false, "BASE/other": false} {
		var base string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/.well-known/oauth-authorization-server/mcp" {
				http.NotFound(w, r)
				return
			}
			answer(200, "application/json", `{"issuer":"`+strings.ReplaceAll(issuer, "BASE", base)+`","authorization_endpoint":"https://github.com/authorize",
				"token_endpoint":"`+base+`/token","authorization_response_iss_parameter_supported":true}`)(w, r)
		}))
		base = s.URL
		m, err := new(oauthprovider.Providers).Discover(t.Context(), s.URL+"/mcp")
		if (err == nil) != want {
			t.Errorf("%q: %v", issuer, err)
		}
		if c := m.Client("id"); err == nil && (c.Issuer != strings.ReplaceAll(issuer, "BASE", base) || c.IssuerRequired != (issuer != "")) {
			t.Errorf("%q: the client is %+v", issuer, c)
		}
		s.Close()
	}
}
