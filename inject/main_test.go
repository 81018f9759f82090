package inject_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/inject"
)

// role tells the test binary to be something else than tests.
const role = "INJECT_TEST_ROLE"

// limit is how long a test waits for any one thing. Then it fails, with what it has
// seen.
const limit = 10 * time.Second

// quickExit has the race detector not sleep for a second at exit.
const quickExit = "GORACE=atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "monitor" {
		os.Exit(monitor())
	}
	switch os.Getenv(role) {
	case "":
		unignore()
		goleak.VerifyTestMain(m)
	case "roomenv":
		os.Exit(roomenv())
	case "reporter":
		os.Exit(reporter())
	case "supervisor":
		os.Exit(supervisor())
	case "exec":
		// What a test measures Run against.
		os.Exit(bare())
	}
}

// unignore has what the tests start begin with the default action of all signals,
// also where the tests run with some ignored, by nohup or a shell's &: what has a
// handler is not ignored after exec.
func unignore() {
	for _, sig := range []os.Signal{unix.SIGHUP, unix.SIGINT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}

// roomenv does what the command does: catch, get ready, run, exit. With WAIT it
// is not ready before a line comes on descriptor 3, at whose end it waits for its
// context. With REPORT_SUSPEND=slow it is suspend that waits for that line.
func roomenv() int {
	ctx, signals := inject.NotifySignals(context.Background())
	defer signals.Close()
	var gate *os.File
	if os.Getenv("WAIT") != "" {
		gate = os.NewFile(3, "gate")
	}
	report := os.Getenv("REPORT_SUSPEND")
	if report != "" {
		signals.OnSuspend(func() func() {
			fmt.Println("is about to stop")
			if report == "slow" {
				_, _ = bufio.NewReader(gate).ReadString('\n')
			}
			return func() { fmt.Println("goes on") }
		})
	}
	if gate != nil {
		fmt.Println("caught")
		err := io.EOF
		if report != "slow" {
			_, err = bufio.NewReader(gate).ReadString('\n')
			_ = gate.Close()
		}
		if err != nil {
			<-ctx.Done()
			fmt.Println("interrupted")
		}
	}
	c := inject.Command{Args: os.Args[1:], Env: childEnv(), Signals: signals}
	maskIn(&c)
	stopAndUser(&c)
	run := runAlone
	if os.Getenv("EXEC") != "" {
		run = inject.Exec
	}
	code, err := run(ctx, c)
	if err != nil {
		var i inject.SignalError
		if !errors.As(err, &i) {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if os.Getenv("REPORT_TERMINAL") != "" {
		group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
		fmt.Printf("foreground again: %v\n", err == nil && group == unix.Getpgrp())
	}
	return code
}

// supervisor runs a command, and for each line on descriptor 3, or ten times
// without one, says what became of an update that restarts it. Each has a hook that
// ends with 7.
func supervisor() int {
	ctx, signals := inject.NotifySignals(context.Background())
	defer signals.Close()
	hook := []string{"/bin/sh", "-c", "exit 7"}
	s := inject.Supervisor{Overlap: os.Getenv("OVERLAP") != "", Observe: func(e inject.Event) {
		if e.Kind == inject.EventHookFailed && fmt.Sprint(e.Err) != "exit code 7" {
			fmt.Println("the hook:", e.Err)
		}
	}}
	s.Ready.Command = []string{"/bin/sh", "-c", "exit 0"}
	c := inject.Command{Args: os.Args[1:], Env: childEnv(), Signals: signals}
	maskIn(&c)
	updates, done := make(chan inject.Update), make(chan struct{})
	go func() {
		gate := bufio.NewReader(os.NewFile(3, "gate"))
		for n := 2; n < 12; n++ {
			if os.Getenv("WAIT") != "" {
				if _, err := gate.ReadString('\n'); err != nil {
					return
				}
			}
			applied := make(chan error, 1)
			u := inject.Update{Command: c, Action: inject.ActionRestart, Hooks: commands(hook), Applied: func(err error) { applied <- err }}
			u.Command.Env = append(slices.DeleteFunc(slices.Clone(c.Env), func(e string) bool { return strings.HasPrefix(e, "N=") }), "N="+strconv.Itoa(n))
			select {
			case updates <- u:
			case <-done:
				return
			}
			if err := <-applied; err != nil {
				fmt.Println(err)
			}
		}
		fmt.Println("updated")
	}()
	code, err := s.Run(ctx, c, updates)
	close(done)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

func stopAndUser(c *inject.Command) {
	n, _ := strconv.Atoi(os.Getenv("STOP_SIGNAL"))
	c.StopSignal = syscall.Signal(n)
	c.StopTimeout, _ = time.ParseDuration(os.Getenv("STOP_TIMEOUT"))
	c.NoNewPrivs = os.Getenv("NO_NEW_PRIVS") != ""
	if os.Getenv("AS_NOBODY") != "" {
		c.User = &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{65534, 7}}
	}
}

func childEnv() []string {
	env := []string{}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, role+"=") {
			env = append(env, e)
		}
	}
	if r := os.Getenv("CHILD_ROLE"); r != "" {
		env = append(env, role+"="+r)
	}
	return env
}

// reporter prints every signal and every line that it gets, and exits with 42
// on SIGTERM and SIGINT, or at the end of its input.
func reporter() int {
	got := make(chan os.Signal, 64)
	for n := syscall.Signal(1); n < 32; n++ {
		switch n {
		case unix.SIGTSTP, unix.SIGURG, unix.SIGCHLD:
		default:
			signal.Notify(got, n)
		}
	}
	fmt.Println("ready")
	input := make(chan string)
	go func() {
		defer close(input)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			input <- lines.Text()
		}
	}()
	for {
		select {
		case line, ok := <-input:
			if !ok {
				fmt.Println("end of input")
				return 42
			}
			fmt.Println("read", line)
		case s := <-got:
			fmt.Println("got", unix.SignalName(s.(syscall.Signal)))
			if s == unix.SIGTERM || s == unix.SIGINT {
				return 42
			}
		}
	}
}

func bare() int {
	err := syscall.Exec(os.Args[1], os.Args[1:], childEnv())
	fmt.Fprintln(os.Stderr, err)
	return 125
}

// wrapper is a roomenv process of a test.
type wrapper struct {
	*exec.Cmd
	lines *bufio.Reader
	stdin io.Closer
}

// wrap starts roomenv in front of args. Its environment has env added.
func wrap(t *testing.T, env []string, args ...string) *wrapper {
	t.Helper()
	w := command(t, env, args...)
	w.start(t)
	return w
}

// command is that of wrap, which is killed when it takes far too long.
func command(t *testing.T, env []string, args ...string) *wrapper {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*limit)
	t.Cleanup(cancel)
	w := &wrapper{Cmd: exec.CommandContext(ctx, self, args...)}
	w.Env = append(append(os.Environ(), role+"=roomenv", quickExit), env...)
	w.Stderr = os.Stderr
	// No controlling terminal, wherever the tests run.
	w.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return w
}

func (w *wrapper) start(t *testing.T) {
	t.Helper()
	stdin, err := w.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := w.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.stdin, w.lines = stdin, bufio.NewReader(limited{stdout.(*os.File)})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.Process.Kill()
		_ = w.Wait()
	})
}

// expect reads lines and compares them.
func (w *wrapper) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, line := range want {
		got, err := w.lines.ReadString('\n')
		if err != nil || strings.TrimSuffix(got, "\n") != line {
			t.Fatalf("got %q, %v, want %q", got, err, line)
		}
	}
}

// end reads to the end of stdout, which no process holds any more then, and
// compares that and the exit code.
func (w *wrapper) end(t *testing.T, rest string, code int) {
	t.Helper()
	b, err := io.ReadAll(w.lines)
	if err != nil || string(b) != rest {
		t.Errorf("then %q, %v, want %q", b, err, rest)
	}
	finish(w.Cmd)
	if got := w.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d (%v)", got, code, w.ProcessState)
	}
}

func (w *wrapper) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := w.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// guard is of the test itself: without it a signal that comes after the end of
// Catch would end the test.
func guard(t *testing.T) {
	t.Helper()
	guard := make(chan os.Signal, 1)
	signal.Notify(guard, unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGHUP)
	t.Cleanup(func() { signal.Stop(guard) })
}

// runAlone runs a command without updates.
func runAlone(ctx context.Context, c inject.Command) (int, error) {
	return new(inject.Supervisor).Run(ctx, c, nil)
}

// A result is that of Run.
type result struct {
	code int
	err  error
}

// exit runs c in this process and returns what Run does.
func exit(t *testing.T, ctx context.Context, c inject.Command) (int, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return bounded(t, func() (int, error) { return runAlone(ctx, c) })
}

// bounded waits for the end of run.
func bounded(t *testing.T, run func() (int, error)) (int, error) {
	t.Helper()
	done := make(chan result, 1)
	go func() {
		code, err := run()
		done <- result{code, err}
	}()
	r := wait(t, done, "end of Run")
	return r.code, r.err
}

// wait returns what comes from c.
func wait[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(limit):
		t.Fatalf("no %s within %v", what, limit)
	}
	return v
}

// finish waits for a process, which it kills when that takes too long.
func finish(c *exec.Cmd) {
	timer := time.AfterFunc(limit, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	_ = c.Wait()
}

// limited reads from a pipe or a terminal: a read fails that takes too long.
type limited struct{ file *os.File }

func (l limited) Read(p []byte) (int, error) {
	_ = l.file.SetReadDeadline(time.Now().Add(limit))
	return l.file.Read(p)
}

// commands returns hooks that are commands.
func commands(all ...[]string) (hooks []inject.Hook) {
	for _, args := range all {
		hooks = append(hooks, inject.Hook{Args: args})
	}
	return hooks
}
