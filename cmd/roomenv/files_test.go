package main

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// memory sets a variable to a new folder on a tmpfs, or skips the test.
func memory(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: memory VAR")
	}
	if runtime.GOOS != "linux" {
		ts.Fatalf("put [linux] before it")
	}
	dir, err := os.MkdirTemp("/dev/shm", "roomenv-script-")
	ts.Check(err)
	ts.Defer(func() { _ = os.RemoveAll(dir) })
	ts.Setenv(args[0], dir)
}

// killed runs roomenv in the background, reads a line of it into LINE, sends it
// a signal and waits.
func killed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: killed SIGNAL ARG...")
	}
	sig, err := strconv.Atoi(args[0])
	ts.Check(err)
	cmd := exec.Command("roomenv", args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "XDG_RUNTIME_DIR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	ts.Setenv("LINE", strings.TrimSpace(line))
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		ts.Fatalf("no line: %v", err)
	}
	ts.Check(cmd.Process.Signal(syscall.Signal(sig)))
	_ = cmd.Wait()
}
