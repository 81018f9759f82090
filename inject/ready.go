package inject

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Readiness is the probe for a new process. It is ready when Command, in the
// environment of the process, exits with code 0, or when TCP, an address, accepts a
// connection; with neither, when it has run for a second.
type Readiness struct {
	Command []string
	TCP     string
	Timeout time.Duration // 0 means 30 s
}

const (
	settled  = time.Second           // see Readiness
	minProbe = 20 * time.Millisecond // between two probes; it doubles
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
			l.abortCandidate(p, fmt.Errorf("new process not ready after %v: %w", l.Ready.timeout(), p.lastProbeError))
		}
	})
}

// waitsFor reports whether p is the candidate and still runs.
func (l *loop) waitsFor(p *instance) bool { return p == l.candidate && !p.stopping && !p.exited }

// probe probes p, and again after wait if it is not ready.
func (l *loop) probe(p *instance, wait time.Duration) {
	if !l.waitsFor(p) {
		return
	}
	p.lastProbeError = errors.New("no response")
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
