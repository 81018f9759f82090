package tmpfs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"syscall"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/render"
)

// Write puts the files of a revision in the place of those of the current one,
// all or none: when it fails, the current ones stay. Files with a descriptor are
// for [Memfds]. The number is positive and stands for the same files each time.
//
//  1. A directory with a random name is made. No process looks into it, since
//     nothing leads there, and a process that has the directory of an earlier
//     revision open sees no change in it, ever.
//  2. Each file is made in it: O_EXCL, so that it is a new one; first without any
//     permission, then with the owner and those it is to have, by its descriptor;
//     and only then with content. There is no moment at which content can be read
//     by a user who may not read it in the end. Names are resolved below the
//     directory ([os.Root]): no link leads out of it. The directory itself becomes
//     the owner's last, so that no other process puts anything into it meanwhile.
//  3. If a file cannot be made or written, the new directory is removed, and that
//     is all that has happened. A full tmpfs shows here. Else it is renamed to that
//     of its revision, which is complete from the moment that it has its name. A
//     roll-back finds the previous revision there, and starts here.
//  4. A link to the directory is made under another name, and renamed over the
//     current one. rename(2) is atomic: who opens a path through the link gets a
//     file of the one revision or of the other. Who needs several files to match
//     opens the directory once, and the files by its descriptor (openat(2)).
//  5. The revision before the previous one is removed. The previous one stays until
//     the next Write for processes that opened its directory a moment ago: they
//     find all of it, or from then on nothing, and never a mixture. If one cannot
//     be removed, Close and the next Open try again.
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
			_ = d.root.RemoveAll(name)
		}
		err = fmt.Errorf("cannot write files to %s: %w", d.path, text.Reason(err))
		if errors.Is(err, syscall.ENOSPC) {
			err = fmt.Errorf("%w\nhint: the tmpfs is full: make it larger, or name a folder on another with --dir", err)
		}
		return err
	}
	if number != d.revision {
		if added {
			_ = d.root.RemoveAll(revision + strconv.Itoa(d.previous))
		}
		d.revision, d.previous = number, d.revision
	}
	return nil
}

// add makes the directory name with files (steps 1 to 3).
func (d *Dir) add(name string, files []render.File) error {
	temporary := partial + rand.Text()
	err := d.fill(temporary, files)
	if err == nil {
		err = d.root.Rename(temporary, name)
	}
	if err != nil {
		_ = d.root.RemoveAll(temporary)
	}
	return err
}

// fill makes the directory name with files (steps 1 and 2).
func (d *Dir) fill(name string, files []render.File) error {
	if err := d.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	folder, err := d.root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer folder.Close()
	for _, f := range files {
		if err := d.writeFile(folder, f); err != nil {
			return fmt.Errorf("%s: %w", f.Path, text.Reason(err))
		}
	}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if err := d.chown(folder, dir); err != nil {
				return err
			}
		}
	}
	return d.chown(folder, ".")
}

// chown gives a folder to the owner.
func (d *Dir) chown(folder *os.Root, name string) error {
	if d.owner == nil {
		return nil
	}
	return folder.Lchown(name, int(d.owner.Uid), int(d.owner.Gid))
}

func (d *Dir) writeFile(folder *os.Root, f render.File) error {
	if err := folder.MkdirAll(path.Dir(f.Path), 0o700); err != nil {
		return err
	}
	file, err := folder.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0)
	if err != nil {
		return err
	}
	if d.owner != nil {
		err = file.Chown(int(d.owner.Uid), int(d.owner.Gid))
	}
	if err == nil {
		err = file.Chmod(f.Mode.Perm())
	}
	if err == nil {
		_, err = file.Write(f.Content.Reveal())
	}
	return errors.Join(err, file.Close())
}

// point makes name the current revision (step 4).
func (d *Dir) point(name string) error {
	if err := d.root.RemoveAll(next); err != nil {
		return err
	}
	if err := d.root.Symlink(name, next); err != nil {
		return err
	}
	return d.root.Rename(next, current)
}

// CloseAll closes what [Memfds] has made.
func CloseAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // of nil too: an error that nobody needs
	}
}
