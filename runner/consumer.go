package runner

import (
	"context"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
)

// A Consumer uses revisions. A [Runner] calls Apply and Suspend from one goroutine,
// one at a time.
type Consumer interface {
	// Apply switches to rev, by the means that change names, and returns nil when rev
	// is in use. Its files are in place before the call. An error says that the
	// previous revision stays in use: the Runner puts the files of that one back, and
	// does not apply the same values again unless they have changed meanwhile. If there
	// is no previous revision, the error ends Run.
	//
	// ctx ends when newer values are wanted. Apply returns at once: nil if rev is in
	// use by then, else the cause of ctx. It need not undo what it has begun: the next
	// change includes what differs from rev.
	Apply(ctx context.Context, rev *Revision, change Change) error

	// Suspend stops the use of all values, because one was revoked or is too old, and
	// returns nil when none is in use. The next Apply has a change with Restart. When
	// ctx ends Suspend returns at once: nil if no value is in use, else the cause of ctx.
	Suspend(ctx context.Context, why error) error

	// Done is closed when there is nothing left to apply to, such as a command that
	// has exited. Apply and Suspend return at once then, with any error. A nil channel
	// is for a consumer that is never done.
	Done() <-chan struct{}

	// Stop ends the consumer for good and waits for its end. Run returns its exit code
	// and error. The cause is why Run ends; nil if the consumer is done. Stop is the
	// last call, and is made once.
	Stop(cause error) (code int, err error)
}

// A Preparer is a [Consumer] that looks at each revision before its files are in
// place. Prepare is called before Apply, by the same goroutine. Its error refuses a
// revision that the consumer could not use, and the previous one stays.
type Preparer interface {
	Prepare(rev *Revision) error
}

// A Reporter is a [Consumer] that adds what it knows to a [Status]. Report may be
// called by several goroutines at any time.
type Reporter interface {
	Report(*Status)
}

// A Change says what is different in a revision, from the one in use and from those
// that were tried meanwhile, and what is to be done about it by the manifest
// (on_change).
type Change struct {
	// Variables and files that came, went or differ, sorted.
	render.Changes

	// Restart asks for a new start, which stands for all else: Signals and Hooks are
	// empty then. It is set for the first revision, unless an earlier process left one
	// ([Config.Share]).
	Restart bool
	// Signals are names of signals, as the manifest has them.
	Signals []string
	// Hooks are to be run one after the other: [manifest.ChangeCommand],
	// [manifest.ChangeHTTP] and [manifest.ChangeTouch].
	Hooks []manifest.OnChange
}

// newChange returns the change of names, with what m asks for, or with a restart.
func newChange(names render.Changes, m *manifest.Manifest, restart bool) Change {
	c := Change{Changes: names, Restart: restart}
	if restart {
		return c
	}
	for _, action := range names.Actions(m) {
		switch action.Kind {
		case manifest.ChangeRestart:
			c.Restart = true
		case manifest.ChangeSignal:
			c.Signals = append(c.Signals, action.Signal)
		case manifest.ChangeCommand, manifest.ChangeHTTP, manifest.ChangeTouch:
			c.Hooks = append(c.Hooks, action)
		}
	}
	return c
}

// Func is a [Consumer] that calls the function with each revision, and with nil to
// suspend. The contract is that of Apply and Suspend: with an error the previous
// revision stays, and when ctx ends the function returns at once.
type Func func(ctx context.Context, rev *Revision) error

// Apply calls f.
func (f Func) Apply(ctx context.Context, rev *Revision, _ Change) error { return f(ctx, rev) }

// Suspend calls f with nil.
func (f Func) Suspend(ctx context.Context, _ error) error { return f(ctx, nil) }

// Done returns nil: a function is never done.
func (f Func) Done() <-chan struct{} { return nil }

// Stop returns 125 and the cause, such as that of the context of [Runner.Run].
func (f Func) Stop(cause error) (int, error) { return exitFailure, cause }
