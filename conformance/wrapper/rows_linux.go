package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

var rows = slices.Concat([]row{
	{"the command exits with 42", "42, nothing printed", code("sh", "-c", "exit 42"), ""},
	{"signal 15 ends the command", "143, nothing printed", code("sh", "-c", "kill -TERM $$"), ""},
	{"the command is not found", "127", failure("/no/such/command"), ""},
	{"the command is not executable", "126", failure("/etc/passwd"), ""},
	{"a grandchild keeps stdout open", "3, nothing printed", code("sh", "-c", "sleep 100 & echo $! >&2; exit 3"), ""},
	{"signals to the wrapper", "each once", allSignals, ""},
	{"SIGPROF to the wrapper", "once", signals(trapped, unix.SIGPROF), "never"},
	{"SIGTTIN, SIGTTOU without a terminal", "each once", signals(self("report"), unix.SIGTTIN, unix.SIGTTOU), ""},
	{"SIGKILL to the wrapper", "no process is left", killed, ""},
	{"Ctrl-C, Ctrl-\\, resize on a terminal", "each once", keys, ""},
	{"the same, where a script runs the wrapper", "each once", keysInScript, ""},
	{"Ctrl-Z and fg in a shell", "stops and continues", stopKey, ""},
	{"a background job reads the terminal", "stops until fg", background, ""},
	{"a pager reads keys at the end of the pipe", "it gets them", pager, ""},
	{"a signal ends the command on a raw terminal", "modes are back", rawDeath, ""},
	{"`stty -echo` as the command", "it holds", stty, ""},
	{"PID 1: orphans end", "all reaped", pidOne(orphans), ""},
	{"PID 1: signal 9 ends the command", "137", pidOne("kill -KILL $$"), ""},
	{"a file as stdin, read in part", "the offset is shared", offset, ""},
	{"stdin is closed", "closed", closed, "/dev/null"},
	{"exec in place (roomenv: `--once`)", "the PID is the command's", inPlace, ""},
}, asWithout)

func code(args ...string) func(wrapper) (string, error) {
	return func(w wrapper) (string, error) {
		out, n, err := output(w.command(args...))
		said := "nothing printed"
		if pid, err := strconv.Atoi(strings.TrimSpace(out)); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL) // the grandchild
		} else if out != "" {
			said = "prints"
		}
		if out == hangs {
			return hangs, nil
		}
		return fmt.Sprintf("%d, %s", n, said), err
	}
}

func failure(args ...string) func(wrapper) (string, error) {
	return func(w wrapper) (string, error) {
		_, n, err := output(w.command(args...))
		return strconv.Itoa(n), err
	}
}

// allSignals leaves out what ends or stops a process in any case, what roomenv's
// contract leaves out, and what has rows of its own.
func allSignals(w wrapper) (string, error) {
	var all []syscall.Signal
	for n := syscall.Signal(1); n <= 64; n++ {
		switch n {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGURG, unix.SIGCHLD, unix.SIGPIPE, unix.SIGPROF,
			32, 33, 34: // the C library's, also for Go
		default:
			all = append(all, n)
		}
	}
	return signals(self("report"), all...)(w)
}

// trapped reports the signal that Go lets no program have.
var trapped = []string{"sh", "-c", `trap 'echo got PROF; exit' PROF; echo ready; while sleep 0.02; do :; done`}

// signals sends each of them to a wrapper of its own, in front of a command that
// reports them.
func signals(command []string, all ...syscall.Signal) func(wrapper) (string, error) {
	return func(w wrapper) (string, error) {
		came := make([]int, len(all))
		var sending errgroup.Group
		sending.SetLimit(4)
		for i, s := range all {
			sending.Go(func() error {
				t, err := start(w.command(command...))
				if err != nil {
					return err
				}
				defer func() {
					t.kill()
					t.end()
				}()
				if line := t.line(); line != "ready" {
					return fmt.Errorf("the command says %q before it is ready", line)
				}
				if err := t.cmd.Process.Signal(s); err != nil {
					return err
				}
				_ = t.pipe.SetReadDeadline(time.Now().Add(time.Second))
				if t.line() == "got "+name(s) {
					came[i] = 1 + count(t.end(), "got "+name(s))
				}
				return nil
			})
		}
		err := sending.Wait()
		var never, often []string
		for i, n := range came {
			switch {
			case n == 0:
				never = append(never, name(all[i]))
			case n > 1:
				often = append(often, name(all[i]))
			}
		}
		switch {
		case err != nil:
			return "", err
		case len(never) == len(all):
			return "never", nil
		case len(never) > 0:
			return "never " + strings.Join(never, " "), nil
		case len(often) > 0:
			return "twice " + strings.Join(often, " "), nil
		case len(all) == 1:
			return "once", nil
		}
		return "each once", nil
	}
}

func count(lines []string, want string) (n int) {
	for _, l := range lines {
		if strings.Contains(l, want) {
			n++
		}
	}
	return n
}

// killed sees stdout end when no process has it any more.
func killed(w wrapper) (string, error) {
	t, err := start(w.command("sh", "-c", "trap '' HUP INT TERM; echo $$; read x; read y"))
	if err != nil {
		return "", err
	}
	pid, err := strconv.Atoi(t.line())
	if err != nil {
		return hangs, nil
	}
	_ = t.cmd.Process.Kill()
	_ = t.pipe.SetReadDeadline(time.Now().Add(time.Second))
	_, err = io.ReadAll(t.lines)
	_ = unix.Kill(pid, unix.SIGKILL)
	t.end()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "the command runs on", nil
	}
	return "no process is left", nil
}

// orphans waits for each to be gone for kill -0, for which a zombie is there.
const orphans = `i=0
	while [ $i -lt 10 ]; do
		pid=$(sh -c 'sh -c "exit 3" >/dev/null & echo $!')
		n=0
		while kill -0 $pid 2>/dev/null; do
			n=$((n+1)); [ $n -lt 50 ] || { echo zombies; exit 0; }
			sleep 0.01
		done
		i=$((i+1))
	done
	echo all reaped`

// pidOne runs the wrapper as PID 1 of a namespace. Without a wrapper the shell
// is PID 1 itself.
func pidOne(script string) func(wrapper) (string, error) {
	return func(w wrapper) (string, error) {
		cmd := w.command("sh", "-c", script)
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
		if os.Getuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
		out, n, err := output(cmd)
		if err != nil || out != "" {
			return strings.TrimSpace(out), err
		}
		return strconv.Itoa(n), nil
	}
}

func offset(w wrapper) (string, error) {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("wrapper-%d", os.Getpid()))
	defer os.Remove(path)
	if err := os.WriteFile(path, []byte("one\ntwo\n"), 0o600); err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	cmd := w.command("sh", "-c", "read x")
	cmd.Stdin = f
	if _, _, err := output(cmd); err != nil {
		return "", err
	}
	rest, err := io.ReadAll(f)
	if string(rest) != "two\n" {
		return "it is not", err
	}
	return "the offset is shared", err
}

func closed(w wrapper) (string, error) {
	all := append([]string{"-c", `exec "$@" <&-`, "sh"}, w.args...)
	all = append(all, "sh", "-c", "readlink /proc/$$/fd/0 || echo closed")
	out, code, err := output(exec.Command("sh", all...))
	if code != 0 {
		return "the command does not start", err
	}
	return strings.TrimSpace(out), err
}

func inPlace(w wrapper) (string, error) {
	w.args = w.once
	t, err := start(w.command("sh", "-c", "echo $$"))
	if err != nil {
		return "", err
	}
	pid := t.line()
	t.end()
	if pid == strconv.Itoa(t.cmd.Process.Pid) {
		return "the PID is the command's", nil
	}
	return "the wrapper stays", nil
}

// asWithout are the rows about what a command inherits.
var asWithout = func() (rows []row) {
	for _, x := range []struct{ situation, script, limit string }{
		{"environment", "env | grep -v '^_=\\|^ROOMENV'", ""},
		{"argument 0", `tr '\0' ' ' </proc/$$/cmdline`, ""},
		{"directory, umask, niceness", "pwd; umask; cut -d' ' -f19 /proc/$$/stat", ""},
		{"resource limits", "cat /proc/$$/limits", ""},
		{"descriptors", "ls /proc/$$/fd", ""},
		{"SIGHUP, SIGINT ignored (nohup, &)", "echo $((0x$(grep SigIgn /proc/self/status | cut -f2) & 3))", ""},
		{"other signals ignored", "grep SigIgn /proc/self/status", "the default again"},
		{"signals blocked", "grep SigBlk /proc/self/status", ""},
		{"dumpable, no_new_privs", "grep NoNewPrivs /proc/self/status; stat -c %U /proc/$$/environ", ""},
	} {
		rows = append(rows, row{"the command's " + x.situation, "unchanged", inherits(x.script), x.limit})
	}
	return rows
}()

func inherits(script string) func(wrapper) (string, error) {
	const prepare = `renice -n 5 $$ >/dev/null; ulimit -Sn 100; ulimit -Sc 0; umask 027; cd /; exec 7</dev/null; trap '' HUP INT QUIT USR1; exec "$@"`
	see := func(args []string) (string, error) {
		all := append([]string{"-c", prepare, "sh"}, args...)
		out, _, err := output(exec.Command("sh", append(all, "sh", "-c", script)...))
		return out, err
	}
	return func(w wrapper) (string, error) {
		want, err := see(nil)
		if err != nil {
			return "", err
		}
		got, err := see(w.args)
		switch {
		case err != nil:
			return "", err
		case got == want:
			return "unchanged", nil
		case strings.Contains(script, "SigIgn"):
			return "the default again", nil
		}
		return "changed", nil
	}
}
