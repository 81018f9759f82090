package localroom_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/wire"
)

// first is the first packet of a message of n bytes.
func first(n int, typ string) []byte {
	b := make([]byte, 12, 16+len(typ))
	b = binary.BigEndian.AppendUint32(b, uint32((n+wire.ChunkSize-1)/wire.ChunkSize))
	return append(b, typ...)
}

// part is packet number k of the message with the id 0.
func part(k, size int) []byte {
	b := make([]byte, 12+size)
	binary.BigEndian.PutUint32(b[8:], uint32(k))
	return b
}

// One identity has a quarter of the connections, and those of the network do not keep
// out the processes of this machine.
func TestConnectionsOfAnIdentity(t *testing.T) {
	dir := t.TempDir()
	e, err := localroom.Open(dir, localroom.Options{Server: localroom.ServerConfig{MaxConnections: 8}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Acquire(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	serving.Go(func() {
		if err := e.Serve(ctx, l, nil); err != nil {
			t.Error(err)
		}
	})
	join := func(name string) (*peer, error) {
		jwt, err := e.Token("demo", name, scoped())
		if err != nil {
			t.Fatal(err)
		}
		p, err := connect(t.Context(), nil, "http://"+l.Addr().String()+"/rooms/demo", jwt)
		if err == nil {
			t.Cleanup(func() { p.conn.CloseNow() })
		}
		return p, err
	}
	for _, name := range []string{"ann", "bob", "eve", "joe"} {
		for range 2 {
			if _, err := join(name); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if _, err := join(name); websocket.CloseStatus(err) != websocket.StatusTryAgainLater {
			t.Errorf("a third connection of %s: %v", name, err)
		}
	}
	// One that is refused and says nothing is closed all the same.
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	jwt, err := e.Token("demo", "ann", scoped())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(silent, "GET /rooms/demo HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", jwt.Reveal())
	start := time.Now()
	if _, err := io.ReadAll(silent); err != nil || time.Since(start) > 3*time.Second {
		t.Errorf("refused after %v: %v", time.Since(start), err)
	}
	if _, err := join("max"); websocket.CloseStatus(err) != websocket.StatusTryAgainLater {
		t.Errorf("a full server: %v", err)
	}
	for range 10 {
		mustEnter(t, e, "ann")
	}
}

// heap returns the bytes of the heap that are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A large message leaves nothing behind, in whatever frames it came.
func TestBuffersAreGivenBack(t *testing.T) {
	s := serve(t)
	before := heap()
	for i := range 40 {
		p := s.connect(fmt.Sprint(i), scoped())
		for _, frame := range [][]byte{first(1, "unknown"), part(1, 4<<20-12)} {
			if err := p.conn.Write(t.Context(), websocket.MessageBinary, frame); err != nil {
				t.Fatal(err)
			}
		}
		if m, err := p.receive(t.Context()); err != nil || m.Type != wire.TypeResponse {
			t.Fatalf("%v, error %v", m, err)
		}
	}
	if more := heap() - before; more > 16<<20 {
		t.Errorf("40 participants hold %d KiB", more>>10)
	}
}

// Messages that never end hold a bounded amount, and neither large messages of others nor
// small ones of the same identity wait for them.
func TestUnfinishedMessages(t *testing.T) {
	s := serve(t)
	before := heap()
	const size = 15 << 20
	ctx, cancel := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	defer flood.Wait()
	defer cancel()
	sent := make(chan struct{}, 40)
	for range 20 {
		p := s.connect("eve", scoped())
		flood.Go(func() {
			defer func() { sent <- struct{}{} }()
			if p.conn.Write(ctx, websocket.MessageBinary, first(size, "x")) != nil {
				return
			}
			for k := range size/wire.ChunkSize - 1 {
				if k == 4000 {
					sent <- struct{}{}
				}
				if p.conn.Write(ctx, websocket.MessageBinary, part(k+1, wire.ChunkSize)) != nil {
					return
				}
			}
		})
	}
	for range 2 {
		next(t, sent)
	}
	if err := setSecret(t.Context(), s.connect("ann", scoped()), "large", strings.Repeat("x", 8<<20)); err != nil {
		t.Errorf("a large message of another: %v", err)
	}
	if err := setSecret(t.Context(), s.connect("eve", scoped()), "small", strings.Repeat("x", 1<<10)); err != nil {
		t.Errorf("a small message of the same: %v", err)
	}
	if more := heap() - before; more > 100<<20 {
		t.Errorf("20 unfinished messages hold %d MiB", more>>20)
	}
}

// A peer that is slow to finish a message is dropped, one that sends none is not.
func TestMessageTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		enter := serveInBubble(t)
		join := func() (*peer, <-chan error) {
			p, end := enter("ann"), make(chan error, 1)
			go func() {
				_, err := p.receive(t.Context())
				end <- err
			}()
			return p, end
		}
		quiet, quietEnd := join()
		slow, slowEnd := join()
		start := time.Now()
		if err := slow.conn.Write(t.Context(), websocket.MessageBinary, first(10<<20, "x")); err != nil {
			t.Fatal(err)
		}
		for k := range 1000 {
			time.Sleep(time.Second)
			if slow.conn.Write(t.Context(), websocket.MessageBinary, part(k+1, wire.ChunkSize)) != nil {
				break
			}
		}
		_ = slow.conn.CloseNow()
		if err := <-slowEnd; websocket.CloseStatus(err) != -1 || time.Since(start) > 2*time.Minute {
			t.Errorf("the slow one ends after %v: %v", time.Since(start), err)
		}
		time.Sleep(30 * time.Minute)
		select {
		case err := <-quietEnd:
			t.Errorf("the quiet one: %v", err)
		default:
		}
		_ = quiet.conn.CloseNow()
		<-quietEnd
	})
}

// Peers that ask for large secrets and do not read them hold a bounded amount.
func TestUnreadResponses(t *testing.T) {
	s := serve(t)
	ann := s.connect("ann", scoped())
	if err := setSecret(t.Context(), ann, "big", strings.Repeat("x", 4<<20)); err != nil {
		t.Fatal(err)
	}
	payload, err := wire.PackInvoke(wire.Secrets, wire.GetSecret, wire.JSON{Object: []byte(`{"secret_id":"big"}`)})
	if err != nil {
		t.Fatal(err)
	}
	before := heap()
	var peers []*peer
	for range 30 {
		p := s.connect("ann", scoped())
		p.patience = 0
		if _, err := p.send(t.Context(), wire.TypeInvokeTool, payload); err != nil {
			t.Fatal(err)
		}
		peers = append(peers, p)
	}
	for range 5 {
		if err := setSecret(t.Context(), ann, "small", "v"); err != nil {
			t.Fatal(err)
		}
	}
	if more := heap() - before; more > 90<<20 {
		t.Errorf("30 unread responses hold %d MiB", more>>20)
	}
	// Those that read get theirs.
	for _, p := range peers[5:] {
		_ = p.conn.CloseNow()
	}
	var reading sync.WaitGroup
	for i, p := range peers[:5] {
		reading.Go(func() {
			if m, err := p.receive(t.Context()); err != nil || len(m.Payload) < 4<<20 {
				t.Errorf("response %d: %v, error %v", i, m, err)
			}
			_ = p.conn.CloseNow()
		})
	}
	reading.Wait()
}

// What one identity sends without pause is read at a bounded rate.
func TestFloodsAreSlowed(t *testing.T) {
	for name, send := range map[string]func(context.Context, *peer) error{
		"pings": func(ctx context.Context, p *peer) error {
			for range 500 {
				if err := p.conn.Ping(ctx); err != nil {
					return err
				}
			}
			return nil
		},
		"packets": func(ctx context.Context, p *peer) error {
			for range 50_000 {
				if _, err := p.send(ctx, wire.TypeResponse, nil); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := serveInBubble(t)("eve")
			reading := make(chan struct{})
			go func() {
				defer close(reading)
				_, _ = p.receive(t.Context()) // the pongs
			}()
			start := time.Now()
			if err := send(t.Context(), p); err != nil {
				t.Error(err)
			}
			if d := time.Since(start); d < time.Second || d > 10*time.Second {
				t.Errorf("%s take %v", name, d)
			}
			_ = p.conn.CloseNow()
			<-reading
		})
	}
}

// A leader that exits serves processes that keep connecting, for a second at most, and
// waits for no others.
func TestLinger(t *testing.T) {
	var often []time.Duration
	for at := time.Duration(0); at < 3*time.Second; at += 20 * time.Millisecond {
		often = append(often, at)
	}
	store := openStore(t, t.TempDir()+"/room.db")
	for name, c := range map[string]struct {
		connections int
		comes       []time.Duration
		most, least time.Duration
	}{
		"alone":          {0, nil, 0, 0},
		"one that stays": {1, nil, 60 * time.Millisecond, 50 * time.Millisecond},
		"some come":      {1, often[:20], 500 * time.Millisecond, 400 * time.Millisecond},
		"many come":      {1, often, 1010 * time.Millisecond, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := localroom.NewServer(localroom.ServerConfig{Store: store})
			defer s.Close()
			if d := localroom.Linger(s, c.connections, c.comes...); d < c.least || d > c.most {
				t.Errorf("%s: %v", name, d)
			}
		})
	}
}
