// Package trustedpath finds out who can decide what a path leads to.
package trustedpath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// ErrUntrusted is wrapped by the errors of [Check] that are about an owner or a mode.
var ErrUntrusted = errors.New("not protected from other users")

// maxLinks bounds the symbolic links of a path, as the kernel does (path_resolution(7)).
const maxLinks = 40

// Check returns nil if only the user of this process and root can write what is at path
// and can replace a directory or symbolic link on the way to it. Everything on the way
// has to belong to one of them and must not be writable by other users, except that
// directories above path may have the sticky bit, such as /tmp, or be a mount point: the
// owner of a volume for processes of several users chose its mode. Kubernetes does so for
// an emptyDir. The group root and the group of this user alone, which has the same
// number, count as the user.
//
// An error names the first place that is not in order, and wraps [ErrUntrusted]. Check
// goes from the root down, so that another user cannot change what it has passed. It
// fails with [fs.ErrNotExist] if path does not exist: create it first, then check it.
func Check(path string) error {
	if !filepath.IsAbs(path) {
		dir, err := os.Getwd()
		if err != nil {
			return err
		}
		path = dir + "/" + path
	}
	users, err := trusted()
	if err != nil {
		return err
	}

	// Lexical cleaning would be wrong after a symbolic link.
	at, rest, links := "/", components(path), 0
	for {
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		switch link := info.Mode()&fs.ModeSymlink != 0; {
		case !slices.Contains(users, stat(info).Uid):
			return errOwner(at, info)
		case link && links == maxLinks:
			return &fs.PathError{Op: "resolve", Path: path, Err: syscall.ELOOP}
		case link:
			links++
			target, err := os.Readlink(at)
			if err != nil {
				return err
			}
			rest = slices.Concat(components(target), rest)
			if at = filepath.Dir(at); filepath.IsAbs(target) {
				at = "/"
			}
			continue
		case writable(info) && (len(rest) == 0 || info.Mode()&fs.ModeSticky == 0 && !mountPoint(at, info)):
			return errMode(at, info)
		case len(rest) == 0:
			return nil
		}
		at, rest = filepath.Join(at, rest[0]), rest[1:]
	}
}

// CheckFile is [Check] for one file or symbolic link alone, which info is about: not for
// what it leads to, nor for the directories above it.
func CheckFile(path string, info fs.FileInfo) error {
	users, err := trusted()
	switch {
	case err != nil:
		return err
	case !slices.Contains(users, stat(info).Uid):
		return errOwner(path, info)
	case info.Mode()&fs.ModeSymlink == 0 && writable(info):
		return errMode(path, info)
	}
	return nil
}

// trusted returns the users that may decide. The owner of / can replace everything. In a
// user namespace that is not 0.
func trusted() ([]uint32, error) {
	root, err := os.Lstat("/")
	if err != nil {
		return nil, err
	}
	return []uint32{0, uint32(os.Geteuid()), stat(root).Uid}, nil
}

func errOwner(path string, info fs.FileInfo) error {
	return fmt.Errorf("%s belongs to user %d: %w", path, stat(info).Uid, ErrUntrusted)
}

func errMode(path string, info fs.FileInfo) error {
	return fmt.Errorf("%s is writable by other users, with mode %04o: %w", path, info.Mode().Perm(), ErrUntrusted)
}

func components(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

// writable reports whether users other than the one of this process and root can write.
func writable(info fs.FileInfo) bool {
	mode, group := info.Mode().Perm(), stat(info).Gid
	private := group == 0 || int(group) == os.Getegid() && os.Getegid() == os.Geteuid()
	return mode&0o002 != 0 || mode&0o020 != 0 && !private
}

func mountPoint(dir string, info fs.FileInfo) bool {
	above, err := os.Lstat(dir + "/..")
	return err == nil && stat(above).Dev != stat(info).Dev
}

func stat(info fs.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }
