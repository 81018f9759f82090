package inject

import (
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// A child is a process and its place on the terminal.
//
// In a process group of its own, it gets the signals of the terminal, such as SIGINT
// for Ctrl-C, once and not again from roomenv, and can be stopped with all that it
// starts. But if roomenv shares its group on a terminal with other processes, such as
// a pager behind a pipe or the script that calls it, they would lose the terminal or
// their Ctrl-C. Then the child stays in that group, and roomenv does not pass on
// what the terminal sends to all of it.
type child struct {
	pid      int
	ownGroup bool
	terminal int // descriptor of the controlling terminal, or -1
	modes    *term.State
	killed   bool // a signal ended it

	inner     *innerTerminal // what the child runs on instead of ours, or nil
	monitored bool           // see Command

	refused     func(error) // reports a signal that was not delivered, or nil
	undelivered []syscall.Signal
}

// start starts the child of c.
func start(c Command) (*child, error) {
	k := &child{terminal: -1, ownGroup: true, inner: c.inner, monitored: c.monitored}
	if tty, err := openTerminal(); err == nil {
		// A shell with job control has the first process of a job lead its group;
		// others follow only at the end of a pipe.
		k.terminal, k.ownGroup = tty, unix.Getpgrp() == unix.Getpid() && !isPipe(os.Stdout)
		k.modes, _ = term.GetState(tty)
	}
	var err error
	if k.pid, err = fork(c, k.attributes()); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func openTerminal() (fd int, err error) {
	return unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
}

func hasTerminal() bool {
	tty, err := openTerminal()
	if err != nil {
		return false
	}
	_ = unix.Close(tty)
	return true
}

func (c *child) attributes() *syscall.SysProcAttr {
	attr := sysProcAttr()
	if c.inner != nil {
		attr.Setsid, attr.Setctty, attr.Ctty = true, true, c.inner.ctty
		c.inner.attach()
		return attr
	}
	attr.Setpgid = c.ownGroup
	if c.ownGroup && c.foreground() == unix.Getpgrp() {
		// Done in the child before exec: it never runs in the background.
		attr.Foreground, attr.Ctty = true, c.terminal
	}
	return attr
}

// close takes the terminal back.
func (c *child) close() {
	if c.terminal < 0 {
		return
	}
	c.moveForeground(c.pid, unix.Getpgrp())
	c.restoreModes()
	_ = unix.Close(c.terminal)
}

// restoreModes restores the modes of the terminal if a signal ended the child. A shell
// does so for its jobs, but sees roomenv exit here. A child that exits may want its
// changes to stay, like stty. Behind a pipe a pager may be using the terminal.
func (c *child) restoreModes() {
	if c.killed && c.modes != nil && !isPipe(os.Stdout) && c.foreground() == unix.Getpgrp() {
		_ = fromBackground(func() error { return term.Restore(c.terminal, c.modes) })
	}
}

// forward passes one signal on.
func (c *child) forward(sig syscall.Signal) {
	if c.inner != nil {
		switch {
		case c.inner.echoed(sig):
			return
		case sig == unix.SIGWINCH:
			c.inner.resize()
			return
		case sig == unix.SIGCONT:
			c.inner.attach()
		}
		c.kill(c.pid, sig)
		return
	}
	if c.terminal >= 0 {
		switch sig {
		case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGWINCH, unix.SIGCONT:
			if !c.ownGroup && c.foreground() == unix.Getpgrp() {
				return // the terminal sent it to the whole group
			}
		}
		if sig == unix.SIGCONT && c.ownGroup {
			// fg and bg of the shell are for the job, which to the shell is our group.
			c.moveForeground(unix.Getpgrp(), c.pid)
			c.kill(-c.pid, sig)
			return
		}
	}
	c.kill(c.pid, sig)
}

// kill signals a process, or a group for a negative number. A command that has become
// another user, as sudo does, cannot be signaled without CAP_KILL: that is reported once
// for each signal.
func (c *child) kill(target int, sig syscall.Signal) {
	if err := unix.Kill(target, sig); err == unix.EPERM && c.refused != nil && !slices.Contains(c.undelivered, sig) {
		c.undelivered = append(c.undelivered, sig)
		c.refused(fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), c.pid, err))
	}
}

// escalates reports whether sig, while the child is stopping, has it killed.
func escalates(sig syscall.Signal) bool { return sig == unix.SIGTERM || sig == unix.SIGINT }

// suspend has stop stop roomenv with its child, so that the shell sees the job stop.
// fg of the shell sends SIGCONT, which [child.forward] handles.
func (c *child) suspend(sig syscall.Signal, stop func(target int)) {
	switch {
	case c.inner != nil:
		if !c.inner.suspend(stop) {
			_ = unix.Kill(c.pid, unix.SIGCONT)
		}
	case c.terminal < 0:
		// The process that stopped the child continues it.
	case !c.ownGroup && sig == unix.SIGSTOP:
		// Not from the terminal: the others of the group run on.
	case c.ownGroup && !c.monitored && !underJobControl():
		// No process would continue us. Without roomenv the kernel would not have
		// let Ctrl-Z stop the child, whose group would be an orphan.
		if sig == unix.SIGTSTP {
			_ = unix.Kill(-c.pid, unix.SIGCONT)
		}
	default:
		c.moveForeground(c.pid, unix.Getpgrp())
		stop(unix.Getpid())
	}
}

// underJobControl reports whether our parent could continue us: it is of our
// session but not of our group (POSIX on orphaned process groups).
func underJobControl() bool {
	parent := os.Getppid()
	session, err := unix.Getsid(parent)
	if err != nil {
		return false
	}
	ours, err := unix.Getsid(0)
	if err != nil || session != ours {
		return false
	}
	group, err := unix.Getpgid(parent)
	return err == nil && group != unix.Getpgrp()
}

// foreground returns the process group that has the terminal, or -1. It is 0 for groups
// outside of our PID namespace, such as, possibly, our own (pid_namespaces(7)).
func (c *child) foreground() int {
	if c.terminal < 0 {
		return -1
	}
	group, err := unix.IoctlGetInt(c.terminal, unix.TIOCGPGRP)
	if err != nil {
		return -1
	}
	return group
}

// inForeground reports whether the terminal is the child's, or ours to give to it.
func (c *child) inForeground() bool {
	group := c.foreground()
	return c.ownGroup && (group == c.pid || group == unix.Getpgrp())
}

// moveForeground gives the terminal from one process group to another, unless a third
// group has it.
func (c *child) moveForeground(from, to int) {
	if !c.ownGroup || c.foreground() != from {
		return
	}
	_ = fromBackground(func() error { return unix.IoctlSetPointerInt(c.terminal, unix.TIOCSPGRP, to) })
}

// takeTerminal gives c the terminal of another child.
func (c *child) takeTerminal(from *child) {
	c.modes = from.modes
	c.moveForeground(from.pid, c.pid)
}
