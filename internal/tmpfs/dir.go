// Package tmpfs keeps the files of generations in memory, where a process can
// read them and no disk ever holds them.
package tmpfs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/text"
)

// A Dir is a directory on a tmpfs or ramfs that holds the files of one revision
// at a time, with a lock on it for as long as it is open. Its methods are for
// one goroutine. A nil Dir holds no files.
//
//	DIR/revision-7/tls/key.pem
//	DIR/current -> revision-7
type Dir struct {
	path  string
	root  *os.Root
	self  *os.File // the directory itself, which has the lock
	base  *os.Root // holds it, if it is to be removed with its files
	owner *syscall.Credential

	// The revision that current leads to, and the one that it led to before.
	// Their directories are there and complete; 0 means none.
	revision, previous int
}

// Names in a Dir.
const (
	current  = "current"
	next     = "next"
	revision = "revision-"
	partial  = "partial-" // what becomes a revision

	run = "run-" // in a base: the directory of one process
)

var ours = regexp.MustCompile(`^(current|next|revision-[0-9]+|partial-[A-Z2-7]+)$`)

// Open opens the folder at path, which it makes if need be. With no path it
// makes a folder for this process alone, in the first of these that will do:
// $XDG_RUNTIME_DIR/roomenv, /run/roomenv and /dev/shm/roomenv-UID.
//
// A folder must be on a tmpfs or ramfs, belong to the user and be closed to all
// others, and path must hold nothing else. What processes have left that were
// killed is removed: the kernel releases their locks. If a process is alive and
// has path, the error is [ErrInUse].
//
// The files belong to owner, as which the child runs; nil is the user itself.
// Others than root can only name themselves. The folders above a generation let
// the owner pass through.
func Open(path string, owner *syscall.Credential) (*Dir, error) {
	open := openNamed
	if path == "" {
		open = openRun
	}
	d, err := open(path)
	if err != nil || owner == nil {
		return d, err
	}
	d.owner = owner
	err = d.root.Chmod(".", 0o711)
	if d.base != nil {
		err = errors.Join(err, d.base.Chmod(".", 0o711))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot let user %d into %s: %w", owner.Uid, d.path, text.Reason(err)), d.Close())
	}
	return d, nil
}

// openNamed opens the directory at path.
func openNamed(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	var d *Dir
	if err == nil {
		d, err = open(path)
	}
	if err == nil {
		if err = d.claim(); err == nil {
			return d, nil
		}
		d.release()
	}
	return nil, fmt.Errorf("cannot keep files in %s: %w", path, text.Reason(err))
}

// ErrInUse is why a folder is refused that another process has open.
var ErrInUse = errors.New("another roomenv keeps its files there\nhint: end that one, or name a folder for each with --dir")

// claim takes the lock and removes what a killed process has left.
func (d *Dir) claim() error {
	if err := lock(d.self); err != nil {
		return err
	}
	names, err := d.self.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !ours.MatchString(name) {
			return fmt.Errorf("it holds %q\nhint: name an empty folder, or one that is not there yet", name)
		}
	}
	return d.clear()
}

// lock fails with ErrInUse. The kernel takes the lock back when the process
// ends, however it ends (flock(2)).
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}

// open opens a directory that is ours alone and in memory.
func open(path string) (*Dir, error) {
	parent, err := os.OpenRoot(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s\nhint: make that folder", text.Reason(err), filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	name := filepath.Base(path)
	entry, err := parent.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mkdir(parent, name); err != nil {
			return nil, err
		}
		entry, err = parent.Lstat(name)
	}
	switch {
	case err != nil:
		return nil, err
	case entry.Mode()&fs.ModeSymlink != 0:
		return nil, errors.New("it is a symbolic link\nhint: name the folder that it leads to")
	case !entry.IsDir():
		return nil, errors.New("it is not a folder")
	}
	d := &Dir{path: path}
	if err = d.openIn(parent, name); err == nil {
		err = check(d.self, entry)
	}
	if err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

func (d *Dir) openIn(parent *os.Root, name string) (err error) {
	if d.root, err = parent.OpenRoot(name); err == nil {
		d.self, err = d.root.Open(".")
	}
	return err
}

// mkdir makes a directory where it will be in memory, so that none is left on a
// disk.
func mkdir(parent *os.Root, name string) error {
	self, err := parent.Open(".")
	if err != nil {
		return err
	}
	defer self.Close()
	if err = inMemory(self); err == nil {
		err = parent.Mkdir(name, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// check looks at the folder that was opened, and not at what has its name now.
func check(self *os.File, entry fs.FileInfo) error {
	info, err := self.Stat()
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case !os.SameFile(info, entry):
		return errors.New("another folder took its place")
	case owner != uint32(os.Geteuid()):
		return fmt.Errorf("it belongs to the user %d, and roomenv runs as %d\nhint: name a folder of this user with --dir", owner, os.Geteuid())
	case info.Mode().Perm()&0o066 != 0: // 0711 is what Open makes for another owner
		return fmt.Errorf("its mode is %04o, so that others can read or write it\nhint: `chmod 700` it, or name a new folder in it", info.Mode().Perm())
	}
	return inMemory(self)
}

// bases are where the folders of processes are made, in order of preference.
func bases() []string {
	var paths []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		paths = append(paths, filepath.Join(dir, "roomenv"))
	}
	return append(paths, "/run/roomenv", "/dev/shm/roomenv-"+strconv.Itoa(os.Geteuid()))
}

// openRun makes a directory for this process.
func openRun(string) (*Dir, error) {
	var failed strings.Builder
	for _, path := range bases() {
		base, err := open(path)
		if err == nil {
			_ = base.self.Close()
			sweep(base.root)
			var d *Dir
			if d, err = newRun(base); err == nil {
				return d, nil
			}
			_ = base.root.Close()
		}
		why, _, _ := strings.Cut(text.Reason(err).Error(), "\n")
		fmt.Fprintf(&failed, "\n  %s: %s", path, why)
	}
	return nil, fmt.Errorf("cannot keep files in memory: there is no folder for them%s\nhint: mount a tmpfs, and name a folder in it with --dir", &failed)
}

// newRun makes a directory in base, whose root the new Dir closes.
func newRun(base *Dir) (*Dir, error) {
	for {
		name := run + rand.Text()
		if err := base.root.Mkdir(name, 0o700); err != nil {
			return nil, err
		}
		d, err := lockRun(base.root, name)
		switch {
		case err == nil:
			d.path, d.base = filepath.Join(base.path, name), base.root
			return d, nil
		case !errors.Is(err, ErrInUse) && !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
		// Before it had a lock, another process took it for that of a dead one.
	}
}

// lockRun opens the directory of a process and takes its lock.
func lockRun(base *os.Root, name string) (*Dir, error) {
	d := new(Dir)
	err := d.openIn(base, name)
	if err == nil {
		err = lock(d.self)
	}
	if err == nil {
		_, err = base.Lstat(name) // it may be gone since it was opened
	}
	if err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

// sweep removes the folders of processes that are dead. It is not the business
// of this process if it cannot.
func sweep(base *os.Root) {
	entries, _ := fs.ReadDir(base.FS(), ".")
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), run) {
			continue
		}
		if dead, err := lockRun(base, e.Name()); err == nil {
			_ = base.RemoveAll(e.Name())
			dead.release()
		}
	}
}

// Current is the path at which the files of the current generation are.
func (d *Dir) Current() string {
	if d == nil {
		return ""
	}
	return filepath.Join(d.path, current)
}

// clear removes all that Write makes: the link first, which is the first by name, so
// that nothing leads to a part of a revision.
func (d *Dir) clear() error {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	for _, e := range entries {
		if ours.MatchString(e.Name()) {
			err = errors.Join(err, remove(d.root, e.Name()))
		}
	}
	return err
}

func remove(root *os.Root, name string) error {
	if err := root.RemoveAll(name); err != nil {
		return fmt.Errorf("cannot remove %s: %w", name, text.Reason(err))
	}
	return nil
}

// Close removes the files, and the folder if Open named it.
func (d *Dir) Close() error {
	if d == nil {
		return nil
	}
	defer d.release()
	err := d.clear()
	if d.base != nil {
		err = errors.Join(err, remove(d.base, filepath.Base(d.path)))
		_ = d.base.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot clear %s: %w", d.path, err)
	}
	return nil
}

// release gives the lock back.
func (d *Dir) release() {
	_ = d.self.Close()
	if d.root != nil {
		_ = d.root.Close()
	}
}
