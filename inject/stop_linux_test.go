package inject_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/inject"
)

// A stopped is a command that says ready, and what it says then.
type stopped struct {
	code int
	err  error
	rest string
}

// stop runs c, calls end when it is ready, and waits for it and its output.
func stop(t *testing.T, ctx context.Context, c inject.Command, end func()) stopped {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.Stdout = w
	done := make(chan stopped, 1)
	go func() {
		code, err := runAlone(ctx, c)
		_ = w.Close()
		done <- stopped{code: code, err: err}
	}()
	lines := bufio.NewReader(limited{r})
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	end()
	got := wait(t, done, "end of Run")
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	got.rest = string(rest)
	return got
}

// TestStopWaitsForTheGroup has a child that goes at once and leaves a process
// that takes longer: a next child would find its port taken. When Run returns,
// what the process says last has been said.
func TestStopWaitsForTheGroup(t *testing.T) {
	const script = `exec 2>/dev/null; trap 'exit 4' TERM; sh -c 'trap "sleep 0.05; echo left; exit" TERM; echo ready; while :; do sleep 0.01; done' & while :; do wait; done`
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	c := sh(script)
	c.Stdout = w
	done := make(chan int, 1)
	go func() {
		code, _ := runAlone(ctx, c)
		done <- code
	}()
	if _, err := io.ReadFull(limited{r}, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	if code := wait(t, done, "end of Run"); code != 4 {
		t.Errorf("got %d, want 4", code)
	}
	if _, err := w.WriteString("end\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(limited{r}).ReadString('\n'); line != "left\n" {
		t.Errorf("when Run returned there was %q, %v", line, err)
	}
}

// TestStopKillsTheGroup has a process of the group that is deaf, in a child that
// is not.
func TestStopKillsTheGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := sh(`exec 2>/dev/null; trap 'exit 4' TERM; sh -c 'trap "" TERM; echo ready; while :; do sleep 0.01; done' & while :; do wait; done`)
	c.StopTimeout = 50 * time.Millisecond
	if got := stop(t, ctx, c, cancel); got != (stopped{code: 4}) {
		t.Errorf("got %+v", got)
	}
}

// TestStopPassesOverZombies has a process of the group that has ended, and whose
// parent, in a session of its own, never looks.
func TestStopPassesOverZombies(t *testing.T) {
	in, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	defer in.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := sh(`exec 3<&0; (true & exec setsid sh -c 'echo ready; exec cat <&3 >/dev/null') & read x <&3; exit 99`)
	c.Stdin = in
	if got := stop(t, ctx, c, cancel); got.code != 143 {
		t.Errorf("got %+v", got)
	}
}

func TestStopSignal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := sh(`exec 2>/dev/null; trap 'echo quit; exit 6' QUIT; trap 'echo term; exit 7' TERM; echo ready; while :; do sleep 0.01; done`)
	c.StopSignal = unix.SIGQUIT
	if got := stop(t, ctx, c, cancel); got != (stopped{code: 6, rest: "quit\n"}) {
		t.Errorf("got %+v", got)
	}
}

// TestTermStops sends SIGTERM to roomenv where it means to stop. The child says
// that it has been asked, so that the second signal is a second one.
func TestTermStops(t *testing.T) {
	const polite = `trap 'echo asked; exit 6' QUIT; echo ready; while :; do read x; done`
	const deaf = `trap 'echo asked' QUIT; trap '' TERM INT; echo ready; while :; do read x; done`
	for name, test := range map[string]struct {
		timeout, script string
		hurry           syscall.Signal
		code            int
	}{
		"in time":              {"", polite, 0, 6},
		"too late":             {"50ms", deaf, 0, 137},
		"second SIGTERM":       {"1h", deaf, unix.SIGTERM, 137},
		"SIGTERM, then Ctrl-C": {"1h", deaf, unix.SIGINT, 137},
	} {
		t.Run(name, func(t *testing.T) {
			w := wrap(t, []string{"STOP_SIGNAL=3", "STOP_TIMEOUT=" + test.timeout}, "/bin/sh", "-c", test.script)
			w.expect(t, "ready")
			w.signal(t, unix.SIGTERM)
			w.expect(t, "asked")
			if test.hurry != 0 {
				w.signal(t, test.hurry)
			}
			w.end(t, "", test.code)
		})
	}
}

// TestReplaced runs the command in roomenv's place.
func TestReplaced(t *testing.T) {
	w := command(t, []string{"EXEC=1"}, "/bin/sh", "-c", "echo $$; exit 9")
	w.start(t)
	w.expect(t, strconv.Itoa(w.Process.Pid))
	w.end(t, "", 9)

	ctx, signals := inject.NotifySignals(t.Context())
	defer signals.Close()
	code, err := inject.Exec(ctx, inject.Command{Args: []string{"no-such-command"}, Signals: signals})
	if code != 127 || !errors.Is(err, inject.ErrNotFound) {
		t.Errorf("got %d, %v", code, err)
	}
}

func TestReplacedAfterSignal(t *testing.T) {
	w, gate := gated(t, []string{"EXEC=1"}, "/bin/sh", "-c", "echo started")
	w.signal(t, unix.SIGTERM)
	_ = gate.Close()
	w.end(t, "interrupted\n", 128+int(unix.SIGTERM))
}

func TestUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can change the user")
	}
	for _, how := range []string{"RUN=1", "EXEC=1"} {
		w := wrap(t, []string{how, "AS_NOBODY=1", "NO_NEW_PRIVS=1"}, "/bin/sh", "-c",
			`id -u; id -g; id -G; grep NoNewPrivs /proc/self/status | tr '\t' ' '`)
		w.end(t, "65534\n65534\n65534 7\nNoNewPrivs: 1\n", 0)

		w = command(t, []string{how, "AS_NOBODY=1"}, "/bin/sh", "-c", "echo started")
		w.Path, w.Args = copyOfSelf(t), append([]string{"self"}, w.Args[1:]...)
		w.SysProcAttr.Credential = &syscall.Credential{Uid: 65533, Gid: 65533}
		w.Dir, w.Stderr = "/", nil
		out, _ := w.CombinedOutput()
		if code := w.ProcessState.ExitCode(); code != 125 || !strings.Contains(string(out), "change user") {
			t.Errorf("%s: another user became nobody: %d, %s", how, code, out)
		}
	}
}

// copyOfSelf is the test binary where others can run it.
func copyOfSelf(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "inject")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b, err := os.ReadFile(self(t))
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(dir+"/self", b, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir + "/self"
}
