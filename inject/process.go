package inject

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// processes are those that one Run has started and that have not exited, by their
// PIDs. No other part of the program waits for them. Any other child is an orphan.
type processes map[int]process

// A process receives its changes of state.
type process interface {
	stopped(sig syscall.Signal)
	// ended gets the exit code: its own, or 128 + the signal that killed it.
	ended(code int, killed bool)
}

// reap handles the state changes of all of them and, as a reaper, of orphans. It
// reports whether there may be more orphans: they can exit faster than they are
// reaped.
func (all processes) reap() (more bool) {
	for pid := range all {
		for all[pid] != nil && all.wait(pid) {
		}
	}
	if !reaper() {
		return false
	}
	for range 100 {
		if !all.wait(-1) {
			return false
		}
	}
	return true
}

// wait handles one state change of a process, or of any for -1, and reports whether
// there may be more.
func (all processes) wait(which int) bool {
	var status unix.WaitStatus
	pid, err := unix.Wait4(which, &status, unix.WNOHANG|unix.WUNTRACED, nil)
	if err == unix.EINTR {
		return true
	}
	if err != nil { // ECHILD: another part of the program has its status
		pid, status = which, 125<<8
	}
	if pid <= 0 {
		return false
	}
	p := all[pid]
	switch {
	case p == nil: // an orphan
	case status.Stopped():
		p.stopped(status.StopSignal())
	case status.Signaled():
		delete(all, pid)
		p.ended(128+int(status.Signal()), true)
	default:
		delete(all, pid)
		p.ended(status.ExitStatus(), false)
	}
	return true
}

// fork starts a process with the arguments, environment, files and user of c. It
// uses package syscall because os.Process does not report that a process is stopped.
// One goroutine waits for processes and signals them, so a PID is not reused between.
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
	if c.User != nil && !maySignal(int(c.User.Uid)) {
		return 0, userError(name, unix.EPERM)
	}
	sys.Credential = c.User
	attr := &syscall.ProcAttr{Env: c.Env, Files: files, Sys: sys}
	args := c.Args
	if c.Wrapper != nil {
		path, args = c.Wrapper[0], slices.Concat(c.Wrapper, args)
	}
	pid, err = syscall.ForkExec(path, args, attr)
	if errors.Is(err, syscall.ENOEXEC) {
		// Like execvp(3), have the shell run a script without #!.
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
