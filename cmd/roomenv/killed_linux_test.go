package main

import (
	"bytes"
	"crypto/rand"
	"flag"
	"io/fs"
	random "math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var rounds = flag.Int("rounds", 30, "how many times TestKilled kills roomenv")

// TestKilled has SIGKILL meet roomenv at any moment of its life: while it starts,
// and while it swaps files, runs a hook or restarts its command, because secrets
// are set all the time. Whatever it was doing, none of its processes is left, what
// is left in memory is closed to others, and the next one removes it.
func TestKilled(t *testing.T) {
	t.Parallel()
	r := newRotated(t, `version: 1
refresh: {debounce: 1ms}
env:
  KEY: {secret: key}
files:
  restarted: {secret: key}
  told: {secret: other, on_change: {command: ["true"]}, mode: "0400"}
  sealed: {secret: other, memfd: true, on_change: none}
`)
	stop := r.rotate("key", "other")
	defer stop()
	marker := "MARKER=" + rand.Text()
	named := filepath.Join(r.memory, "named")
	started := 0
	for round := range *rounds {
		args := []string{"roomenv", "exec", "--", "sh", "-c", "echo started; exec sleep 1000"}
		if round%3 == 0 {
			args = append([]string{"roomenv", "exec", "--dir", named}, args[2:]...)
		}
		cmd := r.command(args...)
		cmd.Env = append(cmd.Env, marker)
		out := r.output(cmd)
		if round%2 == 0 {
			if err := out.until("started"); err != nil {
				t.Error(err)
			}
			started++
		}
		time.Sleep(random.N(30 * time.Millisecond)) // the schedule
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()

		_ = out.file.SetReadDeadline(time.Now().Add(waitLimit))
		for out.Scan() {
			if started++; out.Text() != "started" {
				t.Errorf("round %d: %s", round, out.Text())
			}
		}
		if err := out.Err(); err != nil {
			t.Errorf("round %d: processes are left: %v", round, err)
		}
		_ = out.file.Close()
		if left := marked(t, marker); left != nil {
			t.Errorf("round %d: processes are left: %q", round, left)
		}
		if folders := closed(t, r.memory); folders > 2 { // files and status
			t.Errorf("round %d: %d folders are left by others too", round, folders)
		}
	}
	t.Logf("the command was started %d times", started)

	for _, args := range [][]string{{"roomenv", "exec", "--", "true"}, {"roomenv", "exec", "--dir", named, "--", "true"}} {
		if out, err := r.command(args...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v, %s", args, err, out)
		}
	}
	for _, dir := range []string{filepath.Join(r.memory, "roomenv"), named} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s holds %v, %v", dir, left, err)
		}
	}
}

// marked returns the processes that have text in their environment.
func marked(t *testing.T, text string) (processes []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no process is there: %v", err)
	}
	for _, path := range paths {
		// Of the processes that may not be read none is ours.
		if environ, _ := os.ReadFile(path); bytes.Contains(environ, []byte(text)) {
			processes = append(processes, path)
		}
	}
	return processes
}

// closed checks that nothing in dir lets others in, and returns how many folders
// of processes there are. A socket is open for a moment, in a folder that is not.
func closed(t *testing.T, dir string) (folders int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if (e.IsDir() || e.Type().IsRegular()) && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is left for others: %s", path, info.Mode())
		}
		if run, _ := filepath.Match("run-*", e.Name()); run {
			folders++
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return folders
}
