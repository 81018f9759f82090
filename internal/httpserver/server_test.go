package httpserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/internal/httpserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func get(t *testing.T, address string) *http.Response {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	r.Body.Close()
	return r
}

// A client that would keep its connection is told not to.
func TestOneRequest(t *testing.T) {
	l := listen(t)
	s := httpserver.Serve(l, httpserver.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") })})
	defer s.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	b, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200 ") || !strings.Contains(string(b), "\r\nConnection: close\r\n") {
		t.Errorf("got %q, error %v", b, err)
	}
}

func TestBounds(t *testing.T) {
	l := listen(t)
	s := httpserver.Serve(l, httpserver.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})})
	defer s.Close()
	for name, request := range map[string]string{
		"431": "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"413": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n" + strings.Repeat("x", 64<<10),
	} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, request)
		line, err := bufio.NewReader(conn).ReadString('\n')
		if !strings.HasPrefix(line, "HTTP/1.1 "+name) {
			t.Errorf("want %s, got %q, error %v", name, line, err)
		}
		conn.Close()
	}
}

// Those who connect and say nothing, or not much, keep nobody out: each new connection
// takes the place of the oldest of them.
func TestSilentConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		s := httpserver.Serve(p, httpserver.Config{Handler: http.NotFoundHandler()})
		start := time.Now()
		var silent []net.Conn
		for i := range 1000 {
			client, server := net.Pipe()
			defer client.Close()
			p.conns <- server
			if i%2 == 1 {
				fmt.Fprint(client, "GET / HTTP/1.1\r\nX: ")
			}
			silent = append(silent, client)
		}
		if got := <-p.request(); !strings.HasPrefix(got, "HTTP/1.1 404 ") || time.Since(start) > time.Second {
			t.Errorf("a request gets %q after %v", got, time.Since(start))
		}
		fmt.Fprint(silent[999], "a\r\nHost: a\r\n\r\n")
		if b, err := io.ReadAll(silent[999]); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 404 ") {
			t.Errorf("the newest gets %q, error %v", b, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A connection that a handler serves keeps its place, and one that it has hijacked
// takes none.
func TestServedConnections(t *testing.T) {
	l := listen(t)
	started, proceed := make(chan struct{}), make(chan struct{})
	s := httpserver.Serve(l, httpserver.Config{MaxConnections: 1, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		<-proceed
		if r.URL.Path == "/hijack" {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { conn.Close() })
		}
		fmt.Fprint(w, "x")
	})})
	defer s.Close()
	ask := func(path string) net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
		return conn
	}
	hijacked := ask("/hijack")
	defer hijacked.Close()
	<-started
	proceed <- struct{}{}
	first := ask("/")
	<-started
	second := ask("/")
	proceed <- struct{}{}
	<-started
	proceed <- struct{}{}
	for i, conn := range []net.Conn{first, second} {
		if b, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(b), "x") {
			t.Errorf("request %d got %q, error %v", i, b, err)
		}
	}
}

// A connection that sends nothing delays Close by no more than its bound, also when
// it is one of as many as the server takes.
func TestCloseWhenFull(t *testing.T) {
	l := listen(t)
	s := httpserver.Serve(l, httpserver.Config{Handler: http.NotFoundHandler(), MaxConnections: 1})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET")
	start := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > 4*time.Second {
		t.Errorf("Close took %v", d)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is open")
	}
}

// pipes is a listener whose connections need no network, for a clock that tests set.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	err    error // of Accept
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), closed: make(chan struct{}), err: net.ErrClosed}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, p.err
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// request begins a request and returns what the client reads until the end.
func (p *pipes) request() <-chan string {
	client, server := net.Pipe()
	p.conns <- server
	response := make(chan string, 1)
	go func() {
		defer client.Close()
		fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		b, _ := io.ReadAll(client)
		response <- string(b)
	}()
	return response
}

// Close ends the contexts of the requests and waits for their handlers, however
// long they take.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		started, returned := make(chan struct{}), false
		s := httpserver.Serve(p, httpserver.Config{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(started)
			<-r.Context().Done()
			time.Sleep(time.Hour)
			returned = true
		})})
		response := p.request()
		<-started
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if !returned {
			t.Error("Close returned while a handler was running")
		}
		<-response
	})
}

// A response that is written after the contexts have ended arrives.
func TestLastResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		started := make(chan struct{})
		s := httpserver.Serve(p, httpserver.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(started)
			<-r.Context().Done()
			time.Sleep(time.Second / 2)
			fmt.Fprint(w, "last")
		})})
		response := p.request()
		<-started
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if got := <-response; !strings.HasSuffix(got, "last") {
			t.Errorf("got %q", got)
		}
	})
}

// A client that sends or reads too slowly is dropped.
func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		s := httpserver.Serve(p, httpserver.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(make([]byte, 1<<20))
		})})
		defer s.Close()
		for sent, limit := range map[string]time.Duration{
			"":                                  10 * time.Second,
			"GET / HTTP/1.1\r\nHost: a\r\n\r\n": 2 * time.Minute,
		} {
			client, server := net.Pipe()
			p.conns <- server
			fmt.Fprint(client, sent)
			time.Sleep(limit)
			synctest.Wait()
			client.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := client.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("after %q and %v: error %v", sent, limit, err)
			}
			client.Close()
		}
	})
}

// When only the listener is closed, requests finish with their contexts alive.
func TestListenerClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		started := make(chan struct{})
		s := httpserver.Serve(p, httpserver.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(started)
			time.Sleep(30 * time.Second)
			fmt.Fprint(w, r.Context().Err())
		})})
		response := p.request()
		<-started
		p.Close()
		if got := <-response; !strings.HasSuffix(got, "<nil>") {
			t.Errorf("got %q", got)
		}
		if err := s.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("error %v", err)
		}
	})
}

// When the listener fails, the server ends and says why.
func TestListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		p.err = errors.New("no network")
		started := make(chan struct{})
		run := make(chan error)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() {
			run <- httpserver.Run(ctx, p, httpserver.Config{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(started)
				<-r.Context().Done()
			})})
		}()
		response := p.request()
		<-started
		p.Close()
		if err := <-run; !errors.Is(err, p.err) || ctx.Err() != nil {
			t.Errorf("error %v", err)
		}
		<-response
	})
}

func TestHeaders(t *testing.T) {
	l := listen(t)
	s := httpserver.Serve(l, httpserver.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
	})})
	defer s.Close()
	got := get(t, l.Addr().String()).Header
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Content-Security-Policy": "default-src 'self'", "Cross-Origin-Opener-Policy": "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: got %q", name, got.Get(name))
		}
	}
}
