package room

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/internal/wire"
)

// Errors of a connection. A [Client] closes for good with one of the first four;
// [Dial] fails with any of the first five.
var (
	// ErrForbidden is status 403: the token is missing, invalid, expired or for a
	// different room.
	ErrForbidden = errors.New("the room rejects the token")
	// ErrNoRoom is status 404.
	ErrNoRoom = errors.New("room not found")
	// ErrRoomDisabled is status 423.
	ErrRoomDisabled = errors.New("the room is disabled")
	// ErrClosed says that [Client.Close] was called, or that the room closed
	// the connection with code 1000.
	ErrClosed = errors.New("connection closed")
	// ErrUnreachable is every other reason to have no connection. It may pass.
	ErrUnreachable = errors.New("room unreachable")
	// ErrDisconnected fails a call that cannot be repeated safely.
	ErrDisconnected = errors.New("connection lost before the response; the request may have been executed")
	// ErrUnsupported fails an operation that the room does not have.
	ErrUnsupported = errors.New("not supported by the room")
	// ErrUnexpectedAnswer fails a call whose response has a content type or a shape
	// that the operation does not have.
	ErrUnexpectedAnswer = errors.New("unexpected response")
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

// An Error is the error content of a response (section 5.3).
type Error struct {
	Op   string // toolkit and tool: secrets.get_secret
	Code int    // 0 when the room sent none
	Text string // the room's, cut at 500 bytes, with control characters escaped
}

func (e *Error) Error() string {
	s := cmp.Or(e.Text, "the room returned an error")
	if e.Code != 0 {
		s = fmt.Sprintf("%s (code %d)", s, e.Code)
	}
	if e.Op == "" {
		return s
	}
	return e.Op + ": " + s
}

// Is reports whether target is the kind of e, such as [ErrNotFound].
func (e *Error) Is(target error) bool {
	kind, ok := target.(*Error)
	return ok && *kind == Error{Code: e.Code}
}

// final reports whether err ends a client for good.
func final(err error) bool {
	return errors.Is(err, ErrForbidden) || errors.Is(err, ErrNoRoom) || errors.Is(err, ErrRoomDisabled) || errors.Is(err, ErrClosed)
}

// maxText bounds the text of a room in errors, in bytes.
const maxText = 500

// A peerError is an error that may contain text of a peer.
type peerError struct{ err error }

func (e peerError) Error() string { return text.Printable(e.err.Error(), maxText) }
func (e peerError) Unwrap() error { return e.err }
