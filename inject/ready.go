package inject

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Readiness is how to tell that a new child serves: Command exits with 0, in the
// child's environment, or TCP, an address, takes a connection. With neither it
// does so once it has run for a second.
type Readiness struct {
	Command []string
	TCP     string
	Timeout time.Duration // 0 means 30 s
}

const (
	settled  = time.Second           // see Ready
	minProbe = 20 * time.Millisecond // between two looks, first and last
	maxProbe = time.Second
)

func (r Readiness) timeout() time.Duration {
	if r.Timeout == 0 {
		return 30 * time.Second
	}
	return r.Timeout
}

// awaitReady waits until the candidate is ready.
func (l *loop) awaitReady(f *life) {
	if l.Ready.Command == nil && l.Ready.TCP == "" {
		l.clock.after(settled, func() { l.answered(f, 0, nil) })
		return
	}
	l.probe(f, minProbe)
	l.clock.after(l.Ready.timeout(), func() {
		if l.waitsFor(f) {
			l.abandon(f, fmt.Errorf("it was not ready after %v: %w", l.Ready.timeout(), f.unready))
		}
	})
}

// waitsFor reports whether f is not given up, nor over.
func (l *loop) waitsFor(f *life) bool { return f == l.candidate && !f.asked && !f.hasCode }

// probe looks whether f is ready, and if not, again after a time.
func (l *loop) probe(f *life, wait time.Duration) {
	if !l.waitsFor(f) {
		return
	}
	f.unready = errors.New("no answer")
	if l.Ready.Command == nil {
		var err error
		l.async(func() { err = dial(l.ctx, l.Ready.TCP) }, func() { l.answered(f, wait, err) })
		return
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		l.answered(f, wait, err)
		return
	}
	defer null.Close()
	c := f.command
	c.Args, c.Stdout, c.Stderr = l.Ready.Command, null, null
	f.probing = l.do(c, l.Ready.timeout(), func(err error) {
		f.probing = nil
		l.answered(f, wait, err)
	})
}

func dial(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: maxProbe}).DialContext(ctx, "tcp", address)
	if err == nil {
		err = conn.Close()
	}
	return err
}

func (l *loop) answered(f *life, wait time.Duration, err error) {
	switch {
	case !l.waitsFor(f):
	case err == nil:
		l.handOver()
	default:
		f.unready = err
		l.clock.after(wait, func() { l.probe(f, min(2*wait, maxProbe)) })
	}
}
