package tmpfs_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/render"
)

func TestMemfds(t *testing.T) {
	a, b := file("a", 0o400, "A"), file("b", 0o440, "B")
	// Above those that a test itself has inherited.
	a.Descriptor, b.Descriptor = 50, 52
	files, err := tmpfs.Memfds([]render.File{a, file("c", 0o400, "in a folder"), b}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tmpfs.CloseAll(files)
	if len(files) != 50 || files[48] != nil || files[47] == nil || files[49] == nil {
		t.Fatalf("got %d files", len(files))
	}
	for i, want := range map[int]string{47: "A", 49: "B"} {
		for _, args := range [][]string{nil, {"/dev/stdin"}} { // the descriptor itself, and opened again
			cmd := exec.Command("cat", args...)
			cmd.Stdin = files[i]
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
				t.Errorf("cat %q: got %q, %v", args, out, err)
			}
		}
		if _, err := files[i].WriteAt([]byte("x"), 0); !errors.Is(err, syscall.EPERM) {
			t.Errorf("it can be written: %v", err)
		}
		if err := files[i].Truncate(0); !errors.Is(err, syscall.EPERM) {
			t.Errorf("it can be cut: %v", err)
		}
	}
	if info, err := files[49].Stat(); err != nil || info.Mode().Perm() != 0o440 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
}

func TestMemfdsOwner(t *testing.T) {
	needRoot(t)
	a := file("a", 0o400, "A")
	a.Descriptor = 50
	files, err := tmpfs.Memfds([]render.File{a}, &syscall.Credential{Uid: 4322, Gid: 4323})
	if err != nil {
		t.Fatal(err)
	}
	defer tmpfs.CloseAll(files)
	cmd := exec.Command("cat", "/dev/fd/3")
	cmd.ExtraFiles = []*os.File{files[47]}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4322, Gid: 4323}}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "A" {
		t.Errorf("got %q, %v", out, err)
	}
}

// A descriptor that the command inherits is not taken from it.
func TestMemfdsInherited(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	inherited, err := syscall.Dup(int(r.Fd())) // not closed on exec
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(inherited)
	a, b := file("a", 0o400, "A"), file("b", 0o400, "B")
	a.Descriptor, b.Descriptor = inherited, 50
	open := descriptors(t)
	files, err := tmpfs.Memfds([]render.File{b, a}, nil)
	want := fmt.Sprintf("pass a as descriptor %[1]d: the command inherits that descriptor\nhint: remove memfd, or start roomenv without that descriptor", inherited)
	if err == nil || err.Error() != want || files != nil {
		t.Errorf("got %v, %v", files, err)
	}
	if left := descriptors(t); left != open {
		t.Errorf("%d descriptors were open, %d are", open, left)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
