// Package filewatch tells when files have changed.
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
	// settle is how long a file has to stay as it is before a change is told, so
	// that a burst is told once and a file not halfway through being written. One
	// that does not come to rest is told of after settleMax.
	settle    = 50 * time.Millisecond
	settleMax = time.Second
	// poll is how often the files are looked at that nothing was heard of: NFS and
	// some mounts of containers tell nothing, and neither does the kernel of
	// folders further up that are renamed. It takes some 10 µs.
	poll = 5 * time.Second
	// pause is how long nothing is heard after what is of no interest: a log in the
	// same folder may be written to all the time, and the kernel makes one event of
	// those that are the same. If it loses any it says so.
	pause = 20 * time.Millisecond
	// lull is how long files are only looked at, every settle. To let go of what
	// watches a folder takes Linux some 20 ms (inotify(7) has all readers of RCU
	// waited for), which a command that ends at once is not to pay for.
	lull = time.Second

	maxLinks = 40 // as the kernel (path_resolution(7))
)

// Files are some files as they were at one time.
type Files struct {
	paths []string
	known []identity // what each path last led to
	poll  time.Duration
	lull  time.Duration

	watcher *fsnotify.Watcher // nil: not yet, or the system has no more of them
	names   []string          // what decides where the paths lead
}

// identity is what differs when a file is another one or was written to, or
// its mode changed. The zero identity is that of no file.
type identity struct {
	device, inode uint64
	size          int64
	written       unix.Timespec
	changed       unix.Timespec
}

// New notes what paths lead to. What is read after that is never older than what
// [Files.Watch] compares with. It holds on to nothing.
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

// Watch calls changed each time when a path has come to lead to another file
// or when that file was changed, until ctx ends: by writing to it, by renaming
// another over it, or by way of any link on the path, as the ..data of a
// Kubernetes volume. It is called once for a burst. That there is no file is no
// change: it is told when there is one again, if it is not the same as before.
// With no paths it returns at once.
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
	var since time.Time // the first change that was not told; zero if there is none
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
			case <-failures: //nolint:errcheck // whatever it is, events were lost
			case <-watch.C:
				tick.Reset(f.poll)
				if w, err := fsnotify.NewWatcher(); err == nil {
					defer w.Close()
					f.watcher, events, failures = w, w.Events, w.Errors
				}
			case <-tick.C:
				f.names = nil // a watch may have been lost together with its folder
			case <-settled.C:
				since = time.Time{}
				changed()
			}
		}
	}
}

// look updates what the paths lead to, and reports whether that is another
// file than before.
func (f *Files) look() (another bool) {
	for i, path := range f.paths {
		var s unix.Stat_t
		if unix.Stat(path, &s) != nil {
			continue
		}
		now := identity{uint64(s.Dev), s.Ino, s.Size, s.Mtim, s.Ctim} //nolint:unconvert // Dev is an int32 on macOS
		if now != f.known[i] {
			f.known[i], another = now, true
		}
	}
	return another
}

// follow has all folders watched that decide where the paths lead. When it
// returns, whatever changes in them is heard of.
func (f *Files) follow() {
	for f.watcher != nil {
		var names, folders []string
		for _, path := range f.paths {
			names = append(names, resolve(path)...)
		}
		if slices.Equal(names, f.names) {
			return
		}
		f.names = names
		for _, name := range names {
			folder := filepath.Dir(name)
			folders = append(folders, folder)
			_ = f.watcher.Add(folder) // what cannot be watched is polled
		}
		for _, old := range f.watcher.WatchList() {
			if !slices.Contains(folders, old) {
				_ = f.watcher.Remove(old)
			}
		}
	}
}

// concerns reports whether an event is that of one of f.names or of the folder
// of one.
func (f *Files) concerns(e fsnotify.Event) bool {
	name := filepath.Clean(e.Name)
	if slices.ContainsFunc(f.names, func(n string) bool { return filepath.Dir(n) == name }) {
		// There may be another folder of that name by now.
		_ = f.watcher.Remove(e.Name)
		f.names = nil
		return true
	}
	return slices.Contains(f.names, name)
}

// resolve returns the names of all links on the way of a path, and that of what
// it leads to, or of the first that is not there.
func resolve(path string) (names []string) {
	const root = string(filepath.Separator)
	folder, rest := root, strings.Split(path, root)
	for len(rest) > 0 && len(names) <= maxLinks {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			folder = filepath.Dir(folder)
			continue
		}
		name := filepath.Join(folder, part)
		target, err := os.Readlink(name)
		switch {
		case err == nil:
			names = append(names, name)
			if filepath.IsAbs(target) {
				folder = root
			}
			rest = append(strings.Split(target, root), rest...)
		case errors.Is(err, syscall.EINVAL) && len(rest) > 0: // no link
			folder = name
		default:
			return append(names, name)
		}
	}
	return names
}
