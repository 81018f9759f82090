// Package fetch obtains values: it resolves every reference of a manifest at once,
// keeps the values current, and publishes them as one [Snapshot], or reports for all
// of them at once why they are missing. A [Source] says where values come from;
// package roomsource has that of rooms. Files and processes are not its matter.
package fetch

import (
	"context"
	"fmt"
	"time"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// A Source resolves the targets of one scheme. Its errors wrap one of this package
// where it fits, see [ErrUnknown]; their texts are shown to people, so they name no
// value. Several goroutines use a Source at once, and Resolve returns when ctx ends.
type Source interface {
	Resolve(ctx context.Context, t manifest.Target) (secret.Value, error)
}

// A TryResolver is a Source that may have to ask a participant for a value.
type TryResolver interface {
	Source
	// TryResolve is Resolve that waits for no participant: where it would, its error
	// is a [*PendingError], the participant is asked, and a later call gets what they
	// provide.
	TryResolve(ctx context.Context, t manifest.Target) (secret.Value, error)
}

// A Watcher is a Source that pushes changes of a group: the values that it holds for
// the targets of one [manifest.Target] Group.
type Watcher interface {
	Source
	// Watch calls f when values of the group may have changed: with a function that
	// reports whether that of a target may have, or with nil when all may have, which
	// comes first and after each gap. One call of f is made at a time. Watch returns
	// when ctx ends and when the group pushes no more; the error of one that never
	// does wraps [ErrUnsupported].
	Watch(ctx context.Context, group string, f func(changed func(manifest.Target) bool)) error
}

// A Poller is a Source that is polled at an interval of its own.
type Poller interface {
	Source
	PollInterval() time.Duration
}

// A Reconnector is a Source with connections.
type Reconnector interface {
	Source
	// Reconnect makes the connections again, with credentials that are read then.
	Reconnect()
}

// A Mux has a Source for each scheme. It is a [TryResolver] and a [Reconnector].
type Mux map[string]Source

// Resolve resolves t by the source of its scheme. Without one, or with nil, the error
// wraps [ErrUnsupported].
func (m Mux) Resolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	s := m[t.Scheme]
	if s == nil {
		return secret.Value{}, fmt.Errorf("%w: no source for the scheme %s", ErrUnsupported, t.Scheme)
	}
	return s.Resolve(ctx, t)
}

// TryResolve is Resolve that waits for no participant, see [TryResolver].
func (m Mux) TryResolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	if s, ok := m[t.Scheme].(TryResolver); ok {
		return s.TryResolve(ctx, t)
	}
	return m.Resolve(ctx, t)
}

// Reconnect makes all sources reconnect that have connections.
func (m Mux) Reconnect() {
	for _, s := range m {
		if r, ok := s.(Reconnector); ok {
			r.Reconnect()
		}
	}
}
