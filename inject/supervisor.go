package inject

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/roomenv/roomenv/internal/retry"
)

// A Supervisor runs a command that may change while it runs.
type Supervisor struct {
	// Overlap has a restart start the new child first, and stop the old one only
	// when the new one is [Readiness]. If that does not come to pass, the new one is
	// stopped and the old one stays. Masked output goes through pipes then, also on
	// a terminal, which cannot have two children.
	//
	// Until it is ready the new child gets no signals and the terminal is the old
	// one's. If that ends by itself meanwhile, unless it was meant to end (see
	// RestartOnFailure), the new one takes its place as it is.
	Overlap bool
	Ready   Readiness

	// RestartOnFailure has a child that fails started again, after a time that
	// doubles from 100 ms to 30 s, less a random part of up to a half, and starts over
	// once a child has run for 10 s.
	// What it leaves of its process group is stopped before. It has not failed if
	// its code is 0, if SIGHUP, SIGINT, SIGQUIT or SIGTERM ended it (128 + N), or
	// if SIGINT or SIGTERM was passed on to it.
	RestartOnFailure bool

	// Observe is told what happens, by the goroutine of Run: it must not wait for
	// it. nil is nobody.
	Observe func(Event)

	// Of tests; 0 means a minute and 10 s.
	hookTimeout, stableAfter time.Duration
}

// An Event is something that happened to the command.
type Event struct {
	Kind EventKind
	Code int           // exit code of what Crashed
	Err  error         // why; nil for a child that Crashed after it had started
	Hook []string      // the one that failed
	Wait time.Duration // until it is tried again: Crashed and HookFailed
	// Failures is how often it has failed, one after the other: HookFailed.
	Failures int
}

// An EventKind says what happened.
type EventKind int

// Kinds of [Event].
const (
	EventStarted    EventKind = iota // a child runs; it is the one that gets the signals
	EventRestarted                   // it is one that was started for an Update
	EventStopped                     // the child has been stopped for an Update
	EventRolledBack                  // the new child did not get ready, and the old one stays
	EventCrashed                     // the child failed, or did not start, and is started again
	EventHookFailed                  // a hook failed, and is run again
)

// An Update is what is run from now on, and what becomes of the child that runs.
type Update struct {
	Command Command
	Action  Action

	// Signals go to the child if it stays: with [ActionKeep].
	Signals []syscall.Signal

	// Hooks are commands to run, one after the other, when the update is applied:
	// with the environment, user and folder of the Command that was applied last,
	// without input, and with roomenv's stderr for what they print. One that fails,
	// or takes longer than a minute, is run again, ever less often, until it
	// succeeds or another Update brings it; it holds up nothing. What it leaves of
	// its process group is killed, and all of it when Run ends.
	Hooks [][]string

	// Applied is called once, by the goroutine of Run, for which it must not wait:
	// with nil when the child has been told, with [ErrDropped], or with why the
	// old child stays. It may be nil.
	Applied func(error)
}

// ErrDropped is why an [Update] was not applied if nothing is wrong with it: one
// that came later took its place, or Run ended.
var ErrDropped = errors.New("the update was dropped")

// An Action is what becomes of the child.
type Action int

// Actions of an [Update].
const (
	ActionKeep    Action = iota // it stays; Command is for the next start
	ActionRestart               // it is stopped, and Command started
	ActionStop                  // it is stopped; a Restart starts Command

	// ActionWithdraw takes back the Update that is not applied yet, whose Applied gets
	// [ErrDropped] at once. A new child that is not ready is stopped; a child that is
	// being stopped stays so. The rest of the Update is not used.
	ActionWithdraw
)

// replacing is u in place of one that came before and is not applied.
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
// signal that ended it. What it leaves running, even with a pipe open, is not waited
// for. updates may be nil.
//
// Run is always ready to receive an Update, and does what the newest says: while a
// child is being stopped, an Update that comes is the one whose Command is started
// next. A child that exits ends Run, and so does a Command that does not start once
// the previous child is gone, unless RestartOnFailure is set.
//
// A child that is stopped is asked to exit, and killed after its StopTimeout or when
// SIGTERM or SIGINT comes meanwhile. Run then returns when nothing is left of its
// process group, if it has one of its own. The exit code is the child's. SIGTERM or
// SIGINT that comes while a child is stopped for an Update goes to that child, which
// is the last one then. While there is no child, SIGINT, SIGQUIT, SIGTERM and, on a
// terminal, SIGHUP end Run, with [SignalError].
//
// The error says why there was no child: [*StartError], or the cause of ctx, which
// may be [SignalError]. The code goes with it: 127, 126, 128 + the signal, or 125.
//
// Run writes nothing. Of the processes that roomenv has started, only those that
// Run has may end while it reaps orphans, which it does as PID 1 and as a
// subreaper.
func (s *Supervisor) Run(ctx context.Context, c Command, updates <-chan Update) (int, error) {
	if len(c.Args) == 0 {
		return 125, errNoCommand
	}
	l := &loop{Supervisor: *s, signals: c.Signals, command: c, backoff: newBackoff()}
	if l.signals == nil {
		ctx, l.signals = NotifySignals(ctx)
		defer l.signals.Close()
	}
	return l.run(ctx, updates)
}

// newBackoff paces how what failed is tried again.
func newBackoff() retry.Backoff {
	return retry.Backoff{Min: 100 * time.Millisecond, Max: 30 * time.Second}
}
