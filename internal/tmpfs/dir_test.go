//go:build linux

package tmpfs_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/render"
)

// memory returns a new directory on a tmpfs.
func memory(t *testing.T) string {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &s); err != nil || s.Type != unix.TMPFS_MAGIC {
		t.Skipf("/dev/shm is not a tmpfs here (%#x, %v)", s.Type, err)
	}
	dir, err := os.MkdirTemp("/dev/shm", "roomenv-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// open opens a Dir for the time of the test.
func open(t *testing.T, path string) *tmpfs.Dir {
	t.Helper()
	d, err := tmpfs.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root has another user's processes and directories")
	}
}

// list returns all below dir but its lock, with modes.
func list(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if name == ".lock" {
			return nil
		}
		all = append(all, fmt.Sprintf("%s %s", info.Mode(), name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWrite(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0)) // nothing depends on it
	dir := filepath.Join(memory(t), "files")
	d := open(t, dir)
	for n := 1; n <= 4; n++ {
		if err := d.Write(n, pair(n)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "sub/b"} {
			b, err := os.ReadFile(filepath.Join(d.Current(), name))
			if err != nil || string(b) != strconv.Itoa(n) {
				t.Errorf("revision %d: %s is %q, %v", n, name, b, err)
			}
		}
	}
	want := []string{
		"drwx------ .", "Lrwxrwxrwx current",
		"drwx------ revision-3", "-r--r--r-- revision-3/a", "drwx------ revision-3/sub", "-r-------- revision-3/sub/b",
		"drwx------ revision-4", "-r--r--r-- revision-4/a", "drwx------ revision-4/sub", "-r-------- revision-4/sub/b",
	}
	if got := list(t, dir); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := d.Write(5, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.Current(), "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file is there that the revision has not: %v", err)
	}
}

// TestModes looks at files while they are written: at no time has one a mode that its
// user did not ask for.
func TestModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := filepath.Join(memory(t), "files")
	d := open(t, dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	stop := make(chan struct{})
	var looking sync.WaitGroup
	seen := 0
	looking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			entries, _ := fs.ReadDir(root.FS(), ".")
			for _, e := range entries {
				if !strings.HasPrefix(e.Name(), "partial-") {
					continue
				}
				for range 10 {
					if info, err := root.Lstat(e.Name() + "/a"); err == nil {
						seen++
						if info.Mode() != 0 && info.Mode() != 0o400 {
							t.Errorf("a file has mode %v", info.Mode())
							return
						}
					}
				}
			}
		}
	})
	for n := range 3000 {
		if err := d.Write(n+1, []render.File{file("a", 0o400, "1")}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	looking.Wait()
	t.Logf("seen %d times", seen)
}

// A roll-back leads to the directory that the previous revision has, and writes
// nothing; an older revision is written again.
func TestRollback(t *testing.T) {
	d := open(t, filepath.Join(memory(t), "files"))
	inode := func() os.FileInfo {
		t.Helper()
		info, err := os.Stat(d.Current())
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	current := func(want string) {
		t.Helper()
		a, b, err := readFolder(d.Current())
		if a != want || b != want || err != nil {
			t.Errorf("got %q and %q, %v, want %q", a, b, err, want)
		}
	}
	all := func(want ...string) {
		t.Helper()
		entries, err := os.ReadDir(filepath.Dir(d.Current()))
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if err != nil || !slices.Equal(names, append([]string{".lock", "current"}, want...)) {
			t.Errorf("there are %q, %v, want %q", names, err, want)
		}
	}
	write := func(n int) {
		t.Helper()
		if err := d.Write(n, pair(n)); err != nil {
			t.Fatal(err)
		}
		current(strconv.Itoa(n))
	}
	write(1)
	write(2)
	second := inode()
	write(3)
	all("revision-2", "revision-3")
	for range 2 { // the second time changes nothing
		write(2)
		if !os.SameFile(inode(), second) {
			t.Error("a roll-back made another directory")
		}
		all("revision-2", "revision-3")
	}
	write(4)
	all("revision-2", "revision-4")
	write(1)
	all("revision-1", "revision-4")
}

// Write fails as a whole, for whatever reason.
func TestWriteAllOrNone(t *testing.T) {
	dir := filepath.Join(memory(t), "files")
	d := open(t, dir)
	if err := d.Write(1, pair(1)); err != nil {
		t.Fatal(err)
	}
	before := list(t, dir)
	for _, path := range []string{"../out", "/etc/out", "a", "a/b", strings.Repeat("x", 300)} {
		err := d.Write(2, append(pair(2), file(path, 0o400, "CANARY")))
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v", path, err)
		}
		if got := list(t, dir); !slices.Equal(got, before) {
			t.Errorf("%s: left\n%s", path, strings.Join(got, "\n"))
		}
	}
	if err := d.Write(2, pair(2)); err != nil {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	dir := filepath.Join(memory(t), "files")
	for range 2 {
		d, err := tmpfs.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Write(1, pair(1)), d.Close()); err != nil {
			t.Fatal(err)
		}
		if got := list(t, dir); len(got) != 1 {
			t.Errorf("Close leaves %q", got)
		}
	}
}

// The link goes first, so that nothing leads to a part of a revision.
func TestCloseRemovesTheLinkFirst(t *testing.T) {
	dir := filepath.Join(memory(t), "files")
	d, err := tmpfs.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(1, pair(1)); err != nil {
		t.Fatal(err)
	}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	if err := errors.Join(events.Add(filepath.Join(dir, "revision-1")), events.Add(dir), d.Close()); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-events.Events:
		if e.Name != filepath.Join(dir, "current") || !e.Has(fsnotify.Remove) {
			t.Errorf("the first event is %v", e)
		}
	case <-time.After(10 * time.Second):
		t.Error("no event")
	}
}

// TestSwappedWhileOpened has another process swap the directory for a link, again and
// again: what is opened is never where the link leads.
func TestSwappedWhileOpened(t *testing.T) {
	base := memory(t)
	path, link, target := filepath.Join(base, "files"), filepath.Join(base, "link"), filepath.Join(base, "target")
	if err := errors.Join(os.Mkdir(path, 0o700), os.Mkdir(target, 0o700), os.Symlink("target", link)); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	opened := 0
	for range 10_000 {
		d, err := tmpfs.Open(path, nil)
		if err != nil {
			continue
		}
		opened++
		err = d.Write(1, pair(1))
		if _, found := os.Lstat(filepath.Join(target, "current")); found == nil || err != nil {
			t.Errorf("a link was followed (%v)", err)
			_ = d.Close()
			break
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	swapping.Wait()
	t.Logf("opened %d times", opened)
}

func TestRefused(t *testing.T) {
	base := memory(t)
	in := func(name string) string { return filepath.Join(base, name) }
	open(t, in("open"))
	for _, dir := range []string{"real", "full", "linked", "loose", "loose/dir", "sticky"} {
		if err := os.Mkdir(in(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.Mkdir(in("group"), 0o750),
		os.Symlink("real", in("link")),
		os.Symlink("nowhere", in("dangling")),
		os.WriteFile(in("file"), nil, 0o600),
		os.WriteFile(in("full/mine"), nil, 0o600),
		os.Mkdir(in("foreign"), 0o700),
		os.Chmod(in("loose"), 0o777),
		os.Chmod(in("sticky"), 0o777|fs.ModeSticky),
	); err != nil {
		t.Fatal(err)
	}
	disk := t.TempDir()
	var s unix.Statfs_t
	if err := unix.Statfs(disk, &s); err != nil || s.Type == unix.TMPFS_MAGIC {
		t.Logf("%s is not on a disk here (%v)", disk, err)
		disk = "/proc"
	}
	tests := map[string]string{
		in("open"):                 "directory is in use by another roomenv process\nhint: ",
		in("group"):                "mode 0750 allows access by other users, want 0700\nhint: run `chmod 700`",
		in("link"):                 "path is a symbolic link\nhint: ",
		in("dangling"):             "path is a symbolic link\nhint: ",
		in("file"):                 "not a directory",
		in("full"):                 "directory contains \"mine\"\nhint: ",
		in("none/none"):            "no such file or directory: " + in("none") + "\nhint: ",
		in("loose/dir"):            in("loose") + " is writable by other users, with mode 0777: not protected from other users\nhint: ",
		in("loose/new"):            in("loose") + " is writable by other users, ",
		filepath.Join(disk, "new"): "directory is not on a tmpfs or ramfs",
	}
	open(t, in("sticky/new"))
	if os.Geteuid() == 0 {
		if err := os.Chown(in("foreign"), 4321, 4321); err != nil {
			t.Fatal(err)
		}
		tests[in("foreign")] = "directory belongs to user 4321, and roomenv runs as user 0\nhint: "
		tests[in("foreign/new")] = in("foreign") + " belongs to user 4321: not protected from other users\nhint: "
	} else {
		t.Log("only root can make a directory that belongs to another user")
	}
	for path, want := range tests {
		d, err := tmpfs.Open(path, nil)
		if err == nil {
			_ = d.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "store files in "+path+": "+want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	if _, err := tmpfs.Open(in("open"), nil); !errors.Is(err, tmpfs.ErrInUse) {
		t.Errorf("%v is not ErrInUse", err)
	}
	if _, err := os.Lstat(filepath.Join(disk, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory was made on the disk: %v", err)
	}
}

// Without a path each process has a directory of its own.
func TestOpenRun(t *testing.T) {
	dir := memory(t)
	t.Setenv("XDG_RUNTIME_DIR", dir)
	a, b := open(t, ""), open(t, "")
	for _, d := range []*tmpfs.Dir{a, b} {
		if err := d.Write(1, pair(1)); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(d.Current(), dir+"/roomenv/run-") {
			t.Errorf("got %s", d.Current())
		}
	}
	if a.Current() == b.Current() {
		t.Error("two have the same directory")
	}
	// One that is not in memory is passed over.
	t.Setenv("XDG_RUNTIME_DIR", "/proc")
	if c := open(t, ""); strings.HasPrefix(c.Current(), "/proc") {
		t.Errorf("got %s", c.Current())
	}
}

// The mount point of a volume that processes of several users share may be open to all
// of them. It may not be open below that.
func TestOpenInMount(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "mounted", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if exit, ran := errors.AsType[*exec.ExitError](err); ran && exit.ExitCode() == 2 {
		t.Skipf("no mount namespace here: %s", out)
	}
	if want := dir + "/loose is writable by other users, with mode 0777"; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("got %v %s, want %s", err, out, want)
	}
}

// Another user can take the name of the directory in /dev/shm.
func TestOpenRunTaken(t *testing.T) {
	needRoot(t)
	cmd := exec.Command(os.Args[0], "taken", memory(t))
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if exit, ran := errors.AsType[*exec.ExitError](err); ran && exit.ExitCode() == 2 {
		t.Skipf("no mount namespace here: %s", out)
	}
	if err != nil || len(out) != 0 {
		t.Errorf("got %v %s", err, out)
	}
}

// Many that start at once neither sweep each other nor fail.
func TestOpenRunTogether(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", memory(t))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				d, err := tmpfs.Open("", nil)
				if err != nil {
					t.Error(err)
					return
				}
				err = d.Write(7, pair(7))
				if err == nil {
					_, err = os.ReadFile(filepath.Join(d.Current(), "a"))
				}
				if err = errors.Join(err, d.Close()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// startWriter runs a process that writes, and returns the directory it is in.
func startWriter(t *testing.T, path string) (cmd *exec.Cmd, out *bufio.Reader, dir string) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "writer", path)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	out = bufio.NewReader(stdout)
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, out, strings.TrimSpace(line)
}

// TestKilled kills writers with SIGKILL at random moments. What they leave is
// closed to others, and the next one to start removes it, but nothing of those
// that are alive.
func TestKilled(t *testing.T) {
	base := memory(t)
	t.Setenv("XDG_RUNTIME_DIR", base)
	alive := open(t, "")
	if err := alive.Write(1, pair(1)); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	named := filepath.Join(base, "named")
	for range *kills {
		for _, path := range []string{"-", named} {
			cmd, out, dir := startWriter(t, path)
			if _, err := io.CopyN(io.Discard, out, random.Int64N(200)); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			for _, line := range list(t, dir) {
				mode, name, _ := strings.Cut(line, " ")
				switch filepath.Base(name) {
				case "a":
					if mode != "-r--r--r--" && mode != "----------" {
						t.Error(line)
					}
				case "b":
					if mode != "-r--------" && mode != "----------" {
						t.Error(line)
					}
				case "current", "next":
				default:
					if mode != "drwx------" {
						t.Error(line)
					}
				}
			}
			if os.Geteuid() == 0 {
				asAnother(t, dir)
			}
			d, err := tmpfs.Open(strings.TrimPrefix(path, "-"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "current")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what was left in %s is still there: %v", dir, err)
			}
			if err := errors.Join(d.Write(2, pair(2)), d.Close()); err != nil {
				t.Error(err)
			}
		}
	}
	if b, err := os.ReadFile(filepath.Join(alive.Current(), "a")); err != nil || string(b) != "1" {
		t.Errorf("one that is alive lost its files: %q, %v", b, err)
	}
}

// asAnother looks into dir as another user.
func asAnother(t *testing.T, dir string) {
	t.Helper()
	// The binary of the test is in a directory that this user cannot enter.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := exec.Command("/proc/self/fd/3", "reader", dir)
	cmd.ExtraFiles = []*os.File{self}
	cmd.Env = []string{"GORACE=atexit_sleep_ms=0"} // else each waits for a second
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4321, Gid: 4321}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("another user, in %s: %v %s", dir, err, out)
	}
}

func TestAnotherUser(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(memory(t), "files")
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir)
	if err := d.Write(1, pair(1)); err != nil {
		t.Fatal(err)
	}
	asAnother(t, dir)
}

// The files may belong to the user that the child runs as, and to nobody else.
func TestOwner(t *testing.T) {
	needRoot(t)
	base := memory(t)
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", base)
	for _, path := range []string{"", filepath.Join(base, "files")} {
		d, err := tmpfs.Open(path, &syscall.Credential{Uid: 4322, Gid: 4323})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Write(1, []render.File{file("a/b/c", 0o400, "1"), file("d", 0o440, "2")}); err != nil {
			t.Fatal(err)
		}
		cat := exec.Command("cat", filepath.Join(d.Current(), "a/b/c"), filepath.Join(d.Current(), "d"))
		cat.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4322, Gid: 4323}}
		if out, err := cat.Output(); err != nil || string(out) != "12" {
			t.Errorf("the owner reads %q, %v", out, err)
		}
		asAnother(t, filepath.Dir(d.Current()))
		for _, name := range []string{"", "a", "a/b", "a/b/c", "d"} {
			info, err := os.Stat(filepath.Join(d.Current(), name))
			if err != nil {
				t.Fatal(err)
			}
			if s := info.Sys().(*syscall.Stat_t); s.Uid != 4322 || s.Gid != 4323 {
				t.Errorf("%q belongs to %d:%d", name, s.Uid, s.Gid)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A full tmpfs leaves the last revision.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "full", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	exit, ran := errors.AsType[*exec.ExitError](err)
	if err != nil && (!ran || exit.ExitCode() == 2) {
		t.Skipf("no mount namespace here: %v %s", err, out)
	}
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	want := "error: write files to " + dir + ": large: no space left on device\nhint: the tmpfs is full: enlarge it, or use a directory on another\n" +
		"a: 1 .lock current revision-1 then: 3\n"
	if string(out) != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// Who opened the directory of a revision sees that one, while the next comes.
func TestFolderOfARevision(t *testing.T) {
	d := open(t, filepath.Join(memory(t), "files"))
	if err := d.Write(1, pair(1)); err != nil {
		t.Fatal(err)
	}
	directory, err := os.OpenRoot(d.Current())
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	for n := range 2 {
		for _, name := range []string{"a", "sub/b"} {
			if b, err := directory.ReadFile(name); err != nil || string(b) != "1" {
				t.Errorf("after %d swaps: %s is %q, %v", n, name, b, err)
			}
		}
		if err := d.Write(n+2, pair(2)); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := directory.ReadFile("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after 2 swaps: %q, %v", b, err)
	}
}

// TestReaders reads two files again and again while revisions come as fast as
// they can. By the descriptor of a directory the two are never of different ones,
// and by the path none is older than what was there before it was opened. A
// reader that is held up for two revisions may find nothing, and tries again.
func TestReaders(t *testing.T) {
	d := open(t, filepath.Join(memory(t), "files"))
	if err := d.Write(1, pair(1)); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	missed := make([]int, 2)
	reading.Go(func() {
		for range *reads {
			a, b, err := readFolder(d.Current())
			switch {
			case errors.Is(err, fs.ErrNotExist):
				missed[0]++
			case err != nil || a != b:
				t.Errorf("a mixed pair: %q and %q, %v", a, b, err)
				return
			}
		}
	})
	reading.Go(func() {
		last := 0
		for i := range *reads {
			b, err := os.ReadFile(filepath.Join(d.Current(), []string{"a", "sub/b"}[i%2]))
			if errors.Is(err, fs.ErrNotExist) {
				missed[1]++
				continue
			}
			n, atoiErr := strconv.Atoi(string(b))
			if err != nil || atoiErr != nil || n < last {
				t.Errorf("%q after %d: %v", b, last, err)
				return
			}
			last = n
		}
	})
	reading.Go(func() {
		for range *reads {
			if _, err := os.Readlink(d.Current()); err != nil {
				t.Errorf("there is no current revision: %v", err)
				return
			}
		}
	})
	stop := make(chan struct{})
	swaps := 1
	var writing sync.WaitGroup
	writing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			swaps++
			if err := d.Write(swaps, pair(swaps)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	reading.Wait()
	close(stop)
	writing.Wait()
	if swaps < 100 {
		t.Errorf("only %d swaps", swaps)
	}
	t.Logf("%d reads of each kind, %d swaps, found nothing %d and %d times", *reads, swaps, missed[0], missed[1])
}

// readFolder reads two files as one who needs them to match does.
func readFolder(path string) (a, b string, err error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", "", err
	}
	defer unix.Close(fd)
	if a, err = readAt(fd, "a"); err != nil {
		return "", "", err
	}
	b, err = readAt(fd, "sub/b")
	return a, b, err
}

func readAt(dir int, name string) (string, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var b [64]byte
	n, err := unix.Read(fd, b[:])
	return string(b[:max(n, 0)]), err
}

func BenchmarkWrite(b *testing.B) {
	dir, err := os.MkdirTemp("/dev/shm", "roomenv-bench-")
	if err != nil {
		b.Skip(err)
	}
	defer os.RemoveAll(dir)
	d, err := tmpfs.Open(filepath.Join(dir, "files"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	var files []render.File
	for i := range 10 {
		files = append(files, file(fmt.Sprint("f", i), 0o400, strings.Repeat("x", 2048)))
	}
	for n := 1; b.Loop(); n++ {
		if err := d.Write(n, files); err != nil {
			b.Fatal(err)
		}
	}
}
