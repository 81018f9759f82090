package approval_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/roomenv/roomenv/internal/approval"
)

// Whoever asks writes the endpoint: a browser goes to the host that the person
// was shown, over TLS or on this machine, or nowhere.
func FuzzConsent(f *testing.F) {
	for _, endpoint := range []string{
		"https://github.com/login/oauth/authorize?a=b", "http://127.0.0.1:1/x", "http://localhost", "http://github.com", "javascript:alert(1)",
		"https://github.com@evil.example", "https://github.com\\@evil.example/", "//github.com", "https://[::1%25x]/", "https://a/#b", "https://a/?state=x&code_challenge=y", "https://\u0456.example/\u0456?\u0456", "https://a/\\\u202e",
	} {
		f.Add(endpoint)
	}
	f.Fuzz(func(t *testing.T, endpoint string) {
		var inbox approval.Inbox
		defer inbox.Close()
		if inbox.Add(approval.Request{ID: "a", Kind: approval.OAuth, AuthorizationEndpoint: endpoint, ClientID: "c", RedirectURI: "https://app.example/back"}, time.Minute, new(fakeRoom)) != nil {
			t.Skip()
		}
		address, err := inbox.Consent("a")
		if err != nil {
			return
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatalf("%q: %v", address, err)
		}
		ip, _ := netip.ParseAddr(u.Hostname())
		if u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost" && !ip.IsLoopback()) {
			t.Errorf("it opens %q", address)
		}
		r, _ := inbox.Request("a")
		shown, _, _ := strings.Cut(r.AuthorizationEndpoint, "?")
		if opened, _, _ := strings.Cut(address, "?"); opened != shown {
			t.Errorf("the person is shown %q and sent to %q", shown, address)
		}
		for i := range len(r.AuthorizationEndpoint) {
			if c := r.AuthorizationEndpoint[i]; c < 0x20 || c > 0x7e {
				t.Errorf("the person is shown %q", r.AuthorizationEndpoint)
			}
		}
		if u.Host != r.Provider() || u.User != nil || strings.Contains(u.Host, "\\") {
			t.Errorf("the person is shown %q and sent to %q", r.Provider(), address)
		}
		if to := u.Query()["redirect_uri"]; len(to) != 1 || to[0] != "https://app.example/back" {
			t.Errorf("it opens %q", address)
		}
	})
}

// Nothing but the state that was sent out gets a code to the room.
func FuzzRedirected(f *testing.F) {
	for _, address := range []string{
		"https://app.example/back?code=x&state=y", "https://app.example/back?state", "https://app.example/back?code=a;b", "::", "", "https://app.example/back?code=x&state=",
	} {
		f.Add(address)
	}
	f.Fuzz(func(t *testing.T, address string) {
		var inbox approval.Inbox
		defer inbox.Close()
		room := new(fakeRoom)
		add(t, &inbox, approval.Request{ID: "a", Kind: approval.OAuth, AuthorizationEndpoint: "https://idp.example/authorize", ClientID: "c", RedirectURI: "https://app.example/back"}, room)
		if _, err := inbox.Consent("a"); err != nil {
			t.Fatal(err)
		}
		if err := inbox.CompleteRedirect(t.Context(), "a", address); err == nil || room.said() != "" {
			t.Errorf("%q was taken", address)
		}
	})
}
