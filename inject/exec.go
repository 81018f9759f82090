package inject

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"
)

// Exec replaces roomenv with the command, whose PID is roomenv's then. Nothing of
// roomenv stays, so nobody forwards signals, reaps or stops: the stop settings of
// c are not used, and neither are its files. c.Signals must be set.
//
// Exec returns only if there is no command then, with the code and the error of
// [Supervisor.Run]. A signal that came before is acted on if it is one that ends roomenv;
// others have found no program that waits for them.
func Exec(ctx context.Context, c Command) (int, error) {
	if len(c.Args) == 0 {
		return 125, errNoCommand
	}
	name := c.Args[0]
	path, err := lookPath(name, c.Env)
	if err != nil {
		return exitCode(err), err
	}
	// no_new_privs is a thing of the thread that calls execve.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if c.NoNewPrivs {
		if err := setNoNewPrivs(); err != nil {
			return 125, fmt.Errorf("cannot set no_new_privs: %w", err)
		}
	}
	if c.User != nil {
		if err := setCredential(c.User); err != nil {
			err = userError(name, err)
			return exitCode(err), err
		}
	}
	err = ctx.Err()
	c.Signals.Close() // from here on a signal ends roomenv as it would the command
	var interrupted SignalError
	if err != nil || errors.As(context.Cause(ctx), &interrupted) {
		err = context.Cause(ctx)
		return exitCode(err), fmt.Errorf("cannot run %q: %w", name, err)
	}
	err = syscall.Exec(path, c.Args, c.Env)
	if errors.Is(err, syscall.ENOEXEC) {
		err = syscall.Exec("/bin/sh", append([]string{"sh", path}, c.Args[1:]...), c.Env)
	}
	err = execError(name, path, err)
	return exitCode(err), err
}

// setCredential takes the groups first: the user that remains may not.
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
