package sidecar_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/sidecar"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/runner"
)

// Who may not read the files is no process that is meant, whatever its name. A program
// with the set-user-ID bit is that of the user who runs it.
func TestStrangers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has processes of other users")
	}
	dir, err := os.MkdirTemp("", "roomenv-test-") // other users get to no directory of the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	name := "t" + strconv.Itoa(os.Getpid())
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(sleep)
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "set"), 0o755))
	}
	for _, path := range []string{name, "set/" + name} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, path), content, 0o755), os.Chmod(filepath.Join(dir, path), 0o755))
	}
	if err = errors.Join(err, os.Chmod(filepath.Join(dir, "set", name), 0o755|os.ModeSetuid|os.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	const group, other = 4321, 4322
	meant := map[string]struct {
		program             string
		credential          syscall.Credential
		meant, meantByGroup bool
	}{
		"own":          {name, syscall.Credential{Uid: 0, Gid: other}, true, true},
		"group":        {name, syscall.Credential{Uid: other, Gid: group}, false, true},
		"supplemental": {name, syscall.Credential{Uid: other, Gid: other, Groups: []uint32{5, group}}, false, true},
		"stranger":     {name, syscall.Credential{Uid: other, Gid: other, Groups: []uint32{5}}, false, false},
		"set-user-ID":  {"set/" + name, syscall.Credential{Uid: other, Gid: other}, false, false},
	}
	selector, err := sidecar.ParseSelector("name=" + name)
	if err != nil {
		t.Fatal(err)
	}
	gid := group
	for _, g := range []*int{nil, &gid} {
		running := make(map[string]*exec.Cmd)
		for who, p := range meant {
			cmd := &exec.Cmd{Path: filepath.Join(dir, p.program), Args: []string{"sleep", "60"}}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &p.credential}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			running[who] = cmd
		}
		c := sidecar.Consumer{Group: g, Notify: []sidecar.Notification{{Selector: selector, Signal: unix.SIGTERM}}, OnError: func(err error) { t.Error(err) }}
		ctx := c.Start(t.Context())
		if err := c.Apply(ctx, &runner.Revision{Result: new(render.Result)}, runner.Change{Changes: render.Changes{Files: []string{"key"}}}); err != nil {
			t.Error(err)
		}
		_, _ = c.Stop(nil)
		for who, cmd := range running {
			_ = cmd.Process.Kill() // no effect on one that a signal has ended
			_ = cmd.Wait()
			got := cmd.ProcessState.Sys().(syscall.WaitStatus).Signal()
			want := unix.SIGKILL
			if meant[who].meant || g != nil && meant[who].meantByGroup {
				want = unix.SIGTERM
			}
			if got != want {
				t.Errorf("%s, with group %v: ended by %v, want %v", who, g != nil, got, want)
			}
		}
	}
}
