// Package inject runs the child. With roomenv in front of a command, the
// terminal, the signals and the exit code are what they are without.
package inject

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/mask"
)

// A Command is what to run.
type Command struct {
	Args []string // Args[0] is looked for in the PATH of Env
	Env  []string // complete, NAME=VALUE

	// What the child gets as it is; nil is roomenv's own.
	Stdin, Stdout, Stderr *os.File

	// ExtraFiles are what the child gets beside them: entry i as descriptor
	// 3+i, none for nil. What roomenv has inherited there is not passed on.
	ExtraFiles []*os.File

	// Signals are those that [Catch] returned with the context of Run. nil
	// means that they are caught only while Run runs.
	Signals *Signals

	// How the child is stopped: its process group gets StopSignal, after
	// StopTimeout SIGKILL. 0 means SIGTERM and 10 s. It is stopped when the
	// context ends and, if one of the two is set, by a SIGTERM to roomenv, which
	// else is passed on like any other signal.
	StopSignal  syscall.Signal
	StopTimeout time.Duration

	User       *syscall.Credential // nil is roomenv's own
	NoNewPrivs bool                // PR_SET_NO_NEW_PRIVS of prctl(2); Linux only

	// Mask has the values that it knows replaced in what the child prints; Run
	// returns when that is passed on, or soon after ctx has ended. nil gives the
	// child the files themselves.
	Mask *mask.Masker

	// Monitor is this program with arguments that make it call [RunMonitor]
	// with those that follow, which are Args. It runs the child when Mask is
	// used on a terminal; nil has that go through pipes.
	Monitor []string

	inner     *innerTerminal // what the child is to run on
	monitored bool           // the parent is roomenv, which continues us
}

// Run starts the command and returns its exit code when it ends: its own, or
// 128 + the signal that ended it. What it leaves running, even with a pipe
// open, is not waited for.
//
// A child that is stopped is asked to end, and killed when its time is over or
// when SIGTERM or SIGINT comes meanwhile. Run then returns when nothing is left
// of its process group, if it has one of its own. The exit code is the child's.
//
// The error says why there was no child: [*StartError], or the cause of ctx,
// which may be [Interrupted]. The code goes with it: 127, 126, 128 + the
// signal, or 125.
//
// Run writes nothing. Of the processes of roomenv only the child may end while
// Run reaps orphans, which it does as PID 1 and as a subreaper.
func Run(ctx context.Context, c Command) (int, error) {
	if len(c.Args) == 0 {
		return 125, errNoCommand
	}
	if c.Mask != nil {
		return runMasked(ctx, c)
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

	child, err := start(c)
	if err != nil {
		return exitCode(err), err
	}
	defer child.close()

	var kill <-chan time.Time
	stopping := false
	stop := func() {
		stopping = true
		child.stop(cmp.Or(c.StopSignal, unix.SIGTERM))
		kill = time.After(cmp.Or(c.StopTimeout, 10*time.Second))
	}
	stopsOnTerm := c.inner == nil && (c.StopSignal != 0 || c.StopTimeout != 0)
	cancelled := ctx.Done()
	for {
		select {
		case sig := <-signals.out:
			switch {
			case stopping && escalates(sig):
				child.stop(unix.SIGKILL)
			case stopsOnTerm && sig == unix.SIGTERM:
				stop()
			default:
				child.forward(sig)
			}
		case <-cancelled:
			cancelled = nil
			if !stopping {
				stop()
			}
		case <-kill:
			child.stop(unix.SIGKILL)
		case <-ended:
			reapOrphans(child.pid)
			if code, ok := child.poll(); ok {
				if stopping {
					child.awaitGroup(kill, signals.out)
				}
				return code, nil
			}
		}
	}
}

var errNoCommand = errors.New("cannot run a command: none is given")

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
	k.inner, k.monitored = c.inner, c.monitored
	files := []uintptr{fd(c.Stdin, 0), fd(c.Stdout, 1), fd(c.Stderr, 2)}
	for _, f := range c.ExtraFiles {
		files = append(files, fd(f, ^uintptr(0)))
	}
	attr := &syscall.ProcAttr{
		Env:   c.Env,
		Files: files,
		Sys:   k.attributes(),
	}
	attr.Sys.Credential = c.User
	k.pid, err = syscall.ForkExec(path, c.Args, attr)
	if errors.Is(err, syscall.ENOEXEC) {
		// A script without #! is the shell's, as for execvp(3).
		k.pid, err = syscall.ForkExec("/bin/sh", append([]string{"sh", path}, c.Args[1:]...), attr)
	}
	// The files must not be finalized, and so closed, before the fork.
	runtime.KeepAlive(c)
	if err != nil {
		k.close()
		if c.User != nil && errors.Is(err, syscall.EPERM) {
			return nil, userError(name, err)
		}
		return nil, execError(name, path, err)
	}
	return k, nil
}

func fd(f *os.File, own uintptr) uintptr {
	if f == nil {
		return own
	}
	return f.Fd()
}
