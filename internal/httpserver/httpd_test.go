package httpserver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

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
	s := httpserver.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") }), nil)
	defer s.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	b, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200 ") {
		t.Errorf("got %q, error %v", b, err)
	}
}

func TestBounds(t *testing.T) {
	l := listen(t)
	s := httpserver.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	}), nil)
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

// Those who connect and say nothing keep the server busy only up to its bound,
// and make room for others when they go.
func TestConnections(t *testing.T) {
	l := listen(t)
	s := httpserver.Serve(l, http.NotFoundHandler(), nil)
	defer s.Close()
	var silent []net.Conn
	for range 64 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, conn)
	}
	late, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	fmt.Fprint(late, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, conn := range silent {
		conn.Close()
	}
	if b, err := io.ReadAll(late); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 404 ") {
		t.Errorf("got %q, error %v", b, err)
	}
	if r := get(t, l.Addr().String()); r.StatusCode != http.StatusNotFound {
		t.Errorf("then %s", r.Status)
	}
}

// An answer that waits for something ends with the server.
func TestClose(t *testing.T) {
	l := listen(t)
	started, ended := make(chan struct{}), make(chan error, 1)
	s := httpserver.Serve(l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		ended <- r.Context().Err()
	}), nil)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-started
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != context.Canceled {
		t.Errorf("the request ended with %v", err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is open")
	}
}
