package tokenserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/internal/tokenserver"
	"github.com/roomenv/roomenv/runner"
	"github.com/roomenv/roomenv/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "canary-7c1f"

var expires = time.Date(2026, 11, 23, 21, 0, 0, 999, time.FixedZone("", 3600))

func source(_ context.Context, client string) (secret.Value, time.Time, error) {
	switch client {
	case "github", "a/b c":
		return secret.New([]byte(canary + client)), expires, nil
	case "endless":
		return secret.New([]byte(`"<` + canary)), time.Time{}, nil
	case "away":
		return secret.New([]byte(canary)), expires, errors.New("unreachable: connection refused")
	case "bytes":
		return secret.New([]byte(canary + "\xff")), expires, nil
	}
	return secret.Value{}, time.Time{}, fmt.Errorf("%w", runner.ErrUnknownClient)
}

func runtimeFolder(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a tmpfs")
	}
	dir, err := os.MkdirTemp("/dev/shm", "roomenv-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return dir
}

// serve returns the variables of an endpoint that lives as long as the test.
func serve(t *testing.T, network string) map[string]string {
	t.Helper()
	s, err := tokenserver.Serve(network, source, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	env := make(map[string]string)
	for _, v := range s.Environ() {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	return env
}

// ask does what the documentation tells a client to do.
func ask(t *testing.T, env map[string]string, client string, change ...func(*http.Request)) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, env["ROOMENV_TOKEN_URL"]+client, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", env["ROOMENV_TOKEN_AUTHORIZATION"])
	for _, f := range change {
		f(request)
	}
	transport := &http.Transport{}
	if path := env["ROOMENV_TOKEN_SOCKET"]; path != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(b)
}

func TestToken(t *testing.T) {
	runtimeFolder(t)
	for _, network := range []string{tokenserver.TCP, tokenserver.Unix} {
		env := serve(t, network)
		if _, socket := env["ROOMENV_TOKEN_SOCKET"]; socket != (network == tokenserver.Unix) {
			t.Errorf("%s: %q", network, env)
		}
		for client, want := range map[string]string{
			"github":    `{"access_token":"canary-7c1fgithub","token_type":"Bearer","expires_at":"2026-11-23T20:00:00Z"}`,
			"a%2Fb%20c": `{"access_token":"canary-7c1fa/b c","token_type":"Bearer","expires_at":"2026-11-23T20:00:00Z"}`,
			"endless":   `{"access_token":"\"<canary-7c1f","token_type":"Bearer"}`,
		} {
			response, body := ask(t, env, client)
			if response.StatusCode != http.StatusOK || body != want+"\n" {
				t.Errorf("%s: %s: got %s %s", network, client, response.Status, body)
			}
			if got := response.Header; got.Get("Cache-Control") != "no-store" || got.Get("Content-Type") != "application/json" || got.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("the header is %v", got)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	runtimeFolder(t)
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, network := range []string{tokenserver.TCP, tokenserver.Unix} {
		env := serve(t, network)
		bearer := env["ROOMENV_TOKEN_AUTHORIZATION"]
		for name, c := range map[string]struct {
			client string
			change func(*http.Request)
			want   int
			text   string
		}{
			"no bearer":      {"github", func(r *http.Request) { r.Header.Del("Authorization") }, 401, "ROOMENV_TOKEN_AUTHORIZATION"},
			"wrong bearer":   {"github", header("Authorization", bearer[:len(bearer)-1]+"?"), 401, ""},
			"part of it":     {"github", header("Authorization", bearer[:len(bearer)-1]), 401, ""},
			"empty bearer":   {"github", header("Authorization", "Bearer "), 401, ""},
			"other scheme":   {"github", header("Authorization", strings.Replace(bearer, "Bearer", "Basic", 1)), 401, ""},
			"POST":           {"github", func(r *http.Request) { r.Method = http.MethodPost }, 405, "use GET"},
			"OPTIONS":        {"github", func(r *http.Request) { r.Method = http.MethodOptions }, 405, ""},
			"no client":      {"", func(*http.Request) {}, 404, "/oauth/CLIENT"},
			"other path":     {"../secret/x", func(*http.Request) {}, 404, ""},
			"unknown client": {"gitlab", func(*http.Request) {}, 404, "get token of gitlab: unknown OAuth client; define it"},
			"away":           {"away", func(*http.Request) {}, 503, "get token of away: unreachable: connection refused"},
			"no text":        {"bytes", func(*http.Request) {}, 503, "the token is not text"},
		} {
			response, body := ask(t, env, c.client, c.change)
			var answer struct{ Error string }
			if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Error == "" {
				t.Errorf("%s: %s: got %q, error %v", network, name, body, err)
			}
			if response.StatusCode != c.want || !strings.Contains(answer.Error, c.text) {
				t.Errorf("%s: %s: got %s %s", network, name, response.Status, body)
			}
			if all := fmt.Sprint(response.Header, body); strings.Contains(all, canary) || strings.Contains(all, strings.TrimPrefix(bearer, "Bearer ")) {
				t.Errorf("%s: %s: shows a secret: %s", network, name, all)
			}
		}
	}
}

// A client is told what to send, and may write the scheme as it likes (RFC 9110
// section 11.1).
func TestHeaders(t *testing.T) {
	env := serve(t, tokenserver.TCP)
	if r, _ := ask(t, env, "github", func(r *http.Request) { r.Header.Del("Authorization") }); r.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("without a bearer: %v", r.Header)
	}
	if r, _ := ask(t, env, "github", func(r *http.Request) { r.Method = http.MethodPost }); r.Header.Get("Allow") != http.MethodGet {
		t.Errorf("POST: %v", r.Header)
	}
	lower := strings.Replace(env["ROOMENV_TOKEN_AUTHORIZATION"], "Bearer", "bearer", 1)
	if r, _ := ask(t, env, "github", func(r *http.Request) { r.Header.Set("Authorization", lower) }); r.StatusCode != http.StatusOK {
		t.Errorf("bearer in lower case: %s", r.Status)
	}
}

// A page cannot get at it by a name that leads to this machine.
func TestHost(t *testing.T) {
	env := serve(t, tokenserver.TCP)
	_, port, _ := net.SplitHostPort(strings.Split(env["ROOMENV_TOKEN_URL"], "/")[2])
	for host, want := range map[string]int{
		"127.0.0.1:" + port:    200,
		"localhost:" + port:    200,
		"evil.example:" + port: 421,
		"127.0.0.1":            421,
		"127.0.0.1:1":          421,
		"192.168.1.1:" + port:  421,
	} {
		if response, body := ask(t, env, "github", func(r *http.Request) { r.Host = host }); response.StatusCode != want {
			t.Errorf("%s: got %s %s", host, response.Status, body)
		}
	}
}

func TestBearers(t *testing.T) {
	a, b := serve(t, tokenserver.TCP), serve(t, tokenserver.TCP)
	const name = "ROOMENV_TOKEN_AUTHORIZATION"
	if a[name] == b[name] || len(a[name]) != len("Bearer ")+43 {
		t.Errorf("bearers of %d and %d characters", len(a[name]), len(b[name]))
	}
	if response, _ := ask(t, a, "github", func(r *http.Request) { r.Header.Set("Authorization", b[name]) }); response.StatusCode != 401 {
		t.Errorf("the bearer of another endpoint: %s", response.Status)
	}
}

// The command line of docs/status.md, with both networks.
func TestCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	runtimeFolder(t)
	for _, network := range []string{tokenserver.TCP, tokenserver.Unix} {
		cmd := exec.Command("sh", "-c", `curl -fsS --noproxy '*' ${ROOMENV_TOKEN_SOCKET:+--unix-socket "$ROOMENV_TOKEN_SOCKET"} \
			-H "Authorization: $ROOMENV_TOKEN_AUTHORIZATION" "${ROOMENV_TOKEN_URL}github"`)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		for name, value := range serve(t, network) {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), `"access_token":"canary-7c1fgithub"`) {
			t.Errorf("%s: %s, error %v", network, out, err)
		}
	}
}

func TestSocket(t *testing.T) {
	dir := runtimeFolder(t)
	s, err := tokenserver.Serve(tokenserver.Unix, source, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	found, _ := filepath.Glob(filepath.Join(dir, "roomenv", "*", "*"))
	if len(found) != 1 {
		t.Fatalf("there are %q", found)
	}
	if info, err := os.Lstat(found[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, error %v", info, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "roomenv", "*")); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
}

// The command of another user gets to the socket.
func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("takes root to be another user")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	if err := os.Chmod(runtimeFolder(t), 0o711); err != nil {
		t.Fatal(err)
	}
	owner := &syscall.Credential{Uid: 65534, Gid: 65534}
	s, err := tokenserver.Serve(tokenserver.Unix, source, owner, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for uid, want := range map[uint32]bool{65534: true, 65533: false} {
		cmd := exec.Command("sh", "-c", `curl -fsS --unix-socket "$ROOMENV_TOKEN_SOCKET" -H "Authorization: $ROOMENV_TOKEN_AUTHORIZATION" "${ROOMENV_TOKEN_URL}github"`)
		cmd.Env = append(s.Environ(), "PATH="+os.Getenv("PATH"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if got := strings.Contains(string(out), canary); got != want {
			t.Errorf("user %d: %s, error %v", uid, out, err)
		}
	}
}

func TestConcurrent(t *testing.T) {
	env := serve(t, tokenserver.TCP)
	var asking sync.WaitGroup
	for range 200 {
		asking.Go(func() {
			if response, _ := ask(t, env, "github"); response.StatusCode != http.StatusOK {
				t.Error(response.Status)
			}
		})
	}
	asking.Wait()
}

// The context of a source ends when the server closes, or the client disconnects.
func TestWaits(t *testing.T) {
	waiting, ended := make(chan struct{}), make(chan error)
	s, err := tokenserver.Serve(tokenserver.TCP, func(ctx context.Context, _ string) (secret.Value, time.Time, error) {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > time.Minute {
			t.Errorf("the source has until %v, %t", deadline, ok)
		}
		waiting <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return secret.Value{}, time.Time{}, ctx.Err()
	}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	get := func(ctx context.Context) {
		env := make(map[string]string)
		for _, v := range s.Environ() {
			name, value, _ := strings.Cut(v, "=")
			env[name] = value
		}
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, env[tokenserver.URLVariable]+"x", nil)
		request.Header.Set("Authorization", env[tokenserver.AuthorizationVariable])
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		if response, err := client.Do(request); err == nil {
			response.Body.Close()
		}
	}
	var asking sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	asking.Go(func() { get(ctx) })
	within(t, "the source is asked", waiting)
	cancel()
	within(t, "the context of the one who left ends", ended)
	asking.Go(func() { get(t.Context()) })
	within(t, "the source is asked", waiting)
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	within(t, "the context of a closed server ends", ended)
	if err := within(t, "Close returns", closed); err != nil {
		t.Error(err)
	}
	asking.Wait()
}

// within receives from a channel, on which something comes soon.
func within[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("timed out before %s", what)
		panic("not reached")
	}
}

func TestNetworks(t *testing.T) {
	_, err := tokenserver.Serve("udp", source, nil, nil)
	if want := "serve tokens: unknown network \"udp\": want tcp or unix"; err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
}
