package room_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/roomenv/roomenv/internal/wire"
)

// A writeCounter counts the writes of a connection: system calls, where it is
// a socket.
type writeCounter struct {
	net.Conn
	writes *atomic.Int64
}

func (c writeCounter) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// Requests that wait at a time leave together.
func TestWritesAreBatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drop := make(chan struct{})
		config := listenInBubble(t, scripted(t, func(p *peer, n int) {
			p.ready()
			if n == 0 {
				<-drop
				return
			}
			p.serve(func(c call) wire.Content { return text(c.secretID()) })
		}))
		var writes atomic.Int64
		pipe := config.DialContext
		config.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := pipe(ctx, network, address)
			writes.Store(0)
			return writeCounter{conn, &writes}, err
		}
		c := dial(t, config)
		close(drop)
		synctest.Wait()
		const n = 1000
		getAll(t, c, n)
		// The handshake, and 200 bytes for each request in buffers of 32 KiB.
		if w := writes.Load(); w > 12 {
			t.Errorf("%d requests took %d writes", n, w)
		}
	})
}

// BenchmarkGets is 1,000 gets at once over one connection on the loopback;
// the time is that of client and scripted room together.
func BenchmarkGets(b *testing.B) {
	const n = 1000
	config := listen(b, scripted(b, func(p *peer, _ int) {
		p.ready()
		p.serve(func(c call) wire.Content { return text(c.secretID()) })
	}))
	var writes atomic.Int64
	config.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return writeCounter{conn, &writes}, err
	}
	c := dial(b, config)
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint("key-", i)
	}
	writes.Store(0)
	b.ReportAllocs()
	for b.Loop() {
		var wg sync.WaitGroup
		for _, id := range ids {
			wg.Go(func() {
				if _, err := get(context.Background(), c, id); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(float64(writes.Load())/float64(b.N), "writes/op")
}

// BenchmarkGet is one get at a time.
func BenchmarkGet(b *testing.B) {
	config := listen(b, scripted(b, func(p *peer, _ int) {
		p.ready()
		p.serve(func(c call) wire.Content { return text(c.secretID()) })
	}))
	c := dial(b, config)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := get(context.Background(), c, "key"); err != nil {
			b.Fatal(err)
		}
	}
}
