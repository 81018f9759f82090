package inject

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/retry"
)

// A loop is one call of Run. All that it knows is its goroutine's, which is locked
// to a thread.
type loop struct {
	Supervisor
	signals *Signals
	ctx     context.Context // of what goes on beside the loop
	cancel  context.CancelCauseFunc

	processes processes
	endings   chan os.Signal
	clock     clock
	working   sync.WaitGroup
	posted    chan func() // by those who work beside the loop
	closed    chan struct{}

	instances     []*instance
	current       *instance        // gets the signals; nil while none is to run
	candidate     *instance        // is to take its place
	queuedSignals []syscall.Signal // for the next one

	command Command       // what is started next
	next    *Update       // waits until it can be applied
	backoff retry.Backoff // of children that fail, one after the other
	retry   *alarm        // of what has failed

	auxProcesses map[*auxProcess]bool
	hooks        []*hook // have not succeeded
	hook         *hook   // runs

	ending bool // nothing is started any more
	code   int
	err    error
}

func (l *loop) run(ctx context.Context, updates <-chan Update) (int, error) {
	c := l.command
	if err := l.signals.claim(); err != nil {
		return exitCode(err), cannotRun(c, err)
	}
	defer l.signals.release()

	// Linux sends the parent-death signal when the thread that forked ends,
	// which with Go can be long before the process does. Locked, the thread
	// lives as long as this call, and all is forked by it.
	runtime.LockOSThread()
	if c.NoNewPrivs {
		// Never unlocked, so that nothing else runs on this thread.
		if err := setNoNewPrivs(); err != nil {
			return 125, fmt.Errorf("cannot set no_new_privs: %w", err)
		}
	} else {
		defer runtime.UnlockOSThread()
	}

	// One slot is enough: what matters is that something ended, not how often.
	l.endings = make(chan os.Signal, 1)
	signal.Notify(l.endings, unix.SIGCHLD)
	defer signal.Stop(l.endings)

	l.processes, l.auxProcesses = processes{}, map[*auxProcess]bool{}
	l.posted, l.closed = make(chan func()), make(chan struct{})
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	defer l.working.Wait()
	defer l.cancel(nil)
	defer close(l.closed)

	first, err := l.start(c)
	if err != nil {
		return exitCode(err), err
	}
	l.promote(first)
	cancelled := ctx.Done()
	for !l.ending || len(l.instances)+len(l.auxProcesses) > 0 {
		if l.ending {
			updates = nil
		}
		select {
		case sig := <-l.signals.out:
			l.signal(sig)
		case <-cancelled:
			cancelled = nil
			l.cancelled(context.Cause(ctx))
		case u, ok := <-updates:
			if !ok {
				updates = nil
			} else if ctx.Err() != nil {
				u.applied(ErrDropped)
			} else {
				l.update(&u)
			}
		case <-l.clock.next():
			l.clock.ring()
		case then := <-l.posted:
			then()
		case <-l.endings:
			l.reap()
		}
	}
	return l.code, l.err
}

func cannotRun(c Command, err error) error { return fmt.Errorf("cannot run %q: %w", c.Args[0], err) }

// async has work done beside the loop, and then something in it.
func (l *loop) async(work, then func()) {
	l.working.Go(func() {
		work()
		select {
		case l.posted <- then:
		case <-l.closed:
		}
	})
}

func (l *loop) reap() {
	if l.processes.reap() {
		select {
		case l.endings <- unix.SIGCHLD:
		default:
		}
	}
}

// signal acts on a signal to roomenv.
func (l *loop) signal(sig syscall.Signal) {
	p := l.current
	switch {
	case l.ending && escalates(sig) && l.hurry():
	case p == nil && sig == unix.SIGHUP && !hasTerminal():
		// Nobody can have hung up: see [Signals.Hangup].
	case p == nil || p.exited:
		if withoutChild(sig, l.interrupt, l.signals.stop) && !slices.Contains(l.queuedSignals, sig) {
			l.queuedSignals = append(l.queuedSignals, sig)
		}
	case p.stopsOnTerm && sig == unix.SIGTERM:
		l.end()
	case p.stopping && escalates(sig):
		l.end()
		fallthrough
	default:
		p.sentTerm = p.sentTerm || escalates(sig)
		p.forward(sig)
	}
}

// hurry kills what was asked to end, and reports whether there is any.
func (l *loop) hurry() (found bool) {
	for _, p := range l.instances {
		if p.stopping && !p.draining {
			p.hurry()
			found = true
		}
	}
	return found
}

// interrupt is for a signal that comes while no child runs.
func (l *loop) interrupt(cause error) {
	if !l.ending {
		l.fail(exitCode(cause), cannotRun(l.command, cause))
	}
	l.cancel(cause) // what was printed is still passed on, but not for long
}

func (l *loop) cancelled(cause error) {
	if l.current == nil && !l.ending {
		l.fail(exitCode(cause), cannotRun(l.command, cause))
	}
	l.end()
}

// ended is for when a child has ended, and maybe not all of its group.
func (l *loop) ended(p *instance) {
	if time.Since(p.startedAt) >= cmp.Or(l.stableAfter, 10*time.Second) {
		l.backoff.Reset()
	}
	switch {
	case !p.exitedOnItsOwn:
	case p == l.candidate:
		l.abortCandidate(p, fmt.Errorf("it ended before it was ready: exit code %d", p.code))
	case p != l.current:
	case l.candidate != nil && !l.candidate.stopping && !p.meant():
		l.switchOver()
	case p.code == 0 || p.meant() || !l.RestartOnFailure:
		l.end()
	default:
		p.stop() // what it has left
	}
}

// over is for when nothing is left of a child.
func (l *loop) over(p *instance) {
	l.instances = slices.DeleteFunc(l.instances, func(g *instance) bool { return p == g })
	switch {
	case p == l.candidate:
		l.rolledBack(p)
	case p != l.current:
	case l.ending:
		if l.err == nil {
			l.code = p.code
		}
	default:
		l.current = nil
		if p.exitedOnItsOwn {
			l.crashed(p.code, nil)
		}
	}
	l.advance()
}

// end ends all that runs. The exit code is that of the current child, if there is
// one.
func (l *loop) end() {
	if l.ending {
		return
	}
	l.ending = true
	l.clock.cancel(l.retry)
	if l.next != nil {
		l.next.applied(ErrDropped)
		l.next = nil
	}
	if l.candidate != nil {
		l.abortCandidate(l.candidate, ErrDropped)
	}
	for _, p := range l.instances {
		if !p.exited {
			p.stop()
		}
	}
	for p := range l.auxProcesses {
		p.kill()
	}
}

// fail is end for when there is no child to have the code of.
func (l *loop) fail(code int, err error) {
	l.code, l.err = code, err
	l.end()
}

func (l *loop) observe(e Event) {
	if l.Observe != nil {
		l.Observe(e)
	}
}
