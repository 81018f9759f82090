package inject

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
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

func (r Readiness) timeout() time.Duration { return cmp.Or(r.Timeout, 30*time.Second) }

// awaitReady waits until the candidate is ready.
func (l *loop) awaitReady(p *instance) {
	if l.Ready.Command == nil && l.Ready.TCP == "" {
		l.clock.after(settled, func() { l.answered(p, 0, nil) })
		return
	}
	l.probe(p, minProbe)
	l.clock.after(l.Ready.timeout(), func() {
		if l.waitsFor(p) {
			l.abortCandidate(p, fmt.Errorf("it was not ready after %v: %w", l.Ready.timeout(), p.lastProbeError))
		}
	})
}

// waitsFor reports whether p is not given up, nor over.
func (l *loop) waitsFor(p *instance) bool { return p == l.candidate && !p.stopping && !p.exited }

// probe looks whether p is ready, and if not, again after a time.
func (l *loop) probe(p *instance, wait time.Duration) {
	if !l.waitsFor(p) {
		return
	}
	p.lastProbeError = errors.New("no answer")
	if l.Ready.Command == nil {
		var err error
		l.async(func() { err = dial(l.ctx, l.Ready.TCP) }, func() { l.answered(p, wait, err) })
		return
	}
	c := p.command
	c.Args, c.Stdout, c.Stderr = l.Ready.Command, nil, nil
	p.probing = l.do(c, l.Ready.timeout(), func(err error) {
		p.probing = nil
		l.answered(p, wait, err)
	})
}

func dial(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: maxProbe}).DialContext(ctx, "tcp", address)
	if err == nil {
		err = conn.Close()
	}
	return err
}

func (l *loop) answered(p *instance, wait time.Duration, err error) {
	switch {
	case !l.waitsFor(p):
	case err == nil:
		l.switchOver()
	default:
		p.lastProbeError = err
		l.clock.after(wait, func() { l.probe(p, min(2*wait, maxProbe)) })
	}
}
