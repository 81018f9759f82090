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

	"golang.org/x/sys/unix"
)

// A loop is one call of Run. All that it knows is its goroutine's, which is locked
// to a thread.
type loop struct {
	signals *Signals
	ctx     context.Context // of what goes on beside the loop
	cancel  context.CancelCauseFunc

	processes processes
	clock     clock
	working   sync.WaitGroup
	posted    chan func() // by those who work beside the loop
	closed    chan struct{}

	lives   []*life
	current *life // gets the signals

	ending bool // nothing is started any more
	code   int
	err    error
}

func (l *loop) run(ctx context.Context, c Command) (int, error) {
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
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)

	l.ctx, l.cancel = context.WithCancelCause(ctx)
	defer l.cancel(nil)
	l.processes = processes{}
	l.posted, l.closed = make(chan func()), make(chan struct{})
	defer l.working.Wait()
	defer close(l.closed)

	var err error
	if l.current, err = l.begin(c); err != nil {
		return exitCode(err), err
	}
	cancelled := ctx.Done()
	for !l.ending || len(l.lives) > 0 {
		select {
		case sig := <-l.signals.out:
			l.signal(sig)
		case <-cancelled:
			cancelled = nil
			l.end()
		case <-l.clock.next():
			l.clock.ring()
		case then := <-l.posted:
			then()
		case <-ended:
			l.processes.reap()
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

// signal acts on a signal to roomenv.
func (l *loop) signal(sig syscall.Signal) {
	f := l.current
	switch {
	case f.asked && escalates(sig):
		f.hurry()
	case f.hasCode:
		// What it printed is still passed on, but not for long.
		withoutChild(sig, l.cancel)
	case f.stopsOnTerm && sig == unix.SIGTERM:
		l.end()
	default:
		f.forward(sig)
	}
}

// ended is for when a child has ended.
func (l *loop) ended(*life) { l.ending = true }

// over is for when nothing is left of a child.
func (l *loop) over(f *life) {
	l.lives = slices.DeleteFunc(l.lives, func(g *life) bool { return f == g })
	l.code = f.code
}

// end ends what runs.
func (l *loop) end() {
	l.ending = true
	for _, f := range l.lives {
		if !f.hasCode {
			f.stop()
		}
	}
}
