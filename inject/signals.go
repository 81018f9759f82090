package inject

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/notify"
)

// Signals receives every signal to roomenv from [NotifySignals] on. None is lost, and
// none ends roomenv without the command.
//
// While no command runs, SIGHUP, SIGINT, SIGQUIT and SIGTERM cancel the context of
// NotifySignals, with a [SignalError] as the cause; SIGTSTP stops roomenv; the others
// are queued for the command that [Supervisor.Run] starts. While one runs, all
// signals are passed on to it.
type Signals struct {
	// Hangup receives a value after SIGHUP, besides the other effects of the signal.
	Hangup <-chan struct{}

	hangup chan<- struct{} // one slot: the number of signals does not matter
	caught chan os.Signal
	out    chan syscall.Signal // queued signals, to Run
	cancel context.CancelCauseFunc
	close  sync.Once
	quit   chan struct{}

	mu        sync.Mutex
	ctx       context.Context
	claimed   bool // by Run, which passes signals on
	suspend   func() (resume func())
	continued chan struct{}  // closed by SIGCONT; nil unless roomenv stops
	resumed   chan struct{}  // closed when the last suspend is undone; nil before the first
	working   sync.WaitGroup // run, suspend and resume
}

// SignalError is the cause of a context that a signal cancelled.
type SignalError struct{ Signal syscall.Signal }

// Error names the signal.
func (e SignalError) Error() string {
	return fmt.Sprintf("interrupted by %s", unix.SignalName(e.Signal))
}

// ExitCode is 128 + the number of the signal.
func (e SignalError) ExitCode() int { return 128 + int(e.Signal) }

// NotifySignals starts to catch signals. main calls it first, and passes both results
// to [Supervisor.Run]. Close ends it.
//
// SIGHUP and SIGINT stay ignored, by roomenv and by the command, if they are ignored at
// the start, for example because of nohup or of & in a shell. Hangup receives nothing
// then. For the other signals, which the Go runtime has handled by then, it is unknown
// whether they were ignored: the command has their default action.
func NotifySignals(parent context.Context) (context.Context, *Signals) {
	ctx, cancel := context.WithCancelCause(parent)
	hangup := notify.Slot()
	s := &Signals{
		Hangup: hangup,
		hangup: hangup,
		caught: make(chan os.Signal, 64),
		out:    make(chan syscall.Signal),
		ctx:    ctx,
		cancel: cancel,
		quit:   make(chan struct{}),
	}
	signal.Notify(s.caught, catchable()...)
	s.working.Go(s.run)
	return ctx, s
}

// catchable returns the signals that are not for roomenv itself. The Go runtime uses
// SIGURG and SIGPROF, [Supervisor.Run] uses SIGCHLD, and on a terminal SIGTTIN and
// SIGTTOU are about roomenv's own use of it. SIGPIPE is caught, since a log line to a
// closed stderr would kill roomenv and the child with it, but not passed on.
func catchable() []os.Signal {
	onTerminal := hasTerminal()
	var all []os.Signal
	for n := syscall.Signal(1); n <= lastSignal; n++ {
		switch n {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGURG, unix.SIGPROF, unix.SIGCHLD:
		case unix.SIGTTIN, unix.SIGTTOU:
			// Without a terminal some programs, such as gunicorn, use them.
			if !onTerminal {
				all = append(all, n)
			}
		default:
			// Notify would unignore it.
			if !signal.Ignored(n) {
				all = append(all, n)
			}
		}
	}
	return all
}

// Close stops catching signals, like [signal.Stop], and cancels the context.
func (s *Signals) Close() {
	s.close.Do(func() {
		signal.Stop(s.caught)
		close(s.quit)
	})
	s.working.Wait()
}

// run receives from caught at once, because os/signal drops signals when the channel
// is full. Like the kernel, it does not queue a signal twice.
func (s *Signals) run() {
	defer s.cancel(nil)
	var queued []syscall.Signal
	for {
		var out chan<- syscall.Signal
		var next syscall.Signal
		if len(queued) > 0 {
			out, next = s.out, queued[0]
		}
		select {
		case caught := <-s.caught:
			sig := caught.(syscall.Signal)
			if s.forChild(sig) && !slices.Contains(queued, sig) {
				queued = append(queued, sig)
			}
		case out <- next:
			queued = queued[1:]
		case <-s.quit:
			// A signal that came before may interrupt roomenv.
			for len(s.caught) > 0 {
				s.forChild((<-s.caught).(syscall.Signal))
			}
			return
		}
	}
}

// forChild handles a signal that is for roomenv, and reports whether it is for the
// child.
func (s *Signals) forChild(sig syscall.Signal) bool {
	if sig == unix.SIGHUP {
		notify.Send(s.hangup)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sig == unix.SIGCONT && s.continued != nil {
		close(s.continued)
		s.continued = nil
	}
	switch {
	case sig == unix.SIGPIPE:
		return false
	case s.claimed:
		return true
	}
	return withoutChild(sig, s.cancel, s.stopNow)
}

// withoutChild handles a signal that comes while there is no child, by interrupting or
// stopping roomenv, and reports whether to queue it for the next child.
func withoutChild(sig syscall.Signal, interrupt context.CancelCauseFunc, stop func(target int)) (queue bool) {
	switch sig {
	case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM:
		interrupt(SignalError{sig})
	case unix.SIGTSTP:
		stop(unix.Getpid())
	case unix.SIGCONT:
	default:
		return true
	}
	return false
}

// OnSuspend has suspend called before roomenv stops itself, with or without a command, to
// release what other processes need. resume is called when roomenv continues. Signals
// are handled meanwhile, and roomenv stops after a second even if suspend has not
// returned. A SIGSTOP from another process stops roomenv without suspend.
func (s *Signals) OnSuspend(suspend func() (resume func())) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspend = suspend
}

// suspendTimeout is how long a stop waits for suspend.
const suspendTimeout = time.Second

// stop stops roomenv, or its process group for 0.
func (s *Signals) stop(target int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopNow(target)
}

// stopNow is stop for callers that hold the lock. A process may run for a moment after
// it has stopped itself: SIGCONT, and no return of kill(2), says that it continues.
func (s *Signals) stopNow(target int) {
	switch {
	case s.suspend == nil:
		_ = unix.Kill(target, unix.SIGSTOP)
		return
	case s.continued != nil:
		return // it stops already
	}
	suspend, before := s.suspend, s.resumed
	continued, resumed := make(chan struct{}), make(chan struct{})
	s.continued, s.resumed = continued, resumed
	stop := sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.continued == continued && s.ctx.Err() == nil {
			_ = unix.Kill(target, unix.SIGSTOP)
		}
	})
	timeout := time.AfterFunc(suspendTimeout, stop)
	s.working.Go(func() {
		defer close(resumed)
		if before != nil {
			<-before
		}
		resume := suspend()
		timeout.Stop()
		stop()
		select {
		case <-continued:
			resume()
		case <-s.ctx.Done():
		}
	})
}

// claim has signals passed on to the child from now on. It fails if a signal has
// interrupted roomenv.
func (s *Signals) claim() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	s.claimed = true
	return nil
}

func (s *Signals) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claimed = false
}
