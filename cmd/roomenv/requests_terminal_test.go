package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// person is someone at a terminal.
type person struct {
	t    *testing.T
	tty  *os.File
	cmd  *exec.Cmd
	grew chan struct{}

	mu   sync.Mutex
	seen bytes.Buffer
	read int // how much of it was expected already
}

// alone is a local room, for this test only.
func alone(t *testing.T) func(identity string, args ...string) *exec.Cmd {
	data := t.TempDir()
	return func(identity string, args ...string) *exec.Cmd {
		cmd := exec.Command("roomenv", args...)
		cmd.Env = append(os.Environ(), "ROOMENV_DATA="+data, "ROOMENV_IDENTITY="+identity)
		return cmd
	}
}

func sit(t *testing.T, cmd *exec.Cmd) *person {
	t.Helper()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, tty: tty, cmd: cmd, grew: make(chan struct{}, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer := make([]byte, 4096)
		for {
			n, err := tty.Read(buffer)
			p.mu.Lock()
			p.seen.Write(buffer[:n])
			p.mu.Unlock()
			select {
			case p.grew <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = tty.Close()
		<-ended
	})
	return p
}

var control = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|\r`)

func (p *person) screen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return control.ReplaceAllString(p.seen.String(), "")
}

// expects waits until text appears after all that was expected before, and
// returns the line that it is in.
func (p *person) expects(text string) string {
	p.t.Helper()
	deadline := time.After(waitLimit)
	for {
		screen := p.screen()
		if at := strings.Index(screen[p.read:], text); at >= 0 {
			start := p.read + at
			p.read = start + len(text)
			line, _, _ := strings.Cut(screen[start:], "\n")
			return line
		}
		select {
		case <-p.grew:
		case <-deadline:
			p.t.Fatalf("%q does not appear in\n%s", text, screen[p.read:])
		}
	}
}

func (p *person) types(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.tty, text); err != nil {
		p.t.Fatal(err)
	}
}

// asked is a command that waits for an answer.
type asked struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

func asks(t *testing.T, cmd *exec.Cmd) *asked {
	t.Helper()
	a := &asked{t: t, cmd: cmd}
	cmd.Stdout, cmd.Stderr = &a.stdout, &a.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return a
}

func (a *asked) gets(want string) {
	a.t.Helper()
	if err := a.cmd.Wait(); err != nil || a.stdout.String() != want {
		a.t.Errorf("it gets %q, %v: %s", a.stdout.String(), err, a.stderr.String())
	}
}

func (a *asked) fails(want string) {
	a.t.Helper()
	if err := a.cmd.Wait(); err == nil || !strings.Contains(a.stderr.String(), want) {
		a.t.Errorf("it ends with %v: %s", err, a.stderr.String())
	}
}

func TestAnswersInATerminal(t *testing.T) {
	t.Parallel()
	roomenv := alone(t)
	alice := sit(t, roomenv("alice", "requests"))
	alice.expects("waiting for requests to alice in the room default")
	request := func(url, typ string) *asked {
		return asks(t, roomenv("agent", "secret", "request", "--from", "alice", "--url", url, "--type", typ))
	}

	first := request("https://stripe.com", "text/plain")
	alice.expects("agent asks for a secret")
	alice.expects("https://stripe.com: [p]rovide")
	// Another one arrives while she is asked: it is shown, above the prompt.
	second := request("https://git.example.com", "git")
	alice.expects("agent asks for a user name and a password")
	alice.types("p\r")
	alice.expects("value (hidden): ")
	alice.types("sk_live_1\r")
	alice.expects("https://stripe.com: provided")
	first.gets("sk_live_1")

	alice.expects("https://git.example.com: [p]rovide")
	alice.types("p\r")
	alice.expects("user name: ")
	alice.types("me\r")
	alice.expects("password (hidden): ")
	alice.types("pa55\r")
	second.gets(`{"username":"me","password":"pa55"}`)

	third := request("https://a.example", "text/plain")
	alice.expects("https://a.example: [p]rovide")
	alice.types("c\r")
	alice.expects("command: ")
	alice.types("exit 4\r")
	alice.expects("exit status 4")
	alice.expects("https://a.example: [p]rovide")
	alice.types("c\r")
	alice.types("printf '%s\\n' of-a-command\r")
	third.gets("of-a-command")

	fourth := request("https://b.example", "text/plain")
	alice.expects("https://b.example: [p]rovide")
	alice.types("l\r")
	alice.expects("(Enter: show postponed requests")
	alice.types("\r")
	alice.expects("https://b.example: [p]rovide")
	alice.types("r\r")
	alice.expects("reason: ")
	alice.types("ask bob\r")
	fourth.fails("ask bob")

	fifth, sixth := request("https://c.example", "text/plain"), request("https://d.example", "text/plain")
	alice.expects(".example: [p]rovide, from a [f]ile or a [c]ommand, [r]eject, [m]ute, [l]ater? ")
	alice.types("m\r")
	alice.expects("muted agent: its requests are rejected until roomenv exits")
	fifth.fails(": rejected: rejected")
	sixth.fails(": rejected: rejected")
	request("https://e.example", "text/plain").fails(": rejected: rejected")

	alice.expects("(Ctrl-C: exit)")
	alice.types("\x03")
	if err := alice.cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	for _, typed := range []string{"sk_live_1", "pa55"} {
		if strings.Contains(alice.screen(), typed) {
			t.Errorf("%s is on the screen", typed)
		}
	}
}

// A request that ends while its prompt is there gives way to the next.
func TestEndsAtThePrompt(t *testing.T) {
	t.Parallel()
	roomenv := alone(t)
	alice := sit(t, roomenv("alice", "requests", "--once"))
	alice.expects("waiting for requests")
	first := asks(t, roomenv("agent", "secret", "request", "--from", "alice", "--url", "https://stripe.com", "--timeout", "2s"))
	alice.expects("https://stripe.com: [p]rovide")
	alice.expects("https://stripe.com: expired")
	first.fails("did not answer within 2s")
	if err := alice.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A signal ends a conversation, and the terminal is as it was.
func TestTerminalIsGivenBack(t *testing.T) {
	t.Parallel()
	other, tty, err := pty.Open() // alice may have changed hers by now
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	defer tty.Close()
	before, err := term.GetState(int(other.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	alice := sit(t, alone(t)("alice", "requests"))
	alice.expects("(Ctrl-C: exit)")
	if reflect.DeepEqual(alice.mode(), before) {
		t.Error("the terminal is not in raw mode")
	}
	_ = alice.cmd.Process.Signal(syscall.SIGTERM)
	if err := alice.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if !reflect.DeepEqual(alice.mode(), before) {
		t.Error("the terminal is not given back")
	}
}

func (p *person) mode() *term.State {
	p.t.Helper()
	state, err := term.GetState(int(p.tty.Fd()))
	if err != nil {
		p.t.Fatal(err)
	}
	return state
}

func TestSignsInFromATerminal(t *testing.T) {
	t.Parallel()
	roomenv := alone(t)
	provider, redirect := newProvider(t), freeAddress(t)
	alice := sit(t, roomenv("alice", "requests"))
	alice.expects("waiting for requests")
	agent := asks(t, roomenv("agent", "oauth", "request", "demo", "--from", "alice", "--client-id", "cli", "--scopes", "repo,user",
		"--authorization-endpoint", provider.URL+"/authorize", "--token-endpoint", provider.URL+"/token",
		"--redirect-uri", "http://"+redirect+"/callback"))
	alice.expects("agent asks you to sign in at " + strings.TrimPrefix(provider.URL, "http://"))
	alice.expects("sign-in page " + provider.URL + "/authorize")
	alice.expects("token from   " + provider.URL + "/token")
	alice.expects("redirect to  http://" + redirect + "/callback (roomenv listens on port ")
	alice.expects("scopes       repo user")
	alice.expects("[s]ign in")
	// Nothing listens before she agrees.
	if conn, err := net.Dial("tcp", redirect); err == nil {
		conn.Close()
		t.Error("the port of the redirect is in use")
	}
	alice.types("s\r")
	line := alice.expects("open http")
	address, err := url.Parse(strings.TrimPrefix(line, "open "))
	if err != nil {
		t.Fatal(err)
	}
	if got := address.Query().Get("scope"); got != "repo user" {
		t.Errorf("the provider is asked for %q", got)
	}
	// The browser signs in, and is sent back to the loopback listener.
	answer, err := http.Get(address.String())
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK || !strings.Contains(string(page), "Authorized") {
		t.Errorf("the browser ends at %s: %s", answer.Status, page)
	}
	alice.expects("127.0.0.1")
	agent.gets("at-1\n")
}

// freeAddress is where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// While exec waits for someone the terminal says so, in a line that is gone
// when the child begins.
func TestExecWaitsInATerminal(t *testing.T) {
	t.Parallel()
	roomenv := alone(t)
	exec := roomenv("agent", "exec", "--", "sh", "-c", `echo "the child got $KEY"`)
	exec.Env = append(exec.Env, "KEY=room:request/alice?url=https://stripe.com&type=text/plain")
	agent := sit(t, exec)
	agent.expects("roomenv: waiting for alice to join the room, 5m0s left")
	agent.expects("roomenv: waiting for alice to join the room, 4m5") // redrawn
	alice := sit(t, roomenv("alice", "requests", "--once"))
	alice.expects("https://stripe.com: [p]rovide")
	alice.types("p\r")
	alice.expects("(hidden): ")
	alice.types("sk_live_1\r")
	agent.expects("the child got sk_live_1")
	if err := agent.cmd.Wait(); err != nil {
		t.Error(err)
	}
	agent.mu.Lock()
	defer agent.mu.Unlock()
	before, _, _ := strings.Cut(agent.seen.String(), "the child got")
	if !strings.HasSuffix(before, "\r\x1b[K") || strings.Contains(before, "\n") {
		t.Errorf("the child begins after %q", before)
	}
}
