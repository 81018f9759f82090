package approvalweb_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/internal/approval"
	"github.com/roomenv/roomenv/internal/approvalweb"
	"github.com/roomenv/roomenv/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fakeRoom struct {
	mu   sync.Mutex
	said string
}

func (r *fakeRoom) took(words ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = strings.Join(words, " ")
	return nil
}

func (r *fakeRoom) Provide(_ context.Context, id string, v secret.Value) error {
	return r.took("provide", id, string(v.Reveal()))
}

func (r *fakeRoom) Reject(_ context.Context, id, reason string) error {
	return r.took("reject", id, reason)
}

func (r *fakeRoom) ProvideAuthorization(_ context.Context, id string, code secret.Value) error {
	return r.took("authorize", id, string(code.Reveal()))
}

func (r *fakeRoom) RejectAuthorization(_ context.Context, id, reason string) error {
	return r.took("decline", id, reason)
}

// A visitor is a browser without scripts.
type visitor struct {
	t      *testing.T
	client *http.Client
	base   string // of the server
	page   string // path of the page
}

// visit serves an inbox. The visitor has not used the link.
func visit(t *testing.T) (*approval.Inbox, *fakeRoom, *visitor, string) {
	t.Helper()
	inbox := new(approval.Inbox)
	page := approvalweb.New(approvalweb.Config{Inbox: inbox, Identity: "alice", Room: "demo"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- page.Serve(ctx, l) }()
	v := newVisitor(t, "http://"+l.Addr().String())
	v.page, _, _ = strings.Cut(page.Path(), "enter/")
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		inbox.Close()
	})
	return inbox, new(fakeRoom), v, page.Path()
}

func newVisitor(t *testing.T, base string) *visitor {
	jar, _ := cookiejar.New(nil)
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t, &http.Client{
		Jar:           jar,
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, base, "/"}
}

func (v *visitor) do(method, path string, body io.Reader, header http.Header) (*http.Response, string) {
	v.t.Helper()
	r, err := http.NewRequest(method, v.base+path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	if header != nil {
		r.Header = header
		r.Host = header.Get("Host")
	}
	answer, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer, string(b)
}

func (v *visitor) get(path string) (int, string) {
	v.t.Helper()
	answer, body := v.do(http.MethodGet, path, nil, nil)
	return answer.StatusCode, body
}

func (v *visitor) post(path string, form url.Values) (int, string) {
	v.t.Helper()
	answer, body := v.do(http.MethodPost, path, strings.NewReader(form.Encode()),
		http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}})
	return answer.StatusCode, body
}

func (v *visitor) enter(link string) {
	v.t.Helper()
	if status, body := v.get(link); status != http.StatusOK {
		v.t.Fatalf("the link: status %d: %s", status, body)
	}
}

func add(t *testing.T, i *approval.Inbox, r approval.Request, room approval.Room) {
	t.Helper()
	if err := i.Add(r, time.Minute, room); err != nil {
		t.Fatal(err)
	}
}

var stripe = approval.Request{ID: "1", Kind: approval.Secret, From: "agent", StoredFor: "agent", URL: "https://stripe.com", Type: "text/plain"}

func TestLinkWorksOnce(t *testing.T) {
	inbox, room, v, link := visit(t)
	add(t, inbox, stripe, room)
	for _, path := range []string{"/", v.page, v.page + "events", v.page + "requests/1/consent", v.page + "enter/", v.page + "enter/guess", "/nothing"} {
		if status, body := v.get(path); status == http.StatusOK || strings.Contains(body, "stripe") {
			t.Errorf("%s without the link: status %d", path, status)
		}
	}
	if status, _ := v.post(v.page+"requests/1/provide", url.Values{"value": {"x"}}); status != http.StatusForbidden || room.said != "" {
		t.Errorf("an answer without the link: status %d", status)
	}
	v.enter(link)
	if status, body := v.get(v.page); status != http.StatusOK || !strings.Contains(body, "https://stripe.com") {
		t.Errorf("status %d: %s", status, body)
	}
	v.enter(link) // once more, with the cookie
	other := newVisitor(t, v.base)
	if status, body := other.get(link); status != http.StatusForbidden || !strings.Contains(body, "already used") {
		t.Errorf("the link in another browser: status %d", status)
	}
}

// A program that looks at the link, such as one for previews, leaves it to the person.
func TestLinkIsLookedAt(t *testing.T) {
	_, _, v, link := visit(t)
	if answer, _ := v.do(http.MethodHead, link, nil, nil); answer.StatusCode != http.StatusMethodNotAllowed || len(answer.Cookies()) != 0 {
		t.Errorf("HEAD: status %d, cookies %v", answer.StatusCode, answer.Cookies())
	}
	v.enter(link)
}

// Browsers send cookies to all ports of a host, and other users may listen on them.
func TestCookieStaysOnThePage(t *testing.T) {
	_, _, v, link := visit(t)
	v.enter(link)
	var sent []*http.Cookie
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sent = append(sent, r.Cookies()...) }))
	defer other.Close()
	for _, path := range []string{"/", "/evil", "/enter/", "/requests/1/consent"} {
		answer, err := v.client.Get(other.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
	if len(sent) != 0 {
		t.Errorf("another port gets %v", sent)
	}
}

func TestCookie(t *testing.T) {
	_, _, v, link := visit(t)
	answer, _ := v.do(http.MethodGet, link, nil, nil)
	cookies := answer.Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || cookies[0].Path != v.page || len(v.page) < 26 || cookies[0].Domain != "" ||
		!strings.HasSuffix(cookies[0].Name, v.base[strings.LastIndex(v.base, ":")+1:]) { // browsers do not tell ports apart
		t.Errorf("cookies are %v", cookies)
	}
}

func TestHeaders(t *testing.T) {
	_, _, v, link := visit(t)
	v.enter(link)
	for _, path := range []string{v.page, "/nothing", "/assets/style.css"} {
		answer, _ := v.do(http.MethodGet, path, nil, nil)
		policy := answer.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") || strings.Contains(policy, "*") ||
			answer.Header.Get("X-Content-Type-Options") != "nosniff" || answer.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, answer.Header)
		}
	}
	// Nothing on the page needs more than that, or another origin.
	_, body := v.get(v.page)
	for _, bad := range []string{"style=", "onclick", "<style", "http:", "https:", "javascript:"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

// A name can be pointed at us by whoever owns it.
func TestOtherHosts(t *testing.T) {
	inbox, room, v, link := visit(t)
	add(t, inbox, stripe, room)
	v.enter(link)
	port := v.base[strings.LastIndex(v.base, ":"):]
	for host, want := range map[string]int{
		"evil.example" + port:           http.StatusMisdirectedRequest,
		"127.0.0.1.evil.example" + port: http.StatusMisdirectedRequest,
		"evil.example":                  http.StatusMisdirectedRequest,
		"127.0.0.1" + port:              http.StatusOK,
		"localhost" + port:              http.StatusForbidden, // it is us, without the cookie
	} {
		if answer, _ := v.do(http.MethodGet, v.page, nil, http.Header{"Host": {host}}); answer.StatusCode != want {
			t.Errorf("%s: status %d", host, answer.StatusCode)
		}
	}
}

// Other sites, and other ports of this machine, cannot answer in our name.
func TestOtherSites(t *testing.T) {
	inbox, room, v, link := visit(t)
	add(t, inbox, stripe, room)
	v.enter(link)
	for name, header := range map[string]http.Header{
		"another site":            {"Sec-Fetch-Site": {"cross-site"}},
		"another port":            {"Sec-Fetch-Site": {"same-site"}},
		"an old browser":          {"Origin": {"https://evil.example"}},
		"an old browser, sandbox": {"Origin": {"null"}},
	} {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
		if answer, _ := v.do(http.MethodPost, v.page+"requests/1/provide", strings.NewReader("value=x"), header); answer.StatusCode != http.StatusForbidden || room.said != "" {
			t.Errorf("%s: status %d", name, answer.StatusCode)
		}
	}
}

func TestProvide(t *testing.T) {
	inbox, room, v, link := visit(t)
	add(t, inbox, stripe, room)
	v.enter(link)
	if status, body := v.post(v.page+"requests/1/provide", url.Values{"value": {""}}); status != http.StatusUnprocessableEntity || !strings.Contains(body, "nothing was entered") {
		t.Errorf("no value: status %d: %s", status, body)
	}
	if status, _ := v.post(v.page+"requests/1/provide", url.Values{"value": {" s k "}}); status != http.StatusSeeOther || room.said != "provide 1  s k " {
		t.Errorf("status %d, the room was told %q", status, room.said)
	}
	if _, body := v.get(v.page); !strings.Contains(body, "Provided") || strings.Contains(body, " s k ") {
		t.Errorf("the page says %s", body)
	}
	if status, _ := v.post(v.page+"requests/1/provide", url.Values{"value": {"x"}}); status != http.StatusConflict {
		t.Errorf("again: status %d", status)
	}
}

func TestProvideGit(t *testing.T) {
	inbox, room, v, link := visit(t)
	add(t, inbox, approval.Request{ID: "1", Kind: approval.Secret, URL: "https://git.example.com", Type: approval.Git}, room)
	v.enter(link)
	if status, _ := v.post(v.page+"requests/1/provide", url.Values{"username": {"me"}, "password": {""}}); status != http.StatusUnprocessableEntity {
		t.Errorf("half: status %d", status)
	}
	v.post(v.page+"requests/1/provide", url.Values{"username": {"me"}, "password": {"pw"}})
	if room.said != `provide 1 {"username":"me","password":"pw"}` {
		t.Errorf("the room was told %q", room.said)
	}
}

// A file goes to the room byte for byte, and to no disk.
func TestProvideFile(t *testing.T) {
	inbox, room, v, link := visit(t)
	add(t, inbox, stripe, room)
	v.enter(link)
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	value := strings.Repeat("\x00\r\n\xff", 1<<20)
	send := func(fields map[string]string) (int, string) {
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		for name, text := range fields {
			part, _ := w.CreateFormField(name)
			if name == "file" {
				part, _ = w.CreateFormFile(name, "key.bin")
			}
			_, _ = io.WriteString(part, text)
		}
		_ = w.Close()
		answer, text := v.do(http.MethodPost, v.page+"requests/1/provide", &body, http.Header{"Content-Type": {w.FormDataContentType()}, "Sec-Fetch-Site": {"same-origin"}})
		return answer.StatusCode, text
	}
	if status, text := send(map[string]string{"value": "x", "file": "y"}); status != http.StatusUnprocessableEntity || !strings.Contains(text, "not both") {
		t.Errorf("two values: status %d", status)
	}
	if status, text := send(map[string]string{"file": strings.Repeat(value, 5)}); status != http.StatusBadRequest || !strings.Contains(text, "16 MiB") {
		t.Errorf("20 MiB: status %d", status)
	}
	if status, _ := send(map[string]string{"value": "", "file": value}); status != http.StatusSeeOther || room.said != "provide 1 "+value {
		t.Errorf("4 MiB: status %d, the room got %d bytes", status, len(room.said))
	}
	if files, _ := os.ReadDir(temporary); len(files) > 0 {
		t.Errorf("left on the disk: %v", files)
	}
}

func TestReject(t *testing.T) {
	inbox, room, v, link := visit(t)
	add(t, inbox, stripe, room)
	v.enter(link)
	v.post(v.page+"requests/1/reject", url.Values{"reason": {"<b>no</b>"}})
	if room.said != "reject 1 <b>no</b>" {
		t.Errorf("the room was told %q", room.said)
	}
	if _, body := v.get(v.page); !strings.Contains(body, "&lt;b&gt;no") {
		t.Errorf("the page says %s", body)
	}
}

func TestMute(t *testing.T) {
	inbox, room, v, link := visit(t)
	add(t, inbox, stripe, room)
	v.enter(link)
	if _, body := v.get(v.page); !strings.Contains(body, "Reject, and mute agent") {
		t.Errorf("the page has no way to mute: %s", body)
	}
	if status, _ := v.post(v.page+"requests/1/mute", nil); status != http.StatusSeeOther || room.said != "reject 1 rejected" {
		t.Errorf("status %d, the room was told %q", status, room.said)
	}
	if _, body := v.get(v.page); !strings.Contains(body, "<strong>agent</strong> is muted") {
		t.Errorf("the page says %s", body)
	}
}

func TestConsent(t *testing.T) {
	inbox, room, v, link := visit(t)
	add(t, inbox, approval.Request{
		ID: "1", Kind: approval.OAuth, AuthorizationEndpoint: "https://github.com/authorize", ClientID: "c",
		RedirectURI: "https://app.example.com/callback",
	}, room)
	v.enter(link)
	answer, _ := v.do(http.MethodGet, v.page+"requests/1/consent", nil, nil)
	to, err := answer.Location()
	if err != nil || to.Host != "github.com" {
		t.Fatalf("status %d, to %v", answer.StatusCode, to)
	}
	if status, body := v.post(v.page+"requests/1/redirected", url.Values{"address": {"https://app.example.com/"}}); status != http.StatusUnprocessableEntity || !strings.Contains(body, "not the redirect URL") {
		t.Errorf("a wrong address: status %d", status)
	}
	v.post(v.page+"requests/1/redirected", url.Values{"address": {" https://app.example.com/callback?code=c0de&state=" + to.Query().Get("state") + "\n"}})
	if room.said != "authorize 1 c0de" {
		t.Errorf("the room was told %q", room.said)
	}
}

// Before the person signs in, the page shows every host that gets a code or a token.
func TestPageShows(t *testing.T) {
	inbox, room, v, link := visit(t)
	add(t, inbox, approval.Request{
		ID: "1", Kind: approval.OAuth, From: "agent", AuthorizationEndpoint: "https://g\u0456thub.com/authorize?access_type=offline", TokenEndpoint: "https://evil.example/steal",
		ClientID: "Iv1.abc", RedirectURI: "http://127.0.0.1:5432/callback",
	}, room)
	v.enter(link)
	_, body := v.get(v.page)
	for _, want := range []string{
		`<h2 id="t-1">xn--gthub-n2e.com</h2>`, "<dt>sign-in page</dt><dd><code>https://xn--gthub-n2e.com/authorize?access_type=offline</code>",
		`<dt>token from</dt><dd><code>https://evil.example/steal</code> <span class="note">not at xn--gthub-n2e.com`,
		`<dt>redirect to</dt><dd><code>http://127.0.0.1:5432/callback</code> <span class="note">roomenv listens on port 5432`,
		"<dt>PKCE</dt><dd><code>not used</code>", "<dt>client</dt><dd><code>Iv1.abc</code>", "<dt>scopes</dt><dd><code>provider default</code>",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not on the page: %s", want, body)
		}
	}
}

// What others write is text on the page, never markup.
func TestMarkup(t *testing.T) {
	inbox, room, v, link := visit(t)
	evil := `"><script>alert(1)</script>`
	add(t, inbox, approval.Request{ID: evil, Kind: approval.Secret, From: evil, StoredFor: evil, URL: evil, Type: evil}, room)
	add(t, inbox, approval.Request{
		ID: "2", Kind: approval.OAuth, AuthorizationEndpoint: "https://idp.example/" + evil, TokenEndpoint: "https://idp.example/" + evil,
		ClientID: evil, Scopes: []string{evil}, RedirectURI: "https://app.example/" + evil,
	}, room)
	v.enter(link)
	if status, body := v.get(v.page); status != http.StatusOK || strings.Contains(body, "<script>") {
		t.Errorf("status %d: %s", status, body)
	}
	if answer, body := v.do(http.MethodGet, v.page+"requests/1/consent", nil, nil); answer.StatusCode == http.StatusFound {
		t.Errorf("status %d: %s", answer.StatusCode, body)
	}
}

// pipes is a listener whose connections need no network, for the clock of synctest.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.conns <- server
	return client, nil
}

// A member is not held to the times that others have: events come for as long as
// the page is open, also one in the moment of a sign of life, and an upload may be
// slow.
func TestMembersTakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inbox := new(approval.Inbox)
		defer inbox.Close()
		page := approvalweb.New(approvalweb.Config{Inbox: inbox})
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error)
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		go func() { served <- page.Serve(ctx, p) }()
		v := newVisitor(t, "http://localhost")
		v.page, _, _ = strings.Cut(page.Path(), "enter/")
		v.client.Transport = &http.Transport{DialContext: p.dial}
		v.enter(page.Path())
		day, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		request, _ := http.NewRequestWithContext(day, http.MethodGet, v.base+v.page+"events", nil)
		answer, err := v.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		looks := 0
		for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
			if lines.Text() != "data: look" {
				continue
			}
			if looks++; looks == 2 {
				break
			}
			time.AfterFunc(3*time.Hour, func() { _ = inbox.Add(stripe, 48*time.Hour, new(fakeRoom)) })
		}
		answer.Body.Close()
		if looks != 2 {
			t.Errorf("%d events", looks)
		}

		body, upload := io.Pipe()
		go func() {
			time.Sleep(time.Hour)
			_, _ = io.WriteString(upload, "value=sk")
			upload.Close()
		}()
		header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}}
		if answer, _ := v.do(http.MethodPost, v.page+"requests/1/reject", body, header); answer.StatusCode != http.StatusSeeOther {
			t.Errorf("a slow upload: status %d", answer.StatusCode)
		}
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestEvents(t *testing.T) {
	inbox, room, v, link := visit(t)
	v.enter(link)
	answer, err := v.client.Get(v.base + v.page + "events")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	next := func() string {
		for lines.Scan() {
			if lines.Text() != "" {
				return lines.Text()
			}
		}
		return ""
	}
	if got := next(); got != "data: look" {
		t.Errorf("it begins with %q", got)
	}
	add(t, inbox, stripe, room)
	if got := next(); got != "data: look" {
		t.Errorf("on arrival it says %q", got)
	}
}
