package oauth

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

func startZitadel(t *testing.T) provider {
	t.Helper()
	var h http.Handler
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Close()
	})
	const key = "client-secret"
	storage.RegisterClients(
		storage.NativeClient("public", "http://127.0.0.1/callback"), // any port
		storage.NativeClient("jwt", "http://127.0.0.1/callback"),
		storage.WebClient("confidential", key, redirect),
	)
	kept := shortLived{storage.NewStorage(storage.NewUserStore(s.URL))}
	h = exampleop.SetupServer(s.URL, kept, slog.New(slog.DiscardHandler), false)
	return provider{
		issuer: s.URL, public: "public", secret: key,
		person: browser{fields: map[string]string{"username": "test-user@127.0.0.1", "password": "verysecure"}},
	}
}

// shortLived makes the access tokens of the client "jwt" JWTs that end soon.
type shortLived struct{ *storage.Storage }

type jwtClient struct{ op.Client }

func (jwtClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

func (s shortLived) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	if err == nil && id == "jwt" {
		c = jwtClient{c}
	}
	return c, err
}

func (s shortLived) CreateAccessAndRefreshTokens(ctx context.Context, r op.TokenRequest, current string) (id, refresh string, expires time.Time, err error) {
	id, refresh, expires, err = s.Storage.CreateAccessAndRefreshTokens(ctx, r, current)
	if c, ok := r.(interface{ GetClientID() string }); ok && c.GetClientID() == "jwt" {
		expires = time.Now().Add(shortLife)
	}
	return id, refresh, expires, err
}

func TestZitadel(t *testing.T) { startZitadel(t).conforms(t) }
