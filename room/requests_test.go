package room_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

func text(s string) wire.Content { return wire.File{Data: secret.New([]byte(s))} }

// get gets one secret and returns its value.
func get(ctx context.Context, c *room.Client, id string) (string, error) {
	s, err := c.Secrets().Get(ctx, room.SecretQuery{ID: id})
	return string(s.Value.Reveal()), err
}

// getAll gets n secrets at once, k0 and so on, and wants their ids as values.
func getAll(t testing.TB, c *room.Client, n int) {
	t.Helper()
	ctx := soon(t)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			id := fmt.Sprint("k", i)
			if v, err := get(ctx, c, id); err != nil || v != id {
				t.Errorf("%s: %q, %v", id, v, err)
			}
		})
	}
	wg.Wait()
}

// The room answers only when it has all thousand requests, the last first.
func TestPipelining(t *testing.T) {
	const n = 1000
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		var calls []call
		for range n {
			c, ok := p.next()
			if !ok {
				t.Error("the client left")
				return
			}
			calls = append(calls, c)
		}
		ids := make([]uint64, n)
		for i, c := range slices.Backward(calls) {
			p.answer(c.id, text(c.secretID()))
			ids[i] = c.id
		}
		slices.Sort(ids)
		if ids[0] != 1 || ids[n-1] != n || len(slices.Compact(ids)) != n {
			t.Errorf("ids are not 1 to %d", n)
		}
		p.hold()
	})))
	getAll(t, c, n)
}

// Large requests and answers pass each other, packet by packet; the peer's
// assembler finds packets of two messages that mix.
func TestLargeValues(t *testing.T) {
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		p.serve(func(c call) wire.Content {
			return wire.File{Data: c.arguments.(wire.Binary).Data}
		})
	})))
	var wg sync.WaitGroup
	ctx := soon(t)
	for i := range 8 {
		wg.Go(func() {
			want := secret.New([]byte(strings.Repeat(string(rune('a'+i)), 1<<20+i)))
			got, err := c.Invoke(ctx, "t", "echo", wire.Binary{Data: want})
			if f, ok := got.(wire.File); err != nil || !ok || !f.Data.Equal(want) {
				t.Errorf("%T, %v", got, err)
			}
		})
	}
	wg.Wait()
}

// Responses that nobody waits for, or not yet, change nothing.
func TestStrayResponses(t *testing.T) {
	canceled := make(chan struct{})
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		for _, id := range []uint64{0, 5, 1 << 63} {
			p.answer(id, text("stray"))
		}
		late, _ := p.next()
		close(canceled)
		next, _ := p.next()
		p.answer(late.id, text("late"))
		p.answer(next.id+1, text("early"))
		p.answer(next.id, text("right"))
		p.answer(next.id, text("twice"))
		p.serve(func(c call) wire.Content { return text(c.secretID()) })
	})))
	ctx, cancel := context.WithCancelCause(soon(t))
	why := errors.New("why")
	go func() {
		<-canceled
		cancel(why)
	}()
	if _, err := get(ctx, c, "k"); !errors.Is(err, why) {
		t.Error(err)
	}
	if _, err := get(ctx, c, "k"); !errors.Is(err, why) {
		t.Error(err)
	}
	for _, want := range []string{"right", "k"} {
		if v, err := get(soon(t), c, "k"); err != nil || v != want {
			t.Errorf("%q, %v; want %q", v, err, want)
		}
	}
}

// drops are the ways to lose a connection that the client comes back from
// (section 1.6).
var drops = map[string]func(*peer){
	"TCP drop": func(*peer) {},
	"1001":     func(p *peer) { _ = p.ws.Close(websocket.StatusGoingAway, "") },
	"1011":     func(p *peer) { _ = p.ws.Close(websocket.StatusInternalError, "") },
	"1012":     func(p *peer) { _ = p.ws.Close(websocket.StatusServiceRestart, "") },
	"1013":     func(p *peer) { _ = p.ws.Close(websocket.StatusTryAgainLater, "") },
	"4001":     func(p *peer) { _ = p.ws.Close(4001, "\x1b[2J") },
	"mid-answer": func(p *peer) {
		n := 0
		for packet := range (wire.Message{ID: 1, Type: wire.TypeResponse, Payload: make([]byte, 5000)}).Packets() {
			if n++; n < 4 {
				_ = p.ws.Write(context.Background(), websocket.MessageBinary, packet)
			}
		}
	},
	"mid-frame": func(p *peer) {
		w, err := p.ws.Writer(context.Background(), websocket.MessageBinary)
		if err == nil {
			_, _ = w.Write(make([]byte, 100))
		}
	},
	"garbage": func(p *peer) { _ = p.ws.Write(context.Background(), websocket.MessageBinary, make([]byte, 100)) },
	"short":   func(p *peer) { _ = p.ws.Write(context.Background(), websocket.MessageBinary, []byte{1}); p.hold() },
	"text frame": func(p *peer) { // with a message that is well-formed
		for packet := range (wire.Message{ID: 1, Type: "room.status", Payload: wire.Pack([]byte("{}"), nil)}).Packets() {
			_ = p.ws.Write(context.Background(), websocket.MessageText, packet)
		}
		p.hold()
	},
	"many packets": func(p *peer) {
		b := []byte("\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x00" + "\xff\xff\xff\xff" + wire.TypeResponse)
		_ = p.ws.Write(context.Background(), websocket.MessageBinary, b)
		p.hold()
	},
	"large frame": func(p *peer) {
		_ = p.ws.Write(context.Background(), websocket.MessageBinary, make([]byte, wire.DefaultMaxMessage+1))
		p.hold()
	},
}

// A connection that drops and is back is no news for a person. An outage is, once,
// however often it is tried.
func TestOutageIsToldOnce(t *testing.T) {
	for outage, warnings := range map[int]int{0: 0, 1: 1, 9: 1} {
		synctest.Test(t, func(t *testing.T) {
			rooms := scripted(t, func(p *peer, n int) {
				p.ready()
				if n > 0 {
					p.hold()
				}
			})
			var attempts atomic.Int32
			config := listenInBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if n := int(attempts.Add(1)); n > 1 && n <= 1+outage {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				rooms.ServeHTTP(w, r)
			}))
			var log bytes.Buffer
			config.Logger = slog.New(slog.NewTextHandler(&log, nil))
			c := dial(t, config)
			time.Sleep(10 * time.Minute) // of the bubble
			_ = c.Close()
			if got := strings.Count(log.String(), "WARN"); got != warnings || strings.Count(log.String(), "reconnected") != 1 {
				t.Errorf("%d warnings of an outage of %d attempts:\n%s", got, outage, &log)
			}
		})
	}
}

// What can be repeated is asked again after the client came back; what cannot
// fails and says so; what was not sent waits.
func TestReconnect(t *testing.T) {
	for name, drop := range drops {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lost, again sync.Map
				c := dial(t, listenInBubble(t, scripted(t, func(p *peer, n int) {
					p.ready()
					if n == 0 {
						for range 6 {
							c, _ := p.next()
							lost.Store(c.Tool, true)
						}
						drop(p)
						return
					}
					p.serve(func(c call) wire.Content {
						again.Store(c.Tool, true)
						switch c.Tool {
						case wire.ListSecrets:
							return wire.JSON{Object: []byte(`{"secrets":[]}`)}
						case wire.GetSecret:
							return text("v")
						case wire.Exists:
							return wire.JSON{Object: []byte(`{"exists":true}`)}
						case wire.DeleteSecret:
							return wire.Error{Text: "gone", Code: wire.NotFound}
						}
						return wire.Empty{}
					})
				})))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				s := c.Secrets()
				var wg sync.WaitGroup
				for op, f := range map[string]func() error{
					"list":   func() error { _, err := s.List(ctx); return err },
					"get":    func() error { _, err := s.Get(ctx, room.SecretQuery{ID: "k"}); return err },
					"exists": func() error { _, err := s.Exists(ctx, room.ExistsQuery{ID: "k"}); return err },
					"set":    func() error { return s.Set(ctx, room.NewSecret{ID: "k"}) },
					"delete": func() error { return s.Delete(ctx, "k", "") },
					"invoke": func() error {
						_, err := c.Invoke(ctx, "t", "invoke", wire.Empty{})
						if !errors.Is(err, room.ErrDisconnected) {
							return fmt.Errorf("not ErrDisconnected: %w", err)
						}
						return nil
					},
				} {
					wg.Go(func() {
						if err := f(); err != nil {
							t.Errorf("%s: %v", op, err)
						}
					})
				}
				wg.Wait()
				// A delete that was not repeated tells what the room tells.
				if err := s.Delete(ctx, "k", ""); !errors.Is(err, room.ErrNotFound) {
					t.Error(err)
				}
				for _, tool := range []string{wire.ListSecrets, wire.GetSecret, wire.Exists, wire.SetSecret, wire.DeleteSecret} {
					_, first := lost.Load(tool)
					if _, second := again.Load(tool); !first || !second {
						t.Errorf("%s came first %t, again %t", tool, first, second)
					}
				}
				if _, ok := again.Load("invoke"); ok {
					t.Error("a call that may not be repeated was")
				}
			})
		})
	}
}

// A set without an id could store two secrets.
func TestSetWithoutIDIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, listenInBubble(t, scripted(t, func(p *peer, n int) {
			p.ready()
			if n == 0 {
				p.next()
				return
			}
			p.hold()
		})))
		if err := c.Secrets().Set(soon(t), room.NewSecret{Type: "t", Name: "n"}); !errors.Is(err, room.ErrDisconnected) {
			t.Error(err)
		}
		_ = c.Close()
	})
}

// A request whose context ends while there is no connection is not sent later, and
// those that wait are sent in the order in which they were made.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		away, back := make(chan struct{}), make(chan struct{})
		var got []string
		c := dial(t, listenInBubble(t, scripted(t, func(p *peer, connection int) {
			p.ready()
			if connection == 0 {
				for range n / 2 { // half of them were sent before
					p.next()
				}
				close(away)
				return
			}
			<-back
			p.serve(func(c call) wire.Content {
				got = append(got, c.secretID())
				return text("v")
			})
		})))
		var want []string
		var waiting sync.WaitGroup
		ask := func(i int) {
			id := fmt.Sprint("k", i)
			want = append(want, id)
			waiting.Go(func() {
				if _, err := get(t.Context(), c, id); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for i := range n / 2 {
			ask(i)
		}
		<-away
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		waiting.Go(func() {
			if _, err := get(ctx, c, "canceled"); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		for i := range n / 2 {
			ask(n/2 + i)
		}
		cancel()
		synctest.Wait()
		close(back)
		waiting.Wait()
		if !slices.Equal(got, want) {
			t.Errorf("the room got %v, want %v", got, want)
		}
		_ = c.Close()
	})
}

// While a room is away requests wait for it, no longer than their contexts.
func TestRoomAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		drop := make(chan struct{})
		up := scripted(t, func(p *peer, n int) {
			p.ready()
			if n == 0 {
				<-drop
				return
			}
			p.serve(func(c call) wire.Content { return text(c.secretID()) })
		})
		var attempts []time.Time
		c := dial(t, listenInBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if down.Load() {
				attempts = append(attempts, time.Now())
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			up.ServeHTTP(w, r)
		})))
		if since, err := c.Disconnected(); err != nil || !since.IsZero() {
			t.Errorf("connected: %v since %v", err, since)
		}
		down.Store(true)
		close(drop)
		synctest.Wait()
		dropped := time.Now()

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := get(ctx, c, "k")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "502") {
			t.Error(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		for i := 1; i < len(attempts); i++ {
			longest := min(max(2*time.Second, time.Second+attempts[i-1].Sub(attempts[0])/8), 30*time.Second)
			if d := attempts[i].Sub(attempts[i-1]); d < 500*time.Millisecond || d > longest {
				t.Errorf("attempt %d came after %v, want at most %v", i, d, longest)
			}
		}
		if last := attempts[len(attempts)-1].Sub(attempts[len(attempts)-2]); last < 15*time.Second {
			t.Errorf("after ten minutes an attempt came after %v", last)
		}
		if n := len(attempts); n < 30 || n > 90 {
			t.Errorf("%d attempts in 11 minutes", n)
		}
		if since, err := c.Disconnected(); err == nil || !strings.Contains(err.Error(), "502") || !since.Equal(dropped) {
			t.Errorf("disconnected: %v since %v, want since %v", err, since, dropped)
		}
		down.Store(false)
		getAll(t, c, 10)
		if since, err := c.Disconnected(); err != nil || !since.IsZero() {
			t.Errorf("connected again: %v since %v", err, since)
		}
		if c.Err() != nil {
			t.Error(c.Err())
		}
	})
}

// A room that takes us in and drops us is not hammered.
func TestRoomThatDropsUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		dial(t, listenInBubble(t, scripted(t, func(p *peer, _ int) {
			n.Add(1)
			p.ready()
		})))
		time.Sleep(10 * time.Minute)
		if n := n.Load(); n < 30 || n > 90 {
			t.Errorf("%d connections in 10 minutes", n)
		}
	})
}

// Statuses and close codes after which the client does not come back.
func TestEnd(t *testing.T) {
	type end struct {
		status int // of the second handshake; 0 closes the first with 1000
		want   error
	}
	ends := []end{{0, room.ErrClosed}}
	for status, want := range finals {
		ends = append(ends, end{status, want})
	}
	for _, e := range ends {
		t.Run(fmt.Sprint(e.status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := scripted(t, func(p *peer, _ int) {
					p.ready()
					p.next()
					if e.status == 0 {
						_ = p.ws.Close(websocket.StatusNormalClosure, "")
					}
				})
				var n atomic.Int32
				c := dial(t, listenInBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if n.Add(1) > 1 {
						w.WriteHeader(cmp.Or(e.status, http.StatusServiceUnavailable))
						return
					}
					first.ServeHTTP(w, r)
				})))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if _, err := get(ctx, c, "k"); !errors.Is(err, e.want) {
					t.Error(err)
				}
				synctest.Wait()
				select {
				case <-c.Done():
				default:
					_ = c.Close()
					t.Fatal("the client has not ended")
				}
				if !errors.Is(c.Err(), e.want) {
					t.Error(c.Err())
				}
				if _, err := get(t.Context(), c, "k"); !errors.Is(err, e.want) {
					t.Error(err)
				}
				if since, err := c.Disconnected(); !errors.Is(err, e.want) || since.IsZero() {
					t.Errorf("disconnected: %v since %v", err, since)
				}
				if err := c.Close(); err != nil || !errors.Is(c.Err(), e.want) {
					t.Errorf("after Close: %v, %v", err, c.Err())
				}
			})
		})
	}
}

// mutable is a connection whose writes can be made to vanish.
type mutable struct {
	net.Conn
	mute *atomic.Bool
}

func (c mutable) Write(p []byte) (int, error) {
	if c.mute.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// A room to which nothing gets through is gone after a minute.
func TestNoPong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := listenInBubble(t, scripted(t, func(p *peer, n int) {
			p.ready()
			p.serve(func(call) wire.Content { return text(fmt.Sprint("connection ", n)) })
		}))
		pipe := config.DialContext
		var mute atomic.Bool
		config.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := pipe(ctx, network, address)
			mute.Store(false)
			return mutable{conn, &mute}, err
		}
		c := dial(t, config)
		mute.Store(true)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		v, err := get(ctx, c, "k")
		if d := time.Since(start); err != nil || v != "connection 1" || d < 55*time.Second || d > 62*time.Second {
			t.Errorf("%q after %v, error %v", v, d, err)
		}
		_ = c.Close()
	})
}

// A room that is silent for a minute is gone.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := make(chan struct{})
		defer close(deaf)
		var last time.Time
		c := dial(t, listenInBubble(t, scripted(t, func(p *peer, n int) {
			p.ready()
			if n == 0 {
				last = time.Now()
				p.next()
				<-deaf
				return
			}
			p.serve(func(c call) wire.Content { return text(c.secretID()) })
		})))
		if v, err := get(t.Context(), c, "k"); err != nil || v != "k" {
			t.Error(v, err)
		}
		if d := time.Since(last); d < 35*time.Second || d > 62*time.Second {
			t.Errorf("it took %v to notice", d)
		}
		// Silence of requests is no silence: pings keep the connection.
		id := c.Session()
		time.Sleep(time.Hour)
		if v, err := get(t.Context(), c, "k2"); err != nil || v != "k2" || c.Session() != id {
			t.Error(v, err)
		}
	})
}

// Close does not wait for a room that does not answer.
func TestCloseDeafRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := make(chan struct{})
		defer close(deaf)
		c := dial(t, listenInBubble(t, scripted(t, func(p *peer, _ int) {
			p.ready()
			<-deaf
		})))
		failed := make(chan error)
		go func() {
			_, err := get(t.Context(), c, strings.Repeat("k", 1<<19))
			failed <- err
		}()
		synctest.Wait()
		start := time.Now()
		go c.Close()
		if err := <-failed; !errors.Is(err, room.ErrClosed) {
			t.Error(err)
		}
		_ = c.Close()
		if d := time.Since(start); d > time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// The room sees a close frame with 1000, so that it does not expect us back.
func TestCloseInPeace(t *testing.T) {
	saw := make(chan error, 1)
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		_, _, err := p.ws.Read(context.Background())
		saw <- err
	})))
	_ = c.Close()
	if err := <-saw; websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Error(err)
	}
}

// What the room would refuse as a violation, and drop us for, is not sent.
func TestTooLarge(t *testing.T) {
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) { p.ready(); p.hold() })))
	ctx := soon(t)
	if err := c.Secrets().Set(ctx, room.NewSecret{ID: "k", Value: secret.New(make([]byte, wire.DefaultMaxMessage))}); err == nil || !strings.Contains(err.Error(), "want at most") {
		t.Error(err)
	}
	if _, err := get(ctx, c, strings.Repeat("k", wire.MaxHeader)); err == nil || !strings.Contains(err.Error(), "longer") {
		t.Error(err)
	}
}

// A room that drops connections at once is left alone for longer and longer; one that
// drops them now and then is not, and neither is one that answers meanwhile.
func TestReconnectDelay(t *testing.T) {
	const soon = 500 * time.Millisecond
	for name, of := range map[string]struct {
		lasts             time.Duration
		answers           bool
		shortest, longest time.Duration
	}{
		"drops at once":               {lasts: time.Millisecond, shortest: 15 * time.Second, longest: 30 * time.Second},
		"answers, and drops at once":  {lasts: time.Millisecond, answers: true, shortest: 15 * time.Second, longest: 30 * time.Second},
		"drops without an answer":     {lasts: time.Second, shortest: 15 * time.Second, longest: 30 * time.Second},
		"answers for a second":        {lasts: time.Second, answers: true, longest: soon},
		"lasts a minute, and is idle": {lasts: time.Minute, longest: soon},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				enough := make(chan time.Duration)
				var dropped atomic.Int64 // Unix time in ns
				c := dial(t, listenInBubble(t, scripted(t, func(p *peer, n int) {
					delay := time.Since(time.Unix(0, dropped.Load()))
					p.ready()
					if n == 50 {
						enough <- delay
					} else {
						defer time.AfterFunc(of.lasts, func() { _ = p.ws.CloseNow() }).Stop()
					}
					if of.answers {
						p.serve(func(call) wire.Content { return text("v") })
					}
					p.hold()
					dropped.Store(time.Now().UnixNano())
				})))
				ctx, cancel := context.WithCancel(t.Context())
				var asking sync.WaitGroup
				asking.Go(func() {
					for of.answers && ctx.Err() == nil {
						_, _ = get(ctx, c, "k")
						time.Sleep(of.lasts / 2)
					}
				})
				if delay := <-enough; delay < of.shortest || delay > of.longest {
					t.Errorf("after 50 connections the delay is %v", delay)
				}
				cancel()
				asking.Wait()
				_ = c.Close()
			})
		})
	}
}

// A room that takes in a client again, and never gets ready, is left after 30 s.
func TestNeverReadyAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		again := make(chan time.Time, 1)
		c := dial(t, listenInBubble(t, scripted(t, func(p *peer, n int) {
			switch n {
			case 0:
				p.ready()
			case 1:
				again <- time.Now()
				p.hold()
			default:
				p.ready()
				p.serve(func(c call) wire.Content { return text(c.secretID()) })
			}
		})))
		v, err := get(t.Context(), c, "k")
		if d := time.Since(<-again); err != nil || v != "k" || d < 30*time.Second || d > 32*time.Second {
			t.Errorf("%q after %v, error %v", v, d, err)
		}
		_ = c.Close()
	})
}
