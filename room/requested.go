package room

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// requestGrace is how much longer than the room the client waits, in case the room does
// not keep the time.
const requestGrace = 10 * time.Second

// A SecretRequest asks a participant for a secret (section 7.5).
type SecretRequest struct {
	ParticipantID string // the approver; see [Messaging] for the ids
	URL           string // what it is for: an opaque key
	Type          string // a media type, or "git": see section 7.5
	DelegateTo    string // identity that it is stored for; "" is this one
	// Timeout is how long the participant has to answer, rounded up to seconds. 0 is
	// until the deadline of the context or, without one, [DefaultRequestTimeout].
	Timeout time.Duration
}

// Request asks a participant for a secret and waits for it (request_secret). The room
// stores the answer, and returns it for the next request for the same URL and type.
//
// A rejection is [ErrOperationFailed], with the reason as its Text; no answer in time
// is [ErrTimeout] or, if the context ended first, the error of the context; an unknown
// participant is [ErrNotFound]. After a reconnect the request is sent again, and the
// participant may get it twice. The end of the context does not withdraw the request.
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

// withTimeout returns a context for a request that is answered within timeout, and the
// same time in seconds for the room. If the room does not respond, it is [ErrTimeout]
// too.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc, int) {
	deadline, bounded := ctx.Deadline()
	switch left := time.Until(deadline); {
	case bounded && (timeout == 0 || left < timeout):
		timeout = left
	case timeout == 0:
		timeout = DefaultRequestTimeout
	}
	seconds := max(1, int((timeout+time.Second-1)/time.Second))
	silent := &Error{Code: int(wire.Timeout), Text: "the room did not respond in time"}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(seconds)*time.Second+requestGrace, silent)
	return ctx, cancel, seconds
}

// Provide answers a request with the secret (provide_secret), on any connection of the
// approver. A request that is closed is [ErrNotFound], except after a reconnect: the
// first attempt may have answered it.
func (s *Secrets) Provide(ctx context.Context, requestID string, value secret.Value) error {
	return s.provide(ctx, wire.ProvideHeaders{RequestID: requestID}, value)
}

// Reject rejects a request, with a reason (provide_secret with an error). Errors are
// those of Provide.
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

// doneBefore ignores [ErrNotFound] for a call that was sent again: the first attempt
// may have succeeded.
func doneBefore(sent int, err error) error {
	if sent > 1 && errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// DeleteRequested deletes a secret that was provided for a request, so that the next
// request asks again (delete_requested_secret). delegatedTo is the identity that it was
// stored for. A secret that does not exist is not an error.
func (s *Secrets) DeleteRequested(ctx context.Context, url, typ, delegatedTo string) error {
	_, err := s.ask(ctx, wire.DeleteRequestedSecret, wire.DeleteRequestedArguments{
		URL:         wire.Nullable(url),
		Type:        wire.Nullable(typ),
		DelegatedTo: wire.Nullable(delegatedTo),
	}, nil)
	return unsupported(err)
}

// SecretRequested is the event that a participant asks this one for a secret (section
// 6.1). Its strings are unchanged ones of the requester.
type SecretRequested struct {
	ID            string // for [Secrets.Provide] and [Secrets.Reject]
	Request       SecretRequest
	RequesterID   string // "" if the room does not report it, as is the name
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

// maxTimeout keeps the timeout of a peer within the range of a Duration.
const maxTimeout = 365 * 24 * time.Hour

func duration(seconds *int) time.Duration {
	if seconds == nil || *seconds <= 0 {
		return DefaultRequestTimeout
	}
	return time.Duration(min(*seconds, int(maxTimeout/time.Second))) * time.Second
}
