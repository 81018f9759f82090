package inject

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// steady is how long a child runs that has not failed one more time.
const steady = 10 * time.Second

// update takes an Update.
func (l *loop) update(u *Update) {
	l.reap() // an end that came before goes before
	if l.ending {
		u.applied(ErrDropped)
		return
	}
	if l.next != nil {
		u = u.replacing(l.next)
	}
	l.next = u
	l.proceed()
}

// proceed goes on with the Update that waits, as far as it can. When a child is
// over it is called again.
func (l *loop) proceed() {
	u, f := l.next, l.current
	switch {
	case u == nil || l.ending:
	case l.candidate != nil:
		if u.Action != ActionKeep {
			l.abandon(l.candidate, ErrDropped)
		}
	case u.Action == ActionKeep:
		if f != nil && !f.hasCode {
			for _, sig := range u.Signals {
				_ = unix.Kill(f.pid, sig)
			}
		}
		l.apply(u)
	case f == nil && u.Action == ActionStop:
		l.clock.cancel(l.retry)
		l.apply(u)
		l.observe(Event{Kind: EventStopped})
	case f == nil:
		l.clock.cancel(l.retry)
		l.failures = 0
		l.apply(u)
		if l.launch() {
			l.observe(Event{Kind: EventRestarted})
		}
	case f.asked || f.hasCode:
	case u.Action == ActionRestart && l.Overlap:
		if len(l.lives) == 1 {
			l.next = nil
			l.propose(u)
		}
	default:
		f.stop()
	}
}

// apply makes u what is run from now on.
func (l *loop) apply(u *Update) {
	if u == l.next {
		l.next = nil
	}
	l.command = u.Command
	l.addHooks(u.Hooks)
	u.applied(nil)
}

// launch starts the command where no child is, and reports whether it did.
func (l *loop) launch() bool {
	f, err := l.begin(l.command)
	if err != nil {
		l.crashed(exitCode(err), err)
		return false
	}
	l.become(f)
	return true
}

// become makes f the current child.
func (l *loop) become(f *life) {
	l.current = f
	l.observe(Event{Kind: EventStarted})
	for _, sig := range l.kept {
		f.forward(sig)
	}
	l.kept = nil
}

// crashed is for a child that failed, or did not start.
func (l *loop) crashed(code int, err error) {
	if !l.RestartOnFailure {
		l.fail(code, err)
		return
	}
	wait := backoff(l.failures)
	l.failures++
	l.retry = l.clock.after(wait, func() { l.launch() })
	l.observe(Event{Kind: EventCrashed, Code: code, Err: err, Wait: wait})
}

// propose starts a child beside the current one, for u.
func (l *loop) propose(u *Update) {
	f, err := l.begin(u.Command)
	if err != nil {
		l.observe(Event{Kind: EventRolledBack, Err: err})
		u.applied(err)
		return
	}
	f.update = u
	l.candidate = f
	l.awaitReady(f)
}

// abandon gives the candidate up. It is over later.
func (l *loop) abandon(f *life, why error) {
	if f.failed != nil {
		return
	}
	f.failed = why
	if f.probing != nil {
		f.probing.kill()
	}
	f.stop()
}

// rolledBack is for when nothing is left of a candidate that was given up. An
// Update that has come meanwhile takes the place of the candidate's.
func (l *loop) rolledBack(f *life) {
	l.candidate = nil
	err := f.failed
	if !errors.Is(err, ErrDropped) {
		err = fmt.Errorf("cannot replace the command: %w", err)
		l.observe(Event{Kind: EventRolledBack, Err: err})
	}
	if l.next != nil {
		l.next = l.next.replacing(f.update)
		return
	}
	f.update.applied(err)
}

// handOver makes the candidate the current child.
func (l *loop) handOver() {
	f, old := l.candidate, l.current
	l.candidate = nil
	if f.probing != nil {
		f.probing.kill()
	}
	f.takeTerminal(old.child)
	if f.halted {
		f.signalGroup(unix.SIGCONT)
	}
	l.become(f)
	old.stop()
	l.apply(f.update)
	l.observe(Event{Kind: EventRestarted})
	l.proceed()
}
