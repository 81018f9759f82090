package inject

import (
	"cmp"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An instance is one run of the command, from fork until its output is drained.
type instance struct {
	*child
	loop    *loop
	command Command // without the changes for masking
	output  output  // unused unless it is masked

	stopSignal  syscall.Signal
	stopTimeout time.Duration
	stopsOnTerm bool

	startedAt      time.Time
	code           int
	exited         bool
	exitedOnItsOwn bool   // exited before it was stopped
	sentTerm       bool   // a SIGTERM or SIGINT was passed on to it
	stopping       bool   // it, or what it left of its group, was sent the stop signal
	killing        *alarm // sends SIGKILL, then abandons the group
	groupAbandoned bool   // processes of its group survive SIGKILL
	draining       bool   // only its output is left

	// Of a candidate:
	update         *Update
	probing        *auxProcess // nil between probes
	lastProbeError error
	failed         error // why it was aborted
	suspended      bool  // stopped by a signal such as SIGTTIN
}

// start starts a child.
func (l *loop) start(c Command) (*instance, error) {
	p := &instance{loop: l, command: c, startedAt: time.Now()}
	if l.Overlap {
		c.Monitor = nil
	}
	if c.masker != nil {
		if err := p.output.mask(&c); err != nil {
			p.output.close()
			return nil, err
		}
	}
	p.stopSignal = cmp.Or(c.StopSignal, unix.SIGTERM)
	p.stopTimeout = cmp.Or(c.StopTimeout, 10*time.Second)
	p.stopsOnTerm = c.inner == nil && (c.StopSignal != 0 || c.StopTimeout != 0)
	var err error
	if p.child, err = start(c); err != nil {
		p.output.close()
		return nil, err
	}
	p.refused = func(err error) { l.observe(Event{Kind: EventSignalRefused, Err: err}) }
	p.output.start()
	l.processes[p.pid] = p
	l.instances = append(l.instances, p)
	return p, nil
}

// stop sends the stop signal to the child and its group, and SIGKILL after the stop
// timeout.
func (p *instance) stop() {
	if p.stopping {
		return
	}
	p.stopping = true
	p.signalGroup(p.stopSignal)
	p.killing = p.loop.clock.after(p.stopTimeout, p.hurry)
}

// meant reports whether the exit of the child was intended: by a signal that ended it,
// or one that was passed on to it.
func (p *instance) meant() bool {
	switch syscall.Signal(p.code - 128) {
	case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM:
		return true
	}
	return p.sentTerm
}

// killTimeout is how long the group is waited for after SIGKILL. A process that
// survives it hangs in the kernel.
const killTimeout = time.Second

// hurry kills a child that is stopping.
func (p *instance) hurry() {
	p.signalGroup(unix.SIGKILL)
	p.loop.clock.cancel(p.killing)
	p.killing = p.loop.clock.after(killTimeout, func() { p.groupAbandoned = true })
}

// signalGroup signals the child and its group, and wakes those that are stopped so
// that they can act on it.
func (p *instance) signalGroup(sig syscall.Signal) {
	target := p.pid
	if p.ownGroup {
		target = -p.pid
	} else if p.exited {
		return
	}
	p.kill(target, sig)
	_ = unix.Kill(target, unix.SIGCONT)
}

func (p *instance) stopped(sig syscall.Signal) {
	switch {
	case p != p.loop.current:
		p.suspended = true
	case (sig == unix.SIGTTIN || sig == unix.SIGTTOU) && p.inForeground():
		// It used the terminal just before that was handed over.
		p.moveForeground(unix.Getpgrp(), p.pid)
		p.signalGroup(unix.SIGCONT)
	default:
		p.suspend(sig, p.loop.signals.stop)
	}
}

func (p *instance) ended(code int, killed bool) {
	p.code, p.exited, p.killed, p.exitedOnItsOwn = code, true, killed, !p.stopping
	p.loop.ended(p)
	p.awaitGroup(minInterval)
}

// The kernel does not report when processes that outlive the child exit. They are
// polled at a growing interval.
const (
	minInterval = 2 * time.Millisecond
	maxInterval = 100 * time.Millisecond
)

// awaitGroup waits until the group of a child that was stopped is gone, then until its
// output is passed on.
func (p *instance) awaitGroup(interval time.Duration) {
	l := p.loop
	if p.stopping && p.ownGroup && !p.groupAbandoned && groupAlive(p.pid) {
		l.clock.after(interval, func() { p.awaitGroup(min(2*interval, maxInterval)) })
		return
	}
	l.clock.cancel(p.killing)
	p.child.close()
	p.draining = true
	if p.output.pumps == nil {
		l.over(p)
		return
	}
	if p.output.inner != nil {
		p.output.inner.end(p.code)
	}
	l.async(func() { p.output.finish(l.ctx) }, func() {
		p.output.close()
		l.over(p)
	})
}
