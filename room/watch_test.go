package room_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

func changed(id string, revision int) wire.Content {
	return object(fmt.Sprintf(`{"id":%q,"delegated_to":"bot","revision":%d,"deleted":true}`, id, revision))
}

// closes reports whether c closes the stream callID and nothing else.
func (c call) closes(callID string) bool {
	return c.Tool == wire.TypeRequestChunk && c.ToolCallID == callID && c.arguments == wire.Control{Method: wire.Close, StatusCode: wire.CloseNormal}
}

// Watches at once have a stream each, hear in order, and close it when they end.
func TestWatch(t *testing.T) {
	const watches, all = 3, 100
	closed := make(chan bool, watches)
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		var opened []call
		for range watches {
			c, _ := p.next()
			if c.Toolkit != wire.Secrets || c.Tool != wire.Watch || c.arguments != (wire.Control{Method: wire.Open}) {
				t.Errorf("%+v came", c)
			}
			p.open(c)
			opened = append(opened, c)
		}
		for i := range all {
			for n, c := range opened {
				p.chunk(c.ToolCallID, changed(fmt.Sprint(n), i))
			}
			p.chunk("another", changed("nobody's", i))
		}
		for range opened {
			c, ok := p.next()
			if !ok {
				return
			}
			known := false
			for _, o := range opened {
				known = known || c.closes(o.ToolCallID)
			}
			closed <- known
			p.answer(c.id, wire.Empty{})
			p.chunk(c.ToolCallID, changed("late", 0))
			p.chunk(c.ToolCallID, wire.Control{Method: wire.Close, StatusCode: wire.CloseNormal})
		}
		p.hold()
	})))
	var watching sync.WaitGroup
	for range watches {
		watching.Go(func() {
			ctx, cancel := context.WithCancel(soon(t))
			defer cancel()
			var heard []room.Change
			calls, over := 0, false
			err := c.Secrets().Watch(ctx, func(changes []room.Change) {
				if calls++; (calls == 1) != (changes == nil) || over {
					t.Errorf("call %d has %v", calls, changes)
				}
				heard = append(heard, changes...)
				if len(heard) == all {
					over = true
					cancel()
				}
			})
			if !errors.Is(err, context.Canceled) || len(heard) != all {
				t.Errorf("heard %d times, then %v", len(heard), err)
			}
			for i, h := range heard {
				if want := (room.Change{ID: heard[0].ID, DelegatedTo: "bot", Revision: uint64(i), Deleted: true}); h != want {
					t.Errorf("heard %+v, want %+v", h, want)
				}
			}
		})
	}
	watching.Wait()
	for range watches {
		if !<-closed {
			t.Error("what was sent is not the end of a stream")
		}
	}
}

// However a connection ends, the stream is opened on the next one and nil says
// that something may have been missed.
func TestWatchAfterDrop(t *testing.T) {
	lost := map[string]func(*peer){
		"a piece that is none": func(p *peer) {
			p.send(wire.Message{Type: wire.TypeResponseChunk, Payload: wire.Pack([]byte(`{"tool_call_id":"x","chunk":{"type":"odd"}}`), nil)})
			p.hold()
		},
	}
	for name, drop := range drops {
		lost[name] = drop
	}
	for name, drop := range lost {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := dial(t, listenInBubble(t, scripted(t, func(p *peer, n int) {
					p.ready()
					watch, _ := p.next()
					if n == 0 { // before it is open
						drop(p)
						return
					}
					p.open(watch, changed("k", n))
					if n == 1 {
						synctest.Wait()
						drop(p)
						return
					}
					if c, ok := p.next(); ok && !c.closes(watch.ToolCallID) {
						t.Errorf("%+v came", c)
					}
					p.hold()
				})))
				ctx, cancel := context.WithCancel(soon(t))
				defer cancel()
				var heard []any
				err := c.Secrets().Watch(ctx, func(changes []room.Change) {
					if changes == nil {
						heard = append(heard, nil)
					}
					for _, c := range changes {
						heard = append(heard, c.Revision)
					}
					if len(heard) == 4 {
						cancel()
					}
				})
				if want := []any{nil, uint64(1), nil, uint64(2)}; !errors.Is(err, context.Canceled) || !reflect.DeepEqual(heard, want) {
					t.Errorf("heard %v, then %v", heard, err)
				}
			})
		})
	}
}

// Rooms without the stream, and those that have another one.
func TestWatchFails(t *testing.T) {
	for name, tt := range map[string]struct {
		answer wire.Content   // to the call; nil opens the stream
		pieces []wire.Content // that follow
		want   error
		text   string
		calls  int  // of f
		closed bool // by us
	}{
		"no such tool": {answer: wire.Error{Code: wire.NotFound, Text: "no tool"}, want: room.ErrUnsupported},
		"refused":      {answer: wire.Error{Code: wire.PermissionDenied, Text: "no"}, want: room.ErrPermissionDenied},
		"no stream":    {answer: wire.Empty{}, want: room.ErrUnexpectedAnswer, closed: true},
		"closed":       {answer: wire.Control{Method: wire.Close}, want: room.ErrUnexpectedAnswer, closed: true},
		"no change":    {pieces: []wire.Content{wire.Text{Text: "x"}}, want: room.ErrUnexpectedAnswer, calls: 1, closed: true},
		"wrong field":  {pieces: []wire.Content{object(`{"revision":"1"}`)}, want: room.ErrUnexpectedAnswer, calls: 1, closed: true},
		"ended": {pieces: []wire.Content{wire.Control{Method: wire.Close, StatusCode: 1007, Message: "\x1b[2J"}},
			text: `secrets.watch: the room closed the stream: status 1007 "\x1b[2J"`, calls: 1},
		"long words": {pieces: []wire.Content{wire.Control{Method: wire.Close, StatusCode: 1007, Message: strings.Repeat("x", 1<<19)}},
			text: "xxx", calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			closed := make(chan bool, 1)
			c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
				p.ready()
				watch, _ := p.next()
				if tt.answer != nil {
					p.answer(watch.id, tt.answer)
				} else {
					p.open(watch, tt.pieces...)
				}
				next, ok := p.next()
				closed <- ok && next.closes(watch.ToolCallID)
				p.answer(next.id, wire.Empty{})
				p.serve(func(call) wire.Content { return wire.Empty{} })
			})))
			calls := 0
			err := c.Secrets().Watch(soon(t), func(changes []room.Change) {
				if calls++; changes != nil {
					t.Errorf("heard %v", changes)
				}
			})
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || len(err.Error()) > 1000 || calls != tt.calls {
				t.Errorf("%d calls, then %.1000v", calls, err)
			}
			_, _ = get(soon(t), c, "next") // what comes next if nothing was closed
			if got := <-closed; got != tt.closed {
				t.Errorf("the room was told that the stream ends: %t", got)
			}
		})
	}
}

// A context that ends before the answer came leaves no stream behind, and one
// that ends before anything was sent asks for none.
func TestWatchCancelled(t *testing.T) {
	closed := make(chan bool, 1)
	ctx, cancel := context.WithCancel(soon(t))
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		watch, _ := p.next()
		cancel()
		next, ok := p.next()
		closed <- ok && next.closes(watch.ToolCallID)
		p.open(watch)
		p.answer(next.id, wire.Empty{})
		p.hold()
	})))
	for range 2 {
		if err := c.Secrets().Watch(ctx, func([]room.Change) { t.Error("it is not open") }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if !<-closed {
		t.Error("something else came")
	}
}

// The end of the client ends its watches, also those that wait for a
// connection.
func TestWatchEnds(t *testing.T) {
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		watch, _ := p.next()
		p.open(watch)
		_, _ = p.next()
		_ = p.ws.Close(websocket.StatusNormalClosure, "")
	})))
	for _, calls := range []int{1, 0} {
		err := c.Secrets().Watch(soon(t), func([]room.Change) {
			calls--
			go func() { _, _ = get(t.Context(), c, "the last") }()
		})
		if !errors.Is(err, room.ErrClosed) || calls != 0 {
			t.Errorf("%v, %d calls left", err, calls)
		}
	}
}

// What comes while f does not return is bounded, by number and by bytes: what is
// too much is one gap.
func TestWatchSlow(t *testing.T) {
	for name, tt := range map[string]struct {
		pieces int
		piece  wire.Content
	}{
		"many":  {5000, changed("k", 1)},
		"large": {17, text(strings.Repeat("x", 1<<20))}, // a file: the size of it all comes before what it is
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
				p.ready()
				first, _ := p.next()
				p.open(first)
				fence, _ := p.next()
				for range tt.pieces {
					p.chunk(first.ToolCallID, tt.piece)
				}
				p.answer(fence.id, text("v"))
				if c, ok := p.next(); !ok || !c.closes(first.ToolCallID) {
					t.Errorf("%+v came", c)
				} else {
					p.answer(c.id, wire.Empty{})
				}
				second, _ := p.next()
				p.open(second, changed("last", 0))
				p.hold()
			})))
			ctx, cancel := context.WithCancel(soon(t))
			defer cancel()
			calls := 0
			err := c.Secrets().Watch(ctx, func(changes []room.Change) {
				switch calls++; {
				case calls == 1:
					if _, err := get(ctx, c, "fence"); err != nil { // answered behind all of them
						t.Error(err)
					}
				case calls == 2 && changes != nil, calls == 3 && (len(changes) != 1 || changes[0].ID != "last"):
					t.Errorf("call %d has %d changes", calls, len(changes))
					cancel()
				case calls == 3:
					cancel()
				}
			})
			if !errors.Is(err, context.Canceled) || calls != 3 {
				t.Errorf("%d calls, then %v", calls, err)
			}
		})
	}
}

// A new connection, at once, with a new token; what was asked is asked again.
func TestReconnectOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dropped := make(chan struct{})
		config := listenInBubble(t, scripted(t, func(p *peer, n int) {
			p.ready()
			if n == 0 {
				_, _ = p.next()
				close(dropped)
				p.hold()
				return
			}
			p.serve(func(call) wire.Content { return text(fmt.Sprint("connection ", n)) })
		}))
		var log bytes.Buffer
		config.Logger = slog.New(slog.NewTextHandler(&log, nil))
		tokens := 0
		config.Token = func(context.Context) (secret.Value, error) {
			tokens++
			return secret.New([]byte("t")), nil
		}
		c := dial(t, config)
		start := time.Now()
		go func() {
			<-dropped
			c.Reconnect()
			c.Reconnect() // it is on its way
		}()
		v, err := get(t.Context(), c, "k")
		synctest.Wait()
		if err != nil || v != "connection 1" || tokens != 2 || time.Since(start) != 0 {
			t.Errorf("%q after %v with %d tokens: %v", v, time.Since(start), tokens, err)
		}
		_ = c.Close()
		c.Reconnect()
		if strings.Contains(log.String(), "renewed") { // it is no failure
			t.Errorf("logged %s", &log)
		}
	})
}
