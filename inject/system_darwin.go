package inject

import (
	"errors"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	lastSignal = syscall.Signal(31)
	getTermios = unix.TIOCGETA
)

// sysProcAttr is empty: macOS has no parent-death signal.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// fromBackground changes the terminal from wherever roomenv is. The kernel would
// stop a process that does so from the background, unless it ignores SIGTTOU.
func fromBackground(change func() error) error {
	signal.Ignore(unix.SIGTTOU)
	defer signal.Reset(unix.SIGTTOU)
	return change()
}

// setNoNewPrivs fails: macOS has no such thing.
func setNoNewPrivs() error { return errors.ErrUnsupported }

// reaper is false: on macOS orphans go to launchd.
func reaper() bool { return false }

func groupAlive(group int) bool { return unix.Kill(-group, 0) != unix.ESRCH }
