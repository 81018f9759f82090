package status_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/roomenv/roomenv/internal/status"
)

// Where no directory in memory can be used there is a socket all the same, which is found.
func TestNoDirectory(t *testing.T) {
	if os.Getenv("NO_DIRECTORY") == "" {
		// In a mount namespace of its own, where /dev/shm and /run are on a disk.
		cmd := exec.Command("unshare", "-rm", "sh", "-c",
			`mount --bind "$DISK" /dev/shm && mount --bind "$DISK" /run && exec "$0" -test.run ^TestNoDirectory$`, os.Args[0])
		cmd.Env = append(os.Environ(), "NO_DIRECTORY=1", "DISK="+t.TempDir(), "XDG_RUNTIME_DIR=")
		out, err := cmd.CombinedOutput()
		if err != nil && exec.Command("unshare", "-rm", "true").Run() != nil {
			t.Skip("takes unshare -rm")
		}
		if err != nil || !strings.Contains(string(out), "PASS") {
			t.Errorf("%s, %v", out, err)
		}
		return
	}
	s, err := status.Serve(report, func() {}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mine := func(p status.Process) bool { return p.PID == os.Getpid() }
	all := status.Find(t.Context())
	i := slices.IndexFunc(all, mine)
	if i < 0 || !strings.HasPrefix(all[i].Path(), "@roomenv-status-") {
		t.Fatalf("found %v", all)
	}
	if got, err := all[i].Status(t.Context()); got.PID != os.Getpid() || err != nil {
		t.Errorf("got %+v, error %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if all := status.Find(t.Context()); slices.ContainsFunc(all, mine) {
		t.Errorf("found %v after the end", all)
	}
}

// Root is shown the processes of all users.
func TestRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("takes root to be another user")
	}
	cmd := exec.Command("/proc/self/exe", "serve")
	cmd.Path = "/proc/self/exe" // whatever the directory of the test binary lets others do
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65533, Gid: 65533}}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, _ = cmd.Process.Kill(), cmd.Wait()
		_ = os.RemoveAll("/dev/shm/roomenv-65533")
	}()
	if _, err := out.Read(make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	all := status.Find(t.Context())
	i := slices.IndexFunc(all, func(p status.Process) bool { return p.PID == cmd.Process.Pid })
	if i < 0 {
		t.Fatalf("found %v", all)
	}
	if got, err := all[i].Status(t.Context()); got.PID != cmd.Process.Pid || err != nil {
		t.Errorf("got %+v, error %v", got, err)
	}
}
