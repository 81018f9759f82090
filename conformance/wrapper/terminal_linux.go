package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// A terminal is a pseudo-terminal with a session on it.
type terminal struct {
	cmd    *exec.Cmd
	fd     int // of master
	master *os.File
	screen chan string // lines
	seen   []string
}

func onTerminal(args ...string) (*terminal, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PS1=", "PS2=")
	master, err := pty.Start(cmd)
	if err != nil {
		return nil, err
	}
	// Non-blocking, so that Close ends the reading, whoever has the other end.
	fd, err := unix.Dup(int(master.Fd()))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(unix.SetNonblock(fd, true), master.Close()); err != nil {
		return nil, err
	}
	master = os.NewFile(uintptr(fd), "terminal")
	x := &terminal{cmd: cmd, fd: fd, master: master, screen: make(chan string)}
	go func() {
		defer close(x.screen)
		for lines := bufio.NewScanner(master); lines.Scan(); {
			x.screen <- lines.Text()
		}
	}()
	return x, nil
}

// close ends all of the session, even what is stopped or deaf, and what a wrapper
// has put into a session of its own.
func (x *terminal) close() {
	var all []int
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		stat, _ := os.ReadFile(file)
		var parent int
		if _, rest, ok := strings.Cut(string(stat), ") "); ok {
			parent, _ = strconv.Atoi(strings.Fields(rest)[1])
		}
		if x.has(pid) || parent > 0 && x.has(parent) {
			all = append(all, pid)
		}
	}
	for _, pid := range all {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	_ = x.cmd.Wait()
	_ = x.master.Close()
	for range x.screen {
	}
}

func (x *terminal) has(pid int) bool {
	session, err := unix.Getsid(pid)
	return err == nil && session == x.cmd.Process.Pid
}

func (x *terminal) keys(s string) { _, _ = io.WriteString(x.master, s) }

// until reads to a line with want in it and reports whether there is one.
func (x *terminal) until(want string) bool {
	late := time.After(patience)
	for {
		select {
		case line, ok := <-x.screen:
			x.seen = append(x.seen, line)
			if strings.Contains(line, want) || !ok {
				return ok
			}
		case <-late:
			return false
		}
	}
}

// script is w in front of args, for a shell.
func (w wrapper) script(args ...string) string {
	var b strings.Builder
	for _, a := range append(append([]string{}, w.args...), args...) {
		b.WriteString("'" + strings.ReplaceAll(a, "'", `'\''`) + "' ")
	}
	return b.String()
}

func keys(w wrapper) (string, error) {
	return pressKeys(append(append([]string{}, w.args...), self("report")...))
}

func keysInScript(w wrapper) (string, error) {
	return pressKeys([]string{"sh", "-c", "trap : INT QUIT; " + w.script(self("report")...) + "; :"})
}

func pressKeys(args []string) (string, error) {
	x, err := onTerminal(args...)
	if err != nil {
		return "", err
	}
	defer x.close()
	x.until("ready")
	x.keys("\x03")
	came := x.until("got INT")
	x.keys("\x1c")
	came = came && x.until("got QUIT")
	if err := unix.IoctlSetWinsize(x.fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 10}); err != nil {
		return "", err
	}
	came = came && x.until("got WINCH")
	x.keys("line\n")
	came = came && x.until("read line")
	for _, s := range []string{"got INT", "got QUIT", "got WINCH"} {
		if count(x.seen, s) > 1 {
			return "twice", nil
		}
	}
	if !came {
		return "not all", nil
	}
	return "each once", nil
}

// shell starts an interactive shell that echoes nothing.
func shell(line string) (*terminal, error) {
	x, err := onTerminal("sh", "-i")
	if err == nil {
		x.keys("stty -echo\n" + line + "\n")
	}
	return x, err
}

func stopKey(w wrapper) (string, error) {
	x, err := shell(w.script(self("report")...))
	if err != nil {
		return "", err
	}
	defer x.close()
	x.until("ready")
	x.keys("\x1a")
	if !x.until("Stopped") { // the shell says so
		return "does not stop", nil
	}
	x.keys("fg >/dev/null\n")
	x.keys("line\n")
	if !x.until("read line") {
		return "does not continue", nil
	}
	return "stops and continues", nil
}

func background(w wrapper) (string, error) {
	x, err := shell(w.script("sh", "-c", "read x; echo read $x") + "&")
	if err != nil {
		return "", err
	}
	defer x.close()
	x.keys("echo the shell continues\n")
	if !x.until("the shell continues") {
		return hangs, nil
	}
	x.keys("fg >/dev/null\n")
	x.keys("typed\n")
	if !x.until("read typed") {
		return "never reads", nil
	}
	return "stops until fg", nil
}

func pager(w wrapper) (string, error) {
	x, err := shell(w.script("sh", "-c", "echo text; cat /dev/null") + `| { read x; echo shows $x; read key </dev/tty; echo key $key; }`)
	if err != nil {
		return "", err
	}
	defer x.close()
	if !x.until("shows text") {
		return hangs, nil
	}
	x.keys("q\n")
	if !x.until("key q") {
		return "it does not", nil
	}
	return "it gets them", nil
}

// rawDeath looks at the terminal when the script that ran the command says so.
func rawDeath(w wrapper) (string, error) {
	return modes(w, "stty raw -echo; kill -KILL $$", func(t *unix.Termios) string {
		if t.Lflag&unix.ICANON == 0 {
			return "it stays raw"
		}
		return "modes are back"
	})
}

func stty(w wrapper) (string, error) {
	return modes(w, "stty -echo", func(t *unix.Termios) string {
		if t.Lflag&unix.ECHO != 0 {
			return "it is undone"
		}
		return "it holds"
	})
}

func modes(w wrapper, command string, look func(*unix.Termios) string) (string, error) {
	x, err := onTerminal("sh", "-c", w.script("sh", "-c", command)+"; echo over; read x")
	if err != nil {
		return "", err
	}
	defer x.close()
	if !x.until("over") {
		return hangs, nil
	}
	t, err := unix.IoctlGetTermios(x.fd, unix.TCGETS)
	if err != nil {
		return "", err
	}
	return look(t), nil
}
