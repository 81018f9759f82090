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

// reap looks at what became of all of them and, where orphans come to roomenv, of
// those. It reports whether there may be more orphans: they can come faster than they
// are reaped.
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

// wait acts on what became of one process, or of any for -1, and reports whether
// there may be more of that.
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
