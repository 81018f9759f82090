// Package fetch knows where values come from: it resolves every reference of a
// manifest at once and hands the values on as one [Snapshot], or says for all
// of them why there is none. It knows no files and no processes.
package fetch

import (
	"context"
	"errors"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// A Source resolves references. Its errors wrap one of this package where it
// fits; their texts are shown to people, so they name no value. Several goroutines use a Source at
// once, and Resolve returns when ctx ends.
type Source interface {
	Resolve(ctx context.Context, t manifest.Target) (secret.Value, error)
}

// An Asker is a Source some of whose values a participant of the room has to
// provide.
type Asker interface {
	Source
	// Ask is Resolve that waits for no person: where it takes one its error
	// wraps [ErrPending], the person is asked, and a later call gets what they
	// provide.
	Ask(ctx context.Context, t manifest.Target) (secret.Value, error)
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

// Absent reports whether err, of a reference without a value, says that there
// is none: what optional=true and default= forgive. Other errors leave open
// whether there is one.
func Absent(err error) bool {
	return errors.Is(err, ErrMissing) || errors.Is(err, ErrPending) || errors.Is(err, ErrRejected) || errors.Is(err, ErrNoAnswer)
}
