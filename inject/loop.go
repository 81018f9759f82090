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

// A loop is one call of Run. Only its goroutine, which is locked to a thread, uses its
// fields.
type loop struct {
	Supervisor
	signals *Signals
	ctx     context.Context // of the goroutines of working
	cancel  context.CancelCauseFunc

	processes processes
	endings   chan os.Signal
	clock     clock
	working   sync.WaitGroup
	posted    chan func() // by goroutines of working, for the loop to call
	closed    chan struct{}

	instances     []*instance
	current       *instance        // gets the signals; nil while the command is stopped or failed
	candidate     *instance        // replaces current once it is ready
	queuedSignals []syscall.Signal // for the next child

	command Command // what is started next
	next    *Update // pending
	// The current instance is being stopped for an Update that was withdrawn.
	interrupted bool
	backoff     retry.Backoff // of children that fail
	retry       *alarm        // starts the next child

	auxProcesses map[*auxProcess]bool
	hooks        []*hook         // not succeeded yet
	hook         *hook           // running
	failing      map[string]bool // hooks that failed last, by their arguments

	ending bool // no more processes are started
	code   int
	err    error
}

func (l *loop) run(ctx context.Context, updates <-chan Update) (int, error) {
	c := l.command
	if err := l.signals.claim(); err != nil {
		return exitCode(err), runError(c, err)
	}
	defer l.signals.release()

	// Linux sends the parent-death signal when the thread that forked ends,
	// which with Go can be long before the process does. Locked, the thread
	// lives as long as this call, and all is forked by it.
	runtime.LockOSThread()
	if c.NoNewPrivs {
		// Never unlocked, so that nothing else runs on this thread.
		if err := setNoNewPrivs(); err != nil {
			return 125, fmt.Errorf("set no_new_privs: %w", err)
		}
	} else {
		defer runtime.UnlockOSThread()
	}

	// One slot is enough: what matters is that a process exited, not how many.
	l.endings = make(chan os.Signal, 1)
	signal.Notify(l.endings, unix.SIGCHLD)
	defer signal.Stop(l.endings)

	l.processes, l.auxProcesses, l.failing = processes{}, map[*auxProcess]bool{}, map[string]bool{}
	l.posted, l.closed = make(chan func()), make(chan struct{})
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	defer l.working.Wait()
	defer l.cancel(nil)
	defer close(l.closed)

	if len(c.Args) == 0 {
		l.observe(Event{Kind: EventStarted})
	} else if first, err := l.start(c); err != nil {
		return exitCode(err), err
	} else {
		l.promote(first)
	}
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

func runError(c Command, err error) error {
	if len(c.Args) == 0 {
		return err
	}
	return fmt.Errorf("run %q: %w", c.Args[0], err)
}

// async runs work in a goroutine, and then has the loop call then.
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
		// No terminal can have hung up: see [Signals.Hangup].
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

// hurry kills the children that are stopping, and reports whether there are any.
func (l *loop) hurry() (found bool) {
	for _, p := range l.instances {
		if p.stopping && !p.draining {
			p.hurry()
			found = true
		}
	}
	return found
}

// interrupt ends Run for a signal that comes while no child runs.
func (l *loop) interrupt(cause error) {
	if !l.ending {
		l.fail(exitCode(cause), runError(l.command, cause))
	}
	l.cancel(cause) // remaining output is passed on, with a time limit
}

func (l *loop) cancelled(cause error) {
	if l.current == nil && !l.ending {
		l.fail(exitCode(cause), runError(l.command, cause))
	}
	l.end()
}

// ended handles the exit of a child, of which a part of the group may be left.
func (l *loop) ended(p *instance) {
	if time.Since(p.startedAt) >= cmp.Or(l.stableAfter, 10*time.Second) {
		l.backoff.Reset()
	}
	switch {
	case !p.exitedOnItsOwn:
	case p == l.candidate:
		l.abortCandidate(p, fmt.Errorf("new process exited before it was ready: exit code %d", p.code))
	case p != l.current:
	case l.candidate != nil && !l.candidate.stopping && !p.meant():
		l.switchOver()
	case p.code == 0 || p.meant() || !l.RestartOnFailure:
		l.end()
	default:
		p.stop() // the rest of its group
	}
}

// over handles that a child, its group and its output are gone.
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

// end stops all processes. The exit code is that of the current child, if there is
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

// fail is end without a child that has an exit code.
func (l *loop) fail(code int, err error) {
	l.code, l.err = code, err
	l.end()
}

func (l *loop) observe(e Event) {
	if l.Observe != nil {
		l.Observe(e)
	}
}
