package status_test

import (
	"os"
	"testing"

	"github.com/roomenv/roomenv/internal/status"
)

// BenchmarkServe is what the status costs each roomenv exec process, at its start and
// at its exit.
func BenchmarkServe(b *testing.B) {
	dir, err := os.MkdirTemp("/dev/shm", "roomenv-bench-")
	if err != nil {
		b.Skip(err)
	}
	defer os.RemoveAll(dir)
	b.Setenv("XDG_RUNTIME_DIR", dir)
	for b.Loop() {
		s, err := status.Serve(report, func() {}, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
