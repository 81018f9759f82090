package runner_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/runner"
)

// A manifest that is edited counts. One that cannot be used is reported, and the
// previous version stays, with changes of its values, until a refresh.
func TestReload(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.edit("env: {KEY: {secret: key}, OTHER: {secret: other, default: d}}\n")
		c := w.next(2)
		w.wantChange(c, "OTHER", true, "")
		w.answer(c, nil)
		w.wantStatus(runner.CommandRunning, 2, 0, 1, 2)

		w.edit("env: {KEY: {secrt: key}}\n")
		w.wantReported("reload manifest (keeping the previous version): ")
		w.set("key", "v2")
		w.answer(w.next(3), nil)

		w.edit("env: {KEY: {secret: key}, OTHER: {secret: other}}\n")
		w.wantReported("reload manifest (keeping the previous version): resolve 1 reference\n  missing: ")
		w.set("other", "o1")
		w.answer(w.next(4), nil) // for the previous version
		w.runner.Refresh()
		w.settle()
		w.quiet() // as before
		w.remove("other")
		w.answer(w.next(0), nil) // the new version requires it
	})
}

// What a manifest names may take long, while the previous version is kept current. It
// starts over when the file changes meanwhile.
func TestReloadWaits(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.source.put("slow", nil)
		w.edit("env: {KEY: {secret: key}, SLOW: {secret: slow}}\n")
		w.set("key", "v2")
		w.answer(w.next(2), nil)
		w.edit("env: {KEY: {secret: key}, OTHER: x}\n")
		c := w.next(3)
		w.wantChange(c, "OTHER", true, "")
		w.answer(c, nil)
		// What came meanwhile is not undone.
		slow := make(chan string)
		w.source.put("slow", slow)
		w.edit("env: {KEY: {secret: key}, OTHER: x, SLOW: {secret: slow}}\n")
		w.set("key", "v4")
		w.answer(w.next(4), nil)
		slow <- "s1"
		w.settle()
		w.source.put("slow", "s1")
		c = w.next(5)
		w.wantChange(c, "SLOW", true, "")
		if got := value(t, c, "KEY"); got != "v4" {
			t.Errorf("KEY is %q", got)
		}
		w.answer(c, nil)
		w.source.put("slower", nil)
		w.edit("env: {KEY: {secret: key}, SLOW: {secret: slower}}\n") // it does not delay the end
		w.wantReported()
	})
}

// The OAuth clients of a manifest that cannot be used do not get at the tokens of the
// one in use, nor does one that takes long.
func TestReloadClients(t *testing.T) {
	text := strings.Replace(oauth, "on_change: none", "on_change: none, max_stale: 1s, then: exit", 1)
	run(t, text, map[string]any{"github": "t1"}, func(w *world) {
		w.source.put("slow", nil)
		w.edit("env: {SLOW: {secret: slow}}\n")
		time.Sleep(time.Hour)
		w.set("github", "t2")
		time.Sleep(time.Minute) // tokens are fetched with a pause
		w.answer(w.next(2), nil)
		value, _, err := w.runner.Token(w.t.Context(), "github")
		if err != nil || string(value.Reveal()) != "t2" {
			t.Errorf("got %q, %v", value.Reveal(), err)
		}
	})
}

// Check sees each manifest, before anything is fetched, and may change it.
func TestCheck(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, oneKey, nil)
		c := w.config()
		refused := errors.New("no such signal")
		c.Check = func(*manifest.Manifest) error { return refused }
		if _, err := runner.New(c); !errors.Is(err, refused) {
			t.Errorf("error %v", err)
		}
		w.write("env: {A: 1}\nexec: {pristine: true}\n")
		for _, pristine := range []bool{true, false} {
			c.Check = func(m *manifest.Manifest) error {
				m.Exec.Pristine = pristine
				return nil
			}
			r, err := runner.New(c)
			if err != nil {
				t.Fatal(err)
			}
			result, err := r.Resolve(t.Context())
			if err != nil || pristine != (len(result.Env) == 1) {
				t.Errorf("pristine %v: got %v, %v", pristine, result, err)
			}
		}

		// Its lists are joined with those of the policy.
		w.write("env: {PATH: {secret: path}, LD_PRELOAD: {secret: preload}}\nexec: {allow: [PATH], strip: [INHERITED]}\n")
		w.source.holds = map[string]any{"path": "/bin", "preload": "x.so"}
		c.Policy = render.Policy{Allow: []string{"LD_PRELOAD"}, Strip: []string{"OTHER"}}
		c.Environ = append(c.Environ, "OTHER=1")
		r, err := runner.New(c)
		if err != nil {
			t.Fatal(err)
		}
		if result, err := r.Resolve(t.Context()); err != nil || len(result.Env) != 2 {
			t.Errorf("got %v, %v", result, err)
		}
	})
}

// A manifest without references opens nothing, is read once, and runs all the same.
func TestNoReferences(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, "env: {A: '1'}\n", nil, func(c *runner.Config) {
			c.Sources["room"] = func() (fetch.Source, error) { return nil, errors.New("opened") }
		})
		if w.runner.HasReferences() {
			t.Error("it has references")
		}
		w.runner.SetWatch(nil)
		w.start()
		c := w.next(1)
		if got := value(t, c, "A"); got != "1" {
			t.Errorf("A is %q", got)
		}
		w.answer(c, nil)
		w.runner.Refresh()
		w.quiet()
		w.wantStatus(runner.CommandRunning, 1, 0)
	})
}

type closing struct {
	fetch.Source
	log   func(string)
	error error
}

func (c closing) Reconnect() { c.log("reconnect") }

func (c closing) Close() error {
	c.log("close")
	return c.error
}

// A source is opened when a manifest first refers to its scheme, and closed in the
// end. One that cannot be opened makes a manifest that cannot be used.
func TestSources(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log []string
		source := newSource(map[string]any{"key": "v1", "x": "x1"})
		closeError := errors.New("not closed")
		w := newWorld(t, "env: {A: {secret: key}}\n", nil, func(c *runner.Config) {
			open := func(scheme string) func() (fetch.Source, error) {
				return func() (fetch.Source, error) {
					log = append(log, "open "+scheme)
					if scheme == "bad" {
						return nil, errors.New("not today")
					}
					return closing{source, func(what string) { log = append(log, what+" "+scheme) }, closeError}, nil
				}
			}
			c.Sources = runner.Sources{"room": open("room"), "file": open("file"), "bad": open("bad")}
		})
		w.start()
		w.next(1).answer <- nil
		w.settle()
		w.edit("env: {A: {secret: key}, B: 'file:token/x'}\n")
		c := w.next(2)
		if got := value(t, c, "B"); got != "x1" {
			t.Errorf("B is %q", got)
		}
		w.answer(c, nil)
		w.edit("env: {A: {secret: key}, B: 'bad:token/x'}\n")
		w.wantReported("reload manifest (keeping the previous version): not today")
		w.runner.Reconnect()
		w.settle()
		w.reported()
		w.closeError = closeError
		w.end()
		slices.Sort(log)
		if want := []string{"close file", "close room", "open bad", "open bad", "open file", "open room", "reconnect file", "reconnect room"}; !slices.Equal(log, want) {
			t.Errorf("got %q", log)
		}
	})
}
