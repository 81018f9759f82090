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

// A Source resolves references. Its errors wrap [ErrMissing], [ErrDenied],
// [ErrUnreachable] or [ErrUnsupported] where one of them fits; their texts are
// shown to people, so they name no value. Several goroutines use a Source at
// once, and Resolve returns when ctx ends.
type Source interface {
	Resolve(ctx context.Context, t manifest.Target) (secret.Value, error)
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
)
