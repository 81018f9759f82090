package approval_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/roomenv/roomenv/internal/approval"
	"github.com/roomenv/roomenv/room"
)

// github is a request whose redirect goes to a free port of this machine.
func github(t *testing.T, id string) approval.Request {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return approval.Request{
		ID: id, Kind: approval.OAuth, AuthorizationEndpoint: "https://github.com/login/oauth/authorize?prompt=login",
		TokenEndpoint: "https://github.com/login/oauth/access_token", ClientID: "Iv1.abc", Scopes: []string{"repo", "read:org"},
		RedirectURI: "http://" + l.Addr().String() + "/callback", Challenge: "chal",
	}
}

// begin begins the flow, and returns what the provider is told.
func begin(t *testing.T, i *approval.Inbox, id string) url.Values {
	t.Helper()
	address, err := i.Consent(id)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// get is what the browser does, without keeping connections.
func get(t *testing.T, address string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(b)
}

func TestConsent(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	room := new(fakeRoom)
	r := github(t, "a")
	add(t, &inbox, r, room)
	address, err := inbox.Consent("a")
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(address)
	q := u.Query()
	state := q.Get("state")
	q.Del("state")
	want := "client_id=Iv1.abc&code_challenge=chal&code_challenge_method=S256&prompt=login&redirect_uri=" +
		url.QueryEscape(r.RedirectURI) + "&response_type=code&scope=repo+read%3Aorg"
	if u.Host != "github.com" || q.Encode() != want || len(state) < 26 {
		t.Errorf("the provider is asked at %s", address)
	}

	for name, bad := range map[string]string{
		"wrong state": r.RedirectURI + "?code=x&state=guess",
		"no state":    r.RedirectURI + "?code=x",
		"other path":  r.RedirectURI + "/x?code=x&state=" + state,
	} {
		if status, _ := get(t, bad); status != http.StatusNotFound {
			t.Errorf("%s: status %d", name, status)
		}
	}
	if room.said() != "" {
		t.Fatalf("the room was told %q", room.said())
	}
	if answer, err := http.Post(r.RedirectURI+"?code=x&state="+state, "", nil); err != nil || answer.StatusCode != http.StatusNotFound {
		t.Errorf("POST: %v, error %v", answer, err)
	} else {
		answer.Body.Close()
	}
	if room.said() != "" {
		t.Fatalf("the room was told %q", room.said())
	}
	status, page := get(t, r.RedirectURI+"?code=c0de&state="+state)
	if status != http.StatusOK || !strings.Contains(page, "Authorized") || strings.Contains(page, "c0de") || room.said() != "authorize a c0de" {
		t.Errorf("status %d, the room was told %q", status, room.said())
	}
	// The listener is closed with the last flow.
	if l, err := net.Listen("tcp", strings.TrimSuffix(strings.TrimPrefix(r.RedirectURI, "http://"), "/callback")); err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
}

// The browser gets its page though the inbox is closed as soon as there is an
// answer, as with --once.
func TestLastPage(t *testing.T) {
	for range 20 {
		var inbox approval.Inbox
		r := github(t, "a")
		add(t, &inbox, r, new(fakeRoom))
		state := begin(t, &inbox, "a").Get("state")
		changed, closed := inbox.Changed(), make(chan struct{})
		go func() {
			defer close(closed)
			<-changed
			inbox.Close()
		}()
		if status, page := get(t, r.RedirectURI+"?code=x&state="+state); status != http.StatusOK || !strings.Contains(page, "Authorized") {
			t.Errorf("status %d: %s", status, page)
		}
		<-closed
	}
}

// Who closes the tab has consented still.
func TestTabIsClosed(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	room := &fakeRoom{entered: make(chan struct{}), leave: make(chan struct{})}
	r := github(t, "a")
	add(t, &inbox, r, room)
	ctx, cancel := context.WithCancel(t.Context())
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, r.RedirectURI+"?code=c0de&state="+begin(t, &inbox, "a").Get("state"), nil)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if answer, err := http.DefaultClient.Do(request); err == nil {
			answer.Body.Close()
			t.Errorf("the tab got %s", answer.Status)
		}
	}()
	<-room.entered
	cancel()
	<-closed
	changed := inbox.Changed()
	time.AfterFunc(100*time.Millisecond, func() { close(room.leave) }) // the server has noticed
	<-changed
	if got := state(t, &inbox, "a"); got != approval.Provided || room.said() != "authorize a c0de" {
		t.Errorf("it is %s, the room was told %q", got, room.said())
	}
}

// With its request a flow ends.
func TestFlowOfClosedRequest(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	r := github(t, "a")
	add(t, &inbox, r, new(fakeRoom))
	begin(t, &inbox, "a")
	if err := inbox.Reject(t.Context(), "a", "no"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", strings.TrimSuffix(strings.TrimPrefix(r.RedirectURI, "http://"), "/callback"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestConsentWithoutPKCE(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	r := github(t, "a")
	r.Challenge, r.Scopes = "", nil
	add(t, &inbox, r, new(fakeRoom))
	if q := begin(t, &inbox, "a"); q.Has("code_challenge") || q.Has("code_challenge_method") || q.Has("scope") {
		t.Errorf("the provider is told %v", q)
	}
}

func TestConsentDenied(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	room := new(fakeRoom)
	r := github(t, "a")
	add(t, &inbox, r, room)
	status, page := get(t, r.RedirectURI+"?error=access_denied&state="+begin(t, &inbox, "a").Get("state"))
	if status != http.StatusOK || !strings.Contains(page, "Declined") || room.said() != "decline a the provider refused: access_denied" {
		t.Errorf("status %d, the room was told %q", status, room.said())
	}
}

func TestExchangeFails(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	r := github(t, "a")
	add(t, &inbox, r, &fakeRoom{err: &room.Error{Code: room.ErrOperationFailed.Code, Text: "<b>invalid_grant"}})
	status, page := get(t, r.RedirectURI+"?code=x&state="+begin(t, &inbox, "a").Get("state"))
	if status != http.StatusBadGateway || !strings.Contains(page, "&lt;b&gt;invalid_grant") {
		t.Errorf("status %d: %s", status, page)
	}
}

// Two requests may have one redirect URI; a flow that is begun again ends the
// one before.
func TestFlows(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	room := new(fakeRoom)
	a, b := github(t, "a"), github(t, "b")
	b.RedirectURI = a.RedirectURI
	add(t, &inbox, a, room)
	add(t, &inbox, b, room)
	old := begin(t, &inbox, "a").Get("state")
	stateB := begin(t, &inbox, "b").Get("state")
	stateA := begin(t, &inbox, "a").Get("state")
	if status, _ := get(t, a.RedirectURI+"?code=x&state="+old); status != http.StatusNotFound {
		t.Errorf("the old flow: status %d", status)
	}
	get(t, a.RedirectURI+"?code=B&state="+stateB)
	get(t, a.RedirectURI+"?code=A&state="+stateA)
	if room.said() != "authorize b B\nauthorize a A" {
		t.Errorf("the room was told %q", room.said())
	}
}

func TestPastedRedirect(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	room := new(fakeRoom)
	r := github(t, "a")
	r.RedirectURI = "https://app.example.com/oauth2/callback"
	add(t, &inbox, r, room)
	state := begin(t, &inbox, "a").Get("state")
	for _, bad := range []string{
		"", "::", r.RedirectURI + "?code=x&state=guess", "https://evil.example/oauth2/callback?code=x&state=" + state,
		"http://app.example.com/oauth2/callback?code=x&state=" + state, r.RedirectURI + "/?code=x&state=" + state,
	} {
		if err := inbox.CompleteRedirect(t.Context(), "a", bad); !errors.Is(err, approval.ErrWrongRedirect) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := inbox.CompleteRedirect(t.Context(), "a", r.RedirectURI+"?code=c0de&state="+state); err != nil || room.said() != "authorize a c0de" {
		t.Errorf("%v, the room was told %q", err, room.said())
	}
}

// Who asks chooses the addresses: a person is asked only about those that are safe to
// open and that say nothing which the person is not shown.
func TestBadAddresses(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	for name, change := range map[string]func(*approval.Request){
		"script":            func(r *approval.Request) { r.AuthorizationEndpoint = "javascript:alert(1)" },
		"plain http":        func(r *approval.Request) { r.AuthorizationEndpoint = "http://github.com/login" },
		"hidden host":       func(r *approval.Request) { r.AuthorizationEndpoint = "https://github.com@evil.example/" },
		"no host":           func(r *approval.Request) { r.AuthorizationEndpoint = "https:///login" },
		"scopes":            func(r *approval.Request) { r.AuthorizationEndpoint += "&scope=repo+delete_repo" },
		"no page":           func(r *approval.Request) { r.AuthorizationEndpoint += "&prompt=none" },
		"other redirect":    func(r *approval.Request) { r.AuthorizationEndpoint += "&redirect_uri=https://evil.example" },
		"no name":           func(r *approval.Request) { r.AuthorizationEndpoint = "https://g\u202eithub.com/" },
		"no redirect":       func(r *approval.Request) { r.RedirectURI = "" },
		"far redirect":      func(r *approval.Request) { r.RedirectURI = "http://192.0.2.1/callback" },
		"file redirect":     func(r *approval.Request) { r.RedirectURI = "file:///etc/passwd" },
		"homograph":         func(r *approval.Request) { r.RedirectURI = "https://g\u0456thub.com/callback" },
		"tokens in clear":   func(r *approval.Request) { r.TokenEndpoint = "http://github.com/token" },
		"hidden token host": func(r *approval.Request) { r.TokenEndpoint = "https://github.com@evil.example/token" },
	} {
		r := github(t, name)
		change(&r)
		if err := inbox.Add(r, time.Minute, new(fakeRoom)); err == nil || !strings.HasPrefix(err.Error(), "invalid ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all := inbox.Requests(); len(all) != 0 {
		t.Errorf("requests are %v", all)
	}
	add(t, &inbox, stripe("secret"), new(fakeRoom))
	if _, err := inbox.Consent("secret"); err == nil {
		t.Error("a secret was asked of a provider")
	}
}

// Every host that gets a code or a token is shown, whole and so that no letter passes
// for another.
func TestPersonIsShown(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	r := github(t, "a")
	r.From, r.RedirectURI = "agent", "http://127.0.0.1:5432/callback"
	add(t, &inbox, r, new(fakeRoom))
	r.ID, r.TokenEndpoint, r.Challenge, r.Scopes, r.RedirectURI = "b", "https://evil.example/steal", "", nil, "https://app.example/back"
	r.AuthorizationEndpoint = "https://g\u0456thub.com/l\u0456gin?audience=\u0456"
	add(t, &inbox, r, new(fakeRoom))
	add(t, &inbox, approval.Request{ID: "c", Kind: approval.Secret, URL: "https://str\u0456pe.com/keys/\u00fc"}, new(fakeRoom))
	add(t, &inbox, approval.Request{ID: "d", Kind: approval.Secret, URL: "str\u0456pe.com"}, new(fakeRoom))
	add(t, &inbox, approval.Request{ID: "e", Kind: approval.Secret, URL: "https://str\u0456pe\u202e.com"}, new(fakeRoom))
	for id, want := range map[string][]string{
		"a": {
			"agent asks you to sign in at github.com",
			"sign-in page https://github.com/login/oauth/authorize?prompt=login",
			"token from   https://github.com/login/oauth/access_token",
			"redirect to  http://127.0.0.1:5432/callback (roomenv listens on port 5432 of this machine)",
			"client       Iv1.abc",
			"scopes       repo read:org",
		},
		"b": {
			"agent asks you to sign in at xn--gthub-n2e.com",
			"sign-in page https://xn--gthub-n2e.com/l%D1%96gin?audience=%D1%96",
			"token from   https://evil.example/steal (not at xn--gthub-n2e.com)",
			"redirect to  https://app.example/back (the browser takes the code to this site)",
			"scopes       provider default",
			"PKCE         not used (a stolen code can be used)",
		},
		"c": {"for          https://xn--strpe-p2e.com/keys/\u00fc"},
		"d": {"for          xn--strpe-p2e.com"},
		"e": {`for          https://str\u0456pe\u202e.com`, "host         unknown (the request names no URL of a host)"},
	} {
		r, _ := inbox.Request(id)
		for _, line := range want {
			if !strings.Contains(r.Describe(), line+"\n") {
				t.Errorf("%s is shown as\n%s\nwant %q", id, r.Describe(), line)
			}
		}
	}
	if r, _ := inbox.Request("a"); strings.Contains(r.Describe(), "PKCE") || strings.Contains(r.Describe(), "not at") {
		t.Errorf("a is shown as\n%s", r.Describe())
	}
	// What is opened is what was shown.
	address, err := inbox.Consent("b")
	if err != nil || !strings.HasPrefix(address, "https://xn--gthub-n2e.com/l%D1%96gin?audience=%D1%96&client_id=") {
		t.Errorf("it opens %s, %v", address, err)
	}
}

// The URL of a secret request is any text: none of its letters passes for another where a
// person looks for the host.
func TestHostIsShown(t *testing.T) {
	const unknown = "host         unknown (the request names no URL of a host)"
	for raw, want := range map[string]string{
		"https://g\u0456thub.com":                 "https://xn--gthub-n2e.com",
		"https://g\u0456thub\u3002com":            "https://xn--gthub-n2e.com",
		"https://g\u0456thub\uff61com/x":          "https://xn--gthub-n2e.com/x",
		"https://g\u0456thub\uff0ecom:1/x":        "https://xn--gthub-n2e.com:1/x",
		"g\u0456thub\u3002com/x":                  "xn--gthub-n2e.com/x",
		"https://github.com\u2044g\u0456thub.com": "https://github.xn--comgthub-whh2162e.com",
		"https://github.com/\u0456":               "https://github.com/\u0456",
		"https://localhost/\u0456":                "https://localhost/\u0456",
		"https://github.com/\u202e":               `https://github.com/\u202e`,
		"the key of g":                            "the key of g",

		"https:\\\\g\u0456thub.com":           `https:\\g\u0456thub.com`,
		"https:g\u0456thub.com/x":             `https:g\u0456thub.com/x`,
		"https:/g\u0456thub.com/x":            `https:/g\u0456thub.com/x`,
		"https:///g\u0456thub.com/x":          `https:///g\u0456thub.com/x`,
		"https://g\u0456thub.com@x":           `https://g\u0456thub.com@x`,
		"https://g\u0456thub.com:a@x.example": `https://g\u0456thub.com:a@x.example`,
		"https://x.example\\@g\u0456thub.com": `https://x.example\@g\u0456thub.com`,
		" https://g\u0456thub.com":            ` https://g\u0456thub.com`,
		"g\u0456thub.com//x":                  `g\u0456thub.com//x`,
		"the key of g\u0456thub.com":          `the key of g\u0456thub.com`,
		"g\u0456thub \U0001f511":              `g\u0456thub \U0001f511`,
	} {
		var inbox approval.Inbox
		add(t, &inbox, approval.Request{ID: "a", Kind: approval.Secret, URL: raw}, new(fakeRoom))
		r, _ := inbox.Request("a")
		inbox.Close()
		escaped := strings.Contains(want, `\u0456`)
		if shown := r.Describe(); !strings.Contains(shown, "for          "+want+"\n") || strings.Contains(shown, unknown+"\n") != escaped {
			t.Errorf("%q is shown as\n%s\nwant %q", raw, shown, want)
		}
	}
}

// The response has to be from the provider that the person was shown (RFC 9207).
func TestIssuer(t *testing.T) {
	for name, c := range map[string]struct {
		issuer   string
		required bool
		iss      string // the rest of the response
		ok       bool
	}{
		"unknown, none":              {"", false, "", true},
		"unknown, same origin":       {"", false, "&iss=https://github.com/login", true},
		"unknown, other origin":      {"", false, "&iss=https://evil.example", false},
		"unknown, other port":        {"", false, "&iss=https://github.com:8443", false},
		"unknown, nonsense":          {"", false, "&iss=%3A%3A", false},
		"known, the same":            {"https://id.example/a", false, "&iss=https://id.example/a", true},
		"known, not quite the same":  {"https://id.example/a", false, "&iss=https://id.example/a/", false},
		"known, the endpoint's":      {"https://id.example/a", false, "&iss=https://github.com", false},
		"known, none":                {"https://id.example/a", false, "", true},
		"known and required, none":   {"https://id.example/a", true, "", false},
		"known and required, twice":  {"https://id.example/a", true, "&iss=https://id.example/a&iss=https://evil.example", false},
		"known and required, denied": {"https://id.example/a", true, "&error=access_denied", false},
	} {
		var inbox approval.Inbox
		room := new(fakeRoom)
		r := github(t, "a")
		r.Issuer, r.IssuerRequired = c.issuer, c.required
		add(t, &inbox, r, room)
		response := "?code=c0de&state=" + begin(t, &inbox, "a").Get("state") + c.iss
		status, page := get(t, r.RedirectURI+response)
		if got := room.said() == "authorize a c0de"; got != c.ok || (status == http.StatusOK) != c.ok {
			t.Errorf("%s: status %d, the room was told %q: %s", name, status, room.said(), page)
		}
		if r, _ := inbox.Request("a"); !c.ok && (r.State != approval.Pending || r.Reason != approval.ErrWrongIssuer.Error()) {
			t.Errorf("%s: it is %s, %q", name, r.State, r.Reason)
		}
		inbox.Close()
	}
}
