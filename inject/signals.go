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
)

// Signals holds every signal that reaches roomenv from [NotifySignals] on, so that
// none is lost and none ends roomenv without its child.
//
// While there is no child, SIGHUP, SIGINT, SIGQUIT and SIGTERM cancel the
// context of NotifySignals, with a [SignalError] as the cause; SIGTSTP stops roomenv;
// the others are kept for the child that [Supervisor.Run] starts, which gets them as soon
// as it runs. While there is a child all of them are the child's.
type Signals struct {
	// Hangup has something when SIGHUP has come, beside what else that does.
	Hangup <-chan struct{}

	hangup chan<- struct{} // has one slot: how often it came does not matter
	caught chan os.Signal
	out    chan syscall.Signal // what is kept, to whoever runs a child
	cancel context.CancelCauseFunc
	close  sync.Once
	quit   chan struct{}

	mu        sync.Mutex
	ctx       context.Context
	claimed   bool // there is a child, or is about to be
	suspend   func() (resume func())
	continued chan struct{}  // SIGCONT closes it; nil: roomenv is not to stop
	resumed   chan struct{}  // closed when the last suspend is undone, or nil
	working   sync.WaitGroup // run, suspends and resumes
}

// SignalError is the cause of a context that a signal cancelled.
type SignalError struct{ Signal syscall.Signal }

// Error names the signal.
func (e SignalError) Error() string {
	return fmt.Sprintf("interrupted by %s", unix.SignalName(e.Signal))
}

// ExitCode is 128 + the number of the signal.
func (e SignalError) ExitCode() int { return 128 + int(e.Signal) }

// NotifySignals begins to catch signals. It is the first thing that main does; [Supervisor.Run]
// gets both results. Close ends it.
//
// A SIGHUP or SIGINT that is ignored, as nohup and the shell's & make it,
// stays so, for roomenv and for the child. The Go runtime does not tell which
// other signals were ignored before it started, so a child gets those with
// their default action.
func NotifySignals(parent context.Context) (context.Context, *Signals) {
	ctx, cancel := context.WithCancelCause(parent)
	hangup := make(chan struct{}, 1)
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

// catchable is all but what is roomenv's own: SIGURG and SIGPROF are the Go
// runtime's (it lets nobody else have SIGPROF), SIGCHLD is [Supervisor.Run]'s, and on a
// terminal SIGTTIN and SIGTTOU are about what roomenv itself does to it. SIGPIPE
// is caught, or else a log line to a stderr that is gone would end roomenv and
// the child with it, but not passed on.
func catchable() []os.Signal {
	onTerminal := hasTerminal()
	var all []os.Signal
	for n := syscall.Signal(1); n <= lastSignal; n++ {
		switch n {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGURG, unix.SIGPROF, unix.SIGCHLD:
		case unix.SIGTTIN, unix.SIGTTOU:
			// Without a terminal they are a program's own, as gunicorn's.
			if !onTerminal {
				all = append(all, n)
			}
		default:
			// Notify would end the ignoring.
			if !signal.Ignored(n) {
				all = append(all, n)
			}
		}
	}
	return all
}

// Close ends the catching, as [signal.Stop] does, and cancels the context.
func (s *Signals) Close() {
	s.close.Do(func() {
		signal.Stop(s.caught)
		close(s.quit)
	})
	s.working.Wait()
}

// run takes from caught at once, because os/signal drops what finds the
// channel full. A signal that is queued already is not queued twice: the kernel
// does the same.
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
			// Nothing more comes, but what came may be the end of roomenv.
			for len(s.caught) > 0 {
				s.forChild((<-s.caught).(syscall.Signal))
			}
			return
		}
	}
}

// forChild acts on a signal that is for roomenv and reports whether it is for
// the child.
func (s *Signals) forChild(sig syscall.Signal) bool {
	if sig == unix.SIGHUP {
		select {
		case s.hangup <- struct{}{}:
		default:
		}
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

// withoutChild acts on a signal that comes while there is no child, and reports
// whether it is to be kept for the next one. interrupt ends roomenv and stop stops
// it.
func withoutChild(sig syscall.Signal, interrupt context.CancelCauseFunc, stop func(target int)) (keep bool) {
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

// OnSuspend has suspend called before roomenv stops itself, with its command or
// alone, so that nothing that others wait for stops with it. What suspend returns
// is called when roomenv continues. Signals are acted on meanwhile, and roomenv stops
// after a second even if suspend has not returned. A SIGSTOP of others is not known
// before.
func (s *Signals) OnSuspend(suspend func() (resume func())) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspend = suspend
}

// suspendTimeout is how long roomenv does not stop because of suspend.
const suspendTimeout = time.Second

// stop stops roomenv, or its process group for 0.
func (s *Signals) stop(target int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopNow(target)
}

// stopNow is stop for who holds the lock. A process may run on for a moment after
// it has stopped itself, so that it is SIGCONT that tells when it continues.
func (s *Signals) stopNow(target int) {
	switch {
	case s.suspend == nil:
		_ = unix.Kill(target, unix.SIGSTOP)
		return
	case s.continued != nil:
		return // it is about to stop
	}
	suspend, before := s.suspend, s.resumed
	suspended, continued, resumed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.continued, s.resumed = continued, resumed
	s.working.Go(func() {
		defer close(resumed)
		if before != nil {
			<-before
		}
		resume := suspend()
		close(suspended)
		select {
		case <-continued:
			resume()
		case <-s.ctx.Done():
		}
	})
	s.working.Go(func() {
		select {
		case <-suspended:
		case <-time.After(suspendTimeout):
		case <-continued:
		case <-s.ctx.Done():
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.continued == continued && s.ctx.Err() == nil {
			_ = unix.Kill(target, unix.SIGSTOP)
		}
	})
}

// claim makes the signals the child's from now on. It fails when one came
// before that ends roomenv.
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
