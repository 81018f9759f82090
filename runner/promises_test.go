package runner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/runner"
	"github.com/roomenv/roomenv/secret"
)

// A manifest that cannot be used leaves everything as it was: the entries, and the
// OAuth clients by which tokens are fetched.
func TestInvalidManifestChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, oauth, map[string]any{"github": "t1"})
		w.start()
		w.next(1).answer <- nil
		w.settle()
		w.edit(strings.Replace(strings.Replace(oauth, "client_id: id", "client_id: changed", 1), "env: {", "env: {MARK: new, GONE: {secret: gone}, ", 1))
		w.wantReported("reload manifest (keeping the previous version): resolve 1 reference\n  missing: ")
		w.source.targets()

		w.set("github", "t2")
		time.Sleep(10 * time.Minute) // polls, among others
		c := w.next(2)
		if _, set := c.revision.Lookup("MARK"); set {
			t.Error("an entry of the manifest that cannot be used is set")
		}
		w.answer(c, nil)
		if _, _, err := w.runner.Token(t.Context(), "github"); err != nil {
			t.Error(err)
		}
		for _, tg := range w.source.targets() {
			if client, _ := tg.OAuthClient(); client.ClientID != "id" {
				t.Fatalf("fetched by the client %q", client.ClientID)
			}
		}
	})
}

// Check sees a manifest that is edited too, and keeps the previous one.
func TestCheckReload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		refuse := false
		w := newWorld(t, oneKey, oneValue(), func(c *runner.Config) {
			c.Check = func(*manifest.Manifest) error {
				if refuse {
					return errors.New("no such signal")
				}
				return nil
			}
		})
		w.start()
		w.next(1).answer <- nil
		w.settle()
		refuse = true
		w.edit("env: {KEY: {secret: key}, OTHER: x}\n")
		w.wantReported("reload manifest (keeping the previous version): no such signal")
		w.quiet()
	})
}

// What the manifest says on refreshing is in effect: how often values are polled, and
// how long changes are batched at most.
func TestRefreshSettings(t *testing.T) {
	const refresh = "refresh: {interval: 10s, debounce: 1s, max_wait: 2s}\n"
	run(t, refresh+oneKey, oneValue(), func(w *world) {
		w.source.targets()
		time.Sleep(time.Hour)
		if n := len(w.source.targets()); n < 320 || n > 400 {
			t.Errorf("polled %d times in an hour", n)
		}
		w.set("key", "v2")
		w.answer(w.next(2), nil)
		for n := range 24 { // each 100 ms
			w.set("key", fmt.Sprint("x", n))
		}
		w.answer(w.next(3), nil)
	})
}

// A restart stands for signals and hooks, and the first revision is one, whatever the
// manifest wants of changes.
func TestRestartStandsForAll(t *testing.T) {
	run(t, twoKeys, twoValues(), func(w *world) {
		w.remove("key")
		w.answer(w.next(0), nil)
		w.set("sig", "s2")
		w.set("key", "v1")
		c := w.next(2)
		w.wantChange(c, "SIG", true, "")
		w.answer(c, nil)
	})
	bubble(t, func(t *testing.T) {
		w := newWorld(t, oneKey+"exec: {on_change: {signal: HUP}}\n", oneValue())
		w.start()
		c := w.next(1)
		w.wantChange(c, "INHERITED KEY", true, "")
		w.answer(c, nil)
		w.set("key", "v2")
		c = w.next(2)
		w.wantChange(c, "KEY", false, "HUP")
		w.answer(c, nil)
	})
}

// Violations are reported once for each reference, and again when they become others.
func TestViolationsAreReported(t *testing.T) {
	const text = "env: {KEY: {value: x}, BOTH: '${room:secret/key}-${room:secret/sig}'}\nrefresh: {on_revoked: keep, max_stale: 1h, debounce: 1ms}\n"
	run(t, text, twoValues(), func(w *world) {
		w.remove("key")
		w.remove("sig")
		w.quiet()
		w.wantReported("BOTH (", "BOTH (")
		w.set("key", "v1")
		w.set("key", fmt.Errorf("%w: no route", fetch.ErrUnreachable))
		time.Sleep(2 * time.Hour)
		w.wantReported("room:secret/key is stale since")
		w.set("key", fmt.Errorf("%w: not for you", fetch.ErrDenied))
		w.wantReported("room:secret/key is revoked: denied: not for you; the last value stays")
		w.quiet()
		w.wantReported()
	})
}

// A policy that says exit is what Run returns, and is not reported beside.
func TestExitIsNotReported(t *testing.T) {
	run(t, "env: {KEY: {secret: key, max_stale: 10m, on_stale: exit}}\n", oneValue(), func(w *world) {
		w.set("key", fmt.Errorf("%w: no route", fetch.ErrUnreachable))
		w.awaitEnd()
		w.wantReported()
	})
}

// The reason is that of the state: the newest one while values are suspended, none in
// the end.
func TestReason(t *testing.T) {
	run(t, twoKeys, twoValues(), func(w *world) {
		reason := func(want string) {
			t.Helper()
			if got := w.runner.Status().Reason; (got == "") != (want == "") || !strings.Contains(got, want) {
				t.Errorf("the reason is %q, want %q", got, want)
			}
		}
		w.remove("key")
		w.answer(w.next(0), nil)
		reason("KEY (")
		w.remove("sig")
		w.set("key", "v1")
		reason("SIG (")
		w.set("sig", "s1")
		w.answer(w.next(1), nil)
		reason("")
	})
}

// The times and reasons of a revoked value are those of its revocation.
func TestRevokedSince(t *testing.T) {
	run(t, "env: {KEY: {secret: key, on_revoked: keep}}\n", oneValue(), func(w *world) {
		time.Sleep(time.Hour)
		revoked := time.Now()
		w.set("key", fmt.Errorf("%w: not for you", fetch.ErrDenied))
		w.quiet()
		if e := w.runner.Status().Entries[0]; e.State != fetch.Denied || e.Reason != "not for you" || e.Since.Sub(revoked) > time.Second || e.Since.Before(revoked) {
			t.Errorf("got %+v", e)
		}
	})
}

// A consumer whose values are suspended stays so when the next revision cannot be
// offered to it: it is not suspended again.
func TestUnusableSuspended(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.remove("key")
		w.answer(w.next(0), nil)
		w.consumer.refuseWith(errors.New("too large"), 0)
		w.set("key", "v2")
		w.quiet()
		w.wantStatus(runner.CommandStopped, 1, 0, 1)
		w.remove("key")
		w.quiet()
		w.consumer.refuseWith(nil, 0)
		w.set("key", "v2")
		c := w.next(2)
		w.wantChange(c, "KEY", true, "")
		w.answer(c, nil)
	})
}

// What failed is tried again with a pause, which is short at first each time.
func TestPauses(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		prepared := func(during time.Duration) int {
			before := w.consumer.prepared()
			time.Sleep(during)
			w.none()
			return w.consumer.prepared() - before
		}
		for n := range 2 {
			w.consumer.refuseWith(errors.New("too large"), 0)
			w.set("key", fmt.Sprint("v", n+2))
			if n := prepared(4 * time.Second); n < 2 || n > 7 {
				t.Errorf("tried %d times in 4 s", n)
			}
			if n := prepared(10 * time.Minute); n < 55 || n > 130 {
				t.Errorf("tried %d times in 10 minutes", n)
			}
			w.consumer.refuseWith(nil, 0)
			time.Sleep(time.Minute)
			w.answer(w.next(n+2), nil)
		}
		w.remove("key")
		w.answer(w.next(0), errors.New("it does not stop"))
		w.none() // not at once
		time.Sleep(time.Second)
		w.answer(w.next(0), nil)
	})
}

// A function may return the error of its context, which is not the cause.
func TestSupersededByItsContext(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.consumer.effect = func() error { return fmt.Errorf("connect: %w", context.Canceled) }
		w.set("key", "v2")
		w.next(2)
		w.set("key", "v3")
		w.wantReported()
		w.answer(w.next(3), nil)
		w.set("key", "v2") // which was not rejected
		w.answer(w.next(4), nil)
		w.wantStatus(runner.CommandRunning, 4, 0, 4)
	})
}

// An exiting consumer is done by the time that Apply has failed for it.
type exiting struct {
	*consumer
	exited atomic.Bool
	closed chan struct{}
}

func (e *exiting) Apply(ctx context.Context, rev *runner.Revision, change runner.Change) error {
	err := e.consumer.Apply(ctx, rev, change)
	if err != nil {
		e.exited.Store(true)
	}
	return err
}

func (e *exiting) Done() <-chan struct{} {
	if e.exited.Load() {
		return e.closed
	}
	return nil
}

// A consumer that ends during Apply has not refused the revision.
func TestDoneInApply(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, oneKey, oneValue())
		c := &exiting{consumer: w.consumer, closed: make(chan struct{})}
		close(c.closed)
		w.cancel = func(error) {}
		go func() {
			defer close(w.ended)
			w.code, w.err = w.runner.Run(t.Context(), c)
		}()
		t.Cleanup(w.end)
		w.answer(w.next(1), nil)
		w.set("key", "v2")
		w.next(2).answer <- errors.New("the command has exited")
		w.awaitEnd()
		w.wantReported()
		if s := w.runner.Status(); w.err != nil || w.code != 7 || s.Rollbacks != 0 {
			t.Errorf("got %d, %v, %d rollbacks", w.code, w.err, s.Rollbacks)
		}
	})
}

// Rooms are those of references to rooms, and tokens come from them: another scheme
// may have the same names.
func TestOtherSchemes(t *testing.T) {
	text := strings.Replace(oauth, "env: {", "env: {FILE: 'file://group/oauth/github', ", 1)
	bubble(t, func(t *testing.T) {
		file := newSource(map[string]any{"github": "not a token"})
		w := newWorld(t, text, map[string]any{"github": "t1"}, func(c *runner.Config) {
			c.Sources["file"] = func() (fetch.Source, error) { return file, nil }
		})
		if _, err := w.runner.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		if value, _, err := w.runner.Token(t.Context(), "github"); err != nil || string(value.Reveal()) != "t1" {
			t.Errorf("the token is %q, error %v", value.Reveal(), err)
		}
		if rooms := w.runner.Status().Rooms; len(rooms) != 1 || rooms[0] != "" {
			t.Errorf("the rooms are %q", rooms)
		}
	})
}

// A person is a source whose every value takes a participant.
type person struct{ *source }

func (person) TryResolve(context.Context, manifest.Target) (secret.Value, error) {
	return secret.Value{}, &fetch.PendingError{From: "alice"}
}

// Token waits for no participant, and does not hand out a token that the source has
// revoked, though it be unreachable by now.
func TestTokenIsNotOld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, oauth, map[string]any{"github": "t1", "unused": nil}, func(c *runner.Config) {
			s := newSource(map[string]any{"github": "t1", "unused": nil})
			c.Sources["room"] = func() (fetch.Source, error) { return person{s}, nil }
		})
		if _, err := w.runner.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, _, err := w.runner.Token(t.Context(), "unused"); !errors.Is(err, fetch.ErrPending) || time.Since(start) > time.Minute {
			t.Errorf("error %v after %v", err, time.Since(start))
		}
	})
	run(t, oauth, map[string]any{"github": "t1"}, func(w *world) {
		w.source.put("github", fetch.ErrMissing) // which is not known yet
		if _, _, err := w.runner.Token(w.t.Context(), "github"); !errors.Is(err, fetch.ErrMissing) {
			t.Errorf("a missing token: error %v", err)
		}
		w.runner.Refresh()
		w.settle()
		w.answer(w.next(0), nil)
		w.source.put("github", fmt.Errorf("%w: no route", fetch.ErrUnreachable))
		if v, _, err := w.runner.Token(w.t.Context(), "github"); !errors.Is(err, fetch.ErrUnreachable) {
			t.Errorf("a revoked token: got %q, error %v", v.Reveal(), err)
		}
	})
}

// The environment is that of the Config, also for references in it, and values are
// fetched once.
func TestEnvironOfConfig(t *testing.T) {
	t.Setenv("OF_THE_TEST", "room:secret/none")
	bubble(t, func(t *testing.T) {
		w := newWorld(t, oneKey, oneValue())
		if _, err := w.runner.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.start()
		c := w.next(1)
		if _, set := c.revision.Lookup("OF_THE_TEST"); set {
			t.Error("a variable of the process is inherited")
		}
		if n := len(w.source.targets()); n != 1 {
			t.Errorf("%d values were fetched", n)
		}
		w.answer(c, nil)
	})
}

// A log says which revision is in use, by the number that the status has.
func TestLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer
		w := newWorld(t, oneKey, oneValue(), func(c *runner.Config) {
			c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}}))
		})
		w.start()
		w.answer(w.next(1), nil)
		w.set("key", "bad")
		w.answer(w.next(2), errors.New("it does not start"))
		w.set("key", "v3")
		w.answer(w.next(3), nil)
		w.wantStatus(runner.CommandRunning, 3, 1, 3)
		w.edit("env: {KEY: {secret: key}, OTHER: x}\n")
		w.answer(w.next(4), nil)
		w.end()
		const want = `level=INFO msg="revision applied" revision=1
level=INFO msg="revision applied" revision=3
level=INFO msg="manifest reloaded"
level=INFO msg="revision applied" revision=4
`
		if got := log.String(); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}
