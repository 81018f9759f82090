// Package filewatch reports changes of files.
package filewatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

const (
	// settle is how long files must stay unchanged before a change is reported, so
	// that a burst is one change, and a file is written completely. Files that change
	// all the time are reported after settleMax.
	settle    = 50 * time.Millisecond
	settleMax = time.Second
	// poll is how often files are checked without an event. NFS and some mounts of
	// containers send no events, nor does the kernel when a directory further up is
	// renamed. A check takes some 10 µs.
	poll = 5 * time.Second
	// pause is how long events are not read after one of another file: a log in the
	// same directory may be written to all the time. The kernel merges equal events,
	// and reports when it drops any.
	pause = 20 * time.Millisecond
	// lull is how long files are only polled at the start, every settle. Closing a
	// watch takes Linux some 20 ms (inotify(7) waits for all readers of RCU), which
	// would delay a command that exits at once.
	lull = time.Second

	maxLinks = 40 // the limit of the kernel (path_resolution(7))
)

// Files are paths, and the state of their files at one time.
type Files struct {
	paths []string
	known []identity // of the file of each path
	poll  time.Duration
	lull  time.Duration

	watcher *fsnotify.Watcher // nil: not yet, or the system has no more of them
	names   []string          // what decides where the paths lead
}

// identity differs when a file is replaced, written to, or its mode changes. It is zero
// for no file.
type identity struct {
	device, inode uint64
	size          int64
	written       unix.Timespec
	changed       unix.Timespec
}

// New records the state of the files at paths, for [Files.Watch] to compare with: call
// it before reading them. It opens no files.
func New(paths ...string) *Files {
	f := &Files{poll: poll, lull: lull}
	for _, path := range paths {
		if absolute, err := filepath.Abs(path); err == nil { // else there is no working directory
			path = absolute
		}
		f.paths = append(f.paths, path)
	}
	f.known = make([]identity, len(paths))
	f.look()
	return f
}

// Watch calls changed when the file of a path is replaced or changed, until ctx ends:
// by writing to it, by renaming another file over it, or through any link on the path,
// such as ..data of a Kubernetes volume. A burst of changes is one call. A file that is
// removed is not reported until there is one again, and only if that differs. Without
// paths Watch returns at once.
//
// It is for one goroutine and may be called once.
func (f *Files) Watch(ctx context.Context, changed func()) {
	if len(f.paths) == 0 {
		return
	}
	var events chan fsnotify.Event
	var failures chan error
	resume := time.NewTimer(0)
	resume.Stop()
	watch := time.NewTimer(f.lull)
	defer watch.Stop()
	tick := time.NewTicker(settle)
	defer tick.Stop()
	settled := time.NewTimer(0)
	settled.Stop()
	var since time.Time // of the first change that is not reported yet, or zero
	for {
		f.follow()
		if f.look() {
			now := time.Now()
			if since.IsZero() {
				since = now
			}
			settled.Reset(min(settle, settleMax-now.Sub(since)))
		}
		for heard := false; !heard; {
			heard = true
			select {
			case <-ctx.Done():
				return
			case e := <-events:
				if heard = f.concerns(e); !heard {
					events = nil
					resume.Reset(pause)
				}
			case <-resume.C:
				events, heard = f.watcher.Events, false
			case <-failures: //nolint:errcheck // events were lost
			case <-watch.C:
				tick.Reset(f.poll)
				if w, err := fsnotify.NewWatcher(); err == nil {
					defer w.Close()
					f.watcher, events, failures = w, w.Events, w.Errors
				}
			case <-tick.C:
				f.names = nil // a watch may have been lost together with its directory
			case <-settled.C:
				since = time.Time{}
				changed()
			}
		}
	}
}

// look updates known, and reports whether a file differs.
func (f *Files) look() (changed bool) {
	for i, path := range f.paths {
		var s unix.Stat_t
		if unix.Stat(path, &s) != nil {
			continue
		}
		now := identity{uint64(s.Dev), s.Ino, s.Size, s.Mtim, s.Ctim} //nolint:unconvert // Dev is an int32 on macOS
		if now != f.known[i] {
			f.known[i], changed = now, true
		}
	}
	return changed
}

// follow watches all directories that decide where the paths lead. When it returns,
// there are events for all changes in them.
func (f *Files) follow() {
	for f.watcher != nil {
		var names, directories []string
		for _, path := range f.paths {
			names = append(names, resolve(path)...)
		}
		if slices.Equal(names, f.names) {
			return
		}
		f.names = names
		for _, name := range names {
			directory := filepath.Dir(name)
			directories = append(directories, directory)
			_ = f.watcher.Add(directory) // what cannot be watched is polled
		}
		for _, old := range f.watcher.WatchList() {
			if !slices.Contains(directories, old) {
				_ = f.watcher.Remove(old)
			}
		}
	}
}

// concerns reports whether an event is about one of f.names, or the directory of one.
func (f *Files) concerns(e fsnotify.Event) bool {
	name := filepath.Clean(e.Name)
	if slices.ContainsFunc(f.names, func(n string) bool { return filepath.Dir(n) == name }) {
		// There may be another directory with that name by now.
		_ = f.watcher.Remove(e.Name)
		f.names = nil
		return true
	}
	return slices.Contains(f.names, name)
}

// resolve returns the names of all links on a path, and that of its file or of the
// first part that does not exist.
func resolve(path string) (names []string) {
	const root = string(filepath.Separator)
	directory, rest := root, strings.Split(path, root)
	for len(rest) > 0 && len(names) <= maxLinks {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			directory = filepath.Dir(directory)
			continue
		}
		name := filepath.Join(directory, part)
		target, err := os.Readlink(name)
		switch {
		case err == nil:
			names = append(names, name)
			if filepath.IsAbs(target) {
				directory = root
			}
			rest = append(strings.Split(target, root), rest...)
		case errors.Is(err, syscall.EINVAL) && len(rest) > 0: // no link
			directory = name
		default:
			return append(names, name)
		}
	}
	return names
}
