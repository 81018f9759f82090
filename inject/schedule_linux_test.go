package inject_test

import (
	"bytes"
	"context"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/inject"
)

var (
	seed   = flag.Uint64("seed", 0, "of the random schedules; 0 takes the time")
	rounds = flag.Int("rounds", 200, "how many random schedules")
)

// TestSchedules starts a child and sends it a signal at a random moment, so
// that it comes before the start, around it, or when the child ends by itself.
// The moment is the one thing that is random about the outcome: a code that no
// moment explains, output of a second life, or a process that is left, fails.
func TestSchedules(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d -rounds %d", *seed, *rounds)
	random := rand.New(rand.NewPCG(*seed, 0))

	// A guard of the test itself: without it a signal that comes after the end
	// of Catch would end the test.
	guard := make(chan os.Signal, 1)
	signal.Notify(guard, unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGHUP)
	defer signal.Stop(guard)

	for round := range *rounds {
		sig := []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGHUP}[random.IntN(4)]
		own := random.IntN(100)
		script := "exit " + strconv.Itoa(own)
		want := []int{own, 128 + int(sig)}
		switch random.IntN(3) {
		case 0: // ends by itself, maybe before the signal
		case 1: // handles it, if it comes late enough
			script = "trap 'echo once; exit " + strconv.Itoa(own) + "' TERM INT USR1 HUP; read x; exit 99"
		case 2: // leaves a process that ends with its input
			script = "exec 3<&0; { read x <&3; } & " + script
		}
		wait := time.Duration(random.Int64N(int64(4 * time.Millisecond)))

		in, hold, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		ctx, signals := inject.Catch(context.Background())
		sent := make(chan error)
		go func() {
			time.Sleep(wait) // the schedule
			sent <- unix.Kill(unix.Getpid(), sig)
		}()
		c := sh(script)
		c.Stdin, c.Stdout, c.Signals = in, w, signals
		code, err := inject.Run(ctx, c)
		if e := <-sent; e != nil {
			t.Fatal(e)
		}
		signals.Close()
		for _, f := range []*os.File{in, hold, w} {
			_ = f.Close()
		}
		out, readErr := io.ReadAll(r) // ends when no process holds it
		_ = r.Close()

		if !slices.Contains(want, code) {
			t.Errorf("round %d, %s after %v: code %d, %v, want one of %v: %s", round, sig, wait, code, err, want, script)
		}
		if readErr != nil || bytes.Count(out, []byte("once")) > 1 {
			t.Errorf("round %d: output %q, %v", round, out, readErr)
		}
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
			t.Errorf("round %d: process %d is left, %v", round, pid, err)
		}
	}
}
