package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/roomenv/roomenv/internal/approval"
)

var (
	stripe = approval.Request{ID: "1", Kind: approval.Secret, From: "agent", StoredFor: "agent", URL: "https://stripe.com", Type: "text/plain"}
	git    = approval.Request{ID: "2", Kind: approval.Secret, From: "builder", StoredFor: "builder", URL: "https://git.example.com/platform/payments.git", Type: approval.Git}
	github = approval.Request{
		ID: "3", Kind: approval.OAuth, From: "agent", StoredFor: "agent",
		AuthorizationEndpoint: "https://github.com/login/oauth/authorize", TokenEndpoint: "https://github.com/login/oauth/access_token", ClientID: "Iv1.abc", Scopes: []string{"repo", "read:org"},
		RedirectURI: "http://127.0.0.1:8765/callback", Challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
	}
	long = approval.Request{ID: "4", Kind: approval.Secret, URL: "secret://" + strings.Repeat("a-name-that-does-not-want-to-end/", 4), Type: "application/octet-stream"}
)

func add(t *testing.T, inbox *approval.Inbox, r *room, requests ...approval.Request) {
	t.Helper()
	for _, q := range requests {
		if err := inbox.Add(q, 5*time.Minute, r); err != nil {
			t.Fatal(err)
		}
	}
}

func text(t *testing.T, ctx context.Context, selector css) string {
	t.Helper()
	got, err := chromedp.Run(ctx, chromedp.Text(selector))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func evaluate[T any](t *testing.T, ctx context.Context, script string) T {
	t.Helper()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return got
}

// What is asked appears by itself, and what is answered goes to the room.
func TestAnswers(t *testing.T) {
	inbox, link := serve(t)
	r := new(room)
	tab := open(t, link, 1100, 900)
	do(t, tab, chromedp.WaitVisible(css("#empty")), chromedp.WaitVisible(css("#live")))
	shot(t, tab, "empty")
	add(t, inbox, r, stripe, git, github)
	do(t, tab, chromedp.WaitVisible(css("#r-3")))
	shot(t, tab, "pending")
	if news := text(t, tab, "#news"); !strings.Contains(news, "a secret for https://stripe.com") {
		t.Errorf("a screen reader hears %q", news)
	}
	if title := evaluate[string](t, tab, "document.title"); title != "(3) Requests – demo" {
		t.Errorf("the title is %q", title)
	}

	do(t, tab, chromedp.SendKeys(css("#v-1"), "sk_live_1"), chromedp.Click(css("#r-1 button")), chromedp.WaitVisible(css("#ended #r-1")))
	if r.last() != "provide 1 sk_live_1" {
		t.Errorf("the room was told %q", r.last())
	}
	do(t, tab, chromedp.SendKeys(css("#u-2"), "me"), chromedp.SendKeys(css("#v-2"), "pw"), chromedp.Click(css("#r-2 button")), chromedp.WaitVisible(css("#ended #r-2")))
	if r.last() != `provide 2 {"username":"me","password":"pw"}` {
		t.Errorf("the room was told %q", r.last())
	}
	add(t, inbox, r, long)
	do(t, tab, chromedp.WaitVisible(css("#r-4")), chromedp.Click(css("#r-4 > details summary")), chromedp.SendKeys(css("#n-4"), "not mine"))
	shot(t, tab, "answered")
	do(t, tab, chromedp.Click(css("#r-4 .no")), chromedp.WaitVisible(css("#ended #r-4")))
	if r.last() != "reject 4 not mine" {
		t.Errorf("the room was told %q", r.last())
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, []byte("line one\nline two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := stripe
	again.ID = "5"
	add(t, inbox, r, again)
	do(t, tab, chromedp.WaitVisible(css("#r-5")), chromedp.SetUploadFiles(css("#f-5"), []string{file}), chromedp.Click(css("#r-5 button")), chromedp.WaitVisible(css("#ended #r-5")))
	if r.last() != "provide 5 line one\nline two\n" {
		t.Errorf("the room was told %q", r.last())
	}
}

// What someone is typing survives what else happens, focus and all.
func TestTyping(t *testing.T) {
	inbox, link := serve(t)
	r := new(room)
	add(t, inbox, r, stripe, git)
	tab := open(t, link, 1100, 900)
	do(t, tab, chromedp.WaitVisible(css("#live")), chromedp.SendKeys(css("#u-2"), "half"))
	add(t, inbox, r, long)
	do(t, tab, chromedp.WaitVisible(css("#r-4")))
	if err := inbox.Reject(tab, "1", "in the terminal"); err != nil {
		t.Fatal(err)
	}
	do(t, tab, chromedp.WaitVisible(css("#ended #r-1")), chromedp.KeyEvent(" typed"))
	if got := evaluate[string](t, tab, `document.activeElement.id + ": " + document.activeElement.value`); got != "u-2: half typed" {
		t.Errorf("the focus is at %q", got)
	}
}

// An answer that fails is said where it failed, and can be given again.
func TestFailure(t *testing.T) {
	inbox, link := serve(t)
	r := &room{err: fmt.Errorf("the connection was lost")}
	add(t, inbox, r, stripe)
	tab := openLax(t, link, 1100, 900)
	do(t, tab, chromedp.WaitVisible(css("#live")), chromedp.SendKeys(css("#v-1"), "x"), chromedp.Click(css("#r-1 button")), chromedp.WaitVisible(css("#p-1")))
	shot(t, tab, "failed")
	if got := text(t, tab, "#p-1"); got != "the connection was lost" {
		t.Errorf("the page says %q", got)
	}
	r.mu.Lock()
	r.err = nil
	r.mu.Unlock()
	do(t, tab, chromedp.SendKeys(css("#v-1"), "x"), chromedp.Click(css("#r-1 button")), chromedp.WaitVisible(css("#ended #r-1")))
}

// All that a keyboard needs, in the order of the page.
func TestKeyboard(t *testing.T) {
	inbox, link := serve(t)
	r := new(room)
	add(t, inbox, r, stripe, github)
	tab := open(t, link, 1100, 900)
	do(t, tab, chromedp.WaitVisible(css("#live")))
	var order []string
	for range 7 {
		do(t, tab, chromedp.KeyEvent("\t"))
		order = append(order, evaluate[string](t, tab, `document.activeElement.id || document.activeElement.textContent.trim()`))
	}
	want := []string{"v-1", "Provide", "f-1", "Reject", "Sign in at github.com (opens a new tab)", "The browser runs on a different machine", "Reject"}
	if !slices.Equal(order, want) {
		t.Errorf("Tab goes to %q", order)
	}
	do(t, tab, chromedp.Focus(css("#v-1")), chromedp.KeyEvent("sk\r"), chromedp.WaitVisible(css("#ended #r-1")))
	if got := evaluate[string](t, tab, "document.activeElement.id"); got != "r-1" {
		t.Errorf("after the answer the focus is at %q", got)
	}
}

// Everything that can be used has a name that a screen reader says.
func TestNames(t *testing.T) {
	inbox, link := serve(t)
	add(t, inbox, new(room), stripe, git, github)
	tab := open(t, link, 1100, 900)
	do(t, tab, chromedp.WaitVisible(css("#live")))
	evaluate[int](t, tab, `document.querySelectorAll("details").forEach((d) => { d.open = true; }), 1`)
	nodes, err := chromedp.Run(tab, func(ctx context.Context, target *chromedp.Target) ([]*accessibility.Node, error) {
		tree, err := cdp.Call(ctx, target, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
		return tree.Nodes, err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string][]string)
	for _, n := range nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		name := ""
		if n.Name != nil {
			name = strings.Trim(string(n.Name.Value), `"`)
		}
		role := strings.Trim(string(n.Role.Value), `"`)
		names[role] = append(names[role], name)
	}
	for _, role := range []string{"textbox", "button", "link", "article", "region", "heading"} {
		if len(names[role]) == 0 || slices.Contains(names[role], "") {
			t.Errorf("%ss are named %q", role, names[role])
		}
	}
	for _, want := range []string{"User name", "Value", "Password or token"} {
		if !slices.Contains(names["textbox"], want) {
			t.Errorf("no field is named %q but %q", want, names["textbox"])
		}
	}
}

// Nothing is wider than a phone, in either colour scheme.
func TestPhone(t *testing.T) {
	inbox, link := serve(t)
	r := new(room)
	add(t, inbox, r, stripe, git, github, long)
	tab := open(t, link, 360, 740)
	do(t, tab, chromedp.WaitVisible(css("#live")), chromedp.Click(css("#r-4 > details summary")))
	if err := inbox.Reject(tab, "1", "I do not have access to this, ask bob"); err != nil {
		t.Fatal(err)
	}
	do(t, tab, chromedp.WaitVisible(css("#ended #r-1")))
	for _, scheme := range []string{"light", "dark"} {
		do(t, tab, colors(scheme))
		if width := evaluate[int](t, tab, "document.documentElement.scrollWidth"); width > 360 {
			t.Errorf("the page is %d pixels wide", width)
		}
		shot(t, tab, "phone-"+scheme)
	}
	small := evaluate[[]string](t, tab, `[...document.querySelectorAll("button, a.button, input")].filter((e) => e.checkVisibility() && e.type !== "file" && e.getBoundingClientRect().height < 44).map((e) => e.outerHTML)`)
	if len(small) > 0 {
		t.Errorf("too small for a finger: %q", small)
	}
}

// Text is readable: WCAG's 4.5:1 between each text and what is behind it.
func TestContrast(t *testing.T) {
	inbox, link := serve(t)
	r := new(room)
	add(t, inbox, r, stripe, git, github)
	tab := open(t, link, 1100, 900)
	do(t, tab, chromedp.WaitVisible(css("#live")))
	if err := inbox.Provide(tab, "1", secretOf("x")); err != nil {
		t.Fatal(err)
	}
	do(t, tab, chromedp.WaitVisible(css("#ended #r-1")))
	for _, scheme := range []string{"light", "dark"} {
		do(t, tab, colors(scheme))
		if low := evaluate[[]string](t, tab, contrast); len(low) > 0 {
			t.Errorf("%s: hard to read: %q", scheme, low)
		}
	}
}

const contrast = `(() => {
  const parse = (c) => c.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    if (!e.checkVisibility() || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) low.push(e.textContent.trim() + " " + ratio.toFixed(2));
  }
  return low;
})()`

func TestWithoutScript(t *testing.T) {
	inbox, link := serve(t)
	r := new(room)
	add(t, inbox, r, stripe, git)
	tab := open(t, "about:blank", 1100, 900)
	do(t, tab, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}), chromedp.Navigate(link), chromedp.WaitVisible(css("#r-1")))
	shot(t, tab, "without-script")
	do(t, tab, chromedp.SendKeys(css("#v-1"), "sk"), chromedp.Click(css("#r-1 button")), chromedp.WaitVisible(css("#ended #r-1")))
	if r.last() != "provide 1 sk" {
		t.Errorf("the room was told %q", r.last())
	}
	do(t, tab, chromedp.Click(css("#r-2 > details summary")), chromedp.SendKeys(css("#n-2"), "no"), chromedp.Click(css("#r-2 .no")), chromedp.WaitVisible(css("#ended #r-2")))
	// With nothing to type into, the page looks by itself.
	add(t, inbox, r, long)
	do(t, tab, chromedp.WaitVisible(css("#r-4")))
}

// The button opens the provider's page in a tab of its own; the redirect is
// caught, and the page that was left open shows the result.
func TestOAuth(t *testing.T) {
	var asked url.Values
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query()
		back := url.Values{"code": {"c0de"}, "state": {asked.Get("state")}}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><title>Provider</title><link rel="icon" href="data:,"><a id="allow" href="%s?%s">Allow</a>`, asked.Get("redirect_uri"), strings.ReplaceAll(back.Encode(), "&", "&amp;"))
	}))
	t.Cleanup(provider.Close)
	inbox, link := serve(t)
	r := new(room)
	q := github
	q.AuthorizationEndpoint = provider.URL + "/authorize"
	q.RedirectURI = "http://" + free(t) + "/callback"
	add(t, inbox, r, q)
	tab := open(t, link, 1100, 900)
	do(t, tab, chromedp.WaitVisible(css("#live")))
	opened := chromedp.WaitNewTarget(tab, func(i *target.Info) bool { return i.URL != "" })
	do(t, tab, chromedp.Click(css("#r-3 .button")))
	consent, end := chromedp.NewContext(tab, chromedp.WithTargetID(<-opened))
	defer end()
	do(t, consent, chromedp.WaitVisible(css("#allow")), chromedp.Click(css("#allow")), chromedp.WaitVisible(css("h1")))
	if got := text(t, consent, "h1"); got != "Authorized" {
		t.Errorf("the provider's tab says %q", got)
	}
	shot(t, consent, "caught")
	do(t, tab, chromedp.WaitVisible(css("#ended #r-3")))
	shot(t, tab, "authorized")
	if got := text(t, tab, "#r-3 .outcome"); got != "Authorized" || r.last() != "authorize 3 c0de" {
		t.Errorf("the page says %q, the room was told %q", got, r.last())
	}
	if asked.Get("code_challenge") != q.Challenge || asked.Get("code_challenge_method") != "S256" || asked.Get("scope") != "repo read:org" {
		t.Errorf("the provider was asked %v", asked)
	}
}

// Texts of others do nothing on the page but stand there.
func TestMarkup(t *testing.T) {
	inbox, link := serve(t)
	evil := `"><img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
	r := new(room)
	add(t, inbox, r, approval.Request{ID: "1", Kind: approval.Secret, From: evil, StoredFor: evil, URL: evil, Type: evil})
	tab := open(t, link, 1100, 900)
	do(t, tab, chromedp.WaitVisible(css("#live")))
	add(t, inbox, r, approval.Request{ID: "2", Kind: approval.Secret, From: evil, StoredFor: evil, URL: evil, Type: evil})
	do(t, tab, chromedp.WaitVisible(css("#r-2")))
	if title := evaluate[string](t, tab, "document.title"); title != "(2) Requests – demo" {
		t.Errorf("the title is %q", title)
	}
	if got := text(t, tab, "#t-2"); got != evil {
		t.Errorf("the page shows %q", got)
	}
}
