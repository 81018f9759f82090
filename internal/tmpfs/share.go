package tmpfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/render"
)

// A Share has other processes read the files, which outlive the process that writes
// them.
type Share struct {
	// Group may read the files, beside this user; nil is for this user alone. With a
	// group, directories have mode 0750, and files the permissions of the owner for the
	// group too, except to write. Other users have no access, whatever the mode of a file.
	Group *int
	// Remove has Close remove the files.
	Remove bool
}

// OpenShared is Open of a directory whose files are shared. What an earlier process has
// left in current stays there: [Dir.Revision] is its number.
func OpenShared(path string, share Share) (*Dir, error) { return claim(path, &share, (*Dir).adopt) }

func (s *Share) hasGroup() bool { return s != nil && s.Group != nil }

// mode is that of a file.
func (s *Share) mode(m fs.FileMode) fs.FileMode {
	switch m = m.Perm(); {
	case s == nil:
		return m
	case s.Group == nil:
		return m & 0o700
	}
	return m&0o700 | m&0o500>>3
}

func (s *Share) dirMode() fs.FileMode {
	if s.hasGroup() {
		return 0o750
	}
	return 0o700
}

func (s *Share) chgrp(f *os.File) error {
	err := f.Chown(-1, *s.Group)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("give group %d access: %w\nhint: add that group to those of this process, or use one that it is in", *s.Group, text.Reason(err))
	}
	return err
}

// open has the group search a directory.
func (s *Share) open(dir *os.Root) error {
	self, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer self.Close()
	info, err := self.Stat()
	if err != nil || info.Mode().Perm() == s.dirMode() && s.inGroup(info) {
		return err // there are readers that use it
	}
	// In this order the directory is at no time open to another group.
	if err := self.Chmod(0o700); err != nil {
		return err
	}
	if s.hasGroup() {
		if err := s.chgrp(self); err != nil {
			return err
		}
	}
	return self.Chmod(s.dirMode())
}

func (s *Share) inGroup(info fs.FileInfo) bool {
	return !s.hasGroup() || int(info.Sys().(*syscall.Stat_t).Gid) == *s.Group
}

// adopt keeps the current revision, if there is one, and the one before it, and removes
// the rest.
func (d *Dir) adopt() error {
	link, _ := d.root.Readlink(current)
	d.revision = d.number(link)
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if n := d.number(e.Name()); n < d.revision {
			d.previous = max(d.previous, n)
		}
	}
	var errs []error
	for _, e := range entries {
		n := d.number(e.Name())
		if e.Name() == lockFile || d.revision > 0 && (e.Name() == current || n > 0 && (n == d.revision || n == d.previous)) {
			continue
		}
		errs = append(errs, remove(d.root, e.Name()))
	}
	return errors.Join(append(errs, d.share.open(d.root))...)
}

// number returns which revision the directory called name has, or 0.
func (d *Dir) number(name string) int {
	digits, ok := strings.CutPrefix(name, revision)
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 1 {
		return 0
	}
	if info, err := d.root.Lstat(name); err != nil || !info.IsDir() {
		return 0
	}
	return n
}

// Revision returns the number of the current revision, or 0.
func (d *Dir) Revision() int {
	if d == nil {
		return 0
	}
	return d.revision
}

// Has reports whether the current revision has a file.
func (d *Dir) Has(name string) bool {
	info, err := d.root.Lstat(path.Join(revision+strconv.Itoa(d.revision), name))
	return err == nil && info.Mode().IsRegular()
}

// Diff returns the paths of the files that are not in the current revision as Write
// would write them, and of those that are there beside them, sorted.
func (d *Dir) Diff(files []render.File) (paths []string) {
	base := revision + strconv.Itoa(d.revision)
	wanted := map[string]bool{}
	dirs := map[string]bool{} // those in order
	for _, f := range files {
		if f.Descriptor != 0 {
			continue
		}
		wanted[f.Path] = true
		if !d.isOpen(path.Join(base, path.Dir(f.Path)), base, dirs) || !d.holds(path.Join(base, f.Path), f) {
			paths = append(paths, f.Path)
		}
	}
	_ = fs.WalkDir(d.root.FS(), base, func(name string, e fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(base, name); err == nil && !e.IsDir() && !wanted[rel] {
			paths = append(paths, rel)
		}
		return nil
	})
	slices.Sort(paths)
	return paths
}

// isOpen reports whether the directory at name and those above it, up to base, are as
// Write would make them.
func (d *Dir) isOpen(name, base string, known map[string]bool) bool {
	is, ok := known[name]
	if ok {
		return is
	}
	info, err := d.root.Lstat(name)
	is = err == nil && info.IsDir() && info.Mode().Perm() == d.share.dirMode() && d.share.inGroup(info) &&
		(name == base || d.isOpen(path.Dir(name), base, known))
	known[name] = is
	return is
}

// holds reports whether the file at name is f.
func (d *Dir) holds(name string, f render.File) bool {
	info, err := d.root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != d.share.mode(f.Mode) || !d.share.inGroup(info) || info.Size() != int64(f.Content.Len()) {
		return false
	}
	content, err := d.root.ReadFile(name)
	defer clear(content)
	return err == nil && bytes.Equal(content, f.Content.Reveal())
}
