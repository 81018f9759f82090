package oauth

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// A testRoom is a local room that can be restarted.
type testRoom struct {
	t     *testing.T
	path  string
	store *localroom.Store
	http  *httptest.Server
	local *localroom.Server
}

func newRoom(t *testing.T) *testRoom {
	t.Helper()
	r := &testRoom{t: t, path: filepath.Join(t.TempDir(), "room.db")}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *testRoom) start() {
	r.t.Helper()
	store, err := localroom.OpenStore(r.path, secret.New(make([]byte, localroom.KeySize)))
	if err != nil {
		r.t.Fatal(err)
	}
	r.store, r.local = store, localroom.NewServer(localroom.ServerConfig{Store: store})
	r.http = httptest.NewServer(r.local)
}

func (r *testRoom) stop() {
	r.local.Close()
	r.http.Close()
	if err := r.store.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *testRoom) restart() {
	r.t.Helper()
	r.stop()
	r.start()
}

type answer func(context.Context, *room.Client, room.OAuthRequested)

func (r *testRoom) token(name string) secret.Value {
	r.t.Helper()
	jwt, err := token.Token{
		Name: name, Room: "demo", KeyID: localroom.KeyID, API: &token.Scope{Secrets: &token.SecretsScope{}}, Expires: time.Now().Add(time.Hour),
	}.Sign(r.store.SigningKey())
	if err != nil {
		r.t.Fatal(err)
	}
	return jwt
}

func (r *testRoom) join(name string, f answer) *room.Client {
	r.t.Helper()
	jwt := r.token(name)
	c, err := room.Dial(r.t.Context(), room.Config{
		URL:              r.http.URL + "/rooms/demo",
		Token:            func(context.Context) (secret.Value, error) { return jwt, nil },
		OnOAuthRequested: f,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// credential is the only one that ann has; change, if any, edits it.
func (r *testRoom) credential(change func(map[string]any)) map[string]any {
	r.t.Helper()
	list, err := r.store.List("demo", "ann")
	if err != nil || len(list) != 1 {
		r.t.Fatalf("ann has %v, %v", list, err)
	}
	_, v, err := r.store.Get(list[0].RecordKey, "", "")
	if err != nil {
		r.t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(v.Reveal(), &c); err != nil {
		r.t.Fatal(err)
	}
	if change != nil {
		change(c)
		b, err := json.Marshal(c)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := r.store.Set(list[0].RecordKey, "", "", secret.New(b)); err != nil {
			r.t.Fatal(err)
		}
	}
	return c
}

func (r *testRoom) expire() {
	r.t.Helper()
	r.credential(func(c map[string]any) { c["expiration"] = time.Now().UTC() })
}

// authorizationURL is where a person is sent; mend, if any, edits its query.
func authorizationURL(e room.OAuthRequested, mend func(url.Values)) string {
	o := e.Request.OAuth
	q := url.Values{
		"response_type": {"code"}, "client_id": {o.ClientID}, "redirect_uri": {e.Request.RedirectURI},
		"scope": {strings.Join(o.Scopes, " ")}, "state": {e.ID}, "prompt": {"consent"},
	}
	if e.Challenge != "" {
		q.Set("code_challenge", e.Challenge)
		q.Set("code_challenge_method", "S256")
	}
	if mend != nil {
		mend(q)
	}
	return o.AuthorizationEndpoint + "?" + q.Encode()
}
