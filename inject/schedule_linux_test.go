package inject_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/inject"
)

var (
	seed   = flag.Uint64("seed", 0, "of the random schedules; 0 takes the time")
	rounds = flag.Int("rounds", 100, "how many random schedules")
)

// TestSchedules starts a child and sends it a signal at a random moment, so
// that it comes before the start, around it, or when the child ends by itself.
// The moment is the one thing that is random about the outcome: a code that no
// moment explains, output of a second one, or a process that is left, fails.
func TestSchedules(t *testing.T) {
	random := newRandom(t)
	guard(t)

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
		ctx, signals := inject.NotifySignals(context.Background())
		sent := make(chan error)
		go func() {
			time.Sleep(wait) // the schedule
			sent <- unix.Kill(unix.Getpid(), sig)
		}()
		c := sh(script)
		c.Stdin, c.Stdout, c.Signals = in, w, signals
		code, err := exit(t, ctx, c)
		if e := <-sent; e != nil {
			t.Fatal(e)
		}
		signals.Close()
		for _, f := range []*os.File{in, hold, w} {
			_ = f.Close()
		}
		out, readErr := io.ReadAll(limited{r}) // ends when no process holds it
		_ = r.Close()

		if !slices.Contains(want, code) {
			t.Errorf("round %d, %s after %v: code %d, %v, want one of %v: %s", round, sig, wait, code, err, want, script)
		}
		if readErr != nil || bytes.Count(out, []byte("once")) > 1 {
			t.Errorf("round %d: output %q, %v", round, out, readErr)
		}
		nothingLeft(t, round)
	}
}

// TestRestartSchedules stops a child at a random moment and starts the next one,
// a few times with one Catch, as a refresh does. The child has a process in its
// group that may be deaf, and SIGTERM may come to roomenv too, before the stop,
// as one more or to escalate it. When Run returns the group is gone, so that two
// children never overlap; no child gets a signal that nobody sent.
func TestRestartSchedules(t *testing.T) {
	random := newRandom(t)
	guard(t)
	open := descriptors(t)
	for round := range *rounds {
		ctx, signals := inject.NotifySignals(context.Background())
		for range 1 + random.IntN(3) {
			member := []string{`read x <&3`, `trap '' TERM INT; while read x <&3; do :; done`, `(read x <&3 &)`}[random.IntN(3)]
			const child = `exec 3<&0; echo $$; trap 'echo term; exit 3' TERM; sh -c "$0" & read x; read y; exit 99`
			terms := random.IntN(3)
			first, between := random.Int64N(int64(4*time.Millisecond)), random.Int64N(int64(time.Millisecond))

			in, hold, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			stopped, stop := context.WithCancel(context.WithoutCancel(ctx))
			sent := make(chan error)
			go func() {
				time.Sleep(time.Duration(first)) // the schedule
				stop()
				var err error
				for range terms {
					time.Sleep(time.Duration(between))
					err = errors.Join(err, unix.Kill(unix.Getpid(), unix.SIGTERM))
				}
				sent <- err
			}()
			c := sh("")
			c.Args = []string{"/bin/sh", "-c", child, member}
			c.Stdin, c.Stdout, c.Signals, c.StopTimeout = in, w, signals, 3*time.Millisecond
			code, err := exit(t, stopped, c)
			_ = w.Close()
			// The output has ended, because who had it has.
			out, readErr := io.ReadAll(limited{r})
			if e := <-sent; e != nil {
				t.Fatal(e)
			}
			for _, f := range []*os.File{in, hold, r} {
				_ = f.Close()
			}

			lines := strings.Fields(string(out))
			if !slices.Contains([]int{3, 137, 143}, code) {
				t.Errorf("round %d: code %d, %v", round, code, err)
			}
			if readErr != nil || len(lines) > 2 {
				t.Errorf("round %d: output %q, %v", round, out, readErr)
			}
			nothingLeft(t, round)
			if ctx.Err() != nil {
				break // SIGTERM came between two children
			}
		}
		signals.Close()
	}
	if left := descriptors(t); left > open {
		t.Errorf("%d files were open, %d are", open, left)
	}
}

func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d -rounds %d", *seed, *rounds)
	return rand.New(rand.NewPCG(*seed, 0))
}

// nothingLeft looks for children of the test, zombies among them.
func nothingLeft(t *testing.T, round int) {
	t.Helper()
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("round %d: process %d is left, %v", round, pid, err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// TestSupervisorSchedules has updates, signals, ends and crashes come at random
// moments. Each update that is taken has one outcome, the end has an error if and
// only if there was no child, and nothing is left of any process. A child takes a
// lock, which its whole group has: without overlap it is always free.
func TestSupervisorSchedules(t *testing.T) {
	random := newRandom(t)
	guard(t)
	open := descriptors(t)
	locks := t.TempDir()
	for round := range *rounds / 2 {
		// What a child leaves that ends by itself may outlive its round.
		lock := fmt.Sprintf("%s/%d", locks, round)
		s := inject.Supervisor{Overlap: random.IntN(2) == 0, RestartOnFailure: random.IntN(2) == 0}
		s.Ready = inject.Readiness{Command: []string{"/bin/sh", "-c", "exit $READY"}, Timeout: 10 * time.Millisecond}
		held := `flock -n 9 || echo the lock is held; `
		if s.Overlap {
			held = ""
		}
		in, hold, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		ctx, signals := inject.NotifySignals(t.Context())
		ctx, stop := context.WithCancel(ctx)
		command := func() inject.Command {
			end := []string{`read x; exit 99`, `exit 0`, `exit 3`, `trap 'exit 4' TERM; read x; exit 99`}[random.IntN(4)]
			member := []string{`read x <&3`, `trap '' TERM; while read x <&3; do :; done`, `exit 0`}[random.IntN(3)]
			c := sh(`exec 2>/dev/null 3<&0 9>>` + lock + `; ` + held + `sh -c "$0" & ` + end)
			c.Args = append(c.Args, member)
			c.Env = append(c.Env, "READY="+strconv.Itoa(random.IntN(2)))
			c.Stdin, c.Stdout, c.Signals, c.StopTimeout = in, w, signals, 3*time.Millisecond
			if random.IntN(4) == 0 {
				inject.SetMasker(&c, masker())
			}
			return c
		}
		updates := make(chan inject.Update)
		done := make(chan struct{})
		var taken int
		var outcomes atomic.Int64
		steps := random.IntN(8)
		plan := make([]func(), steps)
		for i := range plan {
			u := inject.Update{Command: command(), Action: inject.Action(random.IntN(3)), Applied: func(error) { outcomes.Add(1) }}
			if random.IntN(3) == 0 {
				u.Hooks = []inject.Hook{{Args: []string{"/bin/sh", "-c", []string{"exit 0", "exit 1", "sleep 1000"}[random.IntN(3)]}}}
			}
			if random.IntN(3) == 0 {
				u.Signals = []syscall.Signal{unix.SIGUSR1}
			}
			sig := []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGHUP}[random.IntN(4)]
			wait, send := random.Int64N(int64(6*time.Millisecond)), random.IntN(6) > 0
			plan[i] = func() {
				time.Sleep(time.Duration(wait)) // the schedule
				if !send {
					_ = unix.Kill(unix.Getpid(), sig)
					return
				}
				select {
				case updates <- u:
					taken++
				case <-done:
				}
			}
		}
		first := command()
		var planned sync.WaitGroup
		planned.Go(func() {
			for _, step := range plan {
				step()
			}
			stop()
		})
		code, err := bounded(t, func() (int, error) { return s.Run(ctx, first, updates) })
		close(done)
		planned.Wait()
		signals.Close()
		for _, f := range []*os.File{w, in, hold} {
			_ = f.Close()
		}
		out, readErr := io.ReadAll(limited{r})
		_ = r.Close()
		if len(out) > 0 || readErr != nil {
			t.Errorf("round %d: output %q, %v", round, out, readErr)
		}
		if n := outcomes.Load(); n != int64(taken) {
			t.Errorf("round %d: %d updates had %d outcomes", round, taken, n)
		}
		var interrupted inject.SignalError
		switch {
		case errors.As(err, &interrupted) && code == interrupted.ExitCode():
		case errors.Is(err, context.Canceled) && code == 125:
		case err != nil || !slices.Contains([]int{0, 3, 4, 99, 137, 143, 130, 129, 138}, code):
			t.Errorf("round %d: code %d, %v", round, code, err)
		}
		nothingLeft(t, round)
	}
	if left := descriptors(t); left > open {
		t.Errorf("%d files were open, %d are", open, left)
	}
}
