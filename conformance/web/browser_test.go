package web_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/roomenv/roomenv/internal/approval"
	"github.com/roomenv/roomenv/internal/approvalweb"
	"github.com/roomenv/roomenv/secret"
)

// room takes what is answered.
type room struct {
	mu      sync.Mutex
	answers []string
	err     error
}

func (r *room) took(words ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	r.answers = append(r.answers, strings.Join(words, " "))
	return nil
}

func (r *room) Provide(_ context.Context, id string, v secret.Value) error {
	return r.took("provide", id, string(v.Reveal()))
}
func (r *room) Reject(_ context.Context, id, reason string) error {
	return r.took("reject", id, reason)
}
func (r *room) ProvideAuthorization(_ context.Context, id string, code secret.Value) error {
	return r.took("authorize", id, string(code.Reveal()))
}
func (r *room) RejectAuthorization(_ context.Context, id, reason string) error {
	return r.took("decline", id, reason)
}

func (r *room) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.answers) == 0 {
		return ""
	}
	return r.answers[len(r.answers)-1]
}

// serve serves the page of an inbox, and returns its link.
func serve(t *testing.T) (*approval.Inbox, string) {
	inbox := new(approval.Inbox)
	page := approvalweb.New(approvalweb.Config{Inbox: inbox, Identity: "alice", Room: "demo"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- page.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		inbox.Close()
	})
	return inbox, "http://" + l.Addr().String() + page.Path()
}

// allocator is one browser for all tests.
var allocator context.Context

func TestMain(m *testing.M) {
	path := os.Getenv("CHROMIUM")
	if path == "" {
		path, _ = exec.LookPath("chromium")
	}
	if path == "" {
		println("there is no chromium: set CHROMIUM to its path, or use conformance/web/run")
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "roomenv-web")
	if err != nil {
		panic(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.UserDataDir(dir), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true))
	base, end := chromedp.NewExecAllocator(context.Background(), options...)
	browser, quit := chromedp.NewContext(base)
	if err := chromedp.Do(browser); err != nil {
		println("cannot start", path, err.Error())
		os.Exit(1)
	}
	allocator = browser
	code := m.Run()
	quit()
	end()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// open opens a tab with cookies of its own, of a size in CSS pixels, at url.
// What the browser complains of, such as a violation of the content security
// policy, fails the test.
func open(t *testing.T, url string, width, height int64) context.Context {
	t.Helper()
	return openTab(t, url, width, height, true)
}

// openLax is for what the browser may complain of, such as a status of 422.
func openLax(t *testing.T, url string, width, height int64) context.Context {
	t.Helper()
	return openTab(t, url, width, height, false)
}

func openTab(t *testing.T, url string, width, height int64, strict bool) context.Context {
	t.Helper()
	ctx, end := chromedp.NewContext(allocator, chromedp.WithNewBrowserContext())
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	t.Cleanup(cancel)
	messages := chromedp.Console(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for m, err := range messages {
			if err != nil {
				return
			}
			if strict && (m.IsException() || m.Type == "error" || m.Type == "warning") {
				t.Errorf("the browser says: %s %s", m.Text, m.URL)
			}
		}
	}()
	t.Cleanup(func() { end(); <-read })
	do(t, ctx, chromedp.EmulateViewport(width, height, mobile(width < 600)), chromedp.Navigate(url))
	return ctx
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

func mobile(yes bool) chromedp.EmulateViewportOption {
	return func(p *emulation.SetDeviceMetricsOverrideParams, _ *emulation.SetTouchEmulationEnabledParams) {
		p.Mobile = yes
	}
}

func secretOf(s string) secret.Value { return secret.New([]byte(s)) }

// free is an address where nobody listens.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// css is a selector.
type css = chromedp.CSS

// colors is what prefers-color-scheme says: light or dark.
func colors(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	})
}

// shot saves what the tab shows, in the folder that SCREENSHOTS names.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err = errors.Join(err, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)); err != nil {
		t.Error(err)
	}
}
