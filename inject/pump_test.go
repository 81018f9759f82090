package inject

import (
	"io"
	"os"
	"testing"

	"github.com/roomenv/roomenv/internal/mask"
)

// TestStreamThatNeverRunsDry has a pump end after as much as the child can have left.
func TestStreamThatNeverRunsDry(t *testing.T) {
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	p := &pump{zero, new(mask.Masker).Writer(io.Discard), make(chan struct{}), nil, 100_000}
	p.end()
	for range 10 { // of 32 KiB
		if _, err = p.read(make([]byte, 32<<10)); err != nil {
			break
		}
	}
	if err == nil || p.left > 0 {
		t.Errorf("it reads on: %v, %d bytes are left", err, p.left)
	}
}
