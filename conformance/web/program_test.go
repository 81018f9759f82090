package web_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// roomenv returns the program as an identity in one local room, for this test
// only. It is the one that ROOMENV names, or that of this tree.
func roomenv(t *testing.T) func(identity string, args ...string) *exec.Cmd {
	t.Helper()
	program := os.Getenv("ROOMENV")
	if program == "" {
		program = filepath.Join(t.TempDir(), "roomenv")
		if out, err := exec.Command("go", "build", "-C", "../..", "-o", program, "./cmd/roomenv").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	data := t.TempDir()
	return func(identity string, args ...string) *exec.Cmd {
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), "ROOMENV_DATA="+data, "ROOMENV_IDENTITY="+identity)
		cmd.Stderr = os.Stderr
		return cmd
	}
}

// The whole way, with nothing but the program: an agent asks, alice answers in
// her browser, the agent gets what she gave.
func TestProgram(t *testing.T) {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "at-" + r.PostFormValue("code"), "token_type": "Bearer", "expires_in": 3600})
			return
		}
		back := url.Values{"code": {"c0de"}, "state": {r.URL.Query().Get("state")}}
		http.Redirect(w, r, r.URL.Query().Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	}))
	t.Cleanup(provider.Close)

	as := roomenv(t)
	page := as("alice", "requests", "--web")
	stdout, err := page.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := page.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = page.Process.Signal(syscall.SIGTERM)
		if err := page.Wait(); err != nil {
			t.Errorf("the page ends with %v", err)
		}
	})
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	link, ok := strings.CutPrefix(strings.TrimSpace(line), "open ")
	if !ok {
		t.Fatalf("the program prints %q", line)
	}
	tab := open(t, link, 1100, 900)
	do(t, tab, chromedp.WaitVisible(css("#empty")))

	got := run(as("agent", "secret", "request", "--from", "alice", "--url", "https://stripe.com", "--type", "text/plain"))
	do(t, tab, chromedp.WaitVisible(css("article")), chromedp.SendKeys(css(`article input[type="password"]`), "sk_live_1"), chromedp.Click(css("article button")))
	if g := <-got; g != "sk_live_1" {
		t.Errorf("the agent gets %q", g)
	}

	got = run(as("agent", "oauth", "request", "demo", "--from", "alice", "--client-id", "cli",
		"--authorization-endpoint", provider.URL+"/authorize", "--token-endpoint", provider.URL+"/token",
		"--redirect-uri", "http://"+free(t)+"/callback"))
	opened := chromedp.WaitNewTarget(tab, func(i *target.Info) bool { return i.URL != "" })
	do(t, tab, chromedp.WaitVisible(css("article .button")), chromedp.Click(css("article .button")))
	consent, end := chromedp.NewContext(tab, chromedp.WithTargetID(<-opened))
	defer end()
	do(t, consent, chromedp.WaitVisible(css("h1")))
	if said := text(t, consent, "h1"); said != "Authorized" {
		t.Errorf("the provider's tab says %q", said)
	}
	if g := <-got; g != "at-c0de\n" {
		t.Errorf("the agent gets %q", g)
	}
}

// run sends what cmd prints.
func run(cmd *exec.Cmd) <-chan string {
	got := make(chan string, 1)
	go func() {
		out, err := cmd.Output()
		if err != nil {
			out = append(out, err.Error()...)
		}
		got <- string(out)
	}()
	return got
}
