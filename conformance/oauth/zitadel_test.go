package oauth

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

func TestZitadel(t *testing.T) {
	var h http.Handler
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	defer s.Close()
	defer http.DefaultClient.CloseIdleConnections()
	const key = "client-secret"
	storage.RegisterClients(
		storage.NativeClient("public", "http://127.0.0.1/callback"), // any port
		storage.WebClient("confidential", key, redirect),
	)
	h = exampleop.SetupServer(s.URL, storage.NewStorage(storage.NewUserStore(s.URL)), slog.New(slog.DiscardHandler), false)
	provider{
		issuer: s.URL, public: "public", secret: key,
		person: browser{fields: map[string]string{"username": "test-user@127.0.0.1", "password": "verysecure"}},
	}.conforms(t)
}
