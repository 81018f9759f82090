package runner_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/runner"
)

const sharedFiles = `
files:
  cert: {secret: cert, on_change: {command: [reload, cert]}}
  key: {secret: key, on_change: {command: [reload, key]}}
`

var errAway = fmt.Errorf("%w: no route", fetch.ErrUnreachable)

// A share is a directory that other processes read.
type share struct {
	t   *testing.T
	dir string
}

func newShare(t *testing.T) share {
	t.Helper()
	memory, err := os.MkdirTemp("/dev/shm", "roomenv-test-")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	return share{t, filepath.Join(memory, "files")}
}

func (s share) config(c *runner.Config) { c.Dir, c.Share, c.Wait = s.dir, new(runner.Share), -1 }

// has checks what readers find: the directory, and name=content of each file.
func (s share) has(directory string, files ...string) {
	s.t.Helper()
	link, _ := os.Readlink(filepath.Join(s.dir, "current"))
	var got []string
	for _, name := range []string{"cert", "key"} {
		if b, err := os.ReadFile(filepath.Join(s.dir, "current", name)); err == nil {
			got = append(got, name+"="+string(b))
		}
	}
	if link != directory || !slices.Equal(got, files) {
		s.t.Errorf("%s has %q, want %s with %q", link, got, directory, files)
	}
}

// hooks are the commands that a call asks for.
func hooks(c *call) (all string) {
	for _, h := range c.change.Hooks {
		all += fmt.Sprint(h.Command)
	}
	return all
}

// run runs a test with a world, which has not begun to fetch.
func (s share) run(text string, holds map[string]any, test func(w *world)) {
	s.t.Helper()
	bubble(s.t, func(t *testing.T) {
		w := newWorld(t, text, holds, s.config)
		if err := w.runner.OpenDir(); err != nil {
			t.Fatal(err)
		}
		test(w)
	})
}

// What a process leaves the next one begins with. What is unchanged makes no revision,
// and what differs is a change and no restart.
func TestAdopt(t *testing.T) {
	s := newShare(t)
	s.run(sharedFiles, map[string]any{"cert": "c1", "key": "k1"}, func(w *world) {
		w.start()
		c := w.next(1)
		if !c.change.Restart || c.change.Hooks != nil {
			t.Errorf("got %+v", c.change)
		}
		w.answer(c, nil)
		w.set("key", "k2")
		c = w.next(2)
		if c.change.Restart || hooks(c) != "[reload key]" {
			t.Errorf("got %+v", c.change)
		}
		w.answer(c, nil)
		w.wantStatus(runner.CommandRunning, 2, 0, 1, 2)
	})
	s.has("revision-2", "cert=c1", "key=k2")
	s.run(sharedFiles, map[string]any{"cert": "c1", "key": "k2"}, func(w *world) {
		w.start()
		c := w.next(2)
		if c.change.Restart || c.change.Any() || c.change.Hooks != nil || string(c.revision.Files[1].Content.Reveal()) != "k2" {
			t.Errorf("got %+v", c.change)
		}
		w.answer(c, nil)
		w.wantStatus(runner.CommandRunning, 2, 0, 2, 2)
		w.quiet()
		w.set("cert", "c3")
		w.answer(w.next(3), nil)
		s.has("revision-3", "cert=c3", "key=k2")
	})
	s.run(strings.Replace(sharedFiles, "  cert:", "  new: text\n  cert:", 1), map[string]any{"cert": "c4", "key": "k2"}, func(w *world) {
		w.start()
		c := w.next(4)
		if c.change.Restart || !slices.Equal(c.change.Files, []string{"cert", "new"}) || hooks(c) != "[reload cert]" {
			t.Errorf("got %+v", c.change)
		}
		s.has("revision-4", "cert=c4", "key=k2")
		w.answer(c, nil)
	})
	s.run(strings.Split(sharedFiles, "  key:")[0], map[string]any{"cert": "c4"}, func(w *world) {
		w.start()
		c := w.next(5)
		if !slices.Equal(c.change.Files, []string{"key", "new"}) || c.change.Hooks != nil {
			t.Errorf("got %+v", c.change)
		}
		w.answer(c, nil)
		s.has("revision-5", "cert=c4")
	})
}

// While no source answers, what an earlier process left stays. That is stale and ready,
// if all is there.
func TestAdoptUnreachable(t *testing.T) {
	s := newShare(t)
	s.run(sharedFiles, map[string]any{"cert": "c1", "key": "k1"}, func(w *world) {
		w.start()
		w.answer(w.next(1), nil)
	})
	unknown := fmt.Errorf("%w (%w): the token is refused", fetch.ErrDenied, fetch.ErrUnknown)
	s.run(sharedFiles, map[string]any{"cert": errAway, "key": unknown}, func(w *world) {
		if st := w.runner.Status(); !st.Ready || st.Revision != 1 || st.Dir != s.dir || st.Entries[0].State != fetch.Stale {
			t.Errorf("got %+v", st)
		}
		w.start()
		w.quiet()
		w.wantReported("waiting for values: resolve 2 references")
		s.has("revision-1", "cert=c1", "key=k1")
		if st := w.runner.Status(); !st.Ready || st.Entries[0].State != fetch.Stale || st.Entries[0].Reason != "unreachable: no route" || st.Entries[0].Since != st.Started {
			t.Errorf("got %+v", st)
		}
		w.source.put("cert", "c1")
		w.source.put("key", "k1")
		w.runner.Refresh()
		w.answer(w.next(1), nil) // at once
		w.wantStatus(runner.CommandRunning, 1, 0, 1, 1)
		if st := w.runner.Status(); st.Entries[0].State != fetch.Current {
			t.Errorf("got %+v", st)
		}
	})
	s.run(sharedFiles, map[string]any{"cert": unknown, "key": "k1"}, func(w *world) {
		w.start()
		w.quiet()
		s.has("revision-1", "cert=c1", "key=k1")
	})
	// What may be missing is not waited for.
	s.run(strings.Replace(sharedFiles, "  cert:", "  new: {secret: new, optional: true}\n  cert:", 1), map[string]any{"cert": errAway}, func(w *world) {
		if st := w.runner.Status(); !st.Ready {
			t.Errorf("got %+v", st)
		}
		w.start()
	})
	s.run(strings.Replace(sharedFiles, "  cert:", "  new: {secret: new}\n  cert:", 1), map[string]any{"cert": "c1", "key": "k1", "new": errAway}, func(w *world) {
		w.start()
		w.quiet()
		if st := w.runner.Status(); st.Ready || st.State != runner.CommandStarting || st.Revision != 1 {
			t.Errorf("got %+v", st)
		}
		s.has("revision-1", "cert=c1", "key=k1")
		w.wantReported("waiting for values: resolve 1 reference")
	})
}

// What is revoked while a process does not run is removed by the next one, and the rest
// stays.
func TestAdoptRevoked(t *testing.T) {
	s := newShare(t)
	s.run(sharedFiles, map[string]any{"cert": "c1", "key": "k1"}, func(w *world) {
		w.start()
		w.answer(w.next(1), nil)
	})
	s.run(sharedFiles, map[string]any{"cert": "c1"}, func(w *world) {
		w.start()
		c := w.next(2)
		s.has("revision-2", "cert=c1")
		if !slices.Equal(c.change.Files, []string{"key"}) || hooks(c) != "[reload key]" {
			t.Errorf("got %+v", c.change)
		}
		w.answer(c, nil)
		if st := w.runner.Status(); st.Ready || st.Entries[1].State != fetch.Missing {
			t.Errorf("got %+v", st)
		}
		w.set("key", "k3")
		w.answer(w.next(3), nil)
		s.has("revision-3", "cert=c1", "key=k3")
	})
}

// Without an earlier process all has to be there.
func TestShareMissing(t *testing.T) {
	s := newShare(t)
	s.run(sharedFiles, map[string]any{"cert": "c1"}, func(w *world) {
		w.start()
		w.awaitEnd()
		if !errors.Is(w.err, fetch.ErrMissing) {
			t.Errorf("error %v", w.err)
		}
		s.has("")
	})
}

// A value that is revoked has its file removed, from the previous revision too. The
// others stay, and the consumer is told of a change.
func TestShareRevoked(t *testing.T) {
	s := newShare(t)
	s.run(sharedFiles, map[string]any{"cert": "c1", "key": "k1"}, func(w *world) {
		w.start()
		w.answer(w.next(1), nil)
		w.remove("key")
		c := w.next(2)
		s.has("revision-2", "cert=c1")
		if _, err := os.Stat(filepath.Join(s.dir, "revision-1", "key")); err == nil {
			t.Error("the previous revision has the file")
		}
		if c.change.Restart || hooks(c) != "[reload key]" {
			t.Errorf("got %+v", c.change)
		}
		w.answer(c, nil)
		w.wantReported("room:secret/key is revoked: missing: not here; its file is removed until the value is available")
		if st := w.runner.Status(); st.State != runner.CommandRunning || st.Ready {
			t.Errorf("got %+v", st)
		}
		w.set("cert", "c3")
		w.answer(w.next(3), nil)
		s.has("revision-3", "cert=c3")
		w.set("key", "k1")
		c = w.next(4)
		if hooks(c) != "[reload key]" {
			t.Errorf("got %+v", c.change)
		}
		w.answer(c, nil)
		s.has("revision-4", "cert=c3", "key=k1")
		w.quiet()
	})
}

// A revoked value does not stay because the next revision cannot be written, nor does its
// file stay away because the value is the same again.
func TestShareRevokedUnusable(t *testing.T) {
	s := newShare(t)
	s.run(sharedFiles, map[string]any{"cert": "c1", "key": "k1"}, func(w *world) {
		w.start()
		w.answer(w.next(1), nil)
		w.consumer.refuseWith(errors.New("full"), 0)
		w.remove("key")
		s.has("revision-1", "cert=c1")
		w.wantReported("revoked", "apply new values (keeping the previous values): full")
		w.set("key", "k1")
		w.wantReported()
		w.consumer.refuseWith(nil, 0)
		time.Sleep(time.Minute)
		w.answer(w.next(3), nil)
		s.has("revision-3", "cert=c1", "key=k1")
	})
}

// The policy to exit removes the file too.
func TestShareExit(t *testing.T) {
	s := newShare(t)
	s.run(strings.Replace(sharedFiles, "key: {", "key: {max_stale: 1m, on_stale: exit, ", 1), map[string]any{"cert": "c1", "key": "k1"}, func(w *world) {
		w.start()
		w.answer(w.next(1), nil)
		w.source.put("key", errAway)
		w.source.changes <- []string{"key"}
		w.awaitEnd()
		if _, ok := errors.AsType[*runner.PolicyError](w.err); !ok {
			t.Errorf("error %v", w.err)
		}
		s.has("revision-1", "cert=c1")
	})
}

// A command that is stopped for a revoked value leaves no file with it, however many
// are revoked; the other files stay.
func TestSuspendedFiles(t *testing.T) {
	s := newShare(t)
	bubble(t, func(t *testing.T) {
		w := newWorld(t, sharedFiles, map[string]any{"cert": "c1", "key": "k1"}, func(c *runner.Config) { c.Dir = s.dir })
		w.start()
		w.answer(w.next(1), nil)
		w.remove("key")
		c := w.next(0)
		s.has("revision-1", "cert=c1", "key=k1") // the command runs
		w.answer(c, nil)
		s.has("revision-1", "cert=c1")
		w.remove("cert")
		w.none()
		s.has("revision-1")
		w.set("cert", "c1")
		w.set("key", "k1")
		c = w.next(2)
		if !c.change.Restart {
			t.Errorf("got %+v", c.change)
		}
		s.has("revision-2", "cert=c1", "key=k1")
		w.answer(c, nil)
	})
}

// Wait is how long a source may be unreachable, and what it says ends the wait.
func TestWait(t *testing.T) {
	for _, test := range []struct {
		wait, comes, ends time.Duration
		what              any
		want              error
	}{
		{0, time.Second, 0, "v1", fetch.ErrUnreachable},
		{time.Minute, 30 * time.Second, 0, "v1", nil},
		{time.Minute, 2 * time.Minute, time.Minute, "v1", fetch.ErrUnreachable},
		{-1, 24 * time.Hour, 0, "v1", nil},
		{-1, time.Minute, 0, fmt.Errorf("%w: no", fetch.ErrDenied), fetch.ErrDenied},
	} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, oneKey, map[string]any{"key": errAway}, func(c *runner.Config) { c.Wait = test.wait })
			defer w.runner.Close()
			time.AfterFunc(test.comes, func() { w.source.put("key", test.what) })
			started := time.Now()
			_, err := w.runner.Resolve(t.Context())
			took := time.Since(started)
			if !errors.Is(err, test.want) || test.want == nil && (err != nil || took < test.comes || took > test.comes+30*time.Second) ||
				test.ends > 0 && took != test.ends || test.wait == 0 && took > 0 {
				t.Errorf("%+v: error %v after %v", test, err, took)
			}
			if got := w.reported(); len(got) > 1 || len(got) == 0 != (test.wait == 0) {
				t.Errorf("%+v: reported %q", test, got)
			}
			time.Sleep(24 * time.Hour)
		})
	}
}
