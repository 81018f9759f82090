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

// fromBackground changes the terminal also from the background. The kernel stops a
// background process that does so, unless it ignores SIGTTOU.
func fromBackground(change func() error) error {
	signal.Ignore(unix.SIGTTOU)
	defer signal.Reset(unix.SIGTTOU)
	return change()
}

// setNoNewPrivs fails: macOS does not support it.
func setNoNewPrivs() error { return errors.ErrUnsupported }

// reaper is false: on macOS orphans go to launchd.
func reaper() bool { return false }

func groupAlive(group int) bool { return unix.Kill(-group, 0) != unix.ESRCH }

// maySignal is true: who can change the user is root.
func maySignal(int) bool { return true }
