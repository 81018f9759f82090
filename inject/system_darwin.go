package inject

import (
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

const lastSignal = syscall.Signal(31)

// sysProcAttr is empty: macOS has no parent-death signal.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// setForeground gives the terminal to a process group. The kernel would stop a
// process that does so from the background, unless it ignores SIGTTOU.
func setForeground(terminal, group int) error {
	signal.Ignore(unix.SIGTTOU)
	defer signal.Reset(unix.SIGTTOU)
	return unix.IoctlSetPointerInt(terminal, unix.TIOCSPGRP, group)
}

// reapOrphans does nothing: on macOS orphans go to launchd.
func reapOrphans(int) {}
