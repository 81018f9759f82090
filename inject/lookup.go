package inject

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Errors. The first three are the kinds of [StartError].
var (
	ErrNotFound      = errors.New("command not found")
	ErrNotExecutable = errors.New("command not executable")
	ErrNoProcess     = errors.New("process not started")

	// ErrDropped reports that an [Update] was not applied because a later one replaced
	// it, or because Run ended.
	ErrDropped = errors.New("update dropped")
)

// A StartError reports which command did not start, and why. It wraps [ErrNotFound],
// [ErrNotExecutable] or, for want of resources or rights, [ErrNoProcess].
type StartError struct {
	Command string
	Kind    error // one of the three
	Err     error // of the system call; nil if there was no call
	Hint    string
}

func (e *StartError) Error() string {
	text := fmt.Sprintf("run %q: %v", e.Command, e.Kind)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		text += "\nhint: " + e.Hint
	}
	return text
}

func (e *StartError) Unwrap() []error { return []error{e.Kind, e.Err} }

// ExitCode is the exit code of env(1): 127, 126 or 125.
func (e *StartError) ExitCode() int {
	switch {
	case errors.Is(e.Kind, ErrNotFound):
		return 127
	case errors.Is(e.Kind, ErrNotExecutable):
		return 126
	}
	return 125
}

// lookPath finds the file of a command like execvp(3). Like env(1) it uses the PATH of
// env, the child's environment, and not roomenv's.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if _, err := exec.LookPath(name); err != nil {
			return "", startError(name, name, errors.Unwrap(err))
		}
		return name, nil
	}
	var refused error
	for _, dir := range filepath.SplitList(searchPath(env)) {
		if dir == "" {
			dir = "."
		}
		path := dir + "/" + name // Join would drop the "./"
		_, err := exec.LookPath(path)
		switch {
		case err == nil:
			return path, nil
		case missing(err), errors.Is(err, syscall.EISDIR), refused != nil:
		default:
			refused = startError(name, path, errors.Unwrap(err))
		}
	}
	if refused != nil {
		return "", refused
	}
	return "", &StartError{name, ErrNotFound, nil, "check the spelling and the PATH of the command, or use a path"}
}

// searchPath is the first PATH of env, which is the one that getenv(3) finds.
func searchPath(env []string) string {
	for _, entry := range env {
		if path, ok := strings.CutPrefix(entry, "PATH="); ok {
			return path
		}
	}
	return "/bin:/usr/bin"
}

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// execError is startError for a file that lookPath found.
func execError(name, path string, err error) error {
	if missing(err) {
		return &StartError{name, ErrNotFound, err, fmt.Sprintf("check the interpreter in the first line of %s", path)}
	}
	return startError(name, path, err)
}

// startError classifies an errno of exec or fork for a command at path.
func startError(name, path string, err error) error {
	e := &StartError{Command: name, Kind: ErrNotExecutable, Err: err}
	switch {
	case missing(err):
		e.Kind, e.Err, e.Hint = ErrNotFound, nil, "check the path"
	case errors.Is(err, fs.ErrPermission):
		e.Hint = fmt.Sprintf("check the mode of %s, and that its file system is not mounted noexec", path)
	case errors.Is(err, syscall.E2BIG):
		e.Hint = "pass the largest values as files"
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM),
		errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		e.Kind, e.Hint = ErrNoProcess, "check the limits on processes, memory and open files"
	}
	return e
}

func userError(name string, err error) error {
	return &StartError{name, ErrNoProcess, fmt.Errorf("change user: %w", err), "changing the user requires root, or CAP_SETUID and CAP_SETGID, and CAP_KILL to signal it"}
}
