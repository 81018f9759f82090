package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPID1 restarts a command as the first process of a container does, with a
// hook after each restart. Both leave orphans behind, of which roomenv becomes
// the parent. It waits for all of them.
func TestPID1(t *testing.T) {
	t.Parallel()
	container := []string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child"}
	if os.Getuid() != 0 {
		container = append(container, "--map-root-user")
	}
	if out, err := exec.Command(container[0], append(container[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no PID namespace can be made here: %v, %s", err, out)
	}
	r := newRotated(t, `version: 1
refresh: {debounce: 1ms}
env:
  KEY: {secret: key}
files:
  told: {secret: other, env: TOLD, on_change: {command: [sh, -c, "(setsid true &); echo told $(cat $TOLD)"]}}
`)
	for _, id := range []string{"key", "other"} {
		if err := r.set(t.Context(), id, "first"); err != nil {
			t.Fatal(err)
		}
	}
	cmd := r.command(append(container, "roomenv", "exec", "--", "sh", "-c", "(setsid sleep 0.01 &); echo started $KEY; exec sleep 1000")...)
	out := r.output(cmd)
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if err := out.until("started first"); err != nil {
		t.Fatal(err)
	}
	roomenv := children(t, cmd.Process.Pid)
	if len(roomenv) != 1 {
		t.Fatalf("unshare has %d children", len(roomenv))
	}
	for n := range 50 {
		value := strconv.Itoa(n)
		for id, line := range map[string]string{"key": "started " + value, "other": "told " + value} {
			if err := r.set(t.Context(), id, value); err != nil {
				t.Fatal(err)
			}
			if err := out.until(line); err != nil {
				t.Fatal(err)
			}
		}
	}
	var left []process
	for range 1000 {
		if left = children(t, roomenv[0].pid); len(left) == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond) // nobody tells when a process has been waited for
	}
	if len(left) != 1 || left[0].state == "Z" {
		t.Errorf("roomenv has the children %v", left)
	}
	if err := syscall.Kill(roomenv[0].pid, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 128+int(syscall.SIGTERM) {
		t.Errorf("it ended with %v", err)
	}
}

// A process is one as proc_pid_stat(5) has it.
type process struct {
	pid  int
	name string
	// state is Z for one that has ended and was not waited for.
	state string
}

func children(t *testing.T, parent int) (found []process) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		stat, _ := os.ReadFile(path) // it may have ended
		before, after, _ := strings.Cut(string(stat), ") ")
		var p process
		var ppid int
		_, err := fmt.Sscanf(after, "%s %d", &p.state, &ppid)
		if err != nil || ppid != parent {
			continue
		}
		id, name, _ := strings.Cut(before, " (")
		p.name = name
		if p.pid, err = strconv.Atoi(id); err != nil {
			t.Fatal(err)
		}
		found = append(found, p)
	}
	return found
}
