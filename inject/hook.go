package inject

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/roomenv/roomenv/internal/retry"
)

// A hook is a command of an Update that has not succeeded yet.
type hook struct {
	Hook
	backoff retry.Backoff
	waits   bool // for its next try
}

// addHooks queues hooks, instead of those with the same arguments.
func (l *loop) addHooks(hooks []Hook) {
	for _, added := range hooks {
		l.hooks = slices.DeleteFunc(l.hooks, func(h *hook) bool { return slices.Equal(h.Args, added.Args) })
		l.hooks = append(l.hooks, &hook{Hook: added, backoff: newBackoff()})
	}
	l.nextHook()
}

// nextHook runs the first hook that can be run.
func (l *loop) nextHook() {
	i := slices.IndexFunc(l.hooks, func(h *hook) bool { return !h.waits })
	if l.ending || l.hook != nil || i < 0 {
		return
	}
	l.hook = l.hooks[i]
	l.runHook(l.hook)
}

// runHook runs h with the environment, user and files of the current command.
func (l *loop) runHook(h *hook) {
	timeout := cmp.Or(l.hookTimeout, time.Minute)
	if h.Call != nil {
		var err error
		l.async(func() {
			ctx, cancel := context.WithTimeout(l.ctx, timeout)
			defer cancel()
			err = h.Call(ctx)
		}, func() { l.hookEnded(h, err) })
		return
	}
	c := l.command
	c.Args = h.Args
	c.Stderr = cmp.Or(c.Stderr, os.Stderr)
	c.Stdout = c.Stderr
	var masked output
	if c.masker != nil {
		w, err := masked.pipe(c.masker, c.Stderr)
		if err != nil {
			l.hookEnded(h, fmt.Errorf("mask output: %w", err))
			return
		}
		c.Stdout, c.Stderr = w, w
		masked.start()
	}
	l.do(c, timeout, func(err error) {
		if c.masker != nil {
			l.async(func() { masked.finish(l.ctx); masked.close() }, func() {})
		}
		l.hookEnded(h, err)
	})
}

func (l *loop) hookEnded(h *hook, err error) {
	l.hook = nil
	i := slices.Index(l.hooks, h)
	if i >= 0 { // the same hook did not take its place
		l.hooks = slices.Delete(l.hooks, i, i+1)
	}
	key := strings.Join(h.Args, "\x00")
	if err == nil && l.failing[key] {
		delete(l.failing, key)
		l.observe(Event{Kind: EventHookRecovered, Hook: h.Args})
	}
	if err != nil && i >= 0 && !l.ending {
		l.failing[key] = true
		wait := h.backoff.Next()
		h.waits = true
		l.clock.after(wait, func() {
			h.waits = false
			l.nextHook()
		})
		l.hooks = append(l.hooks, h)
		l.observe(Event{Kind: EventHookFailed, Hook: h.Args, Err: err, Wait: wait, Failures: h.backoff.Failures()})
	}
	l.nextHook()
}
