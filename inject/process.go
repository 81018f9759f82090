package inject

import (
	"errors"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// processes are those that one Run has started and that have not ended, by their
// PIDs. Nobody else waits for them, os/exec least of all: an orphan is what is not
// among them.
type processes map[int]process

// A process is told what becomes of it.
type process interface {
	stopped(sig syscall.Signal)
	// ended has the exit code: its own, or 128 + the signal that killed it.
	ended(code int, killed bool)
}

// reap looks at what became of all of them, and of orphans. It reports whether
// there may be more of those, which can come faster than they are reaped.
func (all processes) reap() (more bool) {
	for pid, p := range all {
		all.poll(pid, p)
	}
	return reapOrphans(func(pid int) bool { return all[pid] != nil })
}

func (all processes) poll(pid int, p process) {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(pid, &status, unix.WNOHANG|unix.WUNTRACED, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && got == 0:
			return
		case err == nil && status.Stopped():
			p.stopped(status.StopSignal())
			continue
		}
		delete(all, pid)
		switch {
		case err != nil:
			p.ended(125, false) // ECHILD: somebody else took its status
		case status.Signaled():
			p.ended(128+int(status.Signal()), true)
		default:
			p.ended(status.ExitStatus(), false)
		}
		return
	}
}

// fork starts a process with the arguments, environment, files and user of c. It
// forks and execs by the syscall package, because os.Process tells nothing of a
// process that stops. All that waits for a process and signals it is in one
// goroutine, so its PID cannot be another one's.
func fork(c Command, sys *syscall.SysProcAttr) (pid int, err error) {
	name := c.Args[0]
	path, err := lookPath(name, c.Env)
	if err != nil {
		return 0, err
	}
	files := []uintptr{fd(c.Stdin, 0), fd(c.Stdout, 1), fd(c.Stderr, 2)}
	for _, f := range c.ExtraFiles {
		files = append(files, fd(f, ^uintptr(0)))
	}
	sys.Credential = c.User
	attr := &syscall.ProcAttr{Env: c.Env, Files: files, Sys: sys}
	pid, err = syscall.ForkExec(path, c.Args, attr)
	if errors.Is(err, syscall.ENOEXEC) {
		// A script without #! is the shell's, as for execvp(3).
		pid, err = syscall.ForkExec("/bin/sh", append([]string{"sh", path}, c.Args[1:]...), attr)
	}
	// The files must not be finalized, and so closed, before the fork.
	runtime.KeepAlive(c)
	switch {
	case err == nil:
		return pid, nil
	case c.User != nil && errors.Is(err, syscall.EPERM):
		return 0, userError(name, err)
	}
	return 0, execError(name, path, err)
}

func fd(f *os.File, own uintptr) uintptr {
	if f == nil {
		return own
	}
	return f.Fd()
}
