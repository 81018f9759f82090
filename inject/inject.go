// Package inject runs the child. With roomenv in front of a command, the
// terminal, the signals and the exit code are what they are without.
package inject

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/roomenv/roomenv/internal/mask"
)

// A Command is what to run.
type Command struct {
	Args []string // Args[0] is looked for in the PATH of Env
	Env  []string // complete, NAME=VALUE

	// What the child gets as it is; nil is roomenv's own.
	Stdin, Stdout, Stderr *os.File

	// ExtraFiles are what the child gets beside them: entry i as descriptor
	// 3+i, none for nil. What roomenv has inherited there is not passed on.
	ExtraFiles []*os.File

	// Signals are those that [NotifySignals] returned with the context of Run. nil
	// means that they are caught only while Run runs.
	Signals *Signals

	// How the child is stopped: its process group gets StopSignal, after
	// StopTimeout SIGKILL. 0 means SIGTERM and 10 s. It is stopped when the
	// context ends and, if one of the two is set, by a SIGTERM to roomenv, which
	// else is passed on like any other signal.
	StopSignal  syscall.Signal
	StopTimeout time.Duration

	User       *syscall.Credential // nil is roomenv's own
	NoNewPrivs bool                // PR_SET_NO_NEW_PRIVS of prctl(2); Linux only

	// Monitor is this program with arguments that make it call [RunMonitor]
	// with those that follow, which are Args. It runs the child when its output is
	// masked on a terminal ([Consumer].Mask); nil has that go through pipes.
	Monitor []string

	// masker replaces the values that it knows in what the child prints; Run returns
	// when that is passed on, or soon after ctx has ended. nil gives the child the
	// files themselves.
	masker *mask.Masker

	inner     *innerTerminal // what the child is to run on
	monitored bool           // the parent is roomenv, which continues us
}

var errNoCommand = errors.New("cannot run a command: none is given")

func exitCode(err error) int {
	var coder interface{ ExitCode() int }
	if errors.As(err, &coder) {
		return coder.ExitCode()
	}
	return 125
}
