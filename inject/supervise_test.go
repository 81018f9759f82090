package inject_test

import (
	"bufio"
	"context"
	"os"
	"slices"
	"testing"

	"github.com/roomenv/roomenv/inject"
)

// Each command that comes is started when the one before has ended; a child's own
// end is the end.
func TestSupervise(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := sh(`trap 'echo end $N; exit 1' TERM; echo start $N; [ $N = 3 ] && exit 42; while :; do sleep 0.01; done`)
	c.Stdout = w
	environ := c.Env
	c.Env = append(slices.Clip(environ), "N=1")
	fresh := make(chan inject.Command)
	again := func(n string) {
		next := c
		next.Env = append(slices.Clip(environ), "N="+n)
		fresh <- next
	}
	type result struct {
		code int
		err  error
	}
	done := make(chan result, 1)
	go func() {
		code, err := inject.Supervise(t.Context(), c, fresh)
		w.Close()
		done <- result{code, err}
	}()

	lines := bufio.NewScanner(r)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, want %q", lines.Text(), want)
		}
	}
	expect("start 1")
	again("2")
	expect("end 1")
	expect("start 2")
	again("3")
	expect("end 2")
	expect("start 3")
	if got := <-done; got.code != 42 || got.err != nil {
		t.Errorf("got %d, %v", got.code, got.err)
	}
}

// The end of the context is the end, whatever comes.
func TestSuperviseStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fresh := make(chan inject.Command, 1)
	fresh <- sh("exit 1")
	if code, err := inject.Supervise(ctx, sh("exit 0"), fresh); code == 0 || err == nil {
		t.Errorf("got %d, %v", code, err)
	}
}
