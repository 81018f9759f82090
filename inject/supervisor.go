package inject

import (
	"context"
	"slices"
	"syscall"
	"time"

	"github.com/roomenv/roomenv/internal/retry"
)

// A Supervisor runs a command that may change while it runs.
type Supervisor struct {
	// Overlap makes a restart start the new process while the old one runs, and stop the
	// old one when the new one is ready. If the new process exits, or is not ready in
	// time, it is stopped and the old one stays. Masked output goes through pipes, also on
	// a terminal, which cannot have two processes.
	//
	// Until the new process is ready, the old one gets the signals and has the terminal.
	// If the old process fails meanwhile (see RestartOnFailure), the new one replaces it
	// at once.
	Overlap bool
	// Ready says when the new process is ready, with Overlap.
	Ready Readiness

	// RestartOnFailure starts a process that fails again, after a delay that
	// doubles from 100 ms to 30 s, less a random part of up to a half. The delay starts
	// over once a process has run for 10 s. Before, the rest of the process group is
	// stopped. A process has not failed if its exit code is 0, if SIGHUP, SIGINT, SIGQUIT
	// or SIGTERM ended it (128 + N), or if SIGINT or SIGTERM was passed on to it.
	RestartOnFailure bool

	// Observe is called with each event, by the goroutine of Run, for which it must
	// not wait. nil is allowed.
	Observe func(Event)

	// For tests; 0 means a minute and 10 s.
	hookTimeout, stableAfter time.Duration
}

// An Event is something that happened to the command.
type Event struct {
	Kind     EventKind
	Code     int           // exit code: EventCrashed
	Err      error         // why; nil for a process that started and then crashed
	Hook     []string      // arguments: EventHookFailed, EventHookRecovered
	Wait     time.Duration // until the next try: EventCrashed, EventHookFailed
	Failures int           // in a row: EventHookFailed
}

// An EventKind is the kind of an [Event].
type EventKind int

// Kinds of [Event].
const (
	EventStarted       EventKind = iota // a process runs and gets the signals
	EventRestarted                      // that process was started for an Update
	EventStopped                        // the process was stopped for an Update
	EventRolledBack                     // the new process exited or was not ready in time; the old one stays
	EventCrashed                        // the process failed, or did not start; it is started again
	EventHookFailed                     // a hook failed; it is run again
	EventHookRecovered                  // a hook that had failed has succeeded
	EventSignalRefused                  // a signal was not delivered: the process is another user's
)

// An Update is the command to run from now on, and what to do with the running process.
type Update struct {
	Command Command
	Action  Action

	// Signals are sent to the process, with [ActionKeep].
	Signals []syscall.Signal

	// Hooks are run one after the other, when the update is applied: commands with
	// the environment, user and directory of the Command that was applied last, without
	// input, and with roomenv's stderr for their output. A hook that fails, or is
	// killed after a minute, is run again with backoff until it succeeds or another
	// Update has the same hook. It delays nothing else. When it exits, its process
	// group is killed; when Run ends, all hooks are.
	Hooks []Hook

	// Applied is called once, by the goroutine of Run, for which it must not wait:
	// with nil when the update is in effect, with [ErrDropped], or with the reason why
	// the old process stays. It may be nil.
	Applied func(error)
}

// A Hook is a command, or a function.
type Hook struct {
	Args []string                        // the command; of a function, what names it
	Call func(ctx context.Context) error // nil runs the command
}

// An Action is what to do with the running process.
type Action int

// Actions of an [Update].
const (
	ActionKeep    Action = iota // keep it; Command is for the next start
	ActionRestart               // stop it, and start Command
	ActionStop                  // stop it; a later ActionRestart starts Command

	// ActionWithdraw withdraws the Update that is not applied yet, whose Applied gets
	// [ErrDropped] at once. A new process that is not ready is stopped. A process that is
	// being stopped stays so, and the next Update starts its Command, also with
	// ActionKeep. The rest of the Update is not used.
	ActionWithdraw
)

// replacing is u, with what an earlier update that was not applied asked for.
func (u *Update) replacing(before *Update) *Update {
	if u.Action == ActionKeep {
		u.Action = before.Action
		u.Signals = append(slices.Clone(before.Signals), u.Signals...)
	}
	u.Hooks = append(slices.Clone(before.Hooks), u.Hooks...)
	before.applied(ErrDropped)
	return u
}

func (u *Update) applied(err error) {
	if u.Applied != nil {
		u.Applied(err)
	}
}

// Run starts c and returns its exit code when it exits: its own, or 128 + the
// signal that ended it. Run does not wait for processes that c leaves, even if they
// have a pipe open. updates may be nil.
//
// Run is always ready to receive an Update, and does what the newest says: while a
// process is being stopped, an Update that comes is the one whose Command is started
// next. A process that exits ends Run, and so does a Command that does not start once
// the previous process is gone, unless RestartOnFailure is set.
//
// A process is stopped when ctx ends. It is killed after its StopTimeout, or when
// SIGTERM or SIGINT comes meanwhile. Run then returns when its process group, if it has
// one of its own, is gone. The exit code is the process's. SIGTERM or SIGINT that comes
// while a process is stopped for an Update is passed on to it, and no other process is
// started. While there is no process, SIGINT, SIGQUIT, SIGTERM and, on a terminal, SIGHUP
// end Run, with [SignalError].
//
// The error is the reason why there was no process: [*StartError], or the cause of ctx,
// which may be [SignalError]. The code is that of the error: 127, 126, 128 + the
// signal, or 125.
//
// Without Args there is no process: Run runs hooks alone, until ctx or one of those
// signals ends it.
//
// Run writes nothing. Of the processes that roomenv has started, only those that
// Run has may end while it reaps orphans, which it does as PID 1 and as a
// subreaper.
func (s *Supervisor) Run(ctx context.Context, c Command, updates <-chan Update) (int, error) {
	l := &loop{Supervisor: *s, signals: c.Signals, command: c, backoff: newBackoff()}
	if l.signals == nil {
		ctx, l.signals = NotifySignals(ctx)
		defer l.signals.Close()
	}
	return l.run(ctx, updates)
}

// newBackoff paces the restarts of a process, and of a hook.
func newBackoff() retry.Backoff {
	return retry.Backoff{Min: 100 * time.Millisecond, Max: 30 * time.Second}
}
