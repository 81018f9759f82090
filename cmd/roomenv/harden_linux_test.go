package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestHardened has a process of the same user look at roomenv. Root sees
// everything, so root uses the UID 65534.
func TestHardened(t *testing.T) {
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
	const look = `cat /proc/$PPID/environ && echo readable; cat /proc/$PPID/mem && echo readable
		ls /proc/$PPID/fd && echo readable; cat /proc/$$/environ >/dev/null && echo the command is as ever`
	cmd := exec.Command(roomenv, "exec", "--", "sh", "-c", look)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "ROOMENV_DATA="+filepath.Join(dir, "data"), "MESHAGENT_SECRET=hunter2")
	if os.Getuid() == 0 {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
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
