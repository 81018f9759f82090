// Package inject runs a command under supervision. The command has the terminal, the
// signals and the exit code that it has without roomenv.
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

	// The files that the process inherits; nil is roomenv's own.
	Stdin, Stdout, Stderr *os.File

	// ExtraFiles are inherited too: entry i as descriptor 3+i, nil as a closed one.
	// Other descriptors of roomenv are not passed on.
	ExtraFiles []*os.File

	// Signals are those that [NotifySignals] returned with the context of Run. nil
	// catches signals only while Run runs.
	Signals *Signals

	// To stop the process, its process group gets StopSignal and, after StopTimeout,
	// SIGKILL. 0 means SIGTERM and 10 s. The process is stopped when the context ends
	// and, if one of the two is set, by a SIGTERM to roomenv, which is otherwise
	// passed on like any other signal.
	StopSignal  syscall.Signal
	StopTimeout time.Duration

	User       *syscall.Credential // nil is roomenv's own
	NoNewPrivs bool                // PR_SET_NO_NEW_PRIVS of prctl(2); Linux only

	// Wrapper is a program with arguments that replaces itself with the command that
	// follows, which is Args. It is not used for hooks and probes. nil runs the command itself.
	Wrapper []string

	// Monitor is this program with arguments that make it call [RunMonitor]
	// with those that follow, which are Args. It runs the command when its output is
	// masked on a terminal ([Consumer].Mask); nil has that go through pipes.
	Monitor []string

	// masker replaces the values that it knows in what the child prints; Run returns
	// when that is passed on, or soon after ctx has ended. nil gives the child the
	// files themselves.
	masker *mask.Masker

	inner     *innerTerminal // what the child is to run on
	monitored bool           // the parent is roomenv, which continues us
}

var errNoCommand = errors.New("missing command")

func exitCode(err error) int {
	var coder interface{ ExitCode() int }
	if errors.As(err, &coder) {
		return coder.ExitCode()
	}
	return 125
}
