//go:build linux

package tmpfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/render"
)

func openShared(t *testing.T, path string, share tmpfs.Share) *tmpfs.Dir {
	t.Helper()
	d, err := tmpfs.OpenShared(path, share)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func wantList(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := list(t, dir); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What a process leaves is there for readers and for the next process, which removes
// what is of no use and goes on.
func TestShared(t *testing.T) {
	dir := filepath.Join(memory(t), "files")
	d := openShared(t, dir, tmpfs.Share{})
	for n := 1; n <= 3; n++ {
		if err := d.Write(n, pair(n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tmpfs.OpenShared(dir, tmpfs.Share{}); !errors.Is(err, tmpfs.ErrInUse) {
		t.Errorf("error %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"partial-AAAA/a", "revision-1/a", "revision-9/a"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700), os.WriteFile(filepath.Join(dir, name), nil, 0o400)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("revision-9", filepath.Join(dir, "next")), os.WriteFile(filepath.Join(dir, "status.sock"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	d = openShared(t, dir, tmpfs.Share{})
	wantList(t, dir, "drwx------ .", "Lrwxrwxrwx current",
		"drwx------ revision-2", "-r-------- revision-2/a", "drwx------ revision-2/sub", "-r-------- revision-2/sub/b",
		"drwx------ revision-3", "-r-------- revision-3/a", "drwx------ revision-3/sub", "-r-------- revision-3/sub/b")
	if n := d.Revision(); n != 3 || !d.Has("sub/b") || d.Has("sub") || d.Has("c") {
		t.Errorf("revision %d", n)
	}
	if err := d.Write(4, pair(4)); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}

	// A link that leads nowhere is nothing to start from.
	if err := os.RemoveAll(filepath.Join(dir, "revision-4")); err != nil {
		t.Fatal(err)
	}
	d = openShared(t, dir, tmpfs.Share{Remove: true})
	wantList(t, dir, "drwx------ .")
	if n := d.Revision(); n != 0 {
		t.Errorf("revision %d", n)
	}
	if err := errors.Join(d.Write(1, pair(1)), d.Close()); err != nil {
		t.Error(err)
	}
	wantList(t, dir, "drwx------ .")
}

// Files that are the same are found to be, and those that differ in any way are named.
func TestDiff(t *testing.T) {
	dir := filepath.Join(memory(t), "files")
	group := 4321
	needRoot(t)
	share := tmpfs.Share{Group: &group}
	files := []render.File{file("a", 0o400, "1"), file("sub/b", 0o640, "2"), {Path: "memfd", Descriptor: 3}}
	d := openShared(t, dir, share)
	if err := d.Write(1, files); err != nil {
		t.Fatal(err)
	}
	wantList(t, dir, "drwxr-x--- .", "Lrwxrwxrwx current",
		"drwxr-x--- revision-1", "-r--r----- revision-1/a", "drwxr-x--- revision-1/sub", "-rw-r----- revision-1/sub/b")
	check := func(files []render.File, want ...string) {
		t.Helper()
		if got := d.Diff(files); !slices.Equal(got, want) {
			t.Errorf("%q differ, want %q", got, want)
		}
	}
	check(files)
	check([]render.File{file("a", 0o400, "2"), files[1]}, "a")
	check([]render.File{file("a", 0o400, ""), files[1]}, "a")
	check([]render.File{file("a", 0o600, "1"), files[1]}, "a")
	check([]render.File{files[1], file("c", 0o400, "")}, "a", "c")
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	group = 4322
	d = openShared(t, dir, share)
	check(files, "a", "sub/b")
	if err := d.Write(2, files); err != nil {
		t.Error(err)
	}
	check(files)
	if err := os.Chmod(filepath.Join(dir, "revision-2", "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	check(files, "sub/b")
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	d = openShared(t, dir, tmpfs.Share{})
	check(files, "a", "sub/b")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// Members of the group read the files, and can neither write nor replace them. Others
// read nothing. It takes no capability, but a group that one is in.
func TestGroup(t *testing.T) {
	needRoot(t)
	base := memory(t)
	if err := os.Chmod(base, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "files")
	run := func(uid, gid uint32, groups []uint32, args ...string) (string, error) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	self := filepath.Join(base, "self") // the test binary may be where only root gets
	if out, err := exec.Command("cp", os.Args[0], self).CombinedOutput(); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	out, err := run(65532, 65532, nil, self, "sharer", dir, "2000")
	if err == nil || !strings.Contains(out, "a: give group 2000 access: operation not permitted\nhint: add that group") &&
		!strings.Contains(out, "files: give group 2000 access: operation not permitted\nhint: add that group") {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := run(65532, 65532, []uint32{2000}, self, "sharer", dir, "2000"); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	read := `cat "$0/current/a" "$0/current/sub/b"`
	if out, err := run(1000, 1000, []uint32{2000}, "sh", "-c", read, dir); out != "11" || err != nil {
		t.Errorf("a member reads %q, %v", out, err)
	}
	if out, err := run(1000, 1000, nil, "sh", "-c", read, dir); err == nil {
		t.Errorf("another user reads %q", out)
	}
	for _, attempt := range []string{
		`echo 2 >"$0/current/a"`, `rm -f "$0/current/a"`, `rm "$0/current"`, `touch "$0/new"`, `touch "$0/current/sub/new"`, `mv "$0/current" "$0/other"`,
	} {
		if out, err := run(1000, 1000, []uint32{2000}, "sh", "-c", attempt, dir); err == nil {
			t.Errorf("%s: %s", attempt, out)
		}
	}
	// The group of a volume with the setgid bit takes no membership.
	if err := errors.Join(os.Chown(base, 0, 3000), os.Chmod(base, 0o777|fs.ModeSticky|fs.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(base, "setgid")
	if out, err := run(65532, 65532, []uint32{3000}, self, "sharer", dir, "3000"); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	if out, err := run(1000, 3000, nil, "sh", "-c", read, dir); out != "11" || err != nil {
		t.Errorf("a member reads %q, %v", out, err)
	}
}

// A reader cannot take the lock: not of the directory, which it may open, nor of the file
// that has it, which nobody else may open.
func TestReaderLocks(t *testing.T) {
	dir := filepath.Join(memory(t), "files")
	group := os.Getegid()
	d := openShared(t, dir, tmpfs.Share{Group: &group}) // as an earlier version would leave it:
	if err := errors.Join(d.Write(1, pair(1)), d.Close(), os.RemoveAll(filepath.Join(dir, ".lock"))); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(dir)
	if err == nil {
		defer reader.Close()
		err = unix.Flock(int(reader.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err = tmpfs.OpenShared(dir, tmpfs.Share{Group: &group, Remove: true})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(filepath.Join(dir, ".lock")); err != nil || info.Mode() != 0o600 || d.Revision() != 1 {
		t.Errorf("revision %d, %v, %v", d.Revision(), info, err)
	}
	if _, err := tmpfs.OpenShared(dir, tmpfs.Share{Group: &group}); !errors.Is(err, tmpfs.ErrInUse) {
		t.Errorf("error %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("%v is left, %v", left, err)
	}

	// What is no lock of ours is none.
	for name, make := range map[string]func(path string) error{
		"link":      func(path string) error { return os.Symlink("target", path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		lock := filepath.Join(dir, ".lock")
		if err := make(lock); err != nil {
			t.Fatal(err)
		}
		if _, err := tmpfs.OpenShared(dir, tmpfs.Share{}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := errors.Join(os.RemoveAll(lock), os.RemoveAll(filepath.Join(dir, "target"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, ".lock"), nil, 0o644), os.Chmod(filepath.Join(dir, ".lock"), 0o644)); err != nil {
		t.Fatal(err)
	}
	d = openShared(t, dir, tmpfs.Share{})
	if info, err := os.Lstat(filepath.Join(dir, ".lock")); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// A directory that others may write to is not used, since what is in it may be theirs.
func TestShareRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o770, 0o755, 0o702, 0o704} {
		dir := filepath.Join(memory(t), "files")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := tmpfs.OpenShared(dir, tmpfs.Share{}); err == nil || !strings.Contains(err.Error(), "allows access by other users") {
			t.Errorf("%v: error %v", mode, err)
		}
	}
}

// What is withdrawn is in no revision, and all else stays.
func TestWithdraw(t *testing.T) {
	dir := filepath.Join(memory(t), "files")
	d := open(t, dir)
	if err := errors.Join(d.Write(1, pair(1)), d.Write(2, pair(2)), d.Withdraw([]string{"a", "gone"})); err != nil {
		t.Fatal(err)
	}
	wantList(t, dir, "drwx------ .", "Lrwxrwxrwx current",
		"drwx------ revision-1", "drwx------ revision-1/sub", "-r-------- revision-1/sub/b",
		"drwx------ revision-2", "drwx------ revision-2/sub", "-r-------- revision-2/sub/b")
	if err := (*tmpfs.Dir)(nil).Withdraw([]string{"a"}); err != nil {
		t.Error(err)
	}
	if err := errors.Join(d.Write(3, pair(3)), os.Remove(filepath.Join(dir, "current", "sub", "b")),
		os.MkdirAll(filepath.Join(dir, "current", "sub", "b", "c"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := d.Withdraw([]string{"sub/b", "a"}); err == nil || !strings.Contains(err.Error(), "remove sub/b: ") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "current", "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that cannot be removed has another one stay: %v", err)
	}
}

// A reader that opens the directory, and its files by that, never sees a gap nor a mixture
// while processes come, write and go.
func TestHandOver(t *testing.T) {
	dir := filepath.Join(memory(t), "files")
	d := openShared(t, dir, tmpfs.Share{})
	if err := errors.Join(d.Write(1, pair(1)), d.Close()); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var reading sync.WaitGroup
	for range 2 {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				root, err := os.OpenRoot(filepath.Join(dir, "current"))
				if errors.Is(err, fs.ErrNotExist) {
					continue // two came between the link and its target
				}
				if err != nil {
					t.Error(err)
					return
				}
				a, aErr := root.ReadFile("a")
				b, bErr := root.ReadFile("sub/b")
				root.Close()
				gone := errors.Is(aErr, fs.ErrNotExist) || errors.Is(bErr, fs.ErrNotExist) // two came meanwhile
				if !gone && (aErr != nil || bErr != nil || string(a) != string(b)) {
					t.Errorf("a is %q, %v; b is %q, %v", a, aErr, b, bErr)
					return
				}
			}
		})
	}
	for n := 2; n < 500; n++ {
		d := openShared(t, dir, tmpfs.Share{})
		if got := d.Diff(pair(n - 1)); d.Revision() != n-1 || got != nil {
			t.Errorf("revision %d, %q differ", d.Revision(), got)
		}
		if err := errors.Join(d.Write(n, pair(n)), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	reading.Wait()
	if got := fmt.Sprint(list(t, dir)[1]); got != "Lrwxrwxrwx current" {
		t.Error(got)
	}
}
