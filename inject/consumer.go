package inject

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/mask"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/runner"
)

// A Consumer runs a command with the revisions of a [runner.Runner]: a [Supervisor]
// restarts it, signals it or runs hooks, as on_change of the manifest says. What the
// manifest says of the command under exec takes effect by [Consumer.Configure] alone.
// Run of the runner returns the exit code and error of [Supervisor.Run].
type Consumer struct {
	Supervisor Supervisor

	// Command is what runs. Env is added to the environment of each revision, and
	// ExtraFiles are those of the revision.
	Command Command

	// Mask replaces the secrets of the last revisions by their names in what the
	// command prints. Command.Monitor is used with it.
	Mask bool

	// Log gets what happens to the command; nil discards it.
	Log *slog.Logger

	masker  mask.Masker
	recent  recent
	started bool
	applied Command // what the supervisor has
	updates chan Update
	cancel  context.CancelCauseFunc
	code    int
	err     error

	init sync.Once
	done chan struct{}

	mu       sync.Mutex // guards what Report tells
	running  bool
	restarts int
	crashes  int
	failing  [][]string // hooks, by their arguments
}

// Configure takes the settings of a manifest that are for the command: mask,
// stop_signal, stop_timeout, restart, ready and restart_on_failure. Those that the
// manifest leaves out do not change c. The error is a [*manifest.Error]. Call it before
// Run of the runner, with the Exec of [runner.Runner.Manifest].
func (c *Consumer) Configure(e manifest.Exec) error {
	if e.StopSignal != "" {
		signal, err := ParseSignal(e.StopSignal)
		if err != nil {
			return &manifest.Error{Pos: e.Pos["stop_signal"], Message: "stop_signal: " + err.Error()}
		}
		c.Command.StopSignal = signal
	}
	c.Command.StopTimeout = cmp.Or(e.StopTimeout, c.Command.StopTimeout)
	c.Mask = c.Mask || e.Mask
	s := &c.Supervisor
	s.RestartOnFailure = s.RestartOnFailure || e.RestartOnFailure
	if e.Overlap {
		s.Overlap, s.Ready = true, Readiness(e.Ready)
	}
	return nil
}

// Prepare refuses a revision that is too large for execve(2), and has its secrets
// masked.
func (c *Consumer) Prepare(rev *runner.Revision) error {
	if c.Mask {
		if names := c.masker.Set(c.recent.with(rev.Secrets)...); names != nil {
			c.log().Warn("values not masked", "reason", "too short or too common", "names", strings.Join(names, " "))
		}
	}
	return render.CheckSize(c.Command.Args, rev.Result)
}

// maxRecent is of how many revisions the secrets are masked. The command may still
// print old ones; to retain all of them would take more and more memory.
const maxRecent = 100

// recent are the secrets of the last revisions in which they differ.
type recent [][]mask.Secret

// with returns all, with secrets as the newest.
func (r *recent) with(secrets []render.Variable) []mask.Secret {
	newest := make([]mask.Secret, len(secrets))
	for i, s := range secrets {
		newest[i] = mask.Secret{Name: s.Name, Value: s.Value}
	}
	same := func(a, b mask.Secret) bool { return a.Name == b.Name && a.Value.Equal(b.Value) }
	if n := len(*r); n == 0 || !slices.EqualFunc((*r)[n-1], newest, same) {
		*r = append(*r, newest)
		*r = (*r)[max(0, len(*r)-maxRecent):]
	}
	return slices.Concat(*r...)
}

// Apply has the supervisor apply rev. The first one starts it.
func (c *Consumer) Apply(ctx context.Context, rev *runner.Revision, change runner.Change) error {
	u := Update{Command: c.Command, Hooks: hooks(change.Hooks)}
	u.Command.Env = append(rev.Environ(), c.Command.Env...)
	u.Command.ExtraFiles = rev.ExtraFiles
	if c.Mask {
		u.Command.masker = &c.masker
	}
	switch {
	case c.idle():
		if !c.started {
			c.Start()
		}
	case !c.started:
		return c.start(u.Command)
	}
	if change.Restart && !c.idle() {
		u.Action = ActionRestart
	}
	for _, name := range change.Signals {
		sig, err := ParseSignal(name)
		if err != nil {
			return err
		}
		u.Signals = append(u.Signals, sig)
	}
	if err := c.update(ctx, u); err != nil {
		return err
	}
	c.applied = u.Command
	return nil
}

// Suspend stops the command.
func (c *Consumer) Suspend(ctx context.Context, _ error) error {
	return c.update(ctx, Update{Command: c.applied, Action: ActionStop})
}

// Start starts a Consumer without a command before the first revision is there: it takes
// the signals from then on.
func (c *Consumer) Start() { _ = c.start(c.Command) }

// idle reports whether there is no command.
func (c *Consumer) idle() bool { return len(c.Command.Args) == 0 }

// start starts the supervisor and waits until the command runs.
func (c *Consumer) start(command Command) error {
	c.started, c.applied, c.updates = true, command, make(chan Update)
	running := make(chan struct{})
	supervisor := c.Supervisor
	supervisor.Observe = func(e Event) {
		if e.Kind == EventStarted && running != nil {
			close(running)
			running = nil
		}
		c.observe(e)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	c.cancel = cancel
	isRunning := running
	go func() { // Stop waits for it
		c.code, c.err = supervisor.Run(ctx, command, c.updates)
		close(c.doneChannel())
	}()
	select {
	case <-isRunning:
		return nil
	case <-c.Done():
		return errDone
	}
}

var errDone = errors.New("the command has exited")

// update has the supervisor apply u, unless ctx ends before it has.
func (c *Consumer) update(ctx context.Context, u Update) error {
	applied := make(chan error, 1)
	u.Applied = func(err error) { applied <- err }
	select {
	case c.updates <- u:
	case <-c.Done():
		return errDone
	}
	var err error
	select {
	case err = <-applied:
	case <-ctx.Done():
		select {
		case c.updates <- Update{Action: ActionWithdraw}:
		case <-c.Done():
		}
		err = <-applied
	}
	if errors.Is(err, ErrDropped) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, ErrDropped) { // the command exits
		select {
		case <-c.Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return err
}

// Done is closed when [Supervisor.Run] has returned.
func (c *Consumer) Done() <-chan struct{} { return c.doneChannel() }

func (c *Consumer) doneChannel() chan struct{} {
	c.init.Do(func() { c.done = make(chan struct{}) })
	return c.done
}

// Stop stops the command, if it runs, and returns its exit code, such as 143 after
// SIGTERM, and nil; without a command, the error of [Supervisor.Run] or cause.
func (c *Consumer) Stop(cause error) (int, error) {
	if !c.started {
		return exitCode(cause), cause
	}
	c.cancel(cause)
	<-c.Done()
	return c.code, c.err
}

// Report says what the command is and how often it was started.
func (c *Consumer) Report(s *runner.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, hook := range c.failing {
		s.FailingHooks = append(s.FailingHooks, hook[0]) // arguments may hold secrets
	}
	if c.idle() {
		return
	}
	s.Command = filepath.Base(c.Command.Args[0])
	s.Restarts, s.Crashes = c.restarts, c.crashes
	switch {
	case c.running && s.State == runner.CommandStarting:
		s.State = runner.CommandRunning
	case !c.running && s.State == runner.CommandRunning:
		s.State = runner.CommandStarting
	}
}

// observe counts and logs events, in the goroutine of the supervisor.
func (c *Consumer) observe(e Event) {
	if c.Supervisor.Observe != nil {
		c.Supervisor.Observe(e)
	}
	c.mu.Lock()
	switch e.Kind {
	case EventStarted:
		c.running = true
	case EventRestarted:
		c.restarts++
	case EventStopped:
		c.running = false
	case EventCrashed:
		c.running = false
		c.crashes++
	case EventHookFailed, EventHookRecovered:
		c.failing = slices.DeleteFunc(c.failing, func(hook []string) bool { return slices.Equal(hook, e.Hook) })
		if e.Kind == EventHookFailed {
			c.failing = append(c.failing, e.Hook)
		}
	}
	c.mu.Unlock()
	wait := e.Wait.Round(time.Millisecond)
	switch e.Kind {
	case EventRestarted:
		c.log().Info("command restarted")
	case EventCrashed:
		attrs := []any{"exit_code", e.Code, "retry_in", wait}
		if e.Err != nil {
			attrs = append(attrs, "error", e.Err)
		}
		c.log().Warn("command crashed", attrs...)
	case EventSignalRefused:
		c.log().Warn("signal not delivered", "error", e.Err)
	case EventHookFailed:
		level := slog.LevelWarn
		if e.Failures > 1 { // it was logged
			level = slog.LevelInfo
		}
		c.log().Log(context.Background(), level, "hook failed", "hook", e.Hook[0], "error", e.Err, "retry_in", wait)
	}
}

func (c *Consumer) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

// ParseSignal returns the signal that s names: TERM, SIGTERM or 15.
func ParseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n), nil
	}
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG"))
	if sig == 0 {
		return 0, fmt.Errorf("unknown signal %q", s)
	}
	return sig, nil
}
