package runner_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/roomenv/roomenv/runner"
)

const files = `
files:
  cert: {secret: cert, env: CERT}
  sealed: {secret: sealed, memfd: true, env: SEALED}
env: {KEY: {secret: key}}
`

// runFiles is run with a directory on a tmpfs.
func runFiles(t *testing.T, text string, holds map[string]any, test func(w *world, dir string)) {
	t.Helper()
	memory, err := os.MkdirTemp("/dev/shm", "roomenv-test-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(memory)
	dir := filepath.Join(memory, "files")
	bubble(t, func(t *testing.T) {
		w := newWorld(t, text, holds, func(c *runner.Config) { c.Dir = dir })
		w.start()
		w.next(1).answer <- nil
		w.settle()
		test(w, dir)
	})
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

// The directory has the number of the revision, also of one whose files are unchanged. A
// rollback puts the previous revision back, under its number.
func TestFiles(t *testing.T) {
	runFiles(t, files, map[string]any{"key": "v1", "cert": "c1", "sealed": "s1"}, func(w *world, dir string) {
		check := func(directory, content string) {
			t.Helper()
			link, _ := os.Readlink(filepath.Join(dir, "current"))
			got, err := os.ReadFile(filepath.Join(dir, "current", "cert"))
			if link != directory || string(got) != content || err != nil {
				t.Errorf("%s has %q, %v; want %s with %q", link, got, err, directory, content)
			}
		}
		check("revision-1", "c1")
		w.set("cert", "c2")
		c := w.next(2)
		if !slices.Equal(c.change.Files, []string{"cert"}) || c.change.Restart {
			t.Errorf("got %+v", c.change)
		}
		check("revision-2", "c2") // before it is applied
		w.answer(c, nil)
		w.set("key", "v3")
		w.answer(w.next(3), nil)
		check("revision-3", "c2")

		w.set("cert", "c4")
		w.next(4)
		check("revision-4", "c4")
		w.set("key", "bad")
		c = w.next(5)
		check("revision-5", "c4")
		w.answer(c, errors.New("it does not start"))
		check("revision-3", "c2")
		w.wantReported("apply revision 5 (rolled back): it does not start")

		// What is taken back in flight is put back too.
		w.set("cert", "c6")
		w.next(6)
		check("revision-6", "c6")
		w.set("key", "v3")
		w.next(7)
		w.set("cert", "c2")
		w.answer(w.next(3), nil)
		check("revision-3", "c2")

		// What is given up is put back too, when newer values cannot be used.
		w.set("cert", "c8")
		w.next(8)
		check("revision-8", "c8")
		w.consumer.refuseWith(errors.New("too large"), 9)
		w.set("key", "v9")
		w.answer(w.next(3), nil)
		check("revision-3", "c2")
	})
}

// A file without a name is open for as long as its revision may be used.
func TestExtraFiles(t *testing.T) {
	runFiles(t, files, map[string]any{"key": "v1", "cert": "c1", "sealed": "s1"}, func(w *world, _ string) {
		content := func(r *runner.Revision) string {
			t.Helper()
			if len(r.ExtraFiles) != 1 || r.ExtraFiles[0] == nil {
				return "closed"
			}
			b := make([]byte, 10)
			n, _ := r.ExtraFiles[0].ReadAt(b, 0)
			return string(b[:n])
		}
		w.set("sealed", "s2")
		second := w.next(2)
		if !second.change.Restart {
			t.Errorf("got %+v", second.change)
		}
		w.answer(second, nil)
		w.set("sealed", "bad")
		third := w.next(3)
		if second, third := content(second.revision), content(third.revision); second != "s2" || third != "bad" {
			t.Errorf("got %q and %q", second, third)
		}
		w.answer(third, errors.New("it does not start"))
		if second, third := content(second.revision), content(third.revision); second != "s2" || third != "closed" {
			t.Errorf("got %q and %q", second, third)
		}
		w.set("sealed", "s4")
		w.answer(w.next(4), nil)
		if got := content(second.revision); got != "closed" {
			t.Errorf("got %q", got)
		}
		w.remove("sealed")
		w.answer(w.next(0), nil)
		w.set("sealed", "s4")
		fourth := w.next(4)
		w.answer(fourth, errors.New("it does not start"))
		if got := content(fourth.revision); got != "s4" { // it was in use before
			t.Errorf("got %q", got)
		}
		w.set("sealed", "s5")
		last := w.next(5)
		w.end()
		for _, r := range []*runner.Revision{fourth.revision, last.revision} {
			if got := content(r); got != "closed" {
				t.Errorf("revision %d: got %q", r.Number, got)
			}
		}
	})
}

// There may be files for the first time when the manifest is edited.
func TestFirstFiles(t *testing.T) {
	runFiles(t, oneKey, map[string]any{"key": "v1", "cert": "c1", "sealed": "s1"}, func(w *world, dir string) {
		if entries, err := os.ReadDir(filepath.Join(dir, "current")); err != nil || len(entries) > 0 {
			t.Errorf("the directory is not there before it has files: %v, %v", entries, err)
		}
		w.edit(files)
		w.answer(w.next(2), nil)
		if b, err := os.ReadFile(filepath.Join(dir, "current", "cert")); string(b) != "c1" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
	})
}

// Files without a name need no directory, but one that has a name is there.
func TestOnlyExtraFiles(t *testing.T) {
	runFiles(t, "files: {sealed: {secret: sealed, memfd: true, env: SEALED}}\n", map[string]any{"sealed": "s1"}, func(w *world, dir string) {
		w.set("sealed", "s2")
		c := w.next(2)
		if got := value(t, c, "SEALED"); got != "/proc/self/fd/3" {
			t.Errorf("SEALED is %q", got)
		}
		if got := value(t, c, "CREDENTIALS_DIRECTORY"); got != filepath.Join(dir, "current") {
			t.Errorf("CREDENTIALS_DIRECTORY is %q", got)
		}
		w.answer(c, nil)
	})
}

// Files that cannot be put back are reported, beside what was wrong with the revision.
func TestRestoreFails(t *testing.T) {
	runFiles(t, files, map[string]any{"key": "v1", "cert": "c1", "sealed": "s1"}, func(w *world, dir string) {
		w.set("cert", "c2")
		c := w.next(2)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		w.closeError = fs.ErrNotExist
		w.answer(c, errors.New("it does not start"))
		w.wantReported("apply revision 2 (rolled back): it does not start", "restore files of the previous revision: ")
	})
}

// A first revision that is of no use leaves no file open.
func TestFirstExtraFiles(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, "files: {sealed: {secret: sealed, memfd: true}}\n", map[string]any{"sealed": "s1"})
		w.start()
		c := w.next(1)
		open := c.revision.ExtraFiles[0]
		w.answer(c, errors.New("it does not start"))
		w.awaitEnd()
		if _, err := open.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("the file is still open: %v", err)
		}
	})
}
