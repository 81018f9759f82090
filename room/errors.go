package room

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/internal/wire"
)

// What becomes of a connection. A [Client] ends for good with one of the
// first four; [Dial] fails with any of the first five.
var (
	// ErrForbidden is status 403: a token that is missing, wrong, expired or
	// for another room.
	ErrForbidden = errors.New("the room refuses the token")
	// ErrNoRoom is status 404.
	ErrNoRoom = errors.New("there is no such room")
	// ErrRoomDisabled is status 423.
	ErrRoomDisabled = errors.New("the room is disabled")
	// ErrClosed says that [Client.Close] was called, or that the room closed
	// the connection with code 1000.
	ErrClosed = errors.New("the connection is closed")
	// ErrUnreachable is every other way not to get a connection. It may pass.
	ErrUnreachable = errors.New("cannot reach the room")
	// ErrDisconnected fails a request that cannot be repeated safely.
	ErrDisconnected = errors.New("the connection was lost before the answer came: whether the room did it is unknown")
	// ErrUnsupported fails an operation that the room does not know.
	ErrUnsupported = errors.New("the room does not serve this")
	// ErrUnexpectedAnswer fails a request whose answer is of a content type
	// or a shape that the operation does not have.
	ErrUnexpectedAnswer = errors.New("unexpected answer")
	// ErrMissingRoom and ErrMissingToken fail [Env.Config].
	ErrMissingRoom  = errors.New("missing room name")
	ErrMissingToken = errors.New("missing token")
)

// Kinds of [Error], for errors.Is (section 5.4).
var (
	ErrPermissionDenied  = &Error{Code: int(wire.PermissionDenied)}
	ErrInvalidRequest    = &Error{Code: int(wire.InvalidRequest)}
	ErrNotFound          = &Error{Code: int(wire.NotFound)}
	ErrAlreadyExists     = &Error{Code: int(wire.AlreadyExists)}
	ErrConflict          = &Error{Code: int(wire.Conflict)}
	ErrInvalidState      = &Error{Code: int(wire.InvalidState)}
	ErrDependencyMissing = &Error{Code: int(wire.DependencyMissing)}
	ErrOperationFailed   = &Error{Code: int(wire.OperationFailed)}
	ErrTimeout           = &Error{Code: int(wire.Timeout)}
)

// An Error is the answer of a room that did not do what it was asked.
type Error struct {
	Op   string // toolkit and tool: secrets.get_secret
	Code int    // 0 when the room sent none
	Text string // the room's, cut at 500 bytes, with control characters escaped
}

func (e *Error) Error() string {
	s := cmp.Or(e.Text, "the room refused")
	if e.Code != 0 {
		s = fmt.Sprintf("%s (code %d)", s, e.Code)
	}
	if e.Op == "" {
		return s
	}
	return e.Op + ": " + s
}

// Is reports whether target is the kind of e: one of [ErrNotFound] and its
// like.
func (e *Error) Is(target error) bool {
	kind, ok := target.(*Error)
	return ok && *kind == Error{Code: e.Code}
}

// final reports whether err ends a client for good.
func final(err error) bool {
	return errors.Is(err, ErrForbidden) || errors.Is(err, ErrNoRoom) || errors.Is(err, ErrRoomDisabled) || errors.Is(err, ErrClosed)
}

// maxText bounds what errors repeat of a room's words, in bytes.
const maxText = 500

// A peerError is an error whose text may hold words of a peer.
type peerError struct{ err error }

func (e peerError) Error() string { return text.Printable(e.err.Error(), maxText) }
func (e peerError) Unwrap() error { return e.err }
