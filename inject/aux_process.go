package inject

import (
	"cmp"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An auxProcess is a hook or a readiness probe, in a process group of its own.
type auxProcess struct {
	loop     *loop
	pid      int
	deadline *alarm
	late     error
	done     func(error)
}

// do runs c without input, and without output unless c sets one. It calls done when
// the process has exited, or at once if it does not start: then do returns nil. Its
// process group is killed with it.
func (l *loop) do(c Command, timeout time.Duration, done func(error)) *auxProcess {
	p := &auxProcess{loop: l, done: done}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		done(err)
		return nil
	}
	defer null.Close()
	c.Wrapper = nil
	c.Stdin, c.Stdout, c.Stderr = null, cmp.Or(c.Stdout, null), cmp.Or(c.Stderr, null)
	attr := sysProcAttr()
	attr.Setpgid = true
	if p.pid, err = fork(c, attr); err != nil {
		done(err)
		return nil
	}
	l.processes[p.pid] = p
	p.deadline = l.clock.after(timeout, func() {
		p.late = fmt.Errorf("killed after %v", timeout)
		p.kill()
	})
	l.auxProcesses[p] = true
	return p
}

func (p *auxProcess) kill() { _ = unix.Kill(-p.pid, unix.SIGKILL) }

func (p *auxProcess) stopped(syscall.Signal) {}

func (p *auxProcess) ended(code int, _ bool) {
	p.kill() // what is left of the group
	delete(p.loop.auxProcesses, p)
	p.loop.clock.cancel(p.deadline)
	switch {
	case p.late != nil:
		p.done(p.late)
	case code != 0:
		p.done(fmt.Errorf("exit code %d", code))
	default:
		p.done(nil)
	}
}
