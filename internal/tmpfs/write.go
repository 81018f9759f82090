package tmpfs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"syscall"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/render"
)

// Write replaces the files of the current revision by those of the revision number, all
// or none: if it fails, the current files stay. Files with a descriptor are for
// [Memfds]. The number is positive, and always has the same files.
//
//  1. A directory with a random name is created. No process looks into it, since
//     nothing links to it, and a process that has the directory of an earlier
//     revision open never sees a change in it.
//  2. Each file is created in it: with O_EXCL, so that it is a new one; first without
//     permissions, then with its mode and owner, by its descriptor; and only then with
//     its content. At no time can a user read the content who may not read it in the
//     end. Names are resolved below the directory ([os.Root]): no link leads out of it.
//     The owner gets the directory itself last, so that no other process adds files
//     meanwhile.
//  3. If a file cannot be created or written, for example because the tmpfs is full,
//     the new directory is removed, and nothing has changed. Otherwise it is renamed:
//     a directory with the name of a revision is complete. A rollback starts here,
//     since the directory of the previous revision still exists.
//  4. A link to the directory is created under another name, and renamed over the
//     current one. rename(2) is atomic: a process that opens a path through the link
//     gets a file of one revision or of the other. For several files of one revision,
//     open the directory once, and the files by its descriptor (openat(2)).
//  5. The revision before the previous one is removed. The previous one stays until
//     the next Write, for processes that have just opened its directory: they find all
//     of it and later nothing, but never a mixture. If the removal fails, Close and the
//     next Open try again.
func (d *Dir) Write(number int, files []render.File) error {
	files = slices.DeleteFunc(slices.Clone(files), func(f render.File) bool { return f.Descriptor != 0 })
	if d == nil && len(files) == 0 {
		return nil
	}
	name := revision + strconv.Itoa(number)
	added := number != d.revision && number != d.previous
	var err error
	if added {
		err = d.add(name, files)
	}
	if err == nil {
		err = d.point(name)
	}
	if err != nil {
		if added {
			_ = remove(d.root, name)
		}
		err = fmt.Errorf("write files to %s: %w", d.path, text.Reason(err))
		if errors.Is(err, syscall.ENOSPC) {
			err = fmt.Errorf("%w\nhint: the tmpfs is full: enlarge it, or use a directory on another", err)
		}
		return err
	}
	if number != d.revision {
		if added {
			_ = remove(d.root, revision+strconv.Itoa(d.previous))
		}
		d.revision, d.previous = number, d.revision
	}
	return nil
}

// add creates the directory name with files (steps 1 to 3).
func (d *Dir) add(name string, files []render.File) error {
	temporary := partial + rand.Text()
	err := d.fill(temporary, files)
	if err == nil {
		err = d.root.Rename(temporary, name)
	}
	if err != nil {
		_ = remove(d.root, temporary)
	}
	return err
}

// fill creates the directory name with files (steps 1 and 2).
func (d *Dir) fill(name string, files []render.File) error {
	if err := d.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	dir, err := d.root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, f := range files {
		if err := d.writeFile(dir, f); err != nil {
			return fmt.Errorf("%s: %w", f.Path, text.Reason(err))
		}
	}
	for _, f := range files {
		for parent := path.Dir(f.Path); parent != "."; parent = path.Dir(parent) {
			if err := d.admit(dir, parent); err != nil {
				return err
			}
		}
	}
	return d.admit(dir, ".")
}

// admit gives a directory to the owner, or to the group.
func (d *Dir) admit(dir *os.Root, name string) error {
	if d.share.hasGroup() {
		at, err := dir.OpenRoot(name)
		if err != nil {
			return err
		}
		defer at.Close()
		return d.share.open(at)
	}
	return d.chown(dir, name)
}

// chown gives a file or directory to the owner.
func (d *Dir) chown(dir *os.Root, name string) error {
	if d.owner == nil {
		return nil
	}
	return dir.Lchown(name, int(d.owner.Uid), int(d.owner.Gid))
}

func (d *Dir) writeFile(dir *os.Root, f render.File) error {
	if err := dir.MkdirAll(path.Dir(f.Path), 0o700); err != nil {
		return err
	}
	file, err := dir.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0)
	if err != nil {
		return err
	}
	// While the file is still ours, which needs no CAP_FOWNER.
	if err = file.Chmod(d.share.mode(f.Mode)); err == nil && d.owner != nil {
		err = file.Chown(int(d.owner.Uid), int(d.owner.Gid))
	}
	if err == nil && d.share.hasGroup() {
		err = d.share.chgrp(file)
	}
	if err == nil {
		_, err = file.Write(f.Content.Reveal())
	}
	return errors.Join(err, file.Close())
}

// point has current link to name (step 4).
func (d *Dir) point(name string) error {
	if err := d.root.RemoveAll(next); err != nil {
		return err
	}
	if err := d.root.Symlink(name, next); err != nil {
		return err
	}
	return d.root.Rename(next, current)
}

// Withdraw removes files from all revisions that are there. The others stay. It is for
// values that may no longer be used: a revision with a number of its own follows.
func (d *Dir) Withdraw(paths []string) error {
	if d == nil {
		return nil
	}
	var errs []error
	for _, number := range []int{d.revision, d.previous} {
		for _, name := range paths {
			err := d.root.Remove(path.Join(revision+strconv.Itoa(number), name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("remove %s: %w", name, text.Reason(err)))
			}
		}
	}
	return errors.Join(errs...)
}

// CloseAll closes the files of [Memfds].
func CloseAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // f may be nil, which is an error
	}
}
