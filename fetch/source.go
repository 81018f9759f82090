// Package fetch knows where values come from: it resolves every reference of a
// manifest at once and hands the values on as one [Snapshot], or says for all
// of them why there is none. It knows no files and no processes.
package fetch

import (
	"context"
	"errors"
	"time"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// A Source resolves references. Its errors wrap one of this package where it
// fits; their texts are shown to people, so they name no value. Several goroutines use a Source at
// once, and Resolve returns when ctx ends.
type Source interface {
	Resolve(ctx context.Context, t manifest.Target) (secret.Value, error)
}

// An TryResolver is a Source some of whose values a participant of the room has to
// provide.
type TryResolver interface {
	Source
	// TryResolve is Resolve that waits for no person: where it takes one its error
	// is a [*Pending], the person is asked, and a later call gets what they
	// provide.
	TryResolve(ctx context.Context, t manifest.Target) (secret.Value, error)
}

// A Watcher is a Source that tells of changes.
type Watcher interface {
	Source
	// Watch calls f when values of the room may have become others: with the ids
	// of the secrets that did, or with nil when that can be all of them, which
	// comes first and after each gap. One call of f is made at a time. It returns
	// when ctx ends and when there is nothing to hear of any more; the error of a
	// room that never tells wraps [ErrUnsupported].
	Watch(ctx context.Context, room string, f func(ids []string)) error
}

// Why a reference has no value.
var (
	// ErrMissing: the room was asked and holds no such value.
	ErrMissing = errors.New("missing")
	// ErrDenied: the room refuses the token, or the token this value.
	ErrDenied = errors.New("denied")
	// ErrUnreachable: the room gave no answer, so it may still hold the value.
	ErrUnreachable = errors.New("unreachable")
	// ErrUnsupported: the source does not fetch references of this kind.
	ErrUnsupported = errors.New("unsupported")
	// ErrPending: a participant is asked for the value.
	ErrPending = errors.New("pending")
	// ErrRejected: the participant, or the provider of a token, refused.
	ErrRejected = errors.New("rejected")
	// ErrNoAnswer: the participant did not come, or not answer, in time.
	ErrNoAnswer = errors.New("no answer")
)

// PendingError is [ErrPending] with who is asked.
type PendingError struct {
	From  string    // the name of the participant
	Until time.Time // when they have to have answered
}

func (p *PendingError) Error() string { return ErrPending.Error() + ": " + p.From + " is asked" }

// Unwrap returns [ErrPending].
func (p *PendingError) Unwrap() error { return ErrPending }

// unknown reports whether err leaves open what the room holds: it gave no answer,
// or refuses the connection, as it does when its token has expired.
func unknown(err error) bool {
	return err != nil && !IsAbsent(err) && (!errors.Is(err, ErrDenied) || errors.Is(err, room.ErrForbidden))
}

// IsAbsent reports whether err, of a reference without a value, says that there
// is none: what optional=true and default= forgive. Other errors leave open
// whether there is one.
func IsAbsent(err error) bool {
	return errors.Is(err, ErrMissing) || errors.Is(err, ErrPending) || errors.Is(err, ErrRejected) || errors.Is(err, ErrNoAnswer)
}
