package tmpfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"syscall"

	"github.com/roomenv/roomenv/render"
)

// Write puts the files of a generation in the place of those of the last one,
// all or none: when it fails, the last ones stay. Files with a descriptor are
// for [Memfds].
//
//  1. A folder that has never had its name before is made. Nobody looks into it,
//     since nothing leads there, and a process that has the folder of an earlier
//     generation open sees no change in it, ever.
//  2. Each file is made in it: O_EXCL, so that it is a new one; first without any
//     permission, then with the owner and those it is to have, by its descriptor;
//     and only then with content. There is no moment at which content can be read
//     by anybody who may not read it in the end. Names are resolved below the
//     folder ([os.Root]): no link leads out of it. The folder itself becomes the
//     owner's last, so that nobody puts anything into it meanwhile.
//  3. If a file cannot be made or written, the new folder is removed, and that is
//     all that has happened. A full tmpfs shows here.
//  4. A link to the folder is made under another name, and renamed over the
//     current one. rename(2) is atomic: whoever opens a path through the link
//     gets a file of the one generation or of the other. Who needs several files
//     to match opens the folder once, and the files by its descriptor
//     (openat(2)).
//  5. The generation before the last is removed. The last one stays until the
//     next Write for those who opened its folder a moment ago: they find all of
//     it, or from then on nothing, and never a mixture. If it cannot be removed,
//     Close and who next opens the Dir try again.
func (d *Dir) Write(files []render.File) error {
	files = slices.DeleteFunc(slices.Clone(files), func(f render.File) bool { return f.Descriptor != 0 })
	if d == nil && len(files) == 0 {
		return nil
	}
	name := prefix + strconv.Itoa(d.number+1)
	if err := d.fill(name, files); err != nil {
		_ = d.root.RemoveAll(name)
		return d.writeError(err)
	}
	if err := d.point(name); err != nil {
		_ = d.root.RemoveAll(name)
		return d.writeError(err)
	}
	d.number++
	_ = d.root.RemoveAll(prefix + strconv.Itoa(d.number-2))
	return nil
}

// fill makes the folder name with files (steps 1 and 2).
func (d *Dir) fill(name string, files []render.File) error {
	if err := d.root.Mkdir(name, 0o700); err != nil {
		return reason(err)
	}
	folder, err := d.root.OpenRoot(name)
	if err != nil {
		return reason(err)
	}
	defer folder.Close()
	for _, f := range files {
		if err := d.writeFile(folder, f); err != nil {
			return fmt.Errorf("%s: %w", f.Path, reason(err))
		}
	}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if err := d.chown(folder, dir); err != nil {
				return reason(err)
			}
		}
	}
	return reason(d.chown(folder, "."))
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

// point makes name the current generation (step 4).
func (d *Dir) point(name string) error {
	if err := d.root.RemoveAll(next); err != nil {
		return reason(err)
	}
	if err := d.root.Symlink(name, next); err != nil {
		return reason(err)
	}
	return reason(d.root.Rename(next, current))
}

func (d *Dir) writeError(err error) error {
	err = fmt.Errorf("cannot write files to %s: %w", d.path, err)
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("%w\nhint: the tmpfs is full: make it larger, or name a folder on another with --dir", err)
	}
	return err
}

// CloseAll closes what [Memfds] has made.
func CloseAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // of nil too: an error that nobody needs
	}
}
