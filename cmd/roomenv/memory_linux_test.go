package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMemory looks for a value in the memory of a roomenv whose command runs.
// The kernel keeps arguments and environment on the first stack, where it must
// not be. The command's environment, which roomenv has made, is on the heap,
// and Go can neither wipe nor pin what is there: how many copies are left is
// told, not judged.
func TestMemory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root reads the memory of roomenv, see TestHardened")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	value := rand.Text() // a literal would be in the binary
	roomenv := func(args ...string) *exec.Cmd {
		cmd := exec.Command(self, args...)
		cmd.Args[0] = "roomenv"
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "ROOMENV_DATA="+filepath.Join(dir, "data"), "PLANTED=room:secret/planted")
		return cmd
	}
	set := roomenv("secret", "set", "planted", "--from-file", "-")
	set.Stdin = strings.NewReader(value)
	if out, err := set.CombinedOutput(); err != nil {
		t.Fatalf("%v, %s", err, out)
	}

	cmd := roomenv("exec", "--", "sh", "-c", `echo "$PLANTED"; read line`)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != value+"\n" {
		t.Fatalf("the command has %q, %v", line, err)
	}

	found, err := searchMemory(cmd.Process.Pid, value)
	if errors.Is(err, fs.ErrPermission) {
		t.Skipf("root may not read memory here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := found["[stack]"]; n != 0 {
		t.Errorf("%d copies among the arguments and the environment", n)
	}
	t.Logf("copies of the value, by mapping: %v", found)
	// The search finds what is there.
	found, err = searchMemory(cmd.Process.Pid, "PLANTED=room:secret/planted")
	if err != nil || found["[stack]"] == 0 {
		t.Errorf("the environment is not where it was looked for: %v, %v", found, err)
	}
}

// searchMemory counts text in the writable memory of a process, by the names of
// its mappings; most of Go's heap has none.
func searchMemory(pid int, text string) (map[string]int, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, err
	}
	defer func() { _ = mem.Close() }()
	found := map[string]int{}
	for mapping := range strings.Lines(string(maps)) {
		field := strings.Fields(mapping)
		if !strings.HasPrefix(field[1], "rw") {
			continue
		}
		var from, to int64
		if _, err := fmt.Sscanf(field[0], "%x-%x", &from, &to); err != nil {
			return nil, err
		}
		const shadow = 1 << 30 // the race detector's mappings are terabytes
		if to-from > shadow {
			continue
		}
		b := make([]byte, to-from)
		if _, err := mem.ReadAt(b, from); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", strings.TrimSpace(mapping), err)
		}
		name := strings.Join(field[5:], " ")
		if c := bytes.Count(b, []byte(text)); c > 0 {
			found[name] += c
		}
	}
	return found, nil
}
