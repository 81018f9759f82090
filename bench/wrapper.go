package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// wrappers compares what roomenv costs with a command alone and with tini and
// dumb-init, where those are installed. None of them fetches anything here.
func wrappers(ctx context.Context, l lab) error {
	prefixes := [][]string{{}, {"tini", "-s", "--"}, {"dumb-init", "--"}, {l.binary, "exec", "--once", "--"}, {l.binary, "exec", "--"}}
	prefixes = slices.DeleteFunc(prefixes, func(p []string) bool {
		if len(p) == 0 {
			return false
		}
		_, err := exec.LookPath(p[0])
		if err != nil {
			fmt.Printf("\n%s is not installed, so it is not compared\n", p[0])
		}
		return err != nil
	})
	command := func(prefix []string, args ...string) *exec.Cmd {
		args = append(slices.Clone(prefix), args...)
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = l.environ()
		return cmd
	}
	var commands []func() *exec.Cmd
	for _, p := range prefixes {
		commands = append(commands, func() *exec.Cmd { return command(p, "true") })
	}
	took, err := l.interleave(commands...)
	if err != nil {
		return err
	}
	fmt.Printf("\nin front of a command, with nothing to fetch: time to run true (median of %d), memory that is added\n", l.runs)
	for i, p := range prefixes {
		name := "the command alone"
		if len(p) > 0 {
			name = filepath.Base(p[0]) + " " + strings.Join(p[1:len(p)-1], " ")
		}
		added, err := added(command(p, "sh", "-c", "echo $$; read _ || :"))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Printf("  %-20s %6.1f ms %5.1fx  %6.1f MiB\n", name, milliseconds(took[i]), float64(took[i])/float64(took[0]), float64(added)/1024)
	}
	return nil
}

// added runs a command that says its PID and returns what is resident beside it,
// in KiB: nothing, if what we started is the command itself.
func added(cmd *exec.Cmd) (int, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	rss := 0
	if pid, _ := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid != cmd.Process.Pid {
		rss, err = resident(cmd.Process.Pid)
	}
	return rss, errors.Join(err, stdin.Close(), cmd.Wait())
}
