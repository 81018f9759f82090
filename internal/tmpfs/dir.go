// Package tmpfs stores the files of revisions in memory, where a process can read them
// and they never reach a disk.
package tmpfs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/internal/trustedpath"
)

// A Dir is a directory on a tmpfs or ramfs that holds the files of one revision
// at a time, with a lock on it while it is open. Its methods are for one goroutine.
// A nil Dir has no files.
//
//	DIR/revision-7/tls/key.pem
//	DIR/current -> revision-7
type Dir struct {
	path  string
	root  *os.Root
	self  *os.File // the directory itself, which has the lock of one without a name
	held  *os.File // the file that has the lock of a named directory
	base  *os.Root // its parent, if Close removes the directory too
	owner *syscall.Credential
	share *Share // nil: the files are for one process, and removed by Close

	// The revision that current links to, and the previous one. Their directories
	// exist and are complete. 0 stands for none.
	revision, previous int
}

// Names in a Dir.
const (
	current  = "current"
	next     = "next"
	lockFile = ".lock"
	revision = "revision-"
	partial  = "partial-" // a revision that is not complete

	run = "run-" // in a base: the directory of one process
)

var ours = regexp.MustCompile(`^(current|next|revision-[0-9]+|partial-[A-Z2-7]+|status\.sock)$`)

// Open opens the directory at path, and creates it if it does not exist. Without a path
// it creates a directory for this process alone, in the first of these that is usable:
// $XDG_RUNTIME_DIR/roomenv, $RUNTIME_DIRECTORY/roomenv, /run/roomenv,
// /dev/shm/roomenv-UID and, if another user has taken that name,
// /dev/shm/roomenv-UID-RANDOM.
//
// A directory must be on a tmpfs or ramfs, belong to the user and be closed to all
// other users, who must not be able to replace it (package trustedpath), and path must
// contain nothing else. Open removes what killed processes have left: the kernel
// releases their locks. If another process has path open, the error is [ErrInUse].
//
// The files belong to owner, the user of the command; nil is the current user. Only
// root can choose another user. That user can search the directories above a revision.
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
	err = chmod(d.root, 0o711)
	if d.base != nil {
		err = errors.Join(err, chmod(d.base, 0o711))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("give user %d access to %s: %w", owner.Uid, d.path, text.Reason(err)), d.Close())
	}
	return d, nil
}

// chmod uses fchmod(2), unlike [os.Root.Chmod]: fchmodat2(2) is newer than many seccomp
// profiles, which refuse it.
func chmod(root *os.Root, mode fs.FileMode) error {
	self, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(self.Chmod(mode), self.Close())
}

// openNamed opens the directory at path.
func openNamed(path string) (*Dir, error) {
	return claim(path, nil, (*Dir).clear)
}

// claim opens the directory at path, locks it, and has start handle what a killed
// process has left.
func claim(path string, share *Share, start func(*Dir) error) (*Dir, error) {
	path, err := filepath.Abs(path)
	var d *Dir
	if err == nil {
		d, err = open(path, share)
	}
	if err == nil {
		if err = d.claim(); err == nil {
			err = start(d)
		}
		if err == nil {
			return d, nil
		}
		d.release()
	}
	return nil, fmt.Errorf("store files in %s: %w", path, text.Reason(err))
}

// ErrInUse reports that another process has the directory open.
var ErrInUse = errors.New("directory is in use by another roomenv process\nhint: stop that process, or use another directory")

// claim locks the directory, if it has no files of others.
func (d *Dir) claim() error {
	names, err := d.self.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != lockFile && !ours.MatchString(name) {
			return fmt.Errorf("directory contains %q\nhint: use an empty or a new directory", name)
		}
	}
	return d.hold()
}

// hold takes the lock of a file that other users cannot open: who reads the directory
// can open the directory itself, and lock it.
func (d *Dir) hold() (err error) {
	if d.held, err = d.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600); err != nil {
		return err
	}
	info, err := d.held.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()):
		return fmt.Errorf("%s is not a file of this user\nhint: remove it, or use a new directory", lockFile)
	}
	if err := d.held.Chmod(0o600); err != nil {
		return err
	}
	if err := lock(d.held); err != nil {
		return err
	}
	if entry, err := d.root.Lstat(lockFile); err != nil || !os.SameFile(info, entry) {
		return ErrInUse // its last user removed it since it was opened
	}
	return nil
}

// lock fails with ErrInUse. The kernel releases the lock when the process exits, also
// if it is killed (flock(2)).
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}

// open opens a directory that is ours alone, or shared, and in memory.
func open(path string, share *Share) (*Dir, error) {
	entry, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mkdir(path); err != nil {
			return nil, err
		}
		entry, err = os.Lstat(path)
	}
	switch {
	case err != nil:
		return nil, err
	case entry.Mode()&fs.ModeSymlink != 0:
		return nil, errors.New("path is a symbolic link\nhint: use its target")
	case !entry.IsDir():
		return nil, errors.New("not a directory")
	}
	d := &Dir{path: path, share: share}
	if err = d.use(os.OpenRoot(path)); err == nil {
		err = d.check()
	}
	if err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

// use takes what OpenRoot returns.
func (d *Dir) use(root *os.Root, err error) error {
	if d.root = root; err == nil {
		d.self, err = root.Open(".")
	}
	return err
}

// mkdir creates a directory in memory. It creates none on a disk.
func mkdir(path string) error {
	parent, err := os.Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s\nhint: create that directory", text.Reason(err), filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	if err = inMemory(parent); err == nil {
		err = os.Mkdir(path, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// check checks the directory that was opened, and that its path leads to it whatever
// other users do.
func (d *Dir) check() error {
	info, err := d.self.Stat()
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	refused := fs.FileMode(0o066) // 0711 is what Open sets for another owner
	if d.share != nil {
		refused = 0o027
	}
	switch {
	case owner != uint32(os.Geteuid()):
		return fmt.Errorf("directory belongs to user %d, and roomenv runs as user %d\nhint: use a new directory in it, or a directory of this user", owner, os.Geteuid())
	case info.Mode().Perm()&refused != 0:
		return fmt.Errorf("mode %04o allows access by other users, want 0700\nhint: run `chmod 700`, or use a new directory in it", info.Mode().Perm())
	}
	if err := inMemory(d.self); err != nil {
		return err
	}
	err = trustedpath.Check(d.path)
	if errors.Is(err, trustedpath.ErrUntrusted) {
		return fmt.Errorf("%w\nhint: use a directory that only this user and root can replace", err)
	}
	if err != nil {
		return err
	}
	if entry, err := os.Lstat(d.path); err != nil || !os.SameFile(info, entry) {
		return errors.New("directory was replaced while roomenv opened it")
	}
	return nil
}

// shm is the base that every Linux machine has. Another user can take the name; then a
// base has a random suffix.
func shm() string { return "/dev/shm/roomenv-" + strconv.Itoa(os.Geteuid()) }

// bases are the parents of the directories of processes, in order of preference.
func bases() []string {
	var paths []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		paths = append(paths, filepath.Join(dir, "roomenv"))
	}
	// The first of those that systemd makes for a service (systemd.exec(5)).
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		paths = append(paths, filepath.Join(dir, "roomenv"))
	}
	suffixed, _ := filepath.Glob(shm() + "-*")
	return append(append(paths, "/run/roomenv", shm()), suffixed...)
}

// openRun creates a directory for this process.
func openRun(string) (*Dir, error) {
	paths := bases()
	if _, err := os.Lstat(shm()); err == nil {
		paths = append(paths, shm()+"-"+rand.Text())
	}
	var failed strings.Builder
	for _, path := range paths {
		base, err := open(path, nil)
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
	return nil, fmt.Errorf("store files in memory: no usable directory%s\nhint: mount a tmpfs, and use a directory in it", &failed)
}

// newRun creates a directory in base, whose root the new Dir closes.
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
		// Before the lock, another process swept it.
	}
}

// lockRun opens the directory of a process and takes its lock.
func lockRun(base *os.Root, name string) (*Dir, error) {
	d := new(Dir)
	err := d.use(base.OpenRoot(name))
	if err == nil {
		err = lock(d.self)
	}
	if err == nil {
		_, err = base.Lstat(name) // it may have been swept since it was opened
	}
	if err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

// sweep removes the directories of processes that were killed. Errors do not concern
// this process.
func sweep(base *os.Root) {
	entries, _ := fs.ReadDir(base.FS(), ".")
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), run) {
			continue
		}
		if dead, err := lockRun(base, e.Name()); err == nil {
			_ = remove(base, e.Name())
			dead.release()
		}
	}
}

// Current returns the path of the files of the current revision.
func (d *Dir) Current() string {
	if d == nil {
		return ""
	}
	return filepath.Join(d.path, current)
}

// clear removes what Write creates: the link first, which sorts first, so that it never
// leads to a part of a revision.
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
	err := root.RemoveAll(name)
	if errors.Is(err, fs.ErrPermission) && takeBack(root, name) == nil {
		err = root.RemoveAll(name)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, text.Reason(err))
	}
	return nil
}

// takeBack makes this user the owner of the directories below name, which are another
// user's: with CAP_CHOWN but without CAP_DAC_OVERRIDE root may then remove them.
func takeBack(root *os.Root, name string) error {
	if err := root.Lchown(name, os.Geteuid(), os.Getegid()); err != nil {
		return err
	}
	entries, err := fs.ReadDir(root.FS(), name)
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, takeBack(root, path.Join(name, e.Name())))
		}
	}
	return err
}

// Close removes the files, and the directory if Open was given no path. Those that are
// shared stay, unless the [Share] says otherwise.
func (d *Dir) Close() error {
	if d == nil {
		return nil
	}
	defer d.release()
	if d.share != nil && !d.share.Remove {
		return nil
	}
	err := d.clear()
	if d.held != nil {
		err = errors.Join(err, remove(d.root, lockFile)) // last: then others may start
	}
	if d.base != nil {
		err = errors.Join(err, remove(d.base, filepath.Base(d.path)))
		_ = d.base.Close()
	}
	if err != nil {
		return fmt.Errorf("remove files from %s: %w", d.path, err)
	}
	return nil
}

// release releases the lock.
func (d *Dir) release() {
	_ = d.self.Close()
	_ = d.held.Close() // may be nil
	if d.root != nil {
		_ = d.root.Close()
	}
}
