package mask_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/mask"
	"github.com/roomenv/roomenv/secret"
)

// passwords are n values as a password manager makes them.
func passwords(n int) []mask.Secret {
	random := rand.New(rand.NewPCG(1, 2))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_/+$'"
	values := make([]mask.Secret, n)
	for i := range values {
		b := make([]byte, 40)
		for j := range b {
			b[j] = alphabet[random.IntN(len(alphabet))]
		}
		values[i] = mask.Secret{Name: fmt.Sprint("SECRET_", i), Value: secret.New(b)}
	}
	return values
}

// logLines is 32 KiB of what servers print.
func logLines() []byte {
	var b strings.Builder
	for i := 0; b.Len() < 32<<10; i++ {
		fmt.Fprintf(&b, "2026-11-23T19:%02d:%02d.%03dZ INFO request id=%08x path=/api/v1/items/%d status=200 bytes=%d took=%dms\n",
			i/60%60, i%60, i*37%1000, i*2654435761, i*7919%100000, i*104729%65536, i*31%500)
	}
	return []byte(b.String())
}

func BenchmarkWrite(b *testing.B) {
	text := logLines()
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var m mask.Masker
			m.Set(passwords(n)...)
			w := m.Writer(io.Discard)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Write(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSet(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			values := passwords(n)
			b.ReportAllocs()
			for b.Loop() {
				var m mask.Masker
				m.Set(values...)
			}
		})
	}
}
