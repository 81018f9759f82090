// Package inject runs the child. With roomenv in front of a command, the
// terminal, the signals and the exit code are what they are without.
package inject

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Command is what to run.
type Command struct {
	Args []string // Args[0] is looked for in the PATH of Env
	Env  []string // complete, NAME=VALUE

	// What the child gets as it is; nil is roomenv's own.
	Stdin, Stdout, Stderr *os.File

	// Signals are those that [Catch] returned with the context of Run. nil
	// means that they are caught only while Run runs.
	Signals *Signals

	// StopTimeout is the time from SIGTERM to SIGKILL when the context ends.
	// 0 means 10 s.
	StopTimeout time.Duration
}

// Run starts the command and returns its exit code when it ends: its own, or
// 128 + the signal that ended it. What it leaves running, even with a pipe
// open, is not waited for. When ctx ends, the child gets SIGTERM, and SIGKILL
// after StopTimeout, as does its process group if it has one of its own; the
// exit code is the child's then too.
//
// The error says why there was no child: [*StartError], or the cause of ctx,
// which may be [Interrupted]. The code goes with it: 127, 126, 128 + the
// signal, or 125.
//
// Run writes nothing. Of the processes of roomenv only the child may end while
// Run reaps orphans, which it does as PID 1 and as a subreaper.
func Run(ctx context.Context, c Command) (int, error) {
	if len(c.Args) == 0 {
		return 125, errors.New("cannot run a command: none is given")
	}
	signals := c.Signals
	if signals == nil {
		ctx, signals = Catch(ctx)
		defer signals.Close()
	}
	if err := signals.claim(); err != nil {
		return exitCode(err), fmt.Errorf("cannot run %q: %w", c.Args[0], err)
	}
	defer signals.release()

	// Linux sends the parent-death signal when the thread that forked ends,
	// which with Go can be long before the process does. Locked, the thread
	// lives as long as this call.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	// One slot is enough: what matters is that something ended, not how often.
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)

	child, err := start(c)
	if err != nil {
		return exitCode(err), err
	}
	defer child.close()

	var kill <-chan time.Time
	stop := ctx.Done()
	for {
		select {
		case sig := <-signals.out:
			child.forward(sig)
		case <-stop:
			stop = nil
			child.stop(unix.SIGTERM)
			timer := time.NewTimer(c.stopTimeout())
			defer timer.Stop()
			kill = timer.C
		case <-kill:
			child.stop(unix.SIGKILL)
		case <-ended:
			reapOrphans(child.pid)
			if code, ok := child.poll(); ok {
				return code, nil
			}
		}
	}
}

func (c Command) stopTimeout() time.Duration {
	if c.StopTimeout > 0 {
		return c.StopTimeout
	}
	return 10 * time.Second
}

func exitCode(err error) int {
	var coder interface{ ExitCode() int }
	if errors.As(err, &coder) {
		return coder.ExitCode()
	}
	return 125
}

// start forks and execs by the syscall package, because os.Process tells
// nothing of a child that stops. All that waits for the child and signals it
// is in one goroutine, so its pid cannot be another process's.
func start(c Command) (*child, error) {
	name := c.Args[0]
	path, err := lookPath(name, c.Env)
	if err != nil {
		return nil, err
	}
	k := newChild()
	attr := &syscall.ProcAttr{
		Env:   c.Env,
		Files: []uintptr{fd(c.Stdin, 0), fd(c.Stdout, 1), fd(c.Stderr, 2)},
		Sys:   k.attributes(),
	}
	k.pid, err = syscall.ForkExec(path, c.Args, attr)
	if errors.Is(err, syscall.ENOEXEC) {
		// A script without #! is the shell's, as for execvp(3).
		k.pid, err = syscall.ForkExec("/bin/sh", append([]string{"sh", path}, c.Args[1:]...), attr)
	}
	// The files must not be finalized, and so closed, before the fork.
	runtime.KeepAlive(c)
	if err != nil {
		k.close()
		if missing(err) {
			// The file was there a moment ago.
			return nil, &StartError{name, ErrNotFound, err, fmt.Sprintf("check the interpreter that %s asks for", path)}
		}
		return nil, startError(name, path, err)
	}
	return k, nil
}

func fd(f *os.File, own uintptr) uintptr {
	if f == nil {
		return own
	}
	return f.Fd()
}
