package localroom_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/roomenv/roomenv/internal/wire"
)

func benchmarkConnections(b *testing.B, run func(b *testing.B, p *peer, i int)) {
	for _, connections := range []int{1, 100} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			s := serve(b)
			var peers []*peer
			for range connections {
				peers = append(peers, s.connect("ann", scoped()))
			}
			if err := setSecret(b.Context(), peers[0], "key", "a value of forty bytes, as tokens are of"); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			var wg sync.WaitGroup
			for n, p := range peers {
				wg.Go(func() {
					for i := n; i < b.N; i += connections {
						run(b, p, i)
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// One request at a time on each connection.
func BenchmarkGet(b *testing.B) {
	arguments := wire.JSON{Object: object(wire.GetArguments{SecretID: "key"})}
	benchmarkConnections(b, func(b *testing.B, p *peer, _ int) {
		c, err := p.invoke(b.Context(), wire.Secrets, wire.GetSecret, arguments)
		if _, ok := c.(wire.File); !ok || err != nil {
			b.Error(c, err)
		}
	})
}

func BenchmarkSet(b *testing.B) {
	benchmarkConnections(b, func(b *testing.B, p *peer, i int) {
		if err := setSecret(b.Context(), p, fmt.Sprint("key", i%1000), "a value of forty bytes, as tokens are of"); err != nil {
			b.Error(err)
		}
	})
}

func BenchmarkOpenStore(b *testing.B) {
	for _, secrets := range []int{10, 1000} {
		b.Run(fmt.Sprintf("secrets=%d", secrets), func(b *testing.B) {
			s, path := newStore(b)
			var wg sync.WaitGroup
			for i := range secrets {
				wg.Go(func() {
					mustSet(b, s, at("ann", "", fmt.Sprint(i)), "", "", "a value of forty bytes, as tokens are of")
				})
			}
			wg.Wait()
			s.Close()
			for b.Loop() {
				s := openStore(b, path)
				s.Close()
			}
		})
	}
}

func BenchmarkGet4MB(b *testing.B) {
	p := serve(b).connect("ann", scoped())
	if err := setSecret(b.Context(), p, "key", strings.Repeat("x", 4<<20)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(4 << 20)
	for b.Loop() {
		c, err := p.invoke(b.Context(), wire.Secrets, wire.GetSecret, getArguments("key"))
		if _, ok := c.(wire.File); !ok || err != nil {
			b.Fatal(c, err)
		}
	}
}
