package inject

import (
	"cmp"
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// An innerTerminal is the pseudo-terminal of a child whose output is masked, so that
// colors and full-screen programs work. Our terminal, the outer one, is raw meanwhile:
// input is passed on unchanged, and the inner one turns Ctrl-C into a signal.
//
// The child is in another session then, without a shell for job control: the kernel
// would not let it be stopped. A process in between leads that session, like with
// use_pty of sudo. It is roomenv again, see [RunMonitor].
type innerTerminal struct {
	master *os.File
	ctty   int // descriptor of the child that is on the inner terminal

	outer   *os.File
	outerFD int         // Fd would end the deadlines
	modes   *term.State // of the outer terminal, nil unless it is raw
	alike   bool        // the inner one had the modes of the outer one

	typing  chan struct{}  // closed when pass returns
	stop    chan struct{}  // closed to end pass
	pressed chan os.Signal // see share
}

// RunMonitor is [Supervisor.Run] for the process that [Command].Monitor starts.
func RunMonitor(ctx context.Context, c Command) (int, error) {
	c.monitored = true
	return new(Supervisor).Run(ctx, c, nil)
}

// terminal has the child run on an inner terminal, by a monitor. It does nothing
// unless the output goes to our terminal, or if stdout is a pipe: a pager at its other
// end may use the terminal too.
func (o *output) terminal(c *Command, stdin, stdout, stderr *os.File) error {
	if c.Monitor == nil || isPipe(stdout) || !onTerminal(stdout) && !onTerminal(stderr) {
		return nil
	}
	t, slave, err := openInner()
	if err != nil {
		return err
	}
	o.inner, c.inner = t, t
	c.Args = append(append([]string{}, c.Monitor...), c.Args...)
	// The monitor stops the child. It is killed if it does not exit in time.
	c.StopSignal, c.StopTimeout = 0, cmp.Or(c.StopTimeout, 10*time.Second)+2*time.Second
	c.Stdin, c.Stdout, c.Stderr = stdin, stdout, stderr
	to := stderr
	if onTerminal(stdout) {
		to = stdout
	}
	for i, f := range []**os.File{&c.Stderr, &c.Stdout, &c.Stdin} {
		if onTerminal(*f) {
			*f, t.ctty = slave, 2-i
		}
	}
	o.add(c.masker, t.master, slave, to)
	return nil
}

// openInner creates a terminal for the child, and opens the outer one.
func openInner() (t *innerTerminal, slave *os.File, err error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer master.Close()
	t = &innerTerminal{pressed: make(chan os.Signal, 1)}
	if t.master, _, err = nonblocking(unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)); err == nil {
		t.outer, t.outerFD, err = nonblocking(openTerminal())
	}
	if err != nil {
		_ = t.master.Close()
		_ = slave.Close()
		return nil, nil, err
	}
	return t, slave, nil
}

// nonblocking makes a file with deadlines of a descriptor.
func nonblocking(fd int, err error) (*os.File, int, error) {
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, -1, err
	}
	return os.NewFile(uintptr(fd), "terminal"), fd, nil
}

// attach takes over the outer terminal if roomenv is in the foreground: when the child
// starts, and when it continues.
func (t *innerTerminal) attach() {
	t.resize()
	if group, err := unix.IoctlGetInt(t.outerFD, unix.TIOCGPGRP); err != nil || group != unix.Getpgrp() {
		t.stopTyping()
		t.modes = nil
		return
	}
	modes, err := term.MakeRaw(t.outerFD)
	if err != nil || t.modes != nil {
		return
	}
	if !t.alike {
		// Not from the background, where the modes are those of the shell's editor.
		t.alike = true
		t.control(func(fd int) { _ = term.Restore(fd, modes) })
	}
	t.modes, t.typing, t.stop = modes, make(chan struct{}), make(chan struct{})
	go t.pass()
}

// pass passes on the input.
func (t *innerTerminal) pass() {
	defer close(t.typing)
	buf := make([]byte, 4096)
	for {
		n, err := t.outer.Read(buf)
		if err != nil {
			return
		}
		t.share(buf[:n])
		if _, err := t.master.Write(buf[:n]); err != nil {
			return
		}
	}
}

// share signals our process group if keys have the inner terminal signal the child's
// group, so that a script that runs roomenv gets its Ctrl-C too. roomenv is in that
// group and receives the signal back; see [innerTerminal.echoed].
func (t *innerTerminal) share(keys []byte) {
	if unix.Getpgrp() == unix.Getpid() {
		return // a shell's job: no other process is in it
	}
	var modes *unix.Termios
	t.control(func(fd int) { modes, _ = unix.IoctlGetTermios(fd, getTermios) })
	if modes == nil || modes.Lflag&unix.ISIG == 0 {
		return
	}
	for _, key := range keys {
		var sig syscall.Signal
		switch {
		case key == 0: // disables a key
		case key == modes.Cc[unix.VINTR]:
			sig = unix.SIGINT
		case key == modes.Cc[unix.VQUIT]:
			sig = unix.SIGQUIT
		}
		if sig == 0 || signal.Ignored(sig) {
			continue
		}
		select {
		case t.pressed <- sig:
			_ = unix.Kill(0, sig)
		case <-t.stop:
			return
		}
	}
}

// echoed reports whether a signal is from share. The child has its own.
func (t *innerTerminal) echoed(sig os.Signal) bool {
	if sig != unix.SIGINT && sig != unix.SIGQUIT {
		return false
	}
	select {
	case <-t.pressed:
		return true
	default:
		return false
	}
}

// end stops passing on input when the child has exited: the next program gets it. A
// child that no signal ended may want its modes to stay, like stty.
func (t *innerTerminal) end(code int) {
	t.stopTyping()
	if t.modes != nil && code < 128 {
		t.control(func(fd int) {
			if modes, err := term.GetState(fd); err == nil {
				t.modes = modes
			}
		})
	}
}

// detach gives the outer terminal back.
func (t *innerTerminal) detach() {
	t.stopTyping()
	if t.modes != nil {
		_ = term.Restore(t.outerFD, t.modes)
		t.modes = nil
	}
}

func (t *innerTerminal) stopTyping() {
	if t.stop == nil {
		return
	}
	close(t.stop)
	_ = t.outer.SetReadDeadline(time.Now())
	_ = t.master.SetWriteDeadline(time.Now())
	<-t.typing
	_ = t.outer.SetReadDeadline(time.Time{})
	_ = t.master.SetWriteDeadline(time.Time{})
	t.stop = nil
}

// resize gives the inner terminal the size of the outer one. The kernel sends the child
// SIGWINCH.
func (t *innerTerminal) resize() {
	size, err := unix.IoctlGetWinsize(t.outerFD, unix.TIOCGWINSZ)
	if err == nil {
		t.control(func(fd int) { _ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
	}
}

// control calls f with the descriptor of the master, by which the inner terminal
// is set and read too.
func (t *innerTerminal) control(f func(fd int)) {
	if conn, err := t.master.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// suspend has stop stop roomenv and its group, the shell's job, like Ctrl-Z on the outer
// terminal. It is false if no process could continue them.
func (t *innerTerminal) suspend(stop func(target int)) bool {
	group := unix.Getpgrp()
	if session, err := unix.Getsid(0); err != nil || session == group || group == unix.Getpid() && !underJobControl() {
		return false
	}
	t.detach()
	stop(0)
	return true
}

func (t *innerTerminal) close() {
	t.detach()
	_ = t.outer.Close()
}

// onTerminal reports whether f is our controlling terminal: the kernel returns the
// foreground group of no other terminal.
func onTerminal(f *os.File) bool {
	_, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil
}

func isPipe(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0
}
