//go:build linux

package tmpfs_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/secret"
)

var (
	reads = flag.Int("reads", 100_000, "how often TestReaders reads two files")
	kills = flag.Int("kills", 5, "how often TestKilled kills two writers")
)

// TestMain makes a program of the test binary too: a process that writes, or
// that reads as another user.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "writer":
			writer(os.Args[2])
		case "reader":
			reader(os.Args[2])
		case "full":
			full(os.Args[2])
		case "sharer":
			sharer(os.Args[2], os.Args[3])
		case "mounted":
			mounted(os.Args[2])
		case "taken":
			taken()
		}
	}
	goleak.VerifyTestMain(m)
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// writer opens path, prints where, and writes revisions until it is killed,
// with a byte to stdout for each.
func writer(path string) {
	if path == "-" {
		path = ""
	}
	d, err := tmpfs.Open(path, nil)
	fatal(err)
	fmt.Println(filepath.Dir(d.Current()))
	for n := 1; ; n++ {
		fatal(d.Write(n, pair(n)))
		_, err := os.Stdout.Write([]byte{'.'})
		fatal(err)
	}
}

// reader fails if it can open a file or list a directory below path.
func reader(path string) {
	for _, name := range []string{path, filepath.Join(path, "current"), filepath.Join(path, "current", "a"), filepath.Join(path, "revision-1", "sub", "b")} {
		if f, err := os.Open(name); err == nil {
			fmt.Println("opened", f.Name())
			os.Exit(1)
		}
	}
	os.Exit(0)
}

// sharer writes files to path for a group, and prints why it does not.
func sharer(path, group string) {
	gid, err := strconv.Atoi(group)
	fatal(err)
	d, err := tmpfs.OpenShared(path, tmpfs.Share{Group: &gid})
	fatal(err)
	fatal(d.Write(1, pair(1)))
	fatal(d.Close())
	os.Exit(0)
}

// full fills a small tmpfs at path.
func full(path string) {
	mount(path, "size=128k,mode=0700")
	d, err := tmpfs.Open(path, nil)
	fatal(err)
	fatal(d.Write(1, pair(1)))
	err = d.Write(2, []render.File{file("a", 0o400, "2"), file("large", 0o400, string(make([]byte, 1<<20)))})
	fmt.Println("error:", err)
	a, err := os.ReadFile(filepath.Join(d.Current(), "a"))
	fatal(err)
	entries, err := os.ReadDir(path)
	fatal(err)
	fmt.Printf("a: %s", a)
	for _, e := range entries {
		fmt.Print(" ", e.Name())
	}
	fatal(d.Write(3, pair(3)))
	a, err = os.ReadFile(filepath.Join(d.Current(), "a"))
	fatal(err)
	fmt.Printf(" then: %s\n", a)
	fatal(d.Close())
	os.Exit(0)
}

// mount mounts a tmpfs at path, in a mount namespace of its own.
func mount(path, options string) {
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, options); err != nil {
		fmt.Println("mount:", err)
		os.Exit(2)
	}
}

// mounted opens a directory on a tmpfs that all users can write, and prints why it does
// not open one below a directory that they can write too.
func mounted(path string) {
	mount(path, "mode=0777")
	d, err := tmpfs.Open(filepath.Join(path, "files"), nil)
	fatal(err)
	fatal(d.Close())
	loose := filepath.Join(path, "loose")
	fatal(errors.Join(os.Mkdir(loose, 0o700), os.Chmod(loose, 0o777)))
	d, err = tmpfs.Open(filepath.Join(loose, "files"), nil)
	if err == nil {
		fatal(d.Close())
	}
	fmt.Println(err)
	os.Exit(0)
}

// taken opens directories without a path, where another user has taken their names.
func taken() {
	mount("/dev/shm", "mode=1777")
	mount("/run", "mode=0755")
	fatal(errors.Join(os.WriteFile("/run/roomenv", nil, 0o600), os.Mkdir("/dev/shm/roomenv-0", 0o777),
		os.Mkdir("/dev/shm/roomenv-0-other", 0o777), os.Chown("/dev/shm/roomenv-0", 4321, 4321), os.Chown("/dev/shm/roomenv-0-other", 4321, 4321)))
	a, err := tmpfs.Open("", nil)
	fatal(err)
	l, err := a.Listen("a.sock")
	fatal(err)
	if got := tmpfs.Sockets("a.sock"); len(got) != 1 || got[0] != l.Addr().String() {
		fmt.Printf("found %q, want %s\n", got, l.Addr())
	}
	b, err := tmpfs.Open("", nil)
	fatal(err)
	if parent := filepath.Dir(filepath.Dir(b.Current())); parent != filepath.Dir(filepath.Dir(a.Current())) {
		fmt.Printf("the second is in %s, the first is %s\n", parent, a.Current())
	}
	fatal(errors.Join(l.Close(), a.Close(), b.Close()))
	os.Exit(0)
}

func file(path string, mode os.FileMode, content string) render.File {
	return render.File{Path: path, Mode: mode, Content: secret.New([]byte(content))}
}

// pair is a revision of two files with the same content.
func pair(n int) []render.File {
	text := fmt.Sprint(n)
	return []render.File{file("a", 0o444, text), file("sub/b", 0o400, text)}
}
