package localroom

import (
	"io"
	"net"
	"slices"
	"testing"

	"github.com/roomenv/roomenv/internal/cork"
)

// writes counts what reaches the network, write by write.
type writes struct {
	net.Conn
	sizes []int
}

func (w *writes) Write(p []byte) (int, error) {
	w.sizes = append(w.sizes, len(p))
	return w.Conn.Write(p)
}

func TestCork(t *testing.T) {
	near, far := net.Pipe()
	network := &writes{Conn: near}
	c := newCorkedConn(network)
	var got []byte
	done := make(chan error, 1)
	go func() {
		_, err := far.Write([]byte("more"))
		if err == nil {
			got, err = io.ReadAll(far)
		}
		done <- err
	}()

	write := func(n int) {
		t.Helper()
		if m, err := c.Write(make([]byte, n)); m != n || err != nil {
			t.Fatalf("%d bytes written: %v", m, err)
		}
	}
	// A read takes what is written first, so both sides of the pipe move on.
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	write(10)
	write(20)
	if len(network.sizes) != 0 {
		t.Errorf("written while the reader is busy: %v", network.sizes)
	}
	write(cork.MaxHeld)
	write(5)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := []int{cork.MaxHeld, 35}; !slices.Equal(network.sizes, want) {
		t.Errorf("writes of %v bytes, want %v", network.sizes, want)
	}
	if len(got) != cork.MaxHeld+35 {
		t.Errorf("%d bytes arrived", len(got))
	}
}

// Whoever is not the reader gets through while the reader waits.
func TestCorkWhileReading(t *testing.T) {
	near, far := net.Pipe()
	c := newCorkedConn(near)
	reading := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(c, make([]byte, 2))
		reading <- err
	}()
	// The first byte is taken by a Read, so a second one waits or is about to;
	// either way the write below must come out.
	if _, err := far.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = c.Write([]byte("event")) }()
	if _, err := io.ReadFull(far, make([]byte, len("event"))); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Write([]byte("b")); err != nil {
		t.Fatal(err)
	}
	if err := <-reading; err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	_ = far.Close()
}
