package cork_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/cork"
)

// A connection records its writes.
type connection struct {
	bytes.Buffer
	writes []string
	closed bool
}

func (c *connection) Write(p []byte) (int, error) {
	c.writes = append(c.writes, string(p))
	return len(p), nil
}

func (c *connection) Close() error {
	c.closed = true
	return nil
}

func TestCork(t *testing.T) {
	var under connection
	c := cork.New(&under)
	write := func(s string) {
		t.Helper()
		if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	write("through")
	c.Hold()
	write("a")
	write("b")
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	c.Hold()
	full := strings.Repeat("x", cork.MaxHeld)
	write("y")
	write(full)
	c.HangUp()
	if under.closed {
		t.Error("closed before the last write")
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"through", "ab", "y" + full[1:], "x"}; !slices.Equal(under.writes, want) {
		t.Errorf("the writes are %.40q", under.writes)
	}
	if !under.closed {
		t.Error("open after the last write")
	}
}
