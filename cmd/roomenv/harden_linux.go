package main

import "golang.org/x/sys/unix"

// harden keeps the memory of roomenv to itself: no core dump, not even through a
// pipe of core_pattern, which RLIMIT_CORE does not stop, and for other processes
// of the user neither ptrace nor /proc/PID/environ. execve undoes it, so the
// command and its limits are unchanged (prctl(2), PR_SET_DUMPABLE).
func harden() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
