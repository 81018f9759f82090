package fetch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/roomenv/roomenv/room"
)

// The time from one attempt to get a client to the next.
const (
	minRedial = time.Second
	maxRedial = 30 * time.Second
)

// A roomConn leads to one room.
type roomConn struct {
	mu      sync.Mutex // held while dialling: who comes then wants the same client
	client  *room.Client
	err     error     // why there is none
	dialled time.Time // last
	pause   time.Duration
}

// get returns the client there is, or one that it dials unless it is too soon.
func (l *roomConn) get(dial func() (*room.Client, error)) (*room.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		select {
		case <-l.client.Done():
			l.err = l.client.Err()
			_ = l.client.Close()
			l.client = nil
		default:
			return l.client, nil
		}
	}
	if time.Since(l.dialled) < l.pause {
		return nil, l.err
	}
	l.client, l.err = dial()
	l.dialled = time.Now()
	switch {
	case l.err == nil:
		l.pause = minRedial
	case errors.Is(l.err, context.Canceled): // which says nothing of the room
		l.pause = 0
	default:
		l.pause = min(max(2*l.pause, minRedial), maxRedial)
	}
	return l.client, l.err
}

// reconnect makes the client come back with a new token; one that there is not is
// dialled by the next call.
func (l *roomConn) reconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pause = 0
	if l.client != nil {
		l.client.Reconnect()
	}
}

func (l *roomConn) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		return nil
	}
	return l.client.Close()
}
