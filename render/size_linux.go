package render

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// execLimits are those of bprm_stack_limits and valid_arg_len in Linux's
// fs/exec.c, since 4.13: 32 pages for one string; for all together a quarter of
// the stack's limit, at most three quarters of the 8 MiB that are its default, and
// at least 128 KiB.
func execLimits() limits {
	const (
		minTotal = 128 << 10 // ARG_MAX
		maxTotal = 8 << 20 / 4 * 3
	)
	stack := unix.Rlimit{Cur: math.MaxUint64}
	_ = unix.Getrlimit(unix.RLIMIT_STACK, &stack) // fails for a bad argument only
	return limits{
		piece: 32 * os.Getpagesize(),
		total: int(max(minTotal, min(maxTotal, stack.Cur/4))),
	}
}
