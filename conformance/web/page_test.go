package web_test

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/roomenv/roomenv/ask"
)

var (
	password = ask.Request{ID: "1", Kind: ask.Secret, From: "agent", KeptFor: "agent", URL: "https://stripe.com", Type: "text/plain"}
	git      = ask.Request{ID: "2", Kind: ask.Secret, From: "builder", KeptFor: "builder", URL: "https://git.example.com/platform/payments.git", Type: ask.Git}
	github   = ask.Request{
		ID: "3", Kind: ask.OAuth, From: "agent", KeptFor: "agent",
		AuthorizationEndpoint: "https://github.com/login/oauth/authorize", ClientID: "Iv1.abc", Scopes: []string{"repo", "read:org"},
		RedirectURI: "http://127.0.0.1:8765/callback", Challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
	}
)

func TestLooks(t *testing.T) {
	inbox, link := serve(t)
	r := new(room)
	for _, size := range []struct {
		name          string
		width, height int64
	}{{"desktop", 1100, 900}} {
		ctx := open(t, link, size.width, size.height)
		do(t, ctx, chromedp.WaitVisible(css("#empty")), chromedp.WaitVisible(css("#live")))
		shot(t, ctx, size.name+"-empty")
		for _, q := range []ask.Request{password, git, github} {
			if err := inbox.Add(q, 5*time.Minute, r); err != nil {
				t.Fatal(err)
			}
		}
		do(t, ctx, chromedp.WaitVisible(css("#r-3")))
		shot(t, ctx, size.name+"-pending")
		_ = inbox.Reject(ctx, "2", "I do not have access to this repository")
		_ = inbox.Add(ask.Request{ID: "4", Kind: ask.Secret, URL: "secret://very-long-name-that-does-not-want-to-end/very-long-name-that-does-not-want-to-end", Type: "application/octet-stream"}, time.Second*20, r)
		do(t, ctx, chromedp.WaitVisible(css("#ended #r-2")), chromedp.SendKeys(css("#v-1"), "sk_live_1"), chromedp.Click(css("#r-1 form button")), chromedp.WaitVisible(css("#ended #r-1")))
		do(t, ctx, chromedp.Click(css("#r-4 > details summary")))
		shot(t, ctx, size.name+"-mixed")
		do(t, ctx, colors("dark"))
		shot(t, ctx, size.name+"-dark")
		_ = inbox.Add(ask.Request{ID: "5", Kind: ask.Secret, From: "builder", KeptFor: "builder", URL: "https://git.example.com/platform/payments.git", Type: ask.Git}, 5*time.Minute, r)
		do(t, ctx, chromedp.WaitVisible(css("#r-5")), chromedp.EmulateViewport(360, 740, mobile(true)))
		shot(t, ctx, "phone-dark")
		do(t, ctx, colors("light"))
		shot(t, ctx, "phone-light")
	}
}
