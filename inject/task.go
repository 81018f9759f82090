package inject

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A task is a short command beside the child, in a process group of its own.
type task struct {
	loop     *loop
	pid      int
	deadline *alarm
	late     error
	done     func(error)
}

// do runs c without input and calls done when it has ended, or at once if it does
// not start: then the task is nil. Nothing of its group outlives it.
func (l *loop) do(c Command, timeout time.Duration, done func(error)) *task {
	t := &task{loop: l, done: done}
	null, err := os.Open(os.DevNull)
	if err != nil {
		done(err)
		return nil
	}
	defer null.Close()
	c.Stdin = null
	attr := sysProcAttr()
	attr.Setpgid = true
	if t.pid, err = fork(c, attr); err != nil {
		done(err)
		return nil
	}
	l.processes[t.pid] = t
	t.deadline = l.clock.after(timeout, func() {
		t.late = fmt.Errorf("it was killed after %v", timeout)
		t.kill()
	})
	l.tasks[t] = true
	return t
}

func (t *task) kill() { _ = unix.Kill(-t.pid, unix.SIGKILL) }

func (t *task) stopped(syscall.Signal) {}

func (t *task) ended(code int, _ bool) {
	t.kill() // what is left of the group
	delete(t.loop.tasks, t)
	t.loop.clock.cancel(t.deadline)
	switch {
	case t.late != nil:
		t.done(t.late)
	case code != 0:
		t.done(fmt.Errorf("exit code %d", code))
	default:
		t.done(nil)
	}
}
