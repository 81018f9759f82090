package room_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

func TestReady(t *testing.T) {
	want := room.Session{RoomName: "demo", RoomURL: "ws://x/rooms/demo", SessionID: "s", ParticipantID: "p", Name: "alice"}
	for name, enter := range map[string]func(*peer){
		"room_ready first": func(p *peer) { p.roomReady(); p.connected() },
		"connected first":  func(p *peer) { p.connected(); p.roomReady() },
		"among others": func(p *peer) {
			p.event("room.status", map[string]string{"status": "starting", "message": "…"}, "")
			p.roomReady()
			p.send(wire.Message{Type: "unheard.of", Payload: []byte("not packed")})
			p.answer(1, wire.Empty{})
			p.event(wire.TypeConnected, wire.Connected{Type: "other", ParticipantID: "x"}, "")
			p.connected()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, listen(t, scripted(t, func(p *peer, _ int) { enter(p); p.hold() })))
			if got := c.Session(); got != want {
				t.Errorf("got %+v", got)
			}
			select {
			case <-c.Done():
				t.Error("done while connected")
			default:
			}
			if c.Err() != nil {
				t.Error(c.Err())
			}
			if err := c.Close(); err != nil || !errors.Is(c.Err(), room.ErrClosed) {
				t.Error(err, c.Err())
			}
			<-c.Done()
		})
	}
}

// No client but ours ends the wait for a message that never comes.
func TestNeverReady(t *testing.T) {
	for missing, enter := range map[string]func(*peer){
		"room_ready": (*peer).connected,
		"connected":  (*peer).roomReady,
	} {
		t.Run(missing, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := listenInBubble(t, scripted(t, func(p *peer, _ int) { enter(p); p.hold() }))
				start := time.Now()
				_, err := room.Dial(t.Context(), config)
				if !errors.Is(err, room.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), missing) {
					t.Error(err)
				}
				if d := time.Since(start); d != 30*time.Second {
					t.Errorf("it took %v", d)
				}

				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				if _, err := room.Dial(ctx, config); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		})
	}
}

func TestHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests []*http.Request
		ready := scripted(t, func(p *peer, _ int) { p.ready(); p.hold() })
		config := listenInBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests = append(requests, r)
			if len(requests) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			ready.ServeHTTP(w, r)
		}))
		config.URL += "?a=1&v=0&b=%20"
		asked := 0
		config.Token = func(context.Context) (secret.Value, error) {
			asked++
			return secret.New(fmt.Appendf(nil, "token-%d", asked)), nil
		}
		dial(t, config)
		for i, r := range requests {
			if got, want := r.Header.Get("Authorization"), fmt.Sprintf("Bearer token-%d", i+1); got != want {
				t.Errorf("attempt %d has the header %q, want %q", i, got, want)
			}
			q := r.URL.Query()
			if r.URL.Path != "/rooms/demo" || q.Get("a") != "1" || q.Get("b") != " " || len(q["v"]) != 1 || q.Get("v") == "0" {
				t.Errorf("attempt %d asks for %s", i, r.URL)
			}
		}
		if len(requests) != 3 {
			t.Errorf("%d attempts", len(requests))
		}
	})
}

// Processes that serve a room in turn drop clients in any stage of a connection, many
// times in a row. That is an outage once it has lasted longer than Config.Failover.
func TestFailover(t *testing.T) {
	for drops, want := range map[int]error{12: nil, 100_000: room.ErrUnreachable} {
		synctest.Test(t, func(t *testing.T) {
			config := listenInBubble(t, scripted(t, func(p *peer, n int) {
				switch {
				case n >= drops:
					p.ready()
					p.hold()
				case n%2 == 1:
					p.roomReady()
				}
			}))
			config.Failover = 10 * time.Second
			start := time.Now()
			c, err := room.Dial(t.Context(), config)
			if !errors.Is(err, want) {
				t.Errorf("after %d drops: %v", drops, err)
			}
			if took := time.Since(start); want == nil && took > 5*time.Second || took > 12*time.Second {
				t.Errorf("after %d drops it took %v", drops, took)
			}
			if err == nil {
				_ = c.Close()
			}
		})
	}
}

// A token that is sent to a different machine without TLS is worth one warning.
func TestCleartext(t *testing.T) {
	token := func(context.Context) (secret.Value, error) { return secret.New([]byte("t")), nil }
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for url, warns := range map[string]int{
		"http://room.example": 1, "ws://192.0.2.1:8078": 1, "http://[2001:db8::1]": 1, "http://localhost.example": 1,
		"https://room.example": 0, "wss://192.0.2.1": 0, "http://localhost:8078": 0, "ws://127.1.2.3": 0,
		"http://[::1]:8078": 0, "http://[::ffff:127.0.0.1]": 0,
	} {
		var log strings.Builder
		config := room.Config{URL: url + "/rooms/demo", Token: token, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		if _, err := room.Dial(ended, config); err == nil {
			t.Fatal("connected")
		}
		if got := strings.Count(log.String(), "without TLS"); got != warns {
			t.Errorf("%s: %d warnings, want %d", url, got, warns)
		}
	}
}

// finals are the statuses that end a client for good (section 1.5).
var finals = map[int]error{403: room.ErrForbidden, 404: room.ErrNoRoom, 423: room.ErrRoomDisabled}

func TestFinalStatus(t *testing.T) {
	for status, want := range finals {
		var attempts atomic.Int32
		config := listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			attempts.Add(1)
			w.WriteHeader(status)
			_, _ = w.Write([]byte("body-canary"))
		}))
		config.URL += "?token=query-canary"
		var log bytes.Buffer
		config.Logger = slog.New(slog.NewTextHandler(&log, nil))
		_, err := room.Dial(soon(t), config)
		if !errors.Is(err, want) || attempts.Load() != 1 || !strings.Contains(err.Error(), fmt.Sprint(status)) || !strings.Contains(err.Error(), "/rooms/demo") {
			t.Errorf("status %d: %v after %d attempts", status, err, attempts.Load())
		}
		if strings.Contains(err.Error()+log.String(), "canary") {
			t.Errorf("it tells %v, logs %s", err, log.String())
		}
	}
}

// What may pass is tried again, with growing delays, and not for ever.
func TestDialGivesUp(t *testing.T) {
	type handler func(testing.TB) http.Handler
	status := func(code int) handler {
		return func(testing.TB) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		}
	}
	play := func(s func(*peer)) handler {
		return func(t testing.TB) http.Handler { return scripted(t, func(p *peer, _ int) { s(p) }) }
	}
	for name, h := range map[string]handler{
		"401": status(401),
		"429": status(429),
		"500": status(500),
		"503": status(503),
		"204": status(204),
		"302": func(testing.TB) http.Handler { return http.RedirectHandler("http://elsewhere/", http.StatusFound) },
		"hangs up": func(testing.TB) http.Handler {
			return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		},
		"try again later": play(func(p *peer) { _ = p.ws.Close(websocket.StatusTryAgainLater, "later\x1b[2J") }),
		"drops":           play(func(*peer) {}),
		"drops half-way":  play(func(p *peer) { p.roomReady() }),
		"text frame":      play(func(p *peer) { _ = p.ws.Write(context.Background(), websocket.MessageText, []byte("{}")) }),
		"garbage":         play(func(p *peer) { _ = p.ws.Write(context.Background(), websocket.MessageBinary, []byte("garbage")) }),
		"not packed":      play(func(p *peer) { p.send(wire.Message{Type: wire.TypeRoomReady, Payload: []byte("x")}) }),
		"wrong types":     play(func(p *peer) { p.event(wire.TypeConnected, map[string]any{"type": 7}, "") }),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := listenInBubble(t, h(t))
				dials := []time.Time{}
				pipe := config.DialContext
				config.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
					dials = append(dials, time.Now())
					if len(dials) > 10 {
						return nil, errors.New("it does not end")
					}
					return pipe(ctx, network, address)
				}
				_, err := room.Dial(t.Context(), config)
				if !errors.Is(err, room.ErrUnreachable) || strings.Contains(err.Error(), "\x1b") {
					t.Errorf("%q", err)
				}
				if len(dials) != 3 {
					t.Fatalf("%d attempts", len(dials))
				}
				for i := 1; i < len(dials); i++ {
					most := 500 * time.Millisecond << (i - 1)
					if d := dials[i].Sub(dials[i-1]); d < most/2 || d > most {
						t.Errorf("attempt %d came after %v, want %v to %v", i, d, most/2, most)
					}
				}
			})
		})
	}
}

// A room that asks for time gets it (RFC 9110 section 10.2.3), up to a minute, from a
// client that joins and from one that was in.
func TestRetryAfter(t *testing.T) {
	date := func(after time.Duration) string { return time.Now().Add(after).UTC().Format(http.TimeFormat) }
	for name, of := range map[string]struct {
		status            int
		value             func() string
		shortest, longest time.Duration
	}{
		"seconds":    {503, func() string { return "7" }, 7 * time.Second, 8 * time.Second},
		"429":        {429, func() string { return "7" }, 7 * time.Second, 8 * time.Second},
		"date":       {503, func() string { return date(9 * time.Second) }, 8 * time.Second, 11 * time.Second},
		"past":       {503, func() string { return date(-time.Hour) }, 0, time.Second},
		"for long":   {503, func() string { return "86400" }, time.Minute, 62 * time.Second},
		"no number":  {503, func() string { return "soon" }, 0, time.Second},
		"other code": {500, func() string { return "7" }, 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var attempts []time.Time
				ready := scripted(t, func(p *peer, n int) {
					p.ready()
					if n > 0 {
						p.hold()
					}
				})
				reject := true
				config := listenInBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					attempts = append(attempts, time.Now())
					if reject = !reject; !reject { // the first and the third
						w.Header().Set("Retry-After", of.value())
						w.WriteHeader(of.status)
						return
					}
					ready.ServeHTTP(w, r)
				}))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				c, err := room.Dial(ctx, config)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if len(attempts) != 4 {
					t.Fatalf("%d attempts", len(attempts))
				}
				for _, i := range []int{1, 3} {
					if d := attempts[i].Sub(attempts[i-1]); d < of.shortest || d > of.longest {
						t.Errorf("attempt %d came after %v, want %v to %v", i, d, of.shortest, of.longest)
					}
				}
				_ = c.Close()
			})
		})
	}
}

// A client that cannot wait for as long as the room asks says so at once.
func TestRetryAfterDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := listenInBubble(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "31")
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		start := time.Now()
		_, err := room.Dial(t.Context(), config)
		if !errors.Is(err, room.ErrUnreachable) || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "31s") || time.Since(start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// Clients that lose their room at once do not come back at once.
func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delays := map[time.Duration]bool{}
		for range 10 {
			var first time.Time
			_, _ = room.Dial(t.Context(), room.Config{
				URL: "ws://away/rooms/demo",
				DialContext: func(context.Context, string, string) (net.Conn, error) {
					if first.IsZero() {
						first = time.Now()
					} else if len(delays) < 10 {
						delays[time.Since(first)] = true
					}
					return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
				},
			})
		}
		if len(delays) < 5 {
			t.Errorf("the delays are %v", delays)
		}
	})
}

func TestDialRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		config := room.Config{
			URL:         "ws://user:password-canary@away/rooms/demo?token=query-canary",
			DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, refused },
		}
		_, err := room.Dial(t.Context(), config)
		if !errors.Is(err, room.ErrUnreachable) || !errors.Is(err, refused) || strings.Contains(err.Error(), "canary") {
			t.Error(err)
		}
		// The reason is told when the context ends first.
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond) // three attempts take 750 at least
		defer cancel()
		_, err = room.Dial(ctx, config)
		if !errors.Is(err, room.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, refused) {
			t.Error(err)
		}
	})
}

// What is no failure of the network does not pass by itself. Nothing is logged
// of an attempt whose error the caller gets.
func TestDialLastingError(t *testing.T) {
	damaged := errors.New("the file is damaged")
	attempts := 0
	var log bytes.Buffer
	_, err := room.Dial(t.Context(), room.Config{
		URL: "http://local/rooms/demo",
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			attempts++
			return nil, damaged
		},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if !errors.Is(err, room.ErrUnreachable) || !errors.Is(err, damaged) || attempts != 1 || log.Len() > 0 {
		t.Errorf("%v after %d attempts, logged %q", err, attempts, &log)
	}
}

// A server that accepts and never answers is one of several attempts.
func TestDialSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		defer close(hung)
		var attempts atomic.Int32
		_, err := room.Dial(t.Context(), listenInBubble(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			attempts.Add(1)
			<-hung
		})))
		if !errors.Is(err, room.ErrUnreachable) || attempts.Load() < 2 {
			t.Errorf("%v after %d attempts", err, attempts.Load())
		}
	})
}

// The body of a refusal is not waited for.
func TestDialEndlessBody(t *testing.T) {
	config := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	if _, err := room.Dial(soon(t), config); !errors.Is(err, room.ErrForbidden) {
		t.Error(err)
	}
}

// The headers of a refusal are not read without a bound.
func TestDialEndlessHeader(t *testing.T) {
	config := listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 256<<10))
		w.WriteHeader(http.StatusForbidden)
	}))
	if _, err := room.Dial(soon(t), config); !errors.Is(err, room.ErrUnreachable) || len(err.Error()) > 1000 {
		t.Errorf("%.1000v", err)
	}
}

// An error repeats little of what answers.
func TestDialLongWords(t *testing.T) {
	config := listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 %s\r\n\r\n", strings.Repeat("x", 32<<10))
	}))
	if _, err := room.Dial(soon(t), config); err == nil || !strings.Contains(err.Error(), "xxx") || len(err.Error()) > 1000 {
		t.Errorf("%.1000v", err)
	}
}

// A token goes to the room's address only.
func TestDialFollowsNoRedirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("followed to %s with %q", r.URL, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	config := listen(t, http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	config.Token = func(context.Context) (secret.Value, error) { return secret.New([]byte("x")), nil }
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := room.Dial(ctx, config); !errors.Is(err, room.ErrUnreachable) || !strings.Contains(err.Error(), "307") {
		t.Error(err)
	}
}

func TestDialWithoutToken(t *testing.T) {
	config := listen(t, http.NotFoundHandler())
	why := errors.New("no such file")
	asked := 0
	config.Token = func(context.Context) (secret.Value, error) {
		asked++
		return secret.Value{}, why
	}
	if _, err := room.Dial(soon(t), config); !errors.Is(err, why) || asked != 1 {
		t.Errorf("%v after %d attempts", err, asked)
	}
	config.Token = func(context.Context) (secret.Value, error) { return secret.New([]byte("canary\n")), nil }
	if _, err := room.Dial(soon(t), config); err == nil || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}

func TestDialNoAddress(t *testing.T) {
	for _, u := range []string{"", "demo", "/rooms/demo", "ftp://host/rooms/demo", "http:///rooms/demo", "http://host\x7f/?token=canary", "://?token=canary"} {
		if _, err := room.Dial(t.Context(), room.Config{URL: u}); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", u, err)
		}
	}
}

// Something that takes the upgrade but speaks no WebSocket is not tried twice.
func TestDialNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int32
		config := listenInBubble(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			attempts.Add(1)
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "websocket")
			w.WriteHeader(http.StatusSwitchingProtocols)
		}))
		_, err := room.Dial(t.Context(), config)
		if !errors.Is(err, room.ErrUnreachable) || !strings.Contains(err.Error(), "not a MeshAgent room") || attempts.Load() != 1 {
			t.Errorf("%v after %d attempts", err, attempts.Load())
		}
	})
}

// A room that closes with 1000 does not want us back (section 1.6).
func TestClosedBeforeReady(t *testing.T) {
	var n atomic.Int32
	config := listen(t, scripted(t, func(p *peer, _ int) {
		n.Add(1)
		_ = p.ws.Close(websocket.StatusNormalClosure, "")
	}))
	if _, err := room.Dial(soon(t), config); !errors.Is(err, room.ErrClosed) || n.Load() != 1 {
		t.Errorf("%v after %d attempts", err, n.Load())
	}
}

// The embedded room listens on a Unix socket.
func TestUnixSocket(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "room.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(scripted(t, func(p *peer, _ int) { p.ready(); p.hold() }))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // is for networks
	dial(t, room.Config{
		URL: "http://room/rooms/demo",
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", l.Addr().String())
		},
	})
}

// A frame that says it has 1 TB is read up to the limit and no further.
func TestTerabyteFrame(t *testing.T) {
	var n atomic.Int32
	ready := scripted(t, func(p *peer, _ int) { p.ready(); p.hold() })
	sent := make(chan int64, 1)
	config := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > 1 {
			ready.ServeHTTP(w, r)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		// RFC 6455, sections 1.3 and 5.2: one unmasked binary frame.
		key := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			base64.StdEncoding.EncodeToString(key[:]))
		_, _ = conn.Write(binary.BigEndian.AppendUint64([]byte{0x82, 127}, 1<<40))
		written, _ := io.Copy(conn, io.LimitReader(zeros{}, 1<<40))
		sent <- written
	}))
	dial(t, config)
	if written := <-sent; written > 64<<20 { // the limit, and what sockets hold
		t.Errorf("it took %d bytes", written)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TLS is that of net/http: a certificate that nobody signed is final.
func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	defer s.Close()
	attempts := 0
	_, err := room.Dial(soon(t), room.Config{
		URL: strings.Replace(s.URL, "https", "wss", 1) + "/rooms/demo",
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			attempts++
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	})
	if !errors.Is(err, room.ErrUnreachable) || !strings.Contains(err.Error(), "certificate") || attempts != 1 {
		t.Errorf("%v after %d attempts", err, attempts)
	}
}
