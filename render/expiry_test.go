package render_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
)

// When a token ends is known of a JWT, and of one that there is.
func TestExpiresAt(t *testing.T) {
	local := time.Local
	t.Cleanup(func() { time.Local = local })
	time.Local = time.FixedZone("UTC+1", 3600) // the time is in UTC all the same
	token := func(claims string) string {
		part := base64.RawURLEncoding.EncodeToString
		return part([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + part([]byte(claims)) + "." + part([]byte("signature"))
	}
	text := `env:
  A: {oauth: a, expires_at: true}
  B: "Bearer ${room:oauth/b?expires_at=true&on_change=none}"
  OPAQUE: {oauth: opaque, expires_at: true}
  NONE: {oauth: none, optional: true, expires_at: true}
  F: {oauth: a, file: true, expires_at: true}
  USES: until ${A_EXPIRES_AT}
oauth:
`
	for _, client := range strings.Fields("a b opaque none") {
		text += "  " + client + ": {connector: {server_url: \"https://a\"}}\n"
	}
	m := load(t, text)
	values := room{"a": token(`{"exp":4102444800}`), "b": token(`{"exp":4102444801}`), "opaque": "gho_1"}
	g, err := values.render(t, m, "NONE_EXPIRES_AT=inherited")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range g.Env {
		got[v.Name] = string(v.Value.Reveal())
	}
	for name, want := range map[string]string{
		"A_EXPIRES_AT": "2100-01-01T00:00:00Z", "B_EXPIRES_AT": "2100-01-01T00:00:01Z", "F_EXPIRES_AT": "2100-01-01T00:00:00Z",
		"USES": "until 2100-01-01T00:00:00Z",
	} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
	for _, name := range []string{"OPAQUE_EXPIRES_AT", "NONE_EXPIRES_AT", "F"} {
		if value, ok := got[name]; ok {
			t.Errorf("%s is %q", name, value)
		}
	}
	// Alone, it asks for what its entry does.
	b := render.Changes{Variables: []string{"B_EXPIRES_AT"}}
	if asks := b.Actions(m); asks != nil {
		t.Errorf("B asks for %v", asks)
	}
	a := render.Changes{Variables: []string{"A_EXPIRES_AT"}}
	if asks := a.Actions(m); len(asks) != 1 || asks[0].Kind != manifest.ChangeRestart {
		t.Errorf("A asks for %v", asks)
	}
}
