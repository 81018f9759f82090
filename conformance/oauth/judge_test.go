package oauth

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/room"
)

// startJudge runs judge.js until the test ends.
func startJudge(t *testing.T) provider {
	t.Helper()
	if _, err := os.Stat("node_modules/oidc-provider"); err != nil {
		t.Skip("oidc-provider is not installed: conformance/oauth/run does that where there is npm")
	}
	cmd := exec.Command("node", "judge.js", fmt.Sprint(shortLife.Seconds()))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return provider{
		issuer: strings.TrimSpace(address), public: "public", secret: "client-secret",
		person: browser{fields: map[string]string{"login": "ann", "password": "x"}},
	}
}

func TestJudge(t *testing.T) {
	p := startJudge(t)
	p.conforms(t)

	t.Run("consent denied", func(t *testing.T) {
		p := p
		p.person.deny = true
		r := newRoom(t)
		_, err := request(t, r.join("bot", nil), r.join("ann", p.signsIn(t, nil)), p.client(t, p.public), nil)
		if !errors.Is(err, room.ErrOperationFailed) || !strings.Contains(err.Error(), "access_denied") {
			t.Errorf("error %v", err)
		}
		if list, err := r.store.List("demo", "ann"); err != nil || len(list) != 0 {
			t.Errorf("stored %v, %v", list, err)
		}
	})
	t.Run("dynamic registration", func(t *testing.T) {
		p.lifeOfCredential(t, &room.OAuth{Scopes: []string{"openid", "offline_access"}}, &room.Connector{ServerURL: p.issuer})
	})
	t.Run("PKCE is required", func(t *testing.T) {
		o := p.client(t, p.public)
		o.NoPKCE = true
		r := newRoom(t)
		if _, err := request(t, r.join("bot", nil), r.join("ann", p.signsIn(t, nil)), o, nil); !errors.Is(err, room.ErrOperationFailed) || !strings.Contains(err.Error(), "invalid_request") {
			t.Errorf("error %v", err)
		}
	})
	// The judge is as strict as it has to be for the above to mean anything: a
	// refresh token that is used twice costs the session.
	t.Run("a refresh token used twice", func(t *testing.T) {
		o := p.client(t, p.public)
		r, bot, _ := p.authorized(t, o, nil)
		used, _ := r.credential(nil)["refresh_token"].(string)
		for range 2 {
			resp, err := http.PostForm(o.TokenEndpoint, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {used}, "client_id": {p.public}})
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		r.expire()
		if v, err := offline(t, bot, o, nil); !errors.Is(err, room.ErrNotFound) {
			t.Errorf("got %d bytes, %v", v.Len(), err)
		}
	})
}
