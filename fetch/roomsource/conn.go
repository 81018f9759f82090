package roomsource

import (
	"context"
	"time"

	"github.com/roomenv/roomenv/internal/retry"
	"github.com/roomenv/roomenv/room"
)

// minRedial is the pause after a first dial that failed, and after a client that ends at
// once.
const minRedial = time.Second

// A roomConn is the connection to one room. Source.mu guards it.
type roomConn struct {
	*attempt // the last one
	backoff  retry.Backoff

	// Without a client: since when, and why. The error is nil before the first attempt
	// ends.
	lostAt time.Time
	lost   error
}

// disconnected returns since when the room is not connected, and why. The error is nil
// while it is, and before the first attempt ends.
func (c *roomConn) disconnected() (since time.Time, reason error) {
	select {
	case <-c.done:
		if c.client != nil {
			return c.client.Disconnected()
		}
	default:
	}
	return c.lostAt, c.lost
}

// An attempt to connect belongs to its roomConn: callers wait for it as long as their
// contexts say, and it outlives them.
type attempt struct {
	done    chan struct{} // closed when client and err are set
	client  *room.Client
	err     error
	retryAt time.Time // when the next one may begin
	renew   bool      // the token was replaced meanwhile
}

// result returns what came of an attempt that is done.
func (a *attempt) result() (*room.Client, error) {
	if a.err != nil {
		return nil, a.err
	}
	select {
	case <-a.client.Done():
		return nil, a.client.Err()
	default:
		return a.client, nil
	}
}

// usable reports whether callers get a: it continues, has a client, or failed too
// recently to dial again.
func (a *attempt) usable() bool {
	select {
	case <-a.done:
		_, err := a.result()
		return err == nil || time.Now().Before(a.retryAt)
	default:
		return true
	}
}

// client returns the client of the room, which it dials if need be.
func (s *Source) client(ctx context.Context, name string) (*room.Client, error) {
	a, err := s.connect(name)
	if err != nil {
		return nil, err
	}
	select {
	case <-a.done:
		return a.result()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// connect returns the attempt whose result callers are to wait for.
func (s *Source) connect(name string) (*attempt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, errClosed
	}
	c := s.conns[name]
	if c == nil {
		c = &roomConn{backoff: retry.Outage()}
		c.backoff.Min = minRedial
		s.conns[name] = c
	} else if c.usable() {
		return c.attempt, nil
	}
	before, a := c.attempt, &attempt{done: make(chan struct{})}
	if before != nil {
		c.lostAt, c.lost = c.disconnected()
	}
	c.attempt = a
	s.running.Go(func() {
		if before != nil && before.client != nil {
			_ = before.client.Close()
		}
		a.client, a.err = s.dial(s.ctx, name)
		s.mu.Lock()
		defer s.mu.Unlock()
		pause := minRedial
		if a.err == nil {
			c.backoff.Reset()
			c.lostAt, c.lost = time.Time{}, nil
		} else {
			pause = max(c.backoff.Next(), retry.After(a.err))
			if c.lost = a.err; c.lostAt.IsZero() {
				c.lostAt = time.Now()
			}
		}
		a.retryAt = time.Now().Add(pause)
		close(a.done)
		if a.renew {
			c.reconnect()
		}
	})
	return a, nil
}

// reconnect makes the client connect again with a new token. Without a client the
// next call dials.
func (c *roomConn) reconnect() {
	select {
	case <-c.done:
		c.retryAt = time.Time{}
		if c.client != nil {
			c.client.Reconnect()
		}
	default:
		c.renew = true
	}
}
