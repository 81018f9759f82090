package inject_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// A terminal is a pseudo-terminal with a process on it.
type terminal struct {
	*exec.Cmd
	master *os.File
	screen *bufio.Reader
	last   string // line that was waited for
}

// onTerminal starts a session on a new terminal.
func onTerminal(t *testing.T, env []string, path string, args ...string) *terminal {
	t.Helper()
	return startOnTerminal(t, env, exec.Command(path, args...))
}

func startOnTerminal(t *testing.T, env []string, c *exec.Cmd) *terminal {
	t.Helper()
	c.Env = append(append(os.Environ(), "PS1=", "PS2=", quickExit, "SELF="+self(t)), env...)
	blocking, err := pty.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	// Reads have a deadline only without blocking.
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = blocking.Close()
	master := os.NewFile(uintptr(fd), "terminal")
	t.Cleanup(func() {
		_ = master.Close()
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return &terminal{Cmd: c, master: master, screen: bufio.NewReader(limited{master})}
}

// control calls f with the descriptor of the master. Fd would have it block.
func (x *terminal) control(t *testing.T, f func(fd int) error) {
	t.Helper()
	conn, err := x.master.SyscallConn()
	if err == nil {
		controlErr := conn.Control(func(fd uintptr) { err = f(int(fd)) })
		err = errors.Join(err, controlErr)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (x *terminal) resize(t *testing.T, rows, columns uint16) {
	t.Helper()
	x.control(t, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	})
}

func (x *terminal) keys(t *testing.T, s string) {
	t.Helper()
	if _, err := io.WriteString(x.master, s); err != nil {
		t.Fatal(err)
	}
}

// until reads lines to one that begins as wanted and returns those before it. An
// echoed ^C or ^Z may stand in front of a line.
func (x *terminal) until(t *testing.T, want string) (before []string) {
	t.Helper()
	for {
		line, err := x.screen.ReadString('\n')
		line = strings.TrimSpace(line)
		for _, echo := range []string{"^C", "^Z", "^\\"} {
			line = strings.TrimPrefix(line, echo)
		}
		if x.last = line; strings.HasPrefix(line, want) {
			return before
		}
		if err != nil {
			t.Fatalf("no %q after %q: %v", want, before, err)
		}
		before = append(before, line)
	}
}

// end reads what is left. A terminal without processes reads as EIO on Linux.
func (x *terminal) end(t *testing.T, code int) (rest string) {
	t.Helper()
	b, err := io.ReadAll(x.screen)
	if err != nil && !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	finish(x.Cmd)
	if got := x.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d (%v), after %q", got, code, x.ProcessState, b)
	}
	return string(b)
}

func count(lines []string, want string) (n int) {
	for _, l := range lines {
		if l == want {
			n++
		}
	}
	return n
}

// bothWays runs a test with the child on the terminal itself and, masked, on an
// inner one. mask is for the environment of roomenv, shown is what is seen of the
// canary.
func bothWays(t *testing.T, test func(t *testing.T, mask, shown string)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) { test(t, "MASK=", canary) })
	t.Run("masked", func(t *testing.T) { test(t, "MASK=1", "[CANARY]") })
}

// onShell starts an interactive shell, without echo.
func onShell(t *testing.T) *terminal {
	t.Helper()
	x := onTerminal(t, nil, "/bin/sh", "-i")
	x.keys(t, "stty -echo\n")
	return x
}

// exit ends the shell.
func (x *terminal) exit(t *testing.T) {
	t.Helper()
	x.keys(t, "exit 0\n")
	x.end(t, 0)
}

// TestKeys presses keys and changes the size where roomenv is the job: the child
// gets each signal once, and roomenv gets the terminal back as it was.
func TestKeys(t *testing.T) {
	bothWays(t, func(t *testing.T, mask, shown string) {
		// Those of its own terminal roomenv may have changed by now.
		other, terminal, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		defer terminal.Close()
		before, err := term.GetState(int(other.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		x := onTerminal(t, []string{role + "=roomenv", mask, "CHILD_ROLE=reporter", "REPORT_TERMINAL=1"}, self(t), self(t))
		x.until(t, "ready")
		x.resize(t, 10, 10)
		x.until(t, "got SIGWINCH")
		x.keys(t, "\x1c")
		x.until(t, "got SIGQUIT")
		x.keys(t, "a line\n")
		x.until(t, "a line") // echo
		x.until(t, "read a line")
		x.keys(t, canary+"\n")
		x.until(t, shown) // echo
		x.until(t, "read "+shown)
		x.keys(t, "\x03")
		x.until(t, "got SIGINT")
		if rest := x.end(t, 42); rest != "foreground again: true\r\n" {
			t.Errorf("then %q", rest)
		}
		x.control(t, func(fd int) error {
			after, err := term.GetState(fd)
			if err == nil && *after != *before {
				t.Errorf("the modes of the terminal changed: %v", after)
			}
			return err
		})
	})
}

// TestKeysInScript presses Ctrl-\ and Ctrl-C where a script runs roomenv: both are
// on the terminal, each gets both once.
func TestKeysInScript(t *testing.T) {
	bothWays(t, func(t *testing.T, mask, _ string) {
		x := onTerminal(t, nil, "/bin/sh", "-c",
			`trap 'echo script got it' INT QUIT; `+role+`=roomenv `+mask+` CHILD_ROLE=reporter "$SELF" "$SELF"; echo ended $?`)
		x.until(t, "ready")
		x.keys(t, "\x1c")
		x.until(t, "got SIGQUIT")
		x.keys(t, "a line takes its time\n")
		lines := x.until(t, "read a line")
		x.keys(t, "\x03")
		lines = append(lines, x.until(t, "ended 42")...)
		if count(lines, "got SIGQUIT") != 0 || count(lines, "got SIGINT") != 1 || count(lines, "script got it") != 2 {
			t.Errorf("got %q", lines)
		}
		x.end(t, 0)
	})
}

// TestPagerKeepsTheTerminal has the other end of a pipe read the terminal.
func TestPagerKeepsTheTerminal(t *testing.T) {
	bothWays(t, func(t *testing.T, mask, shown string) {
		x := onShell(t)
		x.keys(t, role+`=roomenv `+mask+` "$SELF" /bin/sh -c 'echo `+canary+`; cat /dev/null' | { read x; echo "shows $x"; read key </dev/tty; echo "key $key"; }`+"\n")
		x.until(t, "shows "+shown)
		x.keys(t, "q\n")
		x.until(t, "key q")
		x.exit(t)
	})
}

// TestStopKey presses Ctrl-Z in an interactive shell, which takes the terminal,
// and brings the job back, to the foreground and so that it reads there.
func TestStopKey(t *testing.T) {
	bothWays(t, func(t *testing.T, mask, _ string) {
		x := onShell(t)
		x.keys(t, role+`=roomenv `+mask+` REPORT_SUSPEND=1 CHILD_ROLE=reporter "$SELF" "$SELF"`+"\n")
		x.until(t, "ready")
		x.keys(t, "one\n")
		x.until(t, "read one")
		for range 3 {
			x.keys(t, "\x1a")
			x.until(t, "is about to stop")
			x.until(t, "[1] + Stopped")
			x.keys(t, "echo the shell reads; fg >/dev/null; echo ended $?\n")
			x.until(t, "the shell reads")
			for seen := []string{}; count(seen, "goes on") == 0 || count(seen, "got SIGCONT") == 0; {
				x.until(t, "")
				seen = append(seen, x.last)
			}
			x.keys(t, "two\n")
			if before := x.until(t, "read two"); len(before) > 0 {
				t.Errorf("got %q too", before)
			}
		}
		x.keys(t, "\x04")
		x.until(t, "end of input")
		x.until(t, "ended 42")
		x.exit(t)
	})
}

// TestBackgroundJob reads the terminal in the background, which stops it until
// it is brought to the foreground.
func TestBackgroundJob(t *testing.T) {
	bothWays(t, func(t *testing.T, mask, _ string) {
		x := onShell(t)
		x.keys(t, role+`=roomenv `+mask+` "$SELF" /bin/sh -c 'echo started; read x; echo "read $x"; exit 7' &`+"\n")
		x.until(t, "started")
		x.keys(t, "echo the shell goes on\n")
		x.until(t, "the shell goes on")
		if mask == "MASK=" {
			// It reads its own terminal, which stops it. The shell cannot undo a stop
			// that comes after fg.
			jobs := filepath.Join(t.TempDir(), "jobs")
			x.keys(t, "until jobs >"+jobs+"; grep -q Stopped "+jobs+"; do :; done; echo it is stopped\n")
			x.until(t, "it is stopped")
		}
		x.keys(t, "fg >/dev/null; echo ended $?\n")
		x.keys(t, "typed\n")
		x.until(t, "read typed")
		x.until(t, "ended 7")
		x.exit(t)
	})
}

// TestTerminalComesLate has a child stopped for its use of the terminal, which it has
// by the time that roomenv sees it.
func TestTerminalComesLate(t *testing.T) {
	x := onTerminal(t, []string{role + "=roomenv"}, self(t), "/bin/sh", "-c", "kill -TTIN $$; echo continued; exit 5")
	if got := x.end(t, 5); got != "continued\r\n" {
		t.Errorf("got %q", got)
	}
}

// TestStopKeyWithoutShell presses Ctrl-Z where nobody could continue the job.
func TestStopKeyWithoutShell(t *testing.T) {
	bothWays(t, func(t *testing.T, mask, _ string) {
		x := onTerminal(t, []string{role + "=roomenv", mask, "CHILD_ROLE=reporter"}, self(t), self(t))
		x.until(t, "ready")
		x.keys(t, "\x1a")
		x.until(t, "got SIGCONT")
		x.keys(t, "one\n")
		x.until(t, "read one")
		x.keys(t, "\x04")
		x.until(t, "end of input")
		x.end(t, 42)
	})
}

// TestModes has a child make its terminal raw: that holds if it exits, which may
// mean it, and not if a signal ends it.
func TestModes(t *testing.T) {
	bothWays(t, func(t *testing.T, mask, _ string) {
		for script, want := range map[string]string{
			"stty raw -echo; kill -KILL $$": "is cooked, echo",
			"stty raw -echo; exit 0":        "is raw, -echo",
		} {
			for _, as := range []string{"job", "script"} {
				x := onTerminal(t, nil, "/bin/sh", "-i")
				line := role + `=roomenv ` + mask + ` "$SELF" /bin/sh -c '` + script + `'`
				if as == "script" {
					line = `sh -c '` + role + `=roomenv ` + mask + ` "$SELF" /bin/sh -c "` + script + `"; :'`
					line = strings.ReplaceAll(line, "$$", `\$\$`)
				}
				x.keys(t, line+`; stty -a | grep -q -- -icanon && m=raw || m=cooked; echo is $m, $(stty -a | grep -o '[-]*echo ')`+"\n")
				if before := x.until(t, "is "); x.last != want {
					t.Errorf("%s as %s: %q after %q, want %q", script, as, x.last, before, want)
				}
			}
		}
	})
}

// TestSupervisorOnTerminal has the terminal go from child to child, and back.
func TestSupervisorOnTerminal(t *testing.T) {
	for _, env := range [][]string{nil, {"OVERLAP=1"}, {"MASK=1"}, {"OVERLAP=1", "MASK=1"}} {
		r, gate, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command(self(t), "/bin/sh", "-c",
			`trap 'echo end $N; exit 0' TERM; echo start $N; while read word; do echo $N reads $word; done; exit 42`)
		c.ExtraFiles = []*os.File{r}
		x := startOnTerminal(t, append(env, role+"=supervisor", "WAIT=1", "N=1"), c)
		_ = r.Close()
		x.until(t, "start 1")
		x.keys(t, "a\n")
		x.until(t, "1 reads a")
		for old, n := range []string{1: "2", 2: "3"} {
			if old == 0 {
				continue
			}
			if _, err := io.WriteString(gate, "next\n"); err != nil {
				t.Fatal(err)
			}
			for before := []string{}; count(before, "start "+n) == 0 || count(before, fmt.Sprint("end ", old)) == 0; {
				x.until(t, "")
				before = append(before, x.last)
			}
			x.keys(t, "b\n")
			x.until(t, n+" reads b")
		}
		x.keys(t, "\x04")
		x.end(t, 42)
		_ = gate.Close()
	}
}
