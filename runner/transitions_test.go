package runner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/runner"
)

// The rows are those of the table at type loop.

const (
	oneKey  = "env: {KEY: {secret: key}}\n"
	twoKeys = "env: {KEY: {secret: key}, SIG: {secret: sig, on_change: {signal: HUP}}}\n"
)

func oneValue() map[string]any  { return map[string]any{"key": "v1"} }
func twoValues() map[string]any { return map[string]any{"key": "v1", "sig": "s1"} }

// Row 1: what does not differ makes no revision, however often it is fetched.
func TestUnchanged(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.set("key", "v1")
		w.set("other", "x")
		w.runner.Refresh()
		w.quiet()
		w.edit("env: {KEY: {secret: key, on_change: none}}\n")
		w.quiet()
		w.wantStatus(runner.CommandRunning, 1, 0, 1)
		w.wantReported()
	})
}

// The first revision is a start, whatever the manifest says of changes.
func TestFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, "exec: {on_change: none}\n"+oneKey, oneValue())
		w.start()
		c := w.next(1)
		w.wantChange(c, "INHERITED KEY", true, "")
		w.answer(c, nil)
	})
}

// Rows 2 and 7: other values are applied.
func TestApply(t *testing.T) {
	run(t, twoKeys, twoValues(), func(w *world) {
		w.set("key", "v2")
		c := w.next(2)
		w.wantChange(c, "KEY", true, "")
		w.wantStatus(runner.CommandRunning, 1, 0, 2, 1) // in flight
		if got := value(t, c, "KEY"); got != "v2" {
			t.Errorf("KEY is %q", got)
		}
		if got := value(t, c, "INHERITED"); got != "1" {
			t.Errorf("INHERITED is %q", got)
		}
		w.answer(c, nil)
		w.wantStatus(runner.CommandRunning, 2, 0, 2, 1)

		w.set("sig", "s2")
		c = w.next(3)
		w.wantChange(c, "SIG", false, "HUP")
		w.answer(c, nil)
		w.wantStatus(runner.CommandRunning, 3, 0, 2, 3)

		// They are as in revision 1, which was long ago.
		w.set("key", "v1")
		w.answer(w.next(4), nil)
		w.wantStatus(runner.CommandRunning, 4, 0, 4, 3)
		w.wantReported()
	})
}

// Rows 9 and 3: what the consumer could not use is rolled back, and not offered again
// until there were other values.
func TestReject(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.set("key", "bad")
		w.answer(w.next(2), errors.New("it does not start"))
		w.wantReported("apply revision 2 (rolled back): it does not start")
		w.wantStatus(runner.CommandRunning, 1, 1, 1)
		w.runner.Refresh()
		w.set("key", "bad")
		w.quiet()

		w.set("key", "v3")
		c := w.next(3)
		w.wantChange(c, "KEY", true, "")
		w.answer(c, nil)
		w.wantStatus(runner.CommandRunning, 3, 1, 3)
		w.set("key", "bad")
		w.answer(w.next(4), errors.New("it does not start"))
		w.set("key", "v3") // as applied
		w.set("key", "bad")
		w.answer(w.next(4), nil)
		w.wantStatus(runner.CommandRunning, 4, 2, 4)
	})
}

// Rows 4 and 11: what is revoked suspends the consumer, once, until there are values
// again, be it the same ones or ones that were rejected.
func TestSuspend(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.remove("key")
		c := w.next(0)
		if !strings.Contains(c.why.Error(), "room:secret/key is revoked: missing") {
			t.Errorf("suspended because %v", c.why)
		}
		w.answer(c, nil)
		w.wantReported("is revoked: missing: not here; stopping until the value is available")
		w.wantStatus(runner.CommandStopped, 1, 0, 1)
		if got := w.runner.Status().Unready(); len(got) != 2 || !strings.Contains(got[0], "the command is stopped: KEY (") {
			t.Errorf("unready because %q", got)
		}
		w.quiet()

		w.set("key", "v1")
		c = w.next(1)
		w.wantChange(c, "", true, "")
		w.answer(c, nil)
		w.wantStatus(runner.CommandRunning, 1, 0, 1)

		w.set("key", "bad")
		w.answer(w.next(2), errors.New("it does not start"))
		w.remove("key")
		w.answer(w.next(0), nil)
		w.set("key", "bad")
		w.answer(w.next(2), nil)
		w.wantStatus(runner.CommandRunning, 2, 1, 2)
	})
}

// An error while values are suspended keeps them so.
func TestRejectSuspended(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.remove("key")
		w.answer(w.next(0), nil)
		w.set("key", "bad")
		w.answer(w.next(2), errors.New("it does not start"))
		w.quiet()
		w.remove("key")
		w.quiet()
		w.set("key", "bad") // again, after none
		c := w.next(2)
		w.wantChange(c, "KEY", true, "")
		w.answer(c, nil)
	})
}

// Row 5: the call in flight continues when nothing else is desired.
func TestInFlight(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.set("key", "v2")
		c := w.next(2)
		w.runner.Refresh()
		w.set("key", "v2")
		w.quiet()
		if c.ctx.Err() != nil {
			t.Errorf("the context ended: %v", context.Cause(c.ctx))
		}
		w.answer(c, nil)
		w.remove("key")
		c = w.next(0)
		w.runner.Refresh()
		w.quiet()
		if c.ctx.Err() != nil {
			t.Errorf("the context of Suspend ended: %v", context.Cause(c.ctx))
		}
		w.answer(c, nil)
	})
}

// Rows 6 and 8: newer values end the call in flight. What it may have done counts as
// changed.
func TestSupersede(t *testing.T) {
	run(t, twoKeys, twoValues(), func(w *world) {
		w.set("key", "v2")
		first := w.next(2)
		w.set("sig", "s2")
		if first.ctx.Err() == nil {
			t.Fatal("the context of the call in flight did not end")
		}
		second := w.next(3)
		w.wantChange(second, "KEY SIG", true, "")
		w.set("key", "v1") // as applied: only SIG differs from that
		third := w.next(4)
		w.wantChange(third, "KEY SIG", true, "")
		w.wantStatus(runner.CommandRunning, 1, 0, 1, 4)
		w.answer(third, nil)
		w.wantStatus(runner.CommandRunning, 4, 0, 1, 4)
		w.set("sig", "s3") // nothing is left of what was tried
		c := w.next(5)
		w.wantChange(c, "SIG", false, "HUP")
		w.answer(c, nil)
		w.wantReported()
	})
}

// A change that is taken back while it is in flight is undone, with the number that
// there was.
func TestTakenBack(t *testing.T) {
	run(t, twoKeys, twoValues(), func(w *world) {
		w.set("sig", "s2")
		w.next(2)
		w.set("sig", "s1")
		c := w.next(1)
		w.wantChange(c, "SIG", false, "HUP")
		w.answer(c, nil)
		w.wantStatus(runner.CommandRunning, 1, 0, 1, 1)
		w.set("key", "v2")
		w.answer(w.next(3), nil)
	})
}

// A restart that was begun is completed, also if the manifest by now wants none.
func TestRestartStays(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.set("key", "v2")
		w.next(2)
		w.edit("env: {KEY: {secret: key, on_change: none}}\n")
		w.set("key", "v3")
		c := w.next(3)
		w.wantChange(c, "KEY", true, "")
		w.answer(c, nil)
		w.set("key", "v4")
		c = w.next(4)
		w.wantChange(c, "KEY", false, "")
		w.answer(c, nil)
	})
}

// Row 7 after row 6: a call may take effect although its context has ended.
func TestEffectAfterAll(t *testing.T) {
	run(t, twoKeys, twoValues(), func(w *world) {
		w.consumer.effect = func() error { return nil }
		w.set("key", "v2")
		w.next(2)
		w.set("sig", "s2")
		c := w.next(3)
		w.wantStatus(runner.CommandRunning, 2, 0, 2, 3)
		w.wantChange(c, "SIG", false, "HUP")
		w.answer(c, nil)

		// Row 9: or fail.
		w.consumer.effect = func() error { return errors.New("it does not start") }
		w.set("key", "bad")
		w.next(4)
		w.set("sig", "s3")
		w.wantReported("apply revision 4 (rolled back): it does not start")
		c = w.next(5)
		w.wantChange(c, "KEY SIG", true, "")
		w.answer(c, nil)
	})
}

// Row 9 after row 8: with an error nothing is left of what was tried.
func TestRejectAfterSupersede(t *testing.T) {
	run(t, twoKeys, twoValues(), func(w *world) {
		w.set("key", "v2")
		w.next(2)
		w.set("sig", "s2")
		w.answer(w.next(3), errors.New("it does not start"))
		w.set("key", "v1")
		c := w.next(4)
		w.wantChange(c, "SIG", false, "HUP")
		w.answer(c, nil)
		w.wantStatus(runner.CommandRunning, 4, 1, 1, 4)
	})
}

// Row 6: revoked values do not wait for a call in flight.
func TestSuspendInFlight(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.set("key", "v2")
		apply := w.next(2)
		w.remove("key")
		if apply.ctx.Err() == nil {
			t.Fatal("the context of Apply did not end")
		}
		suspend := w.next(0)

		// Row 12: values that are back end Suspend. It may have had effects.
		w.set("key", "v1")
		if suspend.ctx.Err() == nil {
			t.Fatal("the context of Suspend did not end")
		}
		c := w.next(1)
		w.wantChange(c, "KEY", true, "")
		w.remove("key")
		w.answer(w.next(0), nil)
		w.wantStatus(runner.CommandStopped, 1, 0, 1)
		w.set("key", "v1")
		w.answer(w.next(1), nil)
		w.wantStatus(runner.CommandRunning, 1, 0, 1)
	})
}

// Row 10: a revision that cannot be offered keeps its number, and is tried again.
func TestUnusable(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.consumer.refuseWith(errors.New("too large"), 0)
		w.set("key", "v2")
		w.quiet()
		if n := w.consumer.prepared(); n < 20 || n > 1000 {
			t.Errorf("prepared %d times in 10 minutes", n)
		}
		w.wantReported("apply new values (keeping the previous values): too large")
		w.wantStatus(runner.CommandRunning, 1, 0, 1)
		w.consumer.refuseWith(nil, 0)
		time.Sleep(time.Minute)
		w.answer(w.next(2), nil)
		w.wantStatus(runner.CommandRunning, 2, 0, 2)
		w.consumer.refuseWith(errors.New("too large"), 0)
		w.set("key", "v3")
		w.set("key", "v2") // as applied
		w.consumer.refuseWith(nil, 0)
		w.quiet()
		w.wantReported("too large")
	})
}

// Row 10 after row 8: what a call that was given up has begun is undone when the newer
// values turn out to be unusable.
func TestUnusableAfterSupersede(t *testing.T) {
	run(t, twoKeys, twoValues(), func(w *world) {
		w.set("key", "v2")
		w.next(2)
		w.consumer.refuseWith(errors.New("too large"), 3)
		w.set("key", "v3")
		c := w.next(1)
		w.wantChange(c, "KEY", false, "")
		w.answer(c, nil)
		w.wantReported("apply new values (keeping the previous values): too large")
		w.wantStatus(runner.CommandRunning, 1, 0, 1, 1)
		w.quiet() // it is undone once, however often v3 is tried again

		w.consumer.refuseWith(nil, 0)
		time.Sleep(time.Minute)
		c = w.next(3)
		w.wantChange(c, "KEY", true, "")
		w.answer(c, nil)
		w.wantStatus(runner.CommandRunning, 3, 0, 3, 1)
	})
}

// Row 10 after row 12: a Suspend that was given up is completed.
func TestUnusableAfterSuspend(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.remove("key")
		w.next(0)
		w.consumer.refuseWith(errors.New("too large"), 0)
		w.set("key", "v2")
		c := w.next(0)
		w.answer(c, nil)
		w.wantStatus(runner.CommandStopped, 1, 0, 1)
		w.quiet()
		w.consumer.refuseWith(nil, 0)
		time.Sleep(time.Minute)

		// Row 8, while suspended: values that were revoked do not come back.
		w.next(2)
		w.consumer.refuseWith(errors.New("too large"), 0)
		w.set("key", "v3")
		w.answer(w.next(0), nil)
		w.wantStatus(runner.CommandStopped, 1, 0, 1)
		w.wantReported("is revoked", "too large", "too large")
	})
}

// What undoes a call may fail too, and is tried again.
func TestUndoUnusable(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.set("key", "v2")
		w.next(2)
		w.consumer.refuseWith(errors.New("no space"), 0)
		w.set("key", "v3")
		time.Sleep(time.Minute)
		w.settle()
		if n := w.consumer.prepared(); n > 60 {
			t.Errorf("prepared %d times in a minute", n)
		}
		w.consumer.refuseWith(errors.New("too large"), 3)
		time.Sleep(time.Minute)
		w.answer(w.next(1), nil)
		w.wantStatus(runner.CommandRunning, 1, 0, 1)
	})
}

// Row 9: a revision that fails when other values are desired already is not rejected
// for ever.
func TestRejectLate(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.consumer.effect = func() error { return errors.New("it does not start") }
		w.set("key", "v2")
		w.next(2)
		w.set("key", "v3")
		w.answer(w.next(3), nil)
		w.set("key", "v2")
		w.answer(w.next(4), nil)
		w.wantReported("apply revision 2 (rolled back): it does not start")
		w.wantStatus(runner.CommandRunning, 4, 1, 4)
	})
}

// Values that cannot be rendered are reported once, and those in use stay.
func TestUnrenderable(t *testing.T) {
	run(t, "env: {KEY: 'room:secret/key#field'}\n", map[string]any{"key": `{"field": "a"}`}, func(w *world) {
		w.set("key", "no JSON")
		w.set("key", "no JSON either")
		w.quiet()
		w.wantReported("apply new values (keeping the previous values): set KEY")
		w.set("key", `{"field": "b"}`)
		w.answer(w.next(2), nil)
		w.set("key", "no JSON")
		w.set("key", `{"field": "b"}`)
		w.set("key", "no JSON")
		w.quiet()
		w.wantReported("apply new values", "apply new values")
	})
}

// Row 13: a Suspend that fails is tried again.
func TestSuspendFails(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.remove("key")
		w.answer(w.next(0), errors.New("it does not stop"))
		time.Sleep(time.Minute)
		w.answer(w.next(0), nil)
		w.wantReported("is revoked", "it does not stop")
		w.wantStatus(runner.CommandStopped, 1, 0, 1)
	})
}

// Row 14: a context that ends, with its cause.
func TestContextEnds(t *testing.T) {
	why := errors.New("why")
	run(t, oneKey, oneValue(), func(w *world) {
		w.set("key", "v2")
		c := w.next(2)
		w.cancel(why)
		w.awaitEnd()
		if c.ctx.Err() == nil || !errors.Is(w.err, why) || w.code != 7 || !errors.Is(w.consumer.stopped[0], why) {
			t.Errorf("got %d, %v, stopped by %v", w.code, w.err, w.consumer.stopped)
		}
	})
}

// Row 14: a call that takes effect although the context ends counts.
func TestEffectAtTheEnd(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.consumer.effect = func() error { return nil }
		w.set("key", "v2")
		w.next(2)
		w.end()
		w.wantStatus(runner.CommandStopped, 2, 0, 2)
	})
}

// Row 14: a consumer that is done, with a call in flight, which then fails.
func TestDone(t *testing.T) {
	run(t, oneKey, oneValue(), func(w *world) {
		w.set("key", "v2")
		c := w.next(2)
		close(w.consumer.done)
		w.awaitEnd()
		if c.ctx.Err() == nil || w.err != nil || w.code != 7 || w.consumer.stopped[0] != nil {
			t.Errorf("got %d, %v, stopped by %v", w.code, w.err, w.consumer.stopped)
		}
		w.wantReported()
	})
	for range 20 { // either of what happens at once may be seen first
		run(t, oneKey, oneValue(), func(w *world) {
			w.set("key", "v2")
			c := w.next(2)
			close(w.consumer.done)
			c.answer <- errors.New("the command has exited")
			w.awaitEnd()
			if w.err != nil || w.code != 7 {
				t.Errorf("got %d, %v", w.code, w.err)
			}
			w.wantReported()
			if s := w.runner.Status(); s.Rollbacks != 0 {
				t.Errorf("%d rollbacks", s.Rollbacks)
			}
		})
	}
}

// Row 14: a policy that says exit.
func TestPolicyExit(t *testing.T) {
	const text = "env: {KEY: {secret: key, max_stale: 10m, then: exit}}\n"
	run(t, text, oneValue(), func(w *world) {
		w.set("key", fmt.Errorf("%w: no route", fetch.ErrUnreachable))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		select {
		case <-w.ended:
			t.Fatalf("ended too soon: %v", w.err)
		default:
		}
		w.awaitEnd()
		policy, ok := errors.AsType[*runner.PolicyError](w.err)
		if !ok || w.code != 125 || policy.Name != "KEY" || !strings.HasPrefix(w.err.Error(), "stopping: KEY (") {
			t.Errorf("got %d, %v", w.code, w.err)
		}
		if !errors.Is(w.consumer.stopped[0], w.err) {
			t.Errorf("stopped by %v", w.consumer.stopped)
		}
	})
}

// Values that are stale for too long suspend the consumer until they are confirmed.
func TestPolicyStop(t *testing.T) {
	const text = "env: {KEY: {secret: key, max_stale: 10m, then: stop}}\n"
	run(t, text, oneValue(), func(w *world) {
		w.set("key", fmt.Errorf("%w: no route", fetch.ErrUnreachable))
		time.Sleep(time.Hour)
		w.answer(w.next(0), nil)
		w.wantReported("is stale since")
		w.set("key", "v1")
		w.answer(w.next(1), nil)
	})
}

// Row 9: the first revision ends Run if it cannot be used.
func TestFirstFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, oneKey, oneValue())
		w.start()
		why := errors.New("it does not start")
		w.next(1).answer <- why
		w.awaitEnd()
		if !errors.Is(w.err, why) || w.code != 7 {
			t.Errorf("got %d, %v", w.code, w.err)
		}
	})
	bubble(t, func(t *testing.T) {
		w := newWorld(t, oneKey, oneValue())
		w.consumer.refuseWith(errors.New("too large"), 0)
		w.start()
		w.awaitEnd()
		if !errors.Is(w.err, w.consumer.refuse) {
			t.Errorf("got %d, %v", w.code, w.err)
		}
	})
}

// Values that cannot be resolved end Run too.
func TestUnresolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, oneKey, nil)
		w.start()
		w.awaitEnd()
		if _, ok := errors.AsType[*fetch.Error](w.err); !ok || w.code != 7 {
			t.Errorf("got %d, %v", w.code, w.err)
		}
	})
}

// The first revision may be superseded before it is in use.
func TestFirstSuperseded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, twoKeys, twoValues())
		w.start()
		w.next(1)
		w.set("sig", "s2")
		c := w.next(2)
		w.wantChange(c, "INHERITED KEY SIG", true, "")
		if got := value(t, c, "SIG"); got != "s2" {
			t.Errorf("SIG is %q", got)
		}
		w.wantStatus(runner.CommandStarting, 0, 0, 2, 2)
		w.answer(c, nil)
		w.wantStatus(runner.CommandRunning, 2, 0, 2, 2)
	})
}
