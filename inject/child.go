package inject

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// A child is a process and its place on the terminal.
//
// As a job of its own, in a process group of its own, it gets what the
// terminal sends, such as SIGINT for Ctrl-C, once and not again from roomenv,
// and what it starts can be stopped with it. But a group of its own takes it
// out of the group that it would be in without roomenv: if roomenv shares its
// group on a terminal with others, a pager behind a pipe or the script that
// calls it, they would lose the terminal or their Ctrl-C. There the child stays
// with them, and roomenv does not pass on what the terminal sends to all.
type child struct {
	pid      int
	ownGroup bool
	terminal int // descriptor of the controlling terminal, -1 if there is none
	modes    *term.State
	killed   bool // it has ended, by a signal

	inner     *innerTerminal // what the child runs on in place of ours, or nil
	monitored bool           // see Command
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

// restoreModes does what a shell does with the terminal of a job that a signal
// ended, and that the shell cannot see here, because roomenv exits. A child that
// exits may mean its changes, as stty does. At the end of a pipe a pager may be
// using the terminal.
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
		_ = unix.Kill(c.pid, sig)
		return
	}
	if c.terminal >= 0 {
		switch sig {
		case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGWINCH, unix.SIGCONT:
			if !c.ownGroup && c.foreground() == unix.Getpgrp() {
				return // it was for the whole group, so the child has it
			}
		}
		if sig == unix.SIGCONT && c.ownGroup {
			// The shell's fg and bg mean the job, of which it knows our group.
			c.moveForeground(unix.Getpgrp(), c.pid)
			_ = unix.Kill(-c.pid, sig)
			return
		}
	}
	_ = unix.Kill(c.pid, sig)
}

// escalates reports whether sig, coming while the child is asked to end, says
// that there was time enough.
func escalates(sig syscall.Signal) bool { return sig == unix.SIGTERM || sig == unix.SIGINT }

// suspend has stop stop roomenv with its child, so that the shell sees the job
// stop. The shell's fg sends SIGCONT, which [child.forward] acts on.
func (c *child) suspend(sig syscall.Signal, stop func(target int)) {
	switch {
	case c.inner != nil:
		if !c.inner.suspend(stop) {
			_ = unix.Kill(c.pid, unix.SIGCONT)
		}
	case c.terminal < 0:
		// Whoever stopped the child continues the child.
	case !c.ownGroup && sig == unix.SIGSTOP:
		// Not from the terminal: the others of the group run on.
	case c.ownGroup && !c.monitored && !underJobControl():
		// Nobody would continue us. Without roomenv the kernel would not have
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

// foreground is the process group that has the terminal, -1 if unknown: 0 is each
// group outside of our PID namespace, which our own can be (pid_namespaces(7)).
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

// moveForeground gives the terminal from one process group to another, and
// does nothing if it is a third one's.
func (c *child) moveForeground(from, to int) {
	if !c.ownGroup || c.foreground() != from {
		return
	}
	_ = fromBackground(func() error { return unix.IoctlSetPointerInt(c.terminal, unix.TIOCSPGRP, to) })
}

// takeTerminal gives c what another child has of the terminal.
func (c *child) takeTerminal(from *child) {
	c.modes = from.modes
	c.moveForeground(from.pid, c.pid)
}
