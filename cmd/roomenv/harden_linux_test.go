package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// otherUser returns a command that runs roomenv as a user whose processes the kernel
// holds apart: root sees everything, so root uses the UID 65534. It returns the
// credential too, nil for the user of the test.
func otherUser(t *testing.T, args ...string) (*exec.Cmd, *syscall.Credential) {
	dir, err := os.MkdirTemp("", "roomenv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	roomenv := filepath.Join(dir, "roomenv")
	if err := os.WriteFile(roomenv, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(roomenv, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "ROOMENV_DATA="+filepath.Join(dir, "data"), "MESHAGENT_SECRET=hunter2")
	if os.Getuid() != 0 {
		return cmd, nil
	}
	user := &syscall.Credential{Uid: 65534, Gid: 65534}
	if err := os.Chown(dir, int(user.Uid), int(user.Gid)); err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	return cmd, user
}

// TestHardened has a process of the same user look at roomenv.
func TestHardened(t *testing.T) {
	const look = `cat /proc/$PPID/environ && echo readable; cat /proc/$PPID/mem && echo readable
		ls /proc/$PPID/fd && echo readable; cat /proc/$$/environ >/dev/null && echo the command is as ever`
	cmd, _ := otherUser(t, "exec", "--", "sh", "-c", look)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "readable") || strings.Contains(string(out), "hunter2") ||
		!strings.Contains(string(out), "the command is as ever") {
		t.Errorf("got %v, %s", err, out)
	}
	for _, name := range []string{"environ", "mem", "fd"} {
		if !regexp.MustCompile(`/proc/\d+/` + name + `'?: [Pp]ermission denied`).Match(out) {
			t.Errorf("%s: no denial in %s", name, out)
		}
	}
}

// TestHardenedFirst looks at roomenv while it does no more than print its help, which it
// does without its arguments being complete: it is stopped by a pipe that is full.
func TestHardenedFirst(t *testing.T) {
	cmd, user := otherUser(t, "--help")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd := int(w.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = unix.Write(fd, make([]byte, 4096))
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()

	var out []byte
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		look := exec.Command("cat", "/proc/"+strconv.Itoa(cmd.Process.Pid)+"/environ")
		look.SysProcAttr = &syscall.SysProcAttr{Credential: user}
		if out, err = look.CombinedOutput(); strings.Contains(string(out), "denied") {
			return
		}
	}
	t.Errorf("its environment stays readable: %v, %d bytes", err, len(out))
}

// TestUnreadable stops roomenv before its first instruction. A user that cannot read the
// binary cannot read the environment either.
func TestUnreadable(t *testing.T) {
	for mode, readable := range map[os.FileMode]bool{0o755: true, 0o711: false} {
		cmd, user := otherUser(t, "version")
		if user == nil {
			t.Skip("only root can run a program that its user cannot read")
		}
		if err := os.Chmod(cmd.Path, mode); err != nil {
			t.Fatal(err)
		}
		runtime.LockOSThread() // it traces
		cmd.SysProcAttr.Ptrace = true
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := syscall.Wait4(cmd.Process.Pid, nil, 0, nil); err != nil {
			t.Fatal(err)
		}
		look := exec.Command("cat", "/proc/"+strconv.Itoa(cmd.Process.Pid)+"/environ")
		look.SysProcAttr = &syscall.SysProcAttr{Credential: user}
		out, _ := look.Output()
		if strings.Contains(string(out), "hunter2") != readable {
			t.Errorf("mode %o: its environment is readable: %t, want %t", mode, !readable, readable)
		}
		_, _ = cmd.Process.Kill(), cmd.Wait()
		runtime.UnlockOSThread()
	}
}
