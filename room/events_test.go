package room_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
)

// ask sends a request for a secret, with a trailer that says nothing.
func (p *peer) ask(url, trailer string) {
	p.event(wire.TypeRequestSecret, wire.SecretRequest{RequestID: "r", Request: wire.RequestSecretArguments{URL: wire.Nullable(url)}}, trailer)
}

// Events come in order, and a handler may ask the room things.
func TestEvents(t *testing.T) {
	const n = 100
	config := listen(t, scripted(t, func(p *peer, _ int) {
		p.ask("0, before ready", "")
		p.ready()
		for i := 1; i < n; i++ {
			p.ask(fmt.Sprint(i), "")
			p.event("other", map[string]int{}, "")
		}
		p.send(wire.Message{Type: wire.TypeRequestSecret, Payload: []byte("not packed")})
		p.serve(func(c call) wire.Content { return text(c.secretID()) })
	}))
	got := make(chan string, n)
	config.OnSecretRequested = func(ctx context.Context, c *room.Client, e room.SecretRequested) {
		v, err := get(ctx, c, e.Request.URL)
		if err != nil {
			t.Error(err)
		}
		got <- v
	}
	dial(t, config)
	for i := range n {
		want := fmt.Sprint(i)
		if i == 0 {
			want = "0, before ready"
		}
		if s := <-got; s != want {
			t.Errorf("event %d is %s", i, s)
		}
	}
}

// A handler that does not return holds up no answer, and what is held for it
// is bounded, by number and by bytes.
func TestSlowHandler(t *testing.T) {
	for name, tt := range map[string]struct {
		size, send, held int
	}{
		"many":  {0, 5000, 1024},
		"large": {1 << 20, 40, 15},
	} {
		t.Run(name, func(t *testing.T) {
			entered, release := make(chan struct{}), make(chan struct{})
			config := listen(t, scripted(t, func(p *peer, _ int) {
				p.ready()
				p.ask("e", strings.Repeat("x", tt.size))
				<-entered
				for range tt.send {
					p.ask("e", strings.Repeat("x", tt.size))
				}
				p.serve(func(c call) wire.Content {
					if c.secretID() == "more" {
						p.ask("last", "")
					}
					return text(c.secretID())
				})
			}))
			handled, last := 0, make(chan int)
			config.OnSecretRequested = func(_ context.Context, _ *room.Client, e room.SecretRequested) {
				if e.Request.URL == "last" {
					last <- handled
					return
				}
				if handled++; handled == 1 {
					close(entered)
					<-release
				}
			}
			var log bytes.Buffer
			config.Logger = slog.New(slog.NewTextHandler(&log, nil))
			c := dial(t, config)
			if _, err := get(soon(t), c, "k"); err != nil { // answered behind all the events
				t.Fatal(err)
			}
			close(release)
			// The queue empties as handlers return; ask until there is room.
			for n := 0; n == 0; {
				if _, err := get(soon(t), c, "more"); err != nil {
					t.Fatal(err)
				}
				select {
				case n = <-last:
				default:
					continue
				}
				if n-1 > tt.held || n-1 < tt.held-1 {
					t.Errorf("%d events were held", n-1)
				}
			}
			go func() {
				for range last {
				}
			}()
			_ = c.Close()
			close(last)
			// Not for each of them: once, and once more for each "last" that came
			// while a handler had returned and the queue was still full.
			if n := strings.Count(log.String(), "dropping events"); n < 1 || n > 10 {
				t.Errorf("logged %d times", n)
			}
		})
	}
}

// A room that does not answer a rejection holds up the next one for ten seconds.
func TestRejectionWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rejected := make(chan time.Time, 2)
		c := dial(t, listenInBubble(t, scripted(t, func(p *peer, _ int) {
			p.ready()
			p.ask("a", "")
			p.ask("b", "")
			for c, ok := p.next(); ok; c, ok = p.next() {
				if c.Tool == wire.ProvideSecret {
					rejected <- time.Now()
				}
			}
		})))
		time.Sleep(time.Hour)
		_ = c.Close()
		close(rejected)
		first, second := <-rejected, <-rejected
		if second.Sub(first) != 10*time.Second {
			t.Errorf("rejected at %v and %v", first, second)
		}
	})
}
