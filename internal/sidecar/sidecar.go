// Package sidecar is the consumer of a program whose files other processes read: it tells
// those processes of changes, and ends with them.
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/runner"
)

// A Consumer has no command. Its hooks run as those of an [inject.Consumer] do.
type Consumer struct {
	inject.Consumer

	// Group reads the files too, if it is not nil. A process of another user counts if it
	// is in that group; others may have any name.
	Group *int

	// Notify are the processes that get a signal after each change of files, if they are
	// there. OnError gets why one does not, once.
	Notify  []Notification
	OnError func(error)

	// ExitWith are the processes without which the consumer is done: once any was seen,
	// and none has been there for a second.
	ExitWith []Selector

	done    chan struct{}
	running sync.WaitGroup
	stop    context.CancelFunc
	gone    bool // the processes of ExitWith, once done is closed
	failed  map[Selector]bool
}

// A Notification is a signal to processes.
type Notification struct {
	Selector
	Signal syscall.Signal
}

// ParseNotification reads SELECTOR or SELECTOR=SIGNAL; the signal is HUP otherwise.
func ParseNotification(s string) (n Notification, err error) {
	n.Signal = syscall.SIGHUP
	if i := strings.LastIndexByte(s, '='); i > strings.IndexByte(s, '=') {
		if n.Signal, err = inject.ParseSignal(s[i+1:]); err != nil {
			return n, err
		}
		s = s[:i]
	}
	n.Selector, err = ParseSelector(s)
	return n, err
}

// A Selector says which processes are meant: by their name, which is the first 15 bytes
// of that of their program unless they change it, or by their first argument or the last
// component of it.
type Selector struct{ name, cmd string }

// maxName is the length of the name of a process (proc_pid_comm(5)).
const maxName = 15

// ParseSelector reads name=NAME or cmd=ARGUMENT.
func ParseSelector(s string) (Selector, error) {
	switch kind, value, _ := strings.Cut(s, "="); {
	case value == "":
	case kind == "name":
		return Selector{name: value[:min(len(value), maxName)]}, nil
	case kind == "cmd":
		return Selector{cmd: value}, nil
	}
	return Selector{}, errors.New("want name=NAME or cmd=ARGUMENT")
}

// String returns what ParseSelector reads.
func (s Selector) String() string {
	if s.name != "" {
		return "name=" + s.name
	}
	return "cmd=" + s.cmd
}

var errGone = errors.New("the processes have exited")

// Start takes the signals of this process, which has no others to pass them on to. The
// context ends when the consumer is done.
func (c *Consumer) Start(ctx context.Context) context.Context {
	c.Consumer.Start()
	ctx, cancel := context.WithCancelCause(ctx)
	watching, stop := context.WithCancel(context.Background())
	c.stop, c.done, c.failed = stop, make(chan struct{}), make(map[Selector]bool)
	gone := make(chan struct{})
	if len(c.ExitWith) > 0 {
		c.running.Go(func() {
			if c.await(watching) {
				close(gone)
			}
		})
	}
	c.running.Go(func() {
		select {
		case <-c.Consumer.Done():
		case <-gone:
			c.gone = true
		}
		close(c.done)
		cancel(errGone)
	})
	return ctx
}

// Periods of looking for processes: before one was seen, and after.
const (
	soon  = 250 * time.Millisecond
	later = time.Second
)

// await waits until the processes of ExitWith have been there and are gone. A restart in
// a container takes less than the time between two looks.
func (c *Consumer) await(ctx context.Context) bool {
	for seen, missing := false, 0; ; {
		there := false
		for _, s := range c.ExitWith {
			there = there || len(s.find(c.Group)) > 0
		}
		period := soon
		switch {
		case there:
			if !seen && c.Log != nil {
				c.Log.Info("processes found", "exit_with", c.ExitWith)
			}
			seen, missing = true, 0
		case seen:
			if missing++; missing == 2 {
				return true
			}
		}
		if seen {
			period = later
		}
		select {
		case <-time.After(period):
		case <-ctx.Done():
			return false
		}
	}
}

// Apply runs hooks and sends signals.
func (c *Consumer) Apply(ctx context.Context, rev *runner.Revision, change runner.Change) error {
	if err := c.Consumer.Apply(ctx, rev, change); err != nil || change.Restart || len(change.Files) == 0 {
		return err
	}
	for _, n := range c.Notify {
		switch err := n.send(n.Signal, c.Group); {
		case err == nil:
			c.failed[n.Selector] = false
		case !c.failed[n.Selector] && c.OnError != nil:
			c.failed[n.Selector] = true
			c.OnError(fmt.Errorf("notify %s: %w", n.Selector, err))
		}
	}
	return nil
}

// Done is closed by a signal that ends this process, and when the processes of ExitWith
// have exited.
func (c *Consumer) Done() <-chan struct{} { return c.done }

// Stop returns 0 after a signal, and when the processes of ExitWith have exited; else 125
// and cause.
func (c *Consumer) Stop(cause error) (int, error) {
	_, err := c.Consumer.Stop(cause)
	c.stop()
	c.running.Wait()
	if _, signal := errors.AsType[inject.SignalError](err); signal || c.gone {
		return 0, nil
	}
	return 125, cause
}
