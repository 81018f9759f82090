package procstat_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/roomenv/roomenv/internal/procstat"
)

// The name of a program may look like what follows it.
func TestRead(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	name := filepath.Join(t.TempDir(), "a) Z 1 (b")
	if err := os.Symlink(sleep, name); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	pid := cmd.Process.Pid
	own, _ := procstat.Read(os.Getpid())
	if s, ok := procstat.Read(pid); !ok || s.State == 'Z' || s.Parent != os.Getpid() || s.Group != own.Group {
		t.Errorf("%+v, %v; this process is %+v", s, ok, own)
	}
	if !slices.Contains(procstat.Processes(), pid) {
		t.Error("not among the processes")
	}
}

func TestReadNothing(t *testing.T) {
	if s, ok := procstat.Read(1 << 30); ok {
		t.Errorf("%+v", s)
	}
}
