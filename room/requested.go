package room

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// requestGrace is how much longer than the room we wait: it is the room that
// keeps the time, but one that does not must not hold us for ever.
const requestGrace = 10 * time.Second

// A SecretRequest asks a participant for a secret (section 7.5).
type SecretRequest struct {
	ParticipantID string // who is asked; see [Messaging] for the ids
	URL           string // what for: an opaque key
	Type          string // a media type, or "git": see section 7.5
	DelegateTo    string // for whom it is stored, an identity; "" is us
	// Timeout is how long the participant has to answer, in whole seconds,
	// the last one begun counted. 0 is until the deadline of the context or,
	// without one, [DefaultRequestTimeout].
	Timeout time.Duration
}

// Request asks a participant for a secret and waits for it (request_secret).
// The room stores what is provided, and answers the next request for the same
// at once.
//
// A rejection is [ErrOperationFailed], the reason its Text; no answer in time
// is [ErrTimeout] or, where the context ended first, the context's error; a
// participant who is not there is [ErrNotFound]. When the connection drops the
// request is made again and the participant may hear of it twice. A context
// that ends does not take the request back.
func (s *Secrets) Request(ctx context.Context, r SecretRequest) (secret.Value, error) {
	ctx, cancel, seconds := withTimeout(ctx, r.Timeout)
	defer cancel()
	content, _, err := s.invoke(ctx, wire.RequestSecret, wire.RequestSecretArguments{
		URL:           wire.Nullable(r.URL),
		Type:          wire.Nullable(r.Type),
		ParticipantID: wire.Nullable(r.ParticipantID),
		Timeout:       &seconds,
		DelegateTo:    wire.Nullable(r.DelegateTo),
	}, nil, true)
	if err != nil {
		return secret.Value{}, err
	}
	file, ok := content.(wire.File)
	if !ok {
		return secret.Value{}, unexpected(wire.RequestSecret, contentType(content))
	}
	return file.Data, nil
}

// withTimeout returns a context for a request that someone answers within
// timeout, and the same time for the room. A room that says nothing is
// [ErrTimeout] too.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc, int) {
	deadline, bounded := ctx.Deadline()
	switch left := time.Until(deadline); {
	case bounded && (timeout == 0 || left < timeout):
		timeout = left
	case timeout == 0:
		timeout = DefaultRequestTimeout
	}
	seconds := max(1, int((timeout+time.Second-1)/time.Second))
	silent := &Error{Code: int(wire.Timeout), Text: "the room did not answer in time"}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(seconds)*time.Second+requestGrace, silent)
	return ctx, cancel, seconds
}

// Provide answers a request with the secret (provide_secret). Any connection of
// the identity that was asked may do so. A request that is not open (any more)
// is [ErrNotFound], but not after a connection was lost: the first try may have
// answered it.
func (s *Secrets) Provide(ctx context.Context, requestID string, value secret.Value) error {
	return s.provide(ctx, wire.ProvideHeaders{RequestID: requestID}, value)
}

// Reject answers a request with the reason why there is no secret
// (provide_secret with an error). Errors are as those of Provide.
func (s *Secrets) Reject(ctx context.Context, requestID, reason string) error {
	return s.provide(ctx, wire.ProvideHeaders{RequestID: requestID, Error: &reason}, secret.Value{})
}

func (s *Secrets) provide(ctx context.Context, h wire.ProvideHeaders, value secret.Value) error {
	content, sent, err := s.invoke(ctx, wire.ProvideSecret, h, &value, true)
	if err != nil {
		return doneBefore(sent, err)
	}
	return acknowledged(wire.ProvideSecret, content)
}

// doneBefore forgives a request that was sent again that there is nothing left
// to do for it.
func doneBefore(sent int, err error) error {
	if sent > 1 && errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// DeleteRequested removes a secret that was provided for a request, so that the
// next request asks again (delete_requested_secret). delegatedTo is whom it was
// stored for. It is no error when there is none.
func (s *Secrets) DeleteRequested(ctx context.Context, url, typ, delegatedTo string) error {
	_, err := s.ask(ctx, wire.DeleteRequestedSecret, wire.DeleteRequestedArguments{
		URL:         wire.Nullable(url),
		Type:        wire.Nullable(typ),
		DelegatedTo: wire.Nullable(delegatedTo),
	}, nil)
	return unsupported(err)
}

// SecretRequested is the event that someone asks us for a secret (section 6.1).
// Its strings are the room's and the requester's, as they came.
type SecretRequested struct {
	ID            string // for [Secrets.Provide] and [Secrets.Reject]
	Request       SecretRequest
	RequesterID   string // "" where the room does not tell, as with the name
	RequesterName string
}

func unpackSecretRequested(header json.RawMessage) (SecretRequested, bool) {
	var e wire.SecretRequest
	if json.Unmarshal(header, &e) != nil || e.RequestID == "" {
		return SecretRequested{}, false
	}
	r := e.Request
	return SecretRequested{
		ID: e.RequestID,
		Request: SecretRequest{
			ParticipantID: string(r.ParticipantID),
			URL:           string(r.URL),
			Type:          string(r.Type),
			DelegateTo:    string(r.DelegateTo),
			Timeout:       duration(r.Timeout),
		},
		RequesterID:   e.Requester.ID,
		RequesterName: e.Requester.Name,
	}, true
}

// maxTimeout keeps what a peer says within what a Duration holds.
const maxTimeout = 365 * 24 * time.Hour

func duration(seconds *int) time.Duration {
	if seconds == nil || *seconds <= 0 {
		return DefaultRequestTimeout
	}
	return time.Duration(min(*seconds, int(maxTimeout/time.Second))) * time.Second
}
