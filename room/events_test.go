package room_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
)

// Events come in order, and a handler may ask the room things.
func TestEvents(t *testing.T) {
	const n = 100
	config := listen(t, scripted(t, func(p *peer, _ int) {
		p.event("count", map[string]int{"i": 0}, "before ready")
		p.ready()
		for i := 1; i < n; i++ {
			p.event("count", map[string]int{"i": i}, fmt.Sprint(i))
			p.event("other", map[string]int{}, "")
		}
		p.send(wire.Message{Type: "count", Payload: []byte("not packed")})
		p.serve(func(c call) wire.Content { return text(c.secretID()) })
	}))
	got := make(chan string, n)
	config.Handlers = map[string]room.Handler{
		"count": func(ctx context.Context, c *room.Client, header json.RawMessage, trailer []byte) {
			v, err := get(ctx, c, string(header)+string(trailer))
			if err != nil {
				t.Error(err)
			}
			got <- v
		},
	}
	dial(t, config)
	for i := range n {
		want := fmt.Sprintf(`{"i":%d}%d`, i, i)
		if i == 0 {
			want = `{"i":0}before ready`
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
				p.event("e", map[string]int{}, strings.Repeat("x", tt.size))
				<-entered
				for range tt.send {
					p.event("e", map[string]int{}, strings.Repeat("x", tt.size))
				}
				p.serve(func(c call) wire.Content {
					if c.secretID() == "more" {
						p.event("last", map[string]int{}, "")
					}
					return text(c.secretID())
				})
			}))
			handled, last := 0, make(chan int)
			config.Handlers = map[string]room.Handler{
				"e": func(context.Context, *room.Client, json.RawMessage, []byte) {
					if handled++; handled == 1 {
						close(entered)
						<-release
					}
				},
				"last": func(context.Context, *room.Client, json.RawMessage, []byte) { last <- handled },
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
			if n := strings.Count(log.String(), "dropping events"); n != 1 {
				t.Errorf("logged %d times", n)
			}
		})
	}
}
