package inject_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/runner"
	"github.com/roomenv/roomenv/secret"
)

// A consumed is a consumer whose command prints to lines.
type consumed struct {
	*inject.Consumer
	t     *testing.T
	lines *bufio.Reader
	stdin *os.File
}

func consume(t *testing.T, s inject.Supervisor, script string) *consumed {
	t.Helper()
	guard(t)
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil { // so that expect fails
		t.Fatal(err)
	}
	c := &consumed{&inject.Consumer{Supervisor: s, Command: sh(script)}, t, bufio.NewReader(r), stdin}
	c.Command.Stdin, c.Command.Stdout, c.Command.Stderr = in, out, out
	t.Cleanup(func() {
		c.Stop(nil)
		for _, f := range []*os.File{in, stdin, r, out} {
			_ = f.Close()
		}
	})
	return c
}

func revision(n string) *runner.Revision {
	return &runner.Revision{Result: &render.Result{
		Env:     []render.Variable{{Name: "N", Value: secret.New([]byte(n))}},
		Secrets: []render.Variable{{Name: "N", Value: secret.New([]byte(n))}},
	}}
}

func (c *consumed) apply(n string, change runner.Change, want error) {
	c.t.Helper()
	if err := c.Apply(c.t.Context(), revision(n), change); !errors.Is(err, want) {
		c.t.Fatalf("Apply of %s: %v, want %v", n, err, want)
	}
}

func (c *consumed) expect(want ...string) {
	c.t.Helper()
	for _, line := range want {
		if got, err := c.lines.ReadString('\n'); strings.TrimSuffix(got, "\n") != line {
			c.t.Fatalf("got %q, %v, want %q", got, err, line)
		}
	}
}

func (c *consumed) status(state runner.CommandState, restarts int) {
	c.t.Helper()
	s := runner.Status{State: runner.CommandRunning}
	for range 1000 { // an event may come after the call has returned
		if c.Report(&s); s.State == state && s.Restarts == restarts {
			break
		}
		time.Sleep(time.Millisecond)
		s = runner.Status{State: runner.CommandRunning}
	}
	if s.State != state || s.Restarts != restarts || s.Command != "sh" {
		c.t.Errorf("got %+v, want %s, %d restarts", s, state, restarts)
	}
}

// outcome checks what a call returns, within moments.
func (c *consumed) outcome(call string, returned <-chan error, want error) {
	c.t.Helper()
	select {
	case err := <-returned:
		if !errors.Is(err, want) {
			c.t.Errorf("%s: %v, want %v", call, err, want)
		}
	case <-time.After(5 * time.Second):
		c.t.Fatalf("%s has not returned, want %v", call, want)
	}
}

var restart = runner.Change{Restart: true}

func TestConsumer(t *testing.T) {
	c := consume(t, inject.Supervisor{}, serve)
	c.apply("1", restart, nil)
	c.expect("start 1")
	c.apply("2", runner.Change{}, nil) // for the next start
	c.apply("2", runner.Change{Signals: []string{"USR1"}, Hooks: []manifest.OnChange{{Kind: manifest.ChangeCommand, Command: []string{"/bin/sh", "-c", ":"}}}}, nil)
	c.expect("usr1 1")
	if err := c.Apply(t.Context(), revision("3"), runner.Change{Signals: []string{"NONE"}}); err == nil {
		t.Error("a signal that does not exist was sent")
	}
	c.status(runner.CommandRunning, 0)
	c.apply("3", restart, nil)
	c.expect("end 1", "start 3")
	c.status(runner.CommandRunning, 1)
	if err := c.Suspend(t.Context(), errors.New("revoked")); err != nil {
		t.Fatal(err)
	}
	c.expect("end 3")
	c.status(runner.CommandStarting, 1)
	c.apply("3", restart, nil)
	c.expect("start 3")

	// A hook that fails is run again with what was applied, also while it is suspended.
	c.apply("3", runner.Change{Hooks: []manifest.OnChange{{Kind: manifest.ChangeCommand, Command: []string{"/bin/sh", "-c", "echo hook $N; exit 1"}}}}, nil)
	c.expect("hook 3")
	if err := c.Suspend(t.Context(), errors.New("revoked")); err != nil {
		t.Fatal(err)
	}
	for suspended := false; ; {
		line, err := c.lines.ReadString('\n')
		if err != nil || line != "hook 3\n" && line != "end 3\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		if suspended && line == "hook 3\n" {
			break
		}
		suspended = suspended || line == "end 3\n"
	}
	c.apply("4", restart, nil)
	for line := ""; line != "start 4\n"; {
		line, _ = c.lines.ReadString('\n')
	}
	_, _ = c.stdin.WriteString("exit\n")
	<-c.Done()
	if err := c.Apply(t.Context(), revision("5"), restart); err == nil {
		t.Error("a revision was applied to a command that has exited")
	}
	if err := c.Suspend(t.Context(), nil); err == nil {
		t.Error("a command that has exited was suspended")
	}
	if code, err := c.Stop(nil); code != 4 || err != nil {
		t.Errorf("Stop: %d, %v", code, err)
	}
}

// What is superseded returns at once, while the command is being stopped for it, and
// only the newest revision is started.
func TestConsumerSuperseded(t *testing.T) {
	c := consume(t, inject.Supervisor{}, `trap 'echo asked $N; read word; echo end $N; exit 0' TERM; echo start $N
		while :; do read word || word=; [ "$word" = exit ] && exit $N; done`)
	c.apply("1", restart, nil)
	c.expect("start 1")
	why := errors.New("newer values")
	for _, n := range []string{"2", "3"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		applied := make(chan error, 1)
		go func() { applied <- c.Apply(ctx, revision(n), restart) }()
		if n == "2" {
			c.expect("asked 1")
		}
		cancel(why)
		c.outcome("Apply of "+n, applied, why)
	}
	applied := make(chan error)
	go func() { applied <- c.Apply(t.Context(), revision("4"), restart) }()
	_, _ = c.stdin.WriteString("go\n")
	c.expect("end 1", "start 4")
	c.outcome("Apply of 4", applied, nil)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if code, err := c.Stop(why); code != 0 || err != nil {
			t.Errorf("Stop: %d, %v", code, err)
		}
	}()
	c.expect("asked 4")
	_, _ = c.stdin.WriteString("go\n")
	<-stopped
}

// A command that is being stopped for a revision that was given up is started again
// when its own revision is applied, which asks for nothing.
func TestConsumerUndo(t *testing.T) {
	c := consume(t, inject.Supervisor{}, `trap 'echo asked $N; read word; exit 0' TERM; echo start $N
		while :; do read word || exit; done`)
	c.apply("1", restart, nil)
	c.expect("start 1")
	why := errors.New("newer values")
	for _, n := range []string{"2", "3"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		applied := make(chan error, 1)
		go func() { applied <- c.Apply(ctx, revision(n), restart) }()
		c.expect("asked 1")
		cancel(why)
		c.outcome("Apply of "+n, applied, why)
		go func() { applied <- c.Apply(t.Context(), revision("1"), runner.Change{}) }()
		_, _ = c.stdin.WriteString("go\n")
		c.expect("start 1")
		c.outcome("Apply of 1", applied, nil)
	}
	c.apply("1", runner.Change{}, nil) // no restart without need
	go func() { _ = c.Suspend(t.Context(), why) }()
	c.expect("asked 1")
	_, _ = c.stdin.WriteString("go\n")
}

// A new command that does not get ready leaves the old one. Suspend waits for neither.
func TestConsumerOverlap(t *testing.T) {
	c := consume(t, inject.Supervisor{Overlap: true, Ready: never}, serve)
	c.apply("1", restart, nil)
	c.expect("start 1")
	c.apply("/no/such/N", runner.Change{}, nil)
	c.Supervisor.Ready.Timeout = time.Millisecond // no longer used
	why := errors.New("revoked")
	ctx, cancel := context.WithCancelCause(t.Context())
	applied := make(chan error, 1)
	go func() { applied <- c.Apply(ctx, revision("2"), restart) }()
	c.expect("start 2")
	cancel(why)
	c.outcome("Apply of 2", applied, why)
	if err := c.Suspend(t.Context(), why); err != nil {
		t.Error(err)
	}
	c.apply("3", restart, nil)

	c = consume(t, inject.Supervisor{Overlap: true, Ready: inject.Readiness{Command: []string{"/bin/false"}, Timeout: 10 * time.Millisecond}}, serve)
	c.apply("1", restart, nil)
	c.expect("start 1")
	if err := c.Apply(t.Context(), revision("2"), restart); err == nil || errors.Is(err, inject.ErrDropped) {
		t.Errorf("Apply: %v", err)
	}
	c.status(runner.CommandRunning, 0)
}

// The exit of the command ends an Apply that waits for it, without being its error.
func TestConsumerExits(t *testing.T) {
	c := consume(t, inject.Supervisor{}, `trap '' INT; trap 'trap "" TERM; echo asked $N; while :; do read word; done' TERM; echo start $N
		while :; do read word; done`)
	c.apply("1", restart, nil)
	c.expect("start 1")
	applied := make(chan error)
	go func() { applied <- c.Apply(t.Context(), revision("2"), restart) }()
	c.expect("asked 1")
	toSelf(t, unix.SIGTERM) // the exit of roomenv
	toSelf(t, unix.SIGINT)  // at once
	if err := <-applied; err == nil {
		t.Error("it was applied")
	}
	<-c.Done()
	if code, err := c.Stop(nil); code != 137 || err != nil {
		t.Errorf("Stop: %d, %v", code, err)
	}
}

// A command that does not start is done.
func TestConsumerDoesNotStart(t *testing.T) {
	c := &inject.Consumer{Command: inject.Command{Args: []string{"no-such-command"}}}
	if err := c.Apply(t.Context(), revision("1"), restart); err == nil {
		t.Error("it was applied")
	}
	<-c.Done()
	if code, err := c.Stop(nil); code != 127 || !errors.Is(err, inject.ErrNotFound) {
		t.Errorf("Stop: %d, %v", code, err)
	}
	why := errors.New("never started")
	c = &inject.Consumer{Command: sh("exit 0")}
	if code, err := c.Stop(why); code != 125 || !errors.Is(err, why) {
		t.Errorf("Stop: %d, %v", code, err)
	}
}

func TestConsumerPrepare(t *testing.T) {
	c := consume(t, inject.Supervisor{}, `echo $N`)
	c.Mask = true
	first, second := revision(canary), revision(canary+"2")
	if err := c.Prepare(first); err != nil {
		t.Fatal(err)
	}
	if err := c.Prepare(second); err != nil {
		t.Fatal(err)
	}
	c.apply(canary, restart, nil)
	c.expect("[N]")
	large := revision(strings.Repeat("x", 10<<20))
	if err := c.Prepare(large); err == nil || !strings.Contains(err.Error(), "the variable N is") {
		t.Errorf("error %v", err)
	}
}

// What the manifest leaves out stays, and an unknown signal is an error with its place.
func TestConsumerConfigure(t *testing.T) {
	c := inject.Consumer{Command: inject.Command{StopTimeout: time.Minute, StopSignal: unix.SIGINT}, Mask: true}
	if err := c.Configure(manifest.Exec{}); err != nil || !c.Mask || c.Command.StopTimeout != time.Minute || c.Command.StopSignal != unix.SIGINT || c.Supervisor.Overlap {
		t.Errorf("got %+v, %v", c.Command, err)
	}
	ready := manifest.Readiness{TCP: "127.0.0.1:1", Timeout: time.Second}
	m := manifest.Exec{Mask: true, StopSignal: "QUIT", StopTimeout: time.Second, Overlap: true, Ready: ready, RestartOnFailure: true}
	c = inject.Consumer{}
	err := c.Configure(m)
	s := &c.Supervisor
	if err != nil || !c.Mask || c.Command.StopSignal != unix.SIGQUIT || c.Command.StopTimeout != time.Second ||
		!s.Overlap || s.Ready.TCP != ready.TCP || s.Ready.Timeout != ready.Timeout || !s.RestartOnFailure {
		t.Errorf("got %+v, %+v, %v", s, c.Command, err)
	}
	m = manifest.Exec{StopSignal: "NONE", Pos: map[string]manifest.Position{"stop_signal": {File: "m.yaml", Line: 3, Column: 16}}}
	if err := c.Configure(m); err == nil || err.Error() != `m.yaml:3:16: stop_signal: unknown signal "NONE"` {
		t.Errorf("error %v", err)
	}
}

// The log has no error where there is none, and no nanoseconds.
func TestConsumerLog(t *testing.T) {
	c := consume(t, inject.Supervisor{RestartOnFailure: true}, `echo start; read word; exit $word`)
	var log strings.Builder
	started := make(chan struct{}, 1)
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	c.Supervisor.Observe = func(e inject.Event) {
		if e.Kind == inject.EventStarted {
			started <- struct{}{}
		}
	}
	c.apply("1", restart, nil)
	<-started
	c.expect("start")
	if _, err := c.stdin.WriteString("3\n"); err != nil {
		t.Fatal(err)
	}
	c.expect("start")
	<-started // the crash was logged before
	c.Stop(nil)
	if got := log.String(); !regexp.MustCompile(`level=WARN msg="command crashed" exit_code=3 retry_in=\d+ms\n`).MatchString(got) {
		t.Errorf("got %s", got)
	}
}

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]int{"TERM": 15, "SIGTERM": 15, "term": 15, "15": 15, "64": 64, "65": 0, "0": 0, "": 0, "NONE": 0} {
		if got, err := inject.ParseSignal(text); int(got) != want || (err != nil) != (want == 0) {
			t.Errorf("%q: got %d, %v", text, got, err)
		}
	}
}

// The secrets of the last 100 revisions that had different ones are masked.
func TestConsumerMasksRecent(t *testing.T) {
	c := consume(t, inject.Supervisor{}, "echo secret-001 secret-002 secret-101")
	c.Mask = true
	for n := 1; n <= 101; n++ {
		for range 2 { // the same secrets count once
			if err := c.Prepare(revision(fmt.Sprintf("secret-%03d", n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.apply("secret-101", restart, nil)
	c.expect("secret-001 [N] [N]")
}
