package filewatch_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/internal/filewatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const never = time.Hour

// limit is how long a test waits for a call.
const limit = 10 * time.Second

// told waits for a call.
func told(t *testing.T, calls <-chan struct{}) {
	t.Helper()
	select {
	case <-calls:
	case <-time.After(limit):
		t.Fatalf("no change was reported within %v", limit)
	}
}

// start watches paths until the test ends, and returns when it hears of changes.
// Each call of changed goes to the channel.
func start(t *testing.T, poll time.Duration, paths ...string) <-chan struct{} {
	t.Helper()
	first := filepath.Join(t.TempDir(), "first")
	f := filewatch.New(append(paths, first)...)
	f.Poll(poll)
	calls := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		f.Watch(ctx, func() {
			select {
			case calls <- struct{}{}:
			case <-ctx.Done():
			}
		})
	})
	t.Cleanup(func() {
		cancel()
		watching.Wait()
	})
	write(t, first, "")
	told(t, calls)
	return calls
}

// must is for what does not fail but when the test is wrong.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// volume is a directory as the kubelet makes it, with the file "token" in it.
type volume struct{ path string }

// write is what the AtomicWriter of the kubelet does: a new directory, a link to it
// under another name, which is renamed over ..data, and the old directory is
// removed.
func (v volume) write(t *testing.T, directory, text string) {
	t.Helper()
	in := func(name string) string { return filepath.Join(v.path, name) }
	old, _ := os.Readlink(in("..data"))
	must(t, os.Mkdir(in(directory), 0o700))
	write(t, in(directory+"/token"), text)
	must(t, os.Symlink(directory, in("..data_tmp")))
	must(t, os.Rename(in("..data_tmp"), in("..data")))
	if old == "" {
		must(t, os.Symlink("..data/token", in("token")))
	} else {
		must(t, os.RemoveAll(in(old)))
	}
}

func TestChanges(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir, path string){
		"written in place": func(t *testing.T, _, path string) { write(t, path, "other") },
		"as long as before": func(t *testing.T, _, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt([]byte("X"), 0)
			must(t, err)
			must(t, f.Close())
		},
		"renamed over": func(t *testing.T, dir, path string) {
			write(t, filepath.Join(dir, "new"), "other")
			must(t, os.Rename(filepath.Join(dir, "new"), path))
		},
		"as an editor does with a backup": func(t *testing.T, _, path string) {
			must(t, os.Rename(path, path+"~"))
			write(t, path, "other")
			must(t, os.Remove(path+"~"))
		},
		"removed and made": func(t *testing.T, _, path string) {
			must(t, os.Remove(path))
			write(t, path, "other")
		},
		"chmod": func(t *testing.T, _, path string) { must(t, os.Chmod(path, 0o400)) },
		"another directory in its place": func(t *testing.T, dir, path string) {
			must(t, os.Rename(filepath.Dir(path), filepath.Join(dir, "away")))
			must(t, os.Mkdir(filepath.Dir(path), 0o700))
			write(t, path, "other")
		},
		"directory removed and made": func(t *testing.T, _, path string) {
			must(t, os.RemoveAll(filepath.Dir(path)))
			must(t, os.Mkdir(filepath.Dir(path), 0o700))
			write(t, path, "other")
		},
		"a link in its place": func(t *testing.T, dir, path string) {
			write(t, filepath.Join(dir, "new"), "other")
			must(t, os.Remove(path))
			must(t, os.Symlink("../new", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "directory", "file")
			must(t, os.Mkdir(filepath.Dir(path), 0o700))
			write(t, path, "first")
			calls := start(t, never, path)
			change(t, dir, path)
			told(t, calls)
			write(t, path+".other", "of no interest")
			must(t, os.Remove(path)) // nor is that there is none
			write(t, path, "last")
			told(t, calls)
		})
	}
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	v := volume{t.TempDir()}
	v.write(t, "..2026_11_23_1", "one")
	path := filepath.Join(v.path, "token")
	linked := filepath.Join(t.TempDir(), "link") // as an image may have
	must(t, os.Symlink(path, linked))
	calls := start(t, never, linked)
	for _, next := range []string{"two", "six", "ten"} { // each time in a directory that is not watched yet
		v.write(t, "..2026_11_23_"+next, next)
		told(t, calls)
		if b, err := os.ReadFile(linked); err != nil || string(b) != next {
			t.Errorf("got %q, %v, want %q", b, err, next)
		}
	}
}

// A file that is gone, or comes again unchanged, is no change.
func TestGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	write(t, path, "x")
	must(t, os.Symlink("file", link))
	calls := start(t, never, link)
	for _, change := range []func() error{
		func() error { return os.Remove(link) },
		func() error { return os.Symlink("file", link) },
	} {
		must(t, change())
		select {
		case <-calls:
			t.Error("it is told")
		case <-time.After(200 * time.Millisecond):
		}
	}
	write(t, path, "y")
	told(t, calls)
}

// Directories on no path are not watched.
func TestLetsGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	must(t, os.Symlink("none", link))
	f := filewatch.New(link)
	f.Poll(never)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	next := func(n int) {
		directory := filepath.Join(dir, strconv.Itoa(n))
		must(t, os.Mkdir(directory, 0o700))
		write(t, filepath.Join(directory, "file"), "x")
		must(t, os.Remove(link))
		must(t, os.Symlink(filepath.Join(directory, "file"), link))
	}
	next(0)
	calls := 0
	f.Watch(ctx, func() {
		if calls++; calls == 5 {
			cancel()
		}
		// Those of the link and of the file, which in macOS are below a link too.
		if watched := f.Watched(); len(watched) > 5 {
			t.Errorf("after %d directories are watched %q", calls, watched)
		}
		next(calls)
	})
	if calls < 5 {
		t.Errorf("%d changes were reported within %v", calls, limit)
	}
}

// What is not there yet is waited for, with all directories above it.
func TestComes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "file")
	calls := start(t, never, path, filepath.Join(dir, "never"))
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	write(t, path, "x")
	told(t, calls)
}

// A burst is one change. The call for it sees the last of it, since nothing is
// told while it goes on.
func TestBurst(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "")
	calls := start(t, never, path)
	for range 100 {
		write(t, path, "part")
	}
	write(t, path, "whole")
	told(t, calls)
	if b, _ := os.ReadFile(path); string(b) != "whole" {
		t.Errorf("got %q", b)
	}
	write(t, path, "next")
	told(t, calls)
	select {
	case <-calls:
		t.Error("told again, with nothing changed")
	default:
	}
}

// A file that is written to all the time is told of, though not at once.
func TestNeverAtRest(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "")
	calls := start(t, never, path)
	began := time.Now()
	for {
		write(t, path, "part")
		select {
		case <-calls:
			if passed := time.Since(began); passed < 50*time.Millisecond {
				t.Errorf("told after %v, while it was written to", passed)
			}
			return
		default:
		}
		if time.Since(began) > 3*time.Second { // it is told after one
			t.Fatal("it is not told of until it is at rest")
		}
	}
}

// A file beside the one that is watched changes all the time, as a log does.
func TestBusyFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	write(t, path, "")
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	calls := start(t, never, path)
	done := make(chan struct{})
	var logging sync.WaitGroup
	logging.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_, _ = log.WriteString("x")
			}
		}
	})
	for _, text := range []string{"one", "two", "six"} {
		write(t, path, text)
		told(t, calls)
	}
	close(done)
	logging.Wait()
	must(t, log.Close())
}

// What changed since the files were noted is told, though nobody watched, and so
// is what changes before they are watched, and after.
func TestBeforeWatch(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "read")
	f := filewatch.New(path)
	write(t, path, "after that")
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	calls := 0
	f.Watch(ctx, func() {
		if calls++; calls == 25 { // which takes longer than the time before
			cancel()
		}
		write(t, path, "once more")
	})
	if calls < 25 {
		t.Errorf("%d changes were reported within %v", calls, limit)
	}
}

// Nobody tells when a directory further up is another one; it is found all the
// same.
func TestPolls(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "file")
	other := filepath.Join(dir, "x", "b", "file")
	for _, p := range []string{path, other} {
		must(t, os.MkdirAll(filepath.Dir(p), 0o700))
		write(t, p, "x")
	}
	calls := start(t, time.Millisecond, path)
	must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "old")))
	must(t, os.Rename(filepath.Join(dir, "x"), filepath.Join(dir, "a")))
	told(t, calls)
	write(t, path, "by way of the new directory")
	told(t, calls)
}

// A link that leads to itself is no file, and ends nothing.
func TestLoop(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.Symlink("file", path))
	calls := start(t, never, path)
	must(t, os.Remove(path))
	write(t, path, "x")
	told(t, calls)
}
