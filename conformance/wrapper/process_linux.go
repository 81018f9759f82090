package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a command may take before it counts as hanging.
const patience = 5 * time.Second

const hangs = "hangs"

// command puts w in front of args, in a session without a terminal.
func (w wrapper) command(args ...string) *exec.Cmd {
	all := append(slices.Clone(w.args), args...)
	cmd := exec.Command(all[0], all[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// self is a command of this program.
func self(args ...string) []string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{path}, args...)
}

// output runs cmd and returns its output and its exit code, as a shell has it.
func output(cmd *exec.Cmd) (string, int, error) {
	// A file is passed as it is: nobody waits for who else has it open.
	f, err := os.CreateTemp("", "wrapper")
	if err != nil {
		return "", 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	code, err := wait(cmd)
	if err != nil {
		return hangs, 0, nil
	}
	text, err := os.ReadFile(f.Name())
	return string(text), code, err
}

var errHangs = errors.New(hangs)

// wait ends a command that hangs, and its group.
func wait(cmd *exec.Cmd) (code int, err error) {
	var late bool
	timer := time.AfterFunc(patience, func() {
		late = true
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Process.Kill()
	})
	_ = cmd.Wait()
	if !timer.Stop() && late {
		return 0, errHangs
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

// A talk is a command whose lines are read while it runs.
type talk struct {
	cmd   *exec.Cmd
	lines *bufio.Reader
	stdin io.Closer
	pipe  *os.File
}

func start(cmd *exec.Cmd) (*talk, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_ = r.SetReadDeadline(time.Now().Add(patience))
	return &talk{cmd, bufio.NewReader(r), in, r}, nil
}

func (t *talk) line() string {
	s, err := t.lines.ReadString('\n')
	if err != nil {
		return s + err.Error()
	}
	return strings.TrimSuffix(s, "\n")
}

// end closes the input and returns what else is said.
func (t *talk) end() (rest []string) {
	_ = t.stdin.Close()
	b, _ := io.ReadAll(t.lines)
	_, _ = wait(t.cmd)
	_ = t.pipe.Close()
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// kill ends what may be stopped: the wrapper, and the command in whatever group
// or session it is.
func (t *talk) kill() {
	pid := t.cmd.Process.Pid
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			_ = unix.Kill(n, unix.SIGKILL)
		}
	}
	_ = unix.Kill(-pid, unix.SIGKILL)
}

// report is the program to run under a wrapper: it prints each signal that it
// gets and each line that it reads, to the end of its input.
func report() {
	got := make(chan os.Signal, 100)
	for n := syscall.Signal(1); n <= 64; n++ {
		if n != unix.SIGTSTP && n != unix.SIGURG && n != unix.SIGCHLD {
			signal.Notify(got, n)
		}
	}
	fmt.Println("ready")
	input := make(chan string)
	go func() {
		defer close(input)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			input <- lines.Text()
		}
	}()
	for {
		select {
		case line, ok := <-input:
			if !ok {
				return
			}
			fmt.Println("read", line)
		case s := <-got:
			fmt.Println("got", name(s.(syscall.Signal)))
		}
	}
}

func name(s syscall.Signal) string {
	if n := unix.SignalName(s); n != "" {
		return strings.TrimPrefix(n, "SIG")
	}
	return fmt.Sprintf("RT%d", int(s))
}
