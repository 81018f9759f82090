package inject

import "syscall"

const lastSignal = syscall.Signal(31)

// sysProcAttr is empty: macOS has no parent-death signal.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// reapOrphans does nothing: on macOS orphans go to launchd.
func reapOrphans(int) {}
