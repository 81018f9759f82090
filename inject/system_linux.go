package inject

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/procstat"
)

const (
	lastSignal = syscall.Signal(64)
	getTermios = unix.TCGETS
)

// sysProcAttr has the kernel kill the child when roomenv exits, even by SIGKILL. A
// set-user-ID program loses that.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// fromBackground changes the terminal also from the background. The kernel stops a
// background process that does so, unless the calling thread, to which
// [Supervisor.Run] is locked, blocks SIGTTOU. Ignoring the signal for a time is not
// possible: the Go runtime does not remove its handler.
func fromBackground(change func() error) error {
	block, before := unix.Sigset_t{}, unix.Sigset_t{}
	block.Val[0] = 1 << (unix.SIGTTOU - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &before); err != nil {
		return err
	}
	err := change()
	return errors.Join(err, unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil))
}

// setNoNewPrivs disables set-user-ID and file capabilities for all that this thread
// executes, permanently (prctl(2), PR_SET_NO_NEW_PRIVS).
func setNoNewPrivs() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }

// maySignal reports whether roomenv can signal the processes of a user (kill(2)).
func maySignal(uid int) bool {
	if uid == unix.Getuid() || uid == unix.Geteuid() {
		return true
	}
	var data [2]unix.CapUserData // of version 3
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return err == nil && data[unix.CAP_KILL/32].Effective&(1<<(unix.CAP_KILL%32)) != 0
}

// reaper reports whether processes become children of roomenv when their parent has
// exited: those of PID 1 and of subreapers do.
func reaper() bool {
	if unix.Getpid() == 1 {
		return true
	}
	var on int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&on)), 0, 0, 0)
	return err == nil && on != 0
}

// groupAlive reports whether a process of the group runs. Zombies do not: they have no
// resources, and some parents, such as the PID 1 of some containers, never reap them.
func groupAlive(group int) bool {
	if unix.Kill(-group, 0) == unix.ESRCH {
		return false
	}
	// A process that is forked during one look may be missed.
	for range 2 {
		if runs(group) {
			return true
		}
	}
	return false
}

func runs(group int) bool {
	pids := procstat.Processes()
	for _, pid := range pids {
		if s, ok := procstat.Read(pid); ok && s.Group == group && s.State != 'Z' && s.State != 'X' {
			return true
		}
	}
	return len(pids) == 0
}
