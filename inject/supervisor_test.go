package inject_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/inject"
)

// A supervised is a Supervisor that runs in a test, whose children write to one
// pipe and read from another. What a test waits for has happened when a line says
// so, or an event, or the outcome of an update.
type supervised struct {
	t       *testing.T
	base    inject.Command
	updates chan inject.Update
	events  chan inject.Event
	lines   *bufio.Reader
	stdin   io.WriteCloser
	code    int
	err     error
	done    chan struct{}
	cancel  context.CancelFunc
}

// supervise runs script with N=1 in its environment.
func supervise(t *testing.T, s inject.Supervisor, script string) *supervised {
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
	x := &supervised{
		t: t, base: sh(script), updates: make(chan inject.Update), events: make(chan inject.Event, 100),
		lines: bufio.NewReader(limited{r}), stdin: stdin, done: make(chan struct{}),
	}
	x.base.Stdin, x.base.Stdout = in, out
	ctx, cancel := context.WithCancel(t.Context())
	x.cancel = cancel
	s.Observe = func(e inject.Event) { x.events <- e }
	first := x.command(1)
	go func() {
		defer close(x.done)
		x.code, x.err = s.Run(ctx, first, x.updates)
		_, _, _ = out.Close(), in.Close(), stdin.Close()
	}()
	t.Cleanup(func() {
		cancel()
		wait(t, x.done, "end of Run")
		_ = r.Close()
	})
	return x
}

func (x *supervised) command(n int) inject.Command {
	c := x.base
	c.Env = append(slices.Clip(c.Env), "N="+strconv.Itoa(n))
	return c
}

// send sends an update to N=n, and returns where its outcome comes.
func (x *supervised) send(n int, u inject.Update) <-chan error {
	x.t.Helper()
	outcome := make(chan error, 2)
	if u.Command.Args == nil {
		u.Command = x.command(n)
	}
	u.Applied = func(err error) { outcome <- err }
	select {
	case x.updates <- u:
	case <-x.done:
		x.t.Fatalf("Run has returned: %d, %v", x.code, x.err)
	case <-time.After(limit):
		x.t.Fatalf("Run took no update within %v", limit)
	}
	return outcome
}

func (x *supervised) restart(n int) <-chan error {
	x.t.Helper()
	return x.send(n, inject.Update{Action: inject.ActionRestart})
}

func (x *supervised) expect(want ...string) {
	x.t.Helper()
	for _, line := range want {
		got, err := x.lines.ReadString('\n')
		if strings.TrimSuffix(got, "\n") != line {
			x.t.Fatalf("got %q, %v, want %q", got, err, line)
		}
	}
}

// both is expect for two lines of two children.
func (x *supervised) both(a, b string) {
	x.t.Helper()
	if got := []string{x.line(), x.line()}; !slices.Equal(got, []string{a, b}) && !slices.Equal(got, []string{b, a}) {
		x.t.Fatalf("got %q, want %q and %q", got, a, b)
	}
}

// event waits for the next event, but for starts when another one is wanted.
func (x *supervised) event(want inject.EventKind) inject.Event {
	x.t.Helper()
	what := fmt.Sprintf("event %d", want)
	e := wait(x.t, x.events, what)
	for e.Kind == inject.EventStarted && want != inject.EventStarted {
		e = wait(x.t, x.events, what)
	}
	if e.Kind != want {
		x.t.Fatalf("got %+v, want %d", e, want)
	}
	return e
}

func (x *supervised) say(line string) {
	x.t.Helper()
	if _, err := io.WriteString(x.stdin, line+"\n"); err != nil {
		x.t.Fatal(err)
	}
}

// end waits for Run, and compares the exit code and what else was printed.
func (x *supervised) end(rest string, code int) {
	x.t.Helper()
	wait(x.t, x.done, "end of Run")
	b, err := io.ReadAll(x.lines)
	if string(b) != rest || err != nil {
		x.t.Errorf("then %q, %v, want %q", b, err, rest)
	}
	if x.code != code || (x.err != nil) != (code == 125 || code == 126 || code == 127 || x.interrupted()) {
		x.t.Errorf("got %d, %v, want %d", x.code, x.err, code)
	}
}

func (x *supervised) interrupted() bool {
	var i inject.SignalError
	return errors.As(x.err, &i)
}

func outcome(t *testing.T, c <-chan error, want error) {
	t.Helper()
	if err := wait(t, c, "outcome of the update"); !errors.Is(err, want) {
		t.Errorf("the update got %v, want %v", err, want)
	}
	if len(c) > 0 {
		t.Errorf("the update got %v too", <-c)
	}
}

func toSelf(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := unix.Kill(unix.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

// serve is a child that says what it does, and ends with its number when it is told
// to in words.
const serve = `trap 'echo end $N; exit 0' TERM; trap 'echo usr1 $N' USR1; echo start $N
	while :; do read word || word=; [ "$word" = exit ] && exit $N; done`

func TestRestart(t *testing.T) {
	x := supervise(t, inject.Supervisor{}, serve)
	x.expect("start 1")
	for n := 2; n < 5; n++ {
		o := x.restart(n)
		x.expect("end "+strconv.Itoa(n-1), "start "+strconv.Itoa(n))
		outcome(t, o, nil)
		x.event(inject.EventRestarted)
	}
	x.say("exit")
	x.end("", 4)
}

func TestEndOfContext(t *testing.T) {
	x := supervise(t, inject.Supervisor{RestartOnFailure: true}, serve)
	x.expect("start 1")
	x.cancel()
	x.end("end 1\n", 0)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, err := new(inject.Supervisor).Run(ctx, sh("exit 0"), nil); code != 125 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %d, %v", code, err)
	}
}

// slow says that it is asked to end, and takes until it is told to.
const slow = `trap 'echo asked $N; read word; exit 5' TERM; trap 'echo usr1 $N' USR1; echo start $N; while :; do read word; done`

func TestNewestWins(t *testing.T) {
	x := supervise(t, inject.Supervisor{}, slow)
	x.expect("start 1")
	second := x.restart(2)
	x.expect("asked 1")
	third := x.restart(3)
	outcome(t, second, inject.ErrDropped)
	fourth := x.send(4, inject.Update{}) // which does not call the restart off
	outcome(t, third, inject.ErrDropped)
	x.say("go")
	x.expect("start 4")
	outcome(t, fourth, nil)
	fifth := x.send(5, inject.Update{Action: inject.ActionStop})
	x.expect("asked 4")
	sixth := x.restart(6)
	outcome(t, fifth, inject.ErrDropped)
	x.say("go")
	x.expect("start 6")
	outcome(t, sixth, nil)
	x.cancel()
	x.expect("asked 6")
	x.say("go")
	x.end("", 5)
}

// A TERM is for roomenv, and the restart is not done any more.
func TestTermWhileRestarting(t *testing.T) {
	x := supervise(t, inject.Supervisor{RestartOnFailure: true}, `trap 'trap "echo again; exit 5" TERM; echo asked; read word' TERM; echo start $N; while :; do read word; done`)
	x.expect("start 1")
	o := x.restart(2)
	x.expect("asked")
	toSelf(t, unix.SIGTERM)
	outcome(t, o, inject.ErrDropped)
	x.end("again\n", 5)
}

// within reports whether a wait is whole, less a random part of up to a half.
func within(wait, whole time.Duration) bool { return wait >= whole/2 && wait <= whole }

func TestCrashes(t *testing.T) {
	x := supervise(t, inject.Supervisor{RestartOnFailure: true}, `echo start $N; read word; exit $word`)
	for i, wait := range []time.Duration{100, 200, 400} {
		x.event(inject.EventStarted)
		x.expect("start 1")
		x.say(strconv.Itoa(i + 1))
		if e := x.event(inject.EventCrashed); !within(e.Wait, wait*time.Millisecond) || e.Code != i+1 || e.Err != nil {
			t.Errorf("got %+v", e)
		}
	}
	o := x.restart(2) // does not wait for the end of the back-off
	outcome(t, o, nil)
	x.event(inject.EventRestarted)
	x.expect("start 2")
	outcome(t, x.send(3, inject.Update{}), nil)
	x.say("9")
	x.event(inject.EventCrashed)
	x.event(inject.EventStarted)
	x.expect("start 3")
	x.say("0")
	x.end("", 0)
}

// A child that has run for a time has not failed one more time.
func TestStableChild(t *testing.T) {
	x := supervise(t, inject.Supervisor{RestartOnFailure: true}.Hurried(), `echo start; read word; [ $word = late ] && sleep 1.1; exit 3`)
	for range 3 {
		x.expect("start")
		x.say("soon")
		x.event(inject.EventCrashed)
	}
	x.expect("start")
	x.say("late")
	if e := x.event(inject.EventCrashed); !within(e.Wait, 100*time.Millisecond) {
		t.Errorf("got %+v", e)
	}
}

// An update that comes while the next try is waited for calls that off.
func TestNoTryAfterUpdate(t *testing.T) {
	const script = `echo start $N; [ $N = 2 ] && { sleep 0.6; exit 0; }; exit 3`
	crash := func() *supervised {
		x := supervise(t, inject.Supervisor{RestartOnFailure: true}, script)
		for range 3 { // so that the next time is 200 to 400 ms away
			x.event(inject.EventCrashed)
			x.expect("start 1")
		}
		return x
	}
	x := crash()
	outcome(t, x.restart(2), nil)
	x.expect("start 2")
	x.end("", 0)

	x = crash()
	x.base.Stderr = x.base.Stdout
	outcome(t, x.send(3, inject.Update{Action: inject.ActionStop, Hooks: commands([]string{"/bin/sh", "-c", "sleep 0.6; echo hook"})}), nil)
	x.expect("hook")
}

// A crashed child leaves nothing of its group to the next one.
func TestCrashStopsTheGroup(t *testing.T) {
	x := supervise(t, inject.Supervisor{RestartOnFailure: true},
		`exec 2>/dev/null; [ $N = 2 ] && { echo start 2; exit 0; }
		sh -c 'trap "echo left; exit" TERM; echo ready; while :; do sleep 0.01; done' & read word; exit 3`)
	x.expect("ready")
	x.say("go")
	x.expect("left")
	x.event(inject.EventCrashed)
	x.restart(2)
	x.end("start 2\n", 0)
}

// What was meant to end is not started again.
func TestMeantToEnd(t *testing.T) {
	for script, want := range map[string]int{
		`echo start 1; kill -TERM $$`: 143, `echo start 1; kill -HUP $$`: 129,
		`echo start 1; exit 130`: 130, `echo start 1; exit 0`: 0,
	} {
		x := supervise(t, inject.Supervisor{RestartOnFailure: true}, script)
		x.end("start 1\n", want)
	}
	x := supervise(t, inject.Supervisor{RestartOnFailure: true}, `trap 'exit 7' TERM; echo start; while :; do read x; done`)
	x.expect("start")
	toSelf(t, unix.SIGTERM)
	x.end("", 7)
}

// Without a child roomenv waits for an update, the end of its context or a signal.
func TestWithoutChild(t *testing.T) {
	for name, test := range map[string]struct {
		enter func(*supervised)
		ends  []syscall.Signal
	}{
		"stopped": {func(x *supervised) {
			o := x.send(2, inject.Update{Action: inject.ActionStop})
			x.expect("end 1")
			outcome(x.t, o, nil)
			x.event(inject.EventStopped)
		}, []syscall.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM}},
		"backing off": {func(x *supervised) {
			for range 2 { // so that the next time is far away
				x.say("exit")
				x.event(inject.EventCrashed)
				x.expect("start 1")
			}
			x.say("exit")
			x.event(inject.EventCrashed)
		}, []syscall.Signal{unix.SIGTERM}},
	} {
		enter := func(t *testing.T) *supervised {
			x := supervise(t, inject.Supervisor{RestartOnFailure: true}, serve)
			x.expect("start 1")
			test.enter(x)
			return x
		}
		t.Run(name, func(t *testing.T) {
			x := enter(t)
			x.cancel()
			x.end("", 125)
			for _, sig := range test.ends {
				x = enter(t)
				toSelf(t, sig)
				if x.end("", 128+int(sig)); !x.interrupted() {
					t.Errorf("%v: got %v", sig, x.err)
				}
			}
			x = enter(t)
			toSelf(t, unix.SIGHUP) // where nobody can hang up it is for roomenv to fetch anew
			last := unix.SIGHUP
			if tty, err := os.Open("/dev/tty"); err == nil {
				_ = tty.Close()
			} else {
				last = unix.SIGTERM
				toSelf(t, last)
			}
			x.end("", 128+int(last))
			x = enter(t)
			toSelf(t, unix.SIGUSR1) // is kept
			outcome(t, x.send(3, inject.Update{Action: inject.ActionStop, Signals: []syscall.Signal{unix.SIGKILL}}), nil)
			x.base.Args = sh("read word").Args
			outcome(t, x.restart(4), nil)
			x.event(inject.EventStopped)
			x.event(inject.EventRestarted)
			if e := x.event(inject.EventCrashed); e.Code != 128+int(unix.SIGUSR1) {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// A command that is not there any more is a crash.
func TestUpdateDoesNotStart(t *testing.T) {
	missing := inject.Update{Action: inject.ActionRestart, Command: inject.Command{Args: []string{"/no/such/command"}}}
	x := supervise(t, inject.Supervisor{}, serve)
	x.expect("start 1")
	x.send(2, missing)
	x.end("end 1\n", 127)

	x = supervise(t, inject.Supervisor{RestartOnFailure: true}, serve)
	x.expect("start 1")
	x.send(2, missing)
	x.expect("end 1")
	for range 2 {
		if e := x.event(inject.EventCrashed); e.Code != 127 || !errors.Is(e.Err, inject.ErrNotFound) {
			t.Errorf("got %+v", e)
		}
	}
	outcome(t, x.restart(3), nil)
	x.expect("start 3")
}

func TestSignalsOfUpdate(t *testing.T) {
	x := supervise(t, inject.Supervisor{}, serve)
	x.expect("start 1")
	outcome(t, x.send(2, inject.Update{Signals: []syscall.Signal{unix.SIGUSR1}}), nil)
	x.expect("usr1 1")
}

func TestHangup(t *testing.T) {
	ctx, signals := inject.NotifySignals(t.Context())
	defer signals.Close()
	guard(t)
	for range 3 {
		toSelf(t, unix.SIGHUP)
	}
	wait(t, signals.Hangup, "hangup")
	wait(t, ctx.Done(), "end of the context") // there is no child
}

func TestHooks(t *testing.T) {
	x := supervise(t, inject.Supervisor{}, serve)
	x.expect("start 1")
	x.base.Stderr = x.base.Stdout // where hooks write, too
	first, second := []string{"/bin/sh", "-c", "read x; echo first $N $?"}, []string{"/bin/sh", "-c", "echo second $N; trap '' HUP"}
	outcome(t, x.send(2, inject.Update{Hooks: commands(first, second)}), nil)
	x.expect("first 2 1", "second 2")

	// The failing one does not hold up the other, nor a restart, nor signals.
	failing := []string{"/bin/sh", "-c", "echo fails $N; [ $N = 5 ]"}
	outcome(t, x.send(3, inject.Update{Hooks: commands(failing, second)}), nil)
	x.expect("fails 3", "second 3")
	if e := x.event(inject.EventHookFailed); !within(e.Wait, 100*time.Millisecond) || e.Failures != 1 || !slices.Equal(e.Hook, failing) || e.Err == nil {
		t.Errorf("got %+v", e)
	}
	x.expect("fails 3")
	x.event(inject.EventHookFailed)
	outcome(t, x.send(5, inject.Update{Hooks: commands(failing)}), nil)
	x.expect("fails 5")
	x.event(inject.EventHookRecovered)

	// It is run again with what is run by then.
	outcome(t, x.send(6, inject.Update{Hooks: commands(failing)}), nil)
	x.expect("fails 6")
	x.event(inject.EventHookFailed)
	outcome(t, x.send(5, inject.Update{}), nil)
	for x.line() != "fails 5" {
	}

	// A hook that hangs is killed at the end, and all that it has started.
	outcome(t, x.send(6, inject.Update{Hooks: commands([]string{"/bin/sh", "-c", "trap '' TERM; (sleep 1000; :) & echo hangs; wait"}), Signals: []syscall.Signal{unix.SIGUSR1}}), nil)
	x.both("hangs", "usr1 1")
	x.say("exit")
	x.end("", 1)
}

// A hook that takes too long is killed, with its group, and run again.
func TestHookHangs(t *testing.T) {
	x := supervise(t, inject.Supervisor{}.Hurried(), serve)
	x.expect("start 1")
	hook := []string{"/bin/sh", "-c", "sleep 1000"}
	outcome(t, x.send(2, inject.Update{Hooks: commands(hook)}), nil)
	for n := range 2 {
		if e := x.event(inject.EventHookFailed); e.Failures != n+1 || !strings.Contains(e.Err.Error(), "killed after") {
			t.Errorf("got %+v", e)
		}
	}
}

func (x *supervised) line() string {
	x.t.Helper()
	line, err := x.lines.ReadString('\n')
	if err != nil {
		x.t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

func TestHookIsMasked(t *testing.T) {
	x := supervise(t, inject.Supervisor{}, serve)
	x.expect("start 1")
	u := inject.Update{Command: x.command(2), Hooks: commands([]string{"/bin/sh", "-c", "echo " + canary})}
	u.Command.Stderr = x.base.Stdout
	inject.SetMasker(&u.Command, masker())
	x.send(2, u)
	x.expect("[CANARY]")
}

// Each overlap has a first child that runs, and an update to a second one.
func TestOverlap(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	sh := func(script string) []string { return []string{"/bin/sh", "-c", script} }
	flag := filepath.Join(t.TempDir(), "ready")
	for name, test := range map[string]struct {
		ready   inject.Readiness
		script  string
		replace bool
	}{
		"settles":         {inject.Readiness{}, serve, true},
		"command":         {inject.Readiness{Command: sh("[ $N = 2 ] && [ -e " + flag + " ]")}, `[ $N = 2 ] && touch ` + flag + `; ` + serve, true},
		"tcp":             {inject.Readiness{TCP: listener.Addr().String()}, serve, true},
		"dies":            {inject.Readiness{Command: sh("false")}, `[ $N = 2 ] && { echo start 2; echo end 2; exit 0; }; ` + serve, false},
		"never ready":     {inject.Readiness{Command: sh("false"), Timeout: 100 * time.Millisecond}, serve, false},
		"hangs":           {inject.Readiness{Command: sh("sleep 1000"), Timeout: 100 * time.Millisecond}, serve, false},
		"no such command": {inject.Readiness{Command: []string{"/no/such"}, Timeout: 100 * time.Millisecond}, serve, false},
		"nobody listens":  {inject.Readiness{TCP: closed.Addr().String(), Timeout: 100 * time.Millisecond}, serve, false},
		"its group is deaf": {inject.Readiness{Command: sh("false"), Timeout: 100 * time.Millisecond},
			`[ $N = 2 ] && sh -c 'trap "" TERM; while :; do sleep 0.01; done' & ` + serve, false},
	} {
		t.Run(name, func(t *testing.T) {
			x := supervise(t, inject.Supervisor{Overlap: true, Ready: test.ready}, test.script)
			x.base.StopTimeout = time.Second
			x.expect("start 1")
			o := x.restart(2)
			if test.replace {
				x.both("start 2", "end 1")
				outcome(t, o, nil)
				x.event(inject.EventRestarted)
				x.say("exit")
				x.end("", 2)
				return
			}
			x.expect("start 2", "end 2")
			if err := wait(t, o, "outcome of the update"); err == nil || errors.Is(err, inject.ErrDropped) {
				t.Errorf("got %v", err)
			}
			x.event(inject.EventRolledBack)
			x.say("exit")
			x.end("", 1)
		})
	}
}

func TestOverlapDoesNotStart(t *testing.T) {
	x := supervise(t, inject.Supervisor{Overlap: true}, serve)
	x.expect("start 1")
	outcome(t, x.send(2, inject.Update{Action: inject.ActionRestart, Command: inject.Command{Args: []string{"/no/such/command"}}}), inject.ErrNotFound)
	x.event(inject.EventRolledBack)
	x.say("exit")
	x.end("", 1)
}

// never is ready when N is 3.
var never = inject.Readiness{Command: []string{"/bin/sh", "-c", "[ $N = 3 ]"}}

func TestOverlapNewestWins(t *testing.T) {
	x := supervise(t, inject.Supervisor{Overlap: true, Ready: never}, serve)
	x.expect("start 1")
	second := x.restart(2)
	x.expect("start 2")
	third := x.restart(3)
	x.expect("end 2")
	x.both("start 3", "end 1")
	outcome(t, second, inject.ErrDropped)
	outcome(t, third, nil)
	x.event(inject.EventRestarted)
	x.restart(4)
	x.expect("start 4")
	o := x.send(5, inject.Update{Action: inject.ActionStop})
	x.both("end 4", "end 3")
	outcome(t, o, nil)
	x.event(inject.EventStopped)
}

// What is withdrawn is dropped at once, be it started already. The old child stays.
func TestOverlapWithdraw(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	// The second ends once the gate is opened, so that the third update waits until then.
	x := supervise(t, inject.Supervisor{Overlap: true, Ready: never}, `trap '[ $N = 2 ] && read word <`+gate+`; echo end $N; exit 0' TERM; echo start $N
		while :; do read word || word=; [ "$word" = exit ] && exit $N; done`)
	x.expect("start 1")
	second := x.restart(2)
	x.expect("start 2")
	waiting := x.restart(4)
	withdrawn := x.send(0, inject.Update{Action: inject.ActionWithdraw})
	outcome(t, waiting, inject.ErrDropped)
	outcome(t, second, inject.ErrDropped)
	outcome(t, withdrawn, nil)
	write(t, gate, "open\n", 0)
	x.expect("end 2")
	third := x.restart(3)
	x.both("start 3", "end 1")
	outcome(t, third, nil)
	x.event(inject.EventRestarted)
	outcome(t, x.send(0, inject.Update{Action: inject.ActionWithdraw}), nil) // of nothing
	x.say("exit")
	x.end("", 3)
	if len(second)+len(waiting) > 0 {
		t.Error("a withdrawn update has two outcomes")
	}
}

// A stop does not wait for a new child that takes its time to stop.
func TestOverlapStop(t *testing.T) {
	x := supervise(t, inject.Supervisor{Overlap: true, Ready: never}, `end() { [ $N = 1 ] || { echo asked; read word; }; echo end $N; exit; }
		trap end TERM; echo start $N; while :; do read word; done`)
	x.expect("start 1")
	x.restart(2)
	x.expect("start 2")
	o := x.send(0, inject.Update{Action: inject.ActionStop})
	x.both("asked", "end 1")
	x.say("go")
	x.expect("end 2")
	outcome(t, o, nil)
	x.event(inject.EventStopped)
}

// A child that is being stopped for what is withdrawn still is, and nothing is started
// until there is an update.
func TestWithdraw(t *testing.T) {
	x := supervise(t, inject.Supervisor{}, `trap 'echo asked $N; read word; echo end $N; exit 0' TERM; echo start $N
		while :; do read word || word=; [ "$word" = exit ] && exit $N; done`)
	x.expect("start 1")
	second := x.restart(2)
	x.expect("asked 1")
	outcome(t, x.send(0, inject.Update{Action: inject.ActionWithdraw}), nil)
	outcome(t, second, inject.ErrDropped)
	x.say("go")
	x.expect("end 1")
	third := x.restart(3)
	x.expect("start 3")
	outcome(t, third, nil)
	x.event(inject.EventRestarted)
	x.say("exit")
	x.end("", 3)
}

// The signals of an update that comes meanwhile are for the one that serves then.
func TestOverlapKeeps(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "ready")
	x := supervise(t, inject.Supervisor{Overlap: true, Ready: inject.Readiness{Command: []string{"/bin/sh", "-c", "[ -e " + flag + " ]"}}}, serve)
	x.expect("start 1")
	second := x.restart(2)
	x.expect("start 2")
	third := x.send(3, inject.Update{Signals: []syscall.Signal{unix.SIGUSR1}})
	write(t, flag, "", 0o600)
	x.both("end 1", "usr1 2")
	outcome(t, second, nil)
	outcome(t, third, nil)
}

// An update that takes the place of one that waits does what that asked for, too.
func TestUpdatesAddUp(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "ready")
	x := supervise(t, inject.Supervisor{Overlap: true, Ready: inject.Readiness{Command: []string{"/bin/sh", "-c", "[ -e " + flag + " ]"}}},
		`trap 'echo usr2 $N' USR2; `+serve)
	x.base.Stderr = x.base.Stdout
	x.expect("start 1")
	second := x.restart(2)
	x.expect("start 2")
	third := x.send(3, inject.Update{Signals: []syscall.Signal{unix.SIGUSR1}, Hooks: commands([]string{"/bin/echo", "one"})})
	fourth := x.send(4, inject.Update{Signals: []syscall.Signal{unix.SIGUSR2}, Hooks: commands([]string{"/bin/echo", "two"})})
	outcome(t, third, inject.ErrDropped)
	write(t, flag, "", 0o600)
	outcome(t, second, nil)
	outcome(t, fourth, nil)
	var lines []string
	for range 5 {
		lines = append(lines, x.line())
	}
	slices.Sort(lines)
	if want := []string{"end 1", "one", "two", "usr1 2", "usr2 2"}; !slices.Equal(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
}

// When the old child ends while the new one gets ready, the new one is what runs:
// unless it was meant to end.
func TestOverlapOldEnds(t *testing.T) {
	const script = `trap 'echo end $N; exit 0' TERM; trap 'exit 9' HUP; echo start $N; while :; do read word; done`
	x := supervise(t, inject.Supervisor{Overlap: true, Ready: never}, script)
	x.expect("start 1")
	o := x.restart(2)
	x.expect("start 2")
	toSelf(t, unix.SIGHUP)
	outcome(t, o, nil)
	x.event(inject.EventRestarted)
	toSelf(t, unix.SIGHUP)
	x.end("", 9)

	x = supervise(t, inject.Supervisor{Overlap: true, Ready: never, RestartOnFailure: true}, script)
	x.expect("start 1")
	o = x.restart(2)
	x.expect("start 2")
	toSelf(t, unix.SIGTERM)
	x.expect("end 1")
	outcome(t, o, inject.ErrDropped)
	x.end("end 2\n", 0)
}

func TestOverlapMasked(t *testing.T) {
	x := supervise(t, inject.Supervisor{Overlap: true}, serve)
	x.expect("start 1")
	c := x.command(2)
	inject.SetMasker(&c, masker())
	c.Args = []string{"/bin/sh", "-c", "echo " + canary + "; " + serve}
	o := x.send(2, inject.Update{Action: inject.ActionRestart, Command: c})
	x.expect("[CANARY]", "start 2", "end 1") // a second later
	outcome(t, o, nil)
}
