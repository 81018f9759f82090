package inject

import (
	"cmp"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A life is that of one child, from its start to the end of what it has printed.
type life struct {
	*child
	loop    *loop
	command Command // as it was given
	output  output  // nothing, unless it is masked

	stopSignal  syscall.Signal
	stopTimeout time.Duration
	stopsOnTerm bool

	began    time.Time
	code     int
	hasCode  bool   // the child has ended
	byItself bool   // and was not asked to
	told     bool   // it was passed a signal that means to end
	asked    bool   // it was asked to end, or what it left was
	killing  *alarm // when it is killed
	gaveUp   bool   // on what is left of its group
	draining bool   // nothing is left but what it has printed

	// Of a candidate:
	update  *Update
	probing *task // the question whether it is ready
	unready error // the last answer
	failed  error // why it was given up
	halted  bool  // it does not run, as if by Ctrl-Z
}

// begin starts a child.
func (l *loop) begin(c Command) (*life, error) {
	f := &life{loop: l, command: c, began: time.Now()}
	if l.Overlap {
		c.Monitor = nil
	}
	if c.Mask != nil {
		if err := f.output.mask(&c); err != nil {
			f.output.close()
			return nil, err
		}
	}
	f.stopSignal = cmp.Or(c.StopSignal, unix.SIGTERM)
	f.stopTimeout = cmp.Or(c.StopTimeout, 10*time.Second)
	f.stopsOnTerm = c.inner == nil && (c.StopSignal != 0 || c.StopTimeout != 0)
	var err error
	if f.child, err = start(c); err != nil {
		f.output.close()
		return nil, err
	}
	f.output.start()
	l.processes[f.pid] = f
	l.lives = append(l.lives, f)
	return f, nil
}

// stop asks the child and its group to end, and kills them when their time is over.
func (f *life) stop() {
	if f.asked {
		return
	}
	f.asked = true
	f.signalGroup(f.stopSignal)
	f.killing = f.loop.clock.after(f.stopTimeout, f.hurry)
}

// meant reports whether somebody meant the child to end that has ended.
func (f *life) meant() bool {
	switch syscall.Signal(f.code - 128) {
	case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM:
		return true
	}
	return f.told
}

// killTimeout is how long the group is waited for when it was killed. A process
// that SIGKILL does not end hangs in the kernel.
const killTimeout = time.Second

// hurry is for a child that was asked.
func (f *life) hurry() {
	f.signalGroup(unix.SIGKILL)
	f.loop.clock.cancel(f.killing)
	f.killing = f.loop.clock.after(killTimeout, func() { f.gaveUp = true })
}

func (f *life) signalGroup(sig syscall.Signal) {
	if f.ownGroup || !f.hasCode {
		f.child.stop(sig)
	}
}

func (f *life) stopped(sig syscall.Signal) {
	switch {
	case f != f.loop.current:
		f.halted = true
	case (sig == unix.SIGTTIN || sig == unix.SIGTTOU) && f.ownGroup && f.foreground() == f.pid:
		// It used the terminal just before that was handed over.
		f.signalGroup(unix.SIGCONT)
	default:
		f.suspend(sig, f.loop.signals.stop)
	}
}

func (f *life) ended(code int, killed bool) {
	f.code, f.hasCode, f.killed, f.byItself = code, true, killed, !f.asked
	f.loop.ended(f)
	f.awaitGroup(minInterval)
}

// Of the processes that outlive the child there is no event, so they are looked
// for, ever less often.
const (
	minInterval = 2 * time.Millisecond
	maxInterval = 100 * time.Millisecond
)

// awaitGroup waits until nothing is left of the group of a child that was asked to
// end and has, then until what it has printed is passed on.
func (f *life) awaitGroup(interval time.Duration) {
	l := f.loop
	if f.asked && f.ownGroup && !f.gaveUp && groupAlive(f.pid) {
		l.clock.after(interval, func() { f.awaitGroup(min(2*interval, maxInterval)) })
		return
	}
	l.clock.cancel(f.killing)
	f.child.close()
	f.draining = true
	if f.output.pumps == nil {
		l.over(f)
		return
	}
	if f.output.inner != nil {
		f.output.inner.end(f.code)
	}
	l.async(func() { f.output.finish(l.ctx) }, func() {
		f.output.close()
		l.over(f)
	})
}
