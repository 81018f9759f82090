package oauth

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// shortLife is that of the access tokens which the client "jwt" gets: twice the
// least time after which an exec asks for the next one.
const shortLife = 10 * time.Second

// program returns the binary under test: $ROOMENV, else this tree's.
func program(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("ROOMENV"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "roomenv")
	build := exec.Command("go", "build", "-o", path, "./cmd/roomenv")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// An event is what the command of an exec says: what it has when it starts, and
// again for each SIGHUP; then that it ends.
type event struct {
	Kind          string
	Token         string
	ExpiresAt     string
	Endpoint      string // of tokens
	Authorization string // for it
}

// child is that command.
func child() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	say := json.NewEncoder(os.Stdout).Encode
	for kind := "start"; ; kind = "hangup" {
		e := event{
			Kind: kind, Token: os.Getenv("TOKEN"), ExpiresAt: os.Getenv("TOKEN_EXPIRES_AT"),
			Endpoint: os.Getenv("ROOMENV_TOKEN_URL"), Authorization: os.Getenv("ROOMENV_TOKEN_AUTHORIZATION"),
		}
		if path, ok := os.LookupEnv("TOKEN_FILE"); ok {
			b, _ := os.ReadFile(path)
			e.Token = string(b)
		}
		_ = say(e)
		if <-signals == syscall.SIGTERM {
			_ = say(event{Kind: "end"})
			return
		}
	}
}

// A run is a roomenv exec that runs.
type run struct {
	t      *testing.T
	events *json.Decoder
	stderr *bufio.Reader
}

// exec runs the child with a manifest, as bot.
func (r *testRoom) exec(t *testing.T, roomenv, manifest string) *run {
	t.Helper()
	path := filepath.Join(t.TempDir(), "roomenv.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, roomenv, "exec", "--token-server", "-m", path, "--", self, "child")
	cmd.Env = []string{
		"HOME=" + t.TempDir(), "MESHAGENT_ROOM=demo", "MESHAGENT_ROOM_URL=" + r.http.URL,
		"MESHAGENT_TOKEN=" + string(r.token("bot").Reveal()),
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_, _ = io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); !errors.Is(err, context.Canceled) { // what it is for one that ends well
			t.Error(err)
		}
	})
	return &run{t, json.NewDecoder(stdout), bufio.NewReader(stderr)}
}

func (r *run) next(kind string) event {
	r.t.Helper()
	var e event
	if err := r.events.Decode(&e); err != nil {
		rest, _ := io.ReadAll(r.stderr)
		r.t.Fatalf("no event, %v\n%s", err, rest)
	}
	if e.Kind != kind {
		r.t.Fatalf("%s came, want %s", e.Kind, kind)
	}
	return e
}

func (r *run) complains(line string) {
	r.t.Helper()
	got, err := r.stderr.ReadString('\n')
	if err != nil || !regexp.MustCompile(line).MatchString(got) {
		r.t.Errorf("roomenv says %q, %v", got, err)
	}
}

// expiry is when a token ends that the provider has signed and that has not ended.
func (p provider) expiry(t *testing.T, token string) time.Time {
	t.Helper()
	resp, err := http.Get(p.endpoint(t, "jwks_uri"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var keys jose.JSONWebKeySet
	if err := json.NewDecoder(resp.Body).Decode(&keys); err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := parsed.Claims(keys, &claims); err != nil {
		t.Fatal(err)
	}
	if err := claims.ValidateWithLeeway(jwt.Expected{Issuer: p.issuer, Time: time.Now()}, 0); err != nil {
		t.Fatal(err)
	}
	return claims.Expiry.Time()
}

// handedOut is what the token endpoint answers.
func (e event) handedOut(t *testing.T, client string) (token string, expires time.Time) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, e.Endpoint+client, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", e.Authorization)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string    `json:"access_token"`
		ExpiresAt   time.Time `json:"expires_at"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("the token endpoint answers %s, %v", resp.Status, err)
	}
	return answer.AccessToken, answer.ExpiresAt
}

// An exec has another token before the one that it has ends, in a variable and in
// a file, until the provider says that there is none any more.
func (p provider) keepsCurrent(t *testing.T, roomenv string) {
	o := p.client(t, "jwt")
	r := newRoom(t)
	bot, ann := r.join("bot", nil), r.join("ann", p.signsIn(t, nil))
	if _, err := request(t, bot, ann, o, nil); err != nil {
		t.Fatal(err)
	}
	manifest := `
version: 1
refresh: {debounce: 20ms}
oauth:
  api:
    client_id: jwt
    authorization_endpoint: ` + o.AuthorizationEndpoint + `
    token_endpoint: ` + o.TokenEndpoint + `
    scopes: [openid, profile, offline_access]
env:
  TOKEN: {oauth: api, delegated_by: ann, expires_at: true`
	variable := r.exec(t, roomenv, manifest+"}\n")
	file := r.exec(t, roomenv, manifest+", file: true, on_change: {signal: HUP}, on_revoked: keep}\n")

	// expiry checks what the command has.
	expiry := func(e event) time.Time {
		t.Helper()
		ends := p.expiry(t, e.Token)
		if at := ends.UTC().Format(time.RFC3339); e.Kind == "start" && e.ExpiresAt != at {
			t.Errorf("TOKEN_EXPIRES_AT is %q, and the token ends at %s", e.ExpiresAt, at)
		}
		return ends
	}
	first, firstInFile := variable.next("start"), file.next("start")
	ends, endsInFile := expiry(first), expiry(firstInFile)

	variable.next("end")
	second, secondInFile := variable.next("start"), file.next("hangup")
	if now := time.Now(); now.After(ends) || now.After(endsInFile) {
		t.Error("the next token came after the end of the one before")
	}
	if !expiry(second).After(ends) || !expiry(secondInFile).After(endsInFile) {
		t.Error("the next token does not end later")
	}
	token, expires := second.handedOut(t, "api")
	if ends := p.expiry(t, token); !ends.Equal(expires) || ends.Before(p.expiry(t, second.Token)) {
		t.Errorf("the token endpoint says that its token ends at %s; it ends at %s", expires, ends)
	}

	p.revoke(t, r, "jwt")
	variable.next("end")
	variable.complains(`^roomenv: TOKEN .* room:oauth/api.* is revoked: .*; stopping until the value is available\n$`)
	file.complains(`^roomenv: TOKEN .* room:oauth/api.* is revoked: .*; the last value stays\n$`)

	third, err := request(t, bot, ann, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	// By the time that it is asked for it may have been refreshed.
	authorized := p.expiry(t, string(third.Reveal()))
	for _, e := range []event{variable.next("start"), file.next("hangup")} {
		if expiry(e).Before(authorized) {
			t.Error("the command has an older token than was authorized")
		}
	}
}

func TestKeptCurrent(t *testing.T) {
	roomenv := program(t)
	for name, start := range map[string]func(*testing.T) provider{"zitadel": startZitadel, "oidc-provider": startJudge} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t).keepsCurrent(t, roomenv)
		})
	}
}
