package main

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

var reads = flag.Int("reads", 5000, "how many pairs of files TestPair reads")

// TestPair reads two files that come from one secret, over and over while it is
// set, in the way that docs/files.md gives: by the folder that they are in. They
// are of one generation each time.
func TestPair(t *testing.T) {
	t.Parallel()
	r := newRotated(t, `version: 1
refresh: {debounce: 1ms}
files:
  a: {secret: key}
  deep/b: {secret: key}
`)
	stop := r.rotate("key")
	defer stop()
	dir := filepath.Join(r.memory, "files")
	cmd := r.command("roomenv", "exec", "--dir", dir, "--", "sh", "-c", "echo started; exec sleep 1000")
	out := r.output(cmd)
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	if err := out.until("started"); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	gone := 0
	for n := 0; n < *reads || len(seen) < 20; {
		a, b, err := pair(filepath.Join(dir, "current"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			gone++ // two generations have come since it was opened
			continue
		case err != nil:
			t.Fatal(err)
		case a != b:
			t.Fatalf("a is %q, b is %q", a, b)
		}
		seen[a] = true
		n++
	}
	t.Logf("%d generations were seen, %d were gone before they were", len(seen), gone)
}

// pair reads the files of the folder that path leads to.
func pair(path string) (a, b string, err error) {
	folder, err := os.OpenRoot(path)
	if err != nil {
		return "", "", err
	}
	defer folder.Close()
	first, err := folder.ReadFile("a")
	if err != nil {
		return "", "", err
	}
	second, err := folder.ReadFile("deep/b")
	return string(first), string(second), err
}
