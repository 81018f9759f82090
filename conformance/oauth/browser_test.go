package oauth

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A browser is a person at one: it fills every form it is shown until it is
// sent to the redirect.
type browser struct {
	fields map[string]string
	deny   bool // leave by the link that cancels
}

var (
	formPattern  = regexp.MustCompile(`(?is)<form([^>]*)>(.*?)</form>`)
	inputPattern = regexp.MustCompile(`(?is)<input([^>]*)>`)
	attribute    = regexp.MustCompile(`(?is)([a-z_-]+)\s*=\s*"([^"]*)"`)
	cancelLink   = regexp.MustCompile(`(?i)href="([^"]*/abort)"`)
)

func attributes(tag string) map[string]string {
	m := map[string]string{}
	for _, a := range attribute.FindAllStringSubmatch(tag, -1) {
		m[strings.ToLower(a[1])] = html.UnescapeString(a[2])
	}
	return m
}

// open returns the query that the redirect brings.
func (b browser) open(t testing.TB, page, redirect string) url.Values {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirect) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	defer c.CloseIdleConnections()
	resp, err := c.Get(page)
	for range 10 {
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if to, err := resp.Location(); err == nil {
			return to.Query()
		}
		form := formPattern.FindSubmatch(body)
		if form == nil {
			t.Fatalf("no way on from %s: %s\n%s", resp.Request.URL, resp.Status, body)
		}
		if cancel := cancelLink.FindSubmatch(body); b.deny && cancel != nil {
			to, err := resp.Request.URL.Parse(string(cancel[1]))
			if err != nil {
				t.Fatal(err)
			}
			resp, err = c.Get(to.String())
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		values := url.Values{}
		for _, input := range inputPattern.FindAllSubmatch(form[2], -1) {
			a := attributes(string(input[1]))
			if value, ours := b.fields[a["name"]]; ours {
				a["value"] = value
			}
			if a["name"] != "" {
				values.Set(a["name"], a["value"])
			}
		}
		to, err2 := resp.Request.URL.Parse(attributes(string(form[1]))["action"])
		if err2 != nil {
			t.Fatal(err2)
		}
		resp, err = c.PostForm(to.String(), values)
	}
	t.Fatalf("too many forms at %s", page)
	return nil
}
