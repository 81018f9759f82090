package main

import (
	"errors"
	"io/fs"
	random "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestSidecarKilled has SIGKILL meet a sidecar at any moment, while secrets are set all
// the time, with the room up and, in every third round, unreachable. Readers that open two
// files by their directory find both each time, of one revision, and at last the newest
// value.
func TestSidecarKilled(t *testing.T) {
	t.Parallel()
	r := newRotated(t, `version: 1
refresh: {debounce: 1ms}
files:
  a: {secret: key}
  deep/b: {secret: key}
`)
	stop := r.rotate("key")
	dir := filepath.Join(r.memory, "files")
	sidecar := func(environ ...string) *exec.Cmd {
		cmd := r.command("roomenv", "sidecar", "--dir", dir)
		cmd.Env = append(cmd.Env, environ...)
		return cmd
	}
	if out, err := r.command("roomenv", "render", "--dir", dir).CombinedOutput(); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	done := make(chan struct{})
	var reading sync.WaitGroup
	var mu sync.Mutex
	seen, pairs := map[string]bool{}, 0
	for range 2 {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
				}
				switch a, b, err := pair(filepath.Join(dir, "current")); {
				case errors.Is(err, fs.ErrNotExist) && linked(dir): // two revisions have come since it was opened
				case err != nil || a != b:
					t.Errorf("a is %q, b is %q, error %v", a, b, err)
					return
				default:
					mu.Lock()
					seen[a] = true
					pairs++
					mu.Unlock()
				}
			}
		})
	}
	for round := range *rounds {
		cmd := sidecar()
		if round%3 == 0 {
			cmd = sidecar("MESHAGENT_ROOM=demo", "MESHAGENT_TOKEN=x.y.z", "MESHAGENT_ROOM_URL=http://127.0.0.1:1")
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(random.N(60 * time.Millisecond)) // the schedule
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	stop()
	if err := r.set(t.Context(), "key", "last"); err != nil {
		t.Fatal(err)
	}
	if out, err := r.command("roomenv", "render", "--dir", dir).CombinedOutput(); err != nil {
		t.Errorf("%s, %v", out, err)
	}
	if a, b, err := pair(filepath.Join(dir, "current")); a != "last" || b != "last" || err != nil {
		t.Errorf("a is %q, b is %q, error %v", a, b, err)
	}
	close(done)
	reading.Wait()
	t.Logf("%d pairs of %d values were read", pairs, len(seen))
	if left, err := os.ReadDir(dir); err != nil || len(left) > 5 { // a lock, current, two revisions, a socket
		t.Errorf("%v is left, %v", left, err)
	}
}

// linked reports whether current leads to a revision.
func linked(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "current"))
	return err == nil
}
