package inject

import (
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

	lives     []*life
	current   *life            // gets the signals; nil while none is to run
	candidate *life            // is to take its place
	kept      []syscall.Signal // for the next one

	command  Command // what is started next
	next     *Update // waits until it can be applied
	failures int     // one after the other
	retry    *alarm  // of what has failed

	tasks map[*task]bool
	hook  *hook   // runs
	hooks []*hook // are to be run

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

	l.processes, l.tasks = processes{}, map[*task]bool{}
	l.posted, l.closed = make(chan func()), make(chan struct{})
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	defer l.working.Wait()
	defer l.cancel(nil)
	defer close(l.closed)

	first, err := l.begin(c)
	if err != nil {
		return exitCode(err), err
	}
	l.become(first)
	cancelled := ctx.Done()
	for !l.ending || len(l.lives)+len(l.tasks) > 0 {
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
	f := l.current
	switch {
	case l.ending && escalates(sig) && l.hurry():
	case f == nil && sig == unix.SIGHUP && !hasTerminal():
		// Nobody can have hung up: see [Signals.Hangup].
	case f == nil || f.hasCode:
		if withoutChild(sig, l.interrupt, l.signals.stop) && !slices.Contains(l.kept, sig) {
			l.kept = append(l.kept, sig)
		}
	case f.stopsOnTerm && sig == unix.SIGTERM:
		l.end()
	case f.asked && escalates(sig):
		l.end()
		fallthrough
	default:
		f.told = f.told || escalates(sig)
		f.forward(sig)
	}
}

// hurry kills what was asked to end, and reports whether there is any.
func (l *loop) hurry() (found bool) {
	for _, f := range l.lives {
		if f.asked && !f.draining {
			f.hurry()
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
func (l *loop) ended(f *life) {
	if time.Since(f.began) >= steady {
		l.failures = 0
	}
	switch {
	case !f.byItself:
	case f == l.candidate:
		l.abandon(f, fmt.Errorf("it ended before it was ready: exit code %d", f.code))
	case f != l.current:
	case l.candidate != nil && !l.candidate.asked && !f.meant():
		l.handOver()
	case f.code == 0 || f.meant() || !l.RestartOnFailure:
		l.end()
	default:
		f.stop() // what it has left
	}
}

// over is for when nothing is left of a child.
func (l *loop) over(f *life) {
	l.lives = slices.DeleteFunc(l.lives, func(g *life) bool { return f == g })
	switch {
	case f == l.candidate:
		l.rolledBack(f)
	case f != l.current:
	case l.ending:
		if l.err == nil {
			l.code = f.code
		}
	default:
		l.current = nil
		if f.byItself {
			l.crashed(f.code, nil)
		}
	}
	l.proceed()
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
		l.abandon(l.candidate, ErrDropped)
	}
	for _, f := range l.lives {
		if !f.hasCode {
			f.stop()
		}
	}
	for t := range l.tasks {
		t.kill()
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
