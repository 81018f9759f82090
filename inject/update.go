package inject

import (
	"errors"

	"golang.org/x/sys/unix"
)

// update receives an Update.
func (l *loop) update(u *Update) {
	l.reap() // an exit that came before is handled first
	if l.ending {
		u.applied(ErrDropped)
		return
	}
	if u.Action == ActionWithdraw {
		l.withdraw()
		u.applied(nil)
		return
	}
	if u.Action == ActionKeep && l.interrupted {
		u.Action = ActionRestart
	}
	if l.next != nil {
		u = u.replacing(l.next)
	}
	l.next = u
	l.advance()
}

// withdraw drops the update that is not applied yet.
func (l *loop) withdraw() {
	if l.next != nil {
		l.interrupted = l.interrupted || l.next.Action != ActionKeep && l.current != nil && l.current.stopping
		l.next.applied(ErrDropped)
		l.next = nil
	}
	if p := l.candidate; p != nil {
		p.update.applied(ErrDropped)
		p.update = new(Update)
		l.abortCandidate(p, ErrDropped)
	}
}

// advance applies the pending Update as far as the children allow it. It is called
// again when a child is over.
func (l *loop) advance() {
	u, p := l.next, l.current
	switch {
	case u == nil || l.ending:
	case l.candidate != nil:
		if u.Action != ActionKeep {
			l.abortCandidate(l.candidate, ErrDropped)
		}
		if u.Action == ActionStop && p != nil {
			p.stop() // beside the candidate
		}
	case u.Action == ActionKeep:
		if p != nil && !p.exited {
			for _, sig := range u.Signals {
				p.kill(p.pid, sig)
			}
		}
		l.apply(u)
	case p == nil && u.Action == ActionStop:
		l.clock.cancel(l.retry)
		l.apply(u)
		l.observe(Event{Kind: EventStopped})
	case p == nil:
		l.clock.cancel(l.retry)
		l.backoff.Reset()
		l.apply(u)
		if l.restart() {
			l.observe(Event{Kind: EventRestarted})
		}
	case p.stopping || p.exited:
	case u.Action == ActionRestart && l.Overlap:
		if len(l.instances) == 1 {
			l.next = nil
			l.startCandidate(u)
		}
	default:
		p.stop()
	}
}

// apply has u take effect.
func (l *loop) apply(u *Update) {
	if u == l.next {
		l.next = nil
	}
	l.interrupted = l.interrupted && u.Action == ActionKeep
	l.command = u.Command
	l.addHooks(u.Hooks)
	u.applied(nil)
}

// restart starts the command while there is no child, and reports whether it did.
func (l *loop) restart() bool {
	p, err := l.start(l.command)
	if err != nil {
		l.crashed(exitCode(err), err)
		return false
	}
	l.promote(p)
	return true
}

// promote makes p the current child.
func (l *loop) promote(p *instance) {
	l.current = p
	l.observe(Event{Kind: EventStarted})
	for _, sig := range l.queuedSignals {
		p.forward(sig)
	}
	l.queuedSignals = nil
}

// crashed handles a child that failed, or did not start.
func (l *loop) crashed(code int, err error) {
	if !l.RestartOnFailure {
		l.fail(code, err)
		return
	}
	wait := l.backoff.Next()
	l.retry = l.clock.after(wait, func() { l.restart() })
	l.observe(Event{Kind: EventCrashed, Code: code, Err: err, Wait: wait})
}

// startCandidate starts a child beside the current one for u.
func (l *loop) startCandidate(u *Update) {
	p, err := l.start(u.Command)
	if err != nil {
		l.observe(Event{Kind: EventRolledBack, Err: err})
		u.applied(err)
		return
	}
	p.update = u
	l.candidate = p
	l.awaitReady(p)
}

// abortCandidate stops a candidate; rolledBack follows when it is over.
func (l *loop) abortCandidate(p *instance, why error) {
	if p.failed != nil {
		return
	}
	p.failed = why
	if p.probing != nil {
		p.probing.kill()
	}
	p.stop()
}

// rolledBack handles that an aborted candidate is over. An Update that came meanwhile
// replaces that of the candidate.
func (l *loop) rolledBack(p *instance) {
	l.candidate = nil
	err := p.failed
	if !errors.Is(err, ErrDropped) {
		l.observe(Event{Kind: EventRolledBack, Err: err})
	}
	if l.next != nil {
		l.next = l.next.replacing(p.update)
		return
	}
	p.update.applied(err)
}

// switchOver makes the candidate the current child.
func (l *loop) switchOver() {
	p, old := l.candidate, l.current
	l.candidate = nil
	if p.probing != nil {
		p.probing.kill()
	}
	p.takeTerminal(old.child)
	if p.suspended {
		p.signalGroup(unix.SIGCONT)
	}
	l.promote(p)
	old.stop()
	l.apply(p.update)
	l.observe(Event{Kind: EventRestarted})
	l.advance()
}
