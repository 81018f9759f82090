package runner_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/runner"
)

const oauth = `
env: {TOKEN: {oauth: github, on_change: none}}
oauth:
  github: {client_id: id, authorization_endpoint: "https://x.test/a", token_endpoint: "https://x.test/t"}
  unused: {client_id: other, authorization_endpoint: "https://x.test/a", token_endpoint: "https://x.test/t"}
`

// token is a JWT that expires after d.
func token(d time.Duration) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode(fmt.Appendf(nil, `{"exp":%d}`, time.Now().Add(d).Unix())) + "."
}

func TestToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		first := token(time.Hour)
		w := newWorld(t, oauth, map[string]any{"github": first})
		w.start()
		w.next(1).answer <- nil
		w.settle()
		check := func(client, want string, wantErr error) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			value, expires, err := w.runner.Token(ctx, client)
			if string(value.Reveal()) != want || !errors.Is(err, wantErr) || expires.IsZero() != (want == "" || want == "opaque") {
				t.Errorf("%s: got %q, expires %v, error %v; want %q, %v", client, value.Reveal(), expires, err, want, wantErr)
			}
		}
		check("github", first, nil)
		check("other", "", runner.ErrUnknownClient)
		check("unused", "", fetch.ErrMissing)
		second := token(2 * time.Hour)
		w.source.put("github", second) // not pushed: the source is asked
		check("github", second, nil)
		w.source.put("unused", "opaque")
		check("unused", "opaque", nil)

		// While the source is unreachable it is the last known token,
		w.runner.Refresh()
		w.settle()
		w.answer(w.next(2), nil)
		unreachable := fmt.Errorf("%w: no route", fetch.ErrUnreachable)
		w.source.put("github", unreachable)
		check("github", second, nil)
		// soon, if it does not answer,
		w.source.put("github", nil)
		start := time.Now()
		check("github", second, nil)
		if waited := time.Since(start); waited > 5*time.Second {
			t.Errorf("waited %v", waited)
		}
		// unless the source says that it is missing,
		w.source.put("github", fetch.ErrMissing)
		check("github", "", fetch.ErrMissing)
		// or that has expired, be it while it is waited for.
		w.source.put("github", unreachable)
		time.Sleep(2*time.Hour - time.Since(start) - time.Second)
		w.source.put("github", nil)
		check("github", "", context.DeadlineExceeded)
		w.source.put("github", unreachable)
		check("github", "", fetch.ErrUnreachable)
		// A token that was revoked is not handed out.
		const soon = time.Minute // tokens are fetched with a pause
		w.set("github", token(time.Hour))
		time.Sleep(soon)
		w.answer(w.next(3), nil)
		w.remove("github")
		time.Sleep(soon)
		w.next(0).answer <- nil
		check("github", "", fetch.ErrMissing)
		w.source.put("github", unreachable)
		check("github", "", fetch.ErrUnreachable)
	})
}
