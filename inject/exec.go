package inject

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"
)

// Exec replaces roomenv with the command, which has roomenv's PID then. Signals are
// not forwarded and orphans not reaped: the stop settings and the files of c are not
// used. c.Signals must be set.
//
// Exec returns only if the command does not start, with the code and the error of
// [Supervisor.Run]. Of the signals that came before, those that interrupt roomenv
// take effect.
func Exec(ctx context.Context, c Command) (int, error) {
	if len(c.Args) == 0 {
		return 125, errNoCommand
	}
	name := c.Args[0]
	path, err := lookPath(name, c.Env)
	if err != nil {
		return exitCode(err), err
	}
	// no_new_privs belongs to the thread that calls execve.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if c.NoNewPrivs {
		if err := setNoNewPrivs(); err != nil {
			return 125, fmt.Errorf("set no_new_privs: %w", err)
		}
	}
	if c.User != nil {
		if err := setCredential(c.User); err != nil {
			err = userError(name, err)
			return exitCode(err), err
		}
	}
	err = ctx.Err()
	c.Signals.Close() // from here on a signal has its default action
	var interrupted SignalError
	if err != nil || errors.As(context.Cause(ctx), &interrupted) {
		err = context.Cause(ctx)
		return exitCode(err), fmt.Errorf("run %q: %w", name, err)
	}
	err = syscall.Exec(path, c.Args, c.Env)
	if errors.Is(err, syscall.ENOEXEC) {
		err = syscall.Exec("/bin/sh", append([]string{"sh", path}, c.Args[1:]...), c.Env)
	}
	err = execError(name, path, err)
	return exitCode(err), err
}

// setCredential sets the groups first, while the user may.
func setCredential(u *syscall.Credential) error {
	groups := make([]int, len(u.Groups))
	for i, g := range u.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return err
	}
	if err := syscall.Setgid(int(u.Gid)); err != nil {
		return err
	}
	return syscall.Setuid(int(u.Uid))
}
