// Package approval is the inbox of an approver: requests of other participants, from
// arrival to answer. The packages approvalterm and approvalweb are views of it.
package approval

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// Bounds on requests of other participants.
const (
	maxPending = 1024
	maxEnded   = 32   // closed requests that Requests returns
	maxField   = 4096 // bytes of each text of a request
)

var (
	// ErrFull rejects a request when too many are pending.
	ErrFull = fmt.Errorf("too many pending requests: at most %d", maxPending)
	// ErrTooLong rejects a request that a person would not read.
	ErrTooLong = fmt.Errorf("a text of the request is longer than %d bytes", maxField)
	// ErrBadID rejects a request that cannot be named on a command line.
	ErrBadID = errors.New("the request ID has non-printing characters")
	// ErrClosed fails an answer to a request that is not pending.
	ErrClosed = errors.New("the request is closed")
	// ErrMuted rejects a request of a muted requester, and reads like other rejections.
	ErrMuted = errors.New(rejected)
	// ErrEmpty fails an answer without a value, which may be a mistake.
	ErrEmpty = errors.New("missing value: nothing was entered")
)

// rejected is the default reason of a rejection.
const rejected = "rejected"

// A Room gets the answers; [*room.Secrets] is one.
type Room interface {
	Provide(ctx context.Context, requestID string, value secret.Value) error
	Reject(ctx context.Context, requestID, reason string) error
	ProvideAuthorization(ctx context.Context, requestID string, code secret.Value) error
	RejectAuthorization(ctx context.Context, requestID, reason string) error
}

// Kinds of requests.
const (
	Secret = "secret" // a value of the type in the request
	OAuth  = "oauth"  // an authorization at a provider
)

// Git is the type of a secret that is a user name and a password (docs/room-api.md
// section 7.5).
const Git = "git"

// A State is the state of a request. All but Pending are final.
type State string

// States of a request.
const (
	Pending  State = "pending"
	Provided State = "provided"
	Rejected State = "rejected"
	Expired  State = "expired" // without an answer in time
	Closed   State = "closed"  // answered elsewhere, or the requester left
	Failed   State = "failed"  // the room could not use the authorization
)

// A Request is a request of a participant, with only printing characters in its texts.
// `roomenv requests --json` prints it as JSON (docs/requests.md).
type Request struct {
	ID        string    `json:"id"`
	State     State     `json:"state"`
	Reason    string    `json:"reason,omitempty"` // of Rejected and Failed; of Pending: error of the last answer
	Kind      string    `json:"kind"`
	From      string    `json:"from,omitempty"`       // identity of the requester; "" if the room does not report it
	StoredFor string    `json:"stored_for,omitempty"` // identity that the answer is stored for; "" is the requester
	Expires   time.Time `json:"expires"`

	// Of a secret.
	URL  string `json:"url,omitempty"`
	Type string `json:"type,omitempty"`

	// Of an authorization.
	AuthorizationEndpoint string   `json:"authorization_endpoint,omitempty"` // in ASCII, as the other two URLs
	TokenEndpoint         string   `json:"token_endpoint,omitempty"`         // that the room sends the code to
	ClientID              string   `json:"client_id,omitempty"`
	Scopes                []string `json:"scopes,omitempty"`
	RedirectURI           string   `json:"redirect_uri,omitempty"`
	Challenge             string   `json:"code_challenge,omitempty"` // PKCE S256; "" without PKCE
	Issuer                string   `json:"issuer,omitempty"`         // of the provider; "" if the room does not know it
	IssuerRequired        bool     `json:"-"`                        // responses name the issuer (RFC 9207)
}

// An Inbox has the requests to one participant. The zero value is empty and ready to
// use. Its owner closes it.
type Inbox struct {
	mu        sync.Mutex
	requests  []*entry // in order of arrival
	muted     []string // requesters, in order
	changed   chan struct{}
	callbacks callbacks
}

type entry struct {
	Request
	room      Room
	timer     *time.Timer
	answering bool

	// Of an authorization.
	endpoint, redirect *url.URL
	flow               *authFlow // nil if none is running
}

// Add adds a request that expires after timeout. Its answer goes to room. The error says
// why a person is not asked.
func (i *Inbox) Add(r Request, timeout time.Duration, room Room) error {
	e := &entry{room: room}
	if r.Kind == OAuth {
		var err error
		if e.endpoint, e.redirect, err = checkURLs(&r); err != nil {
			return err
		}
	}
	if err := sanitize(&r); err != nil {
		return err
	}
	r.State, r.Reason = Pending, ""
	r.Expires = time.Now().Add(timeout)
	i.mu.Lock()
	defer i.mu.Unlock()
	if slices.Contains(i.muted, r.From) {
		return ErrMuted
	}
	pending := 0
	for _, e := range i.requests {
		if e.ID == r.ID {
			return nil
		}
		if e.State == Pending {
			pending++
		}
	}
	if pending == maxPending {
		return ErrFull
	}
	e.Request = r
	e.timer = time.AfterFunc(timeout, func() { i.expire(e) })
	i.requests = append(i.requests, e)
	i.notify()
	return nil
}

// Requests returns the pending requests, and those that closed last, in order of
// arrival.
func (i *Inbox) Requests() []Request {
	i.mu.Lock()
	defer i.mu.Unlock()
	requests := make([]Request, len(i.requests))
	for n, e := range i.requests {
		requests[n] = e.Request
	}
	return requests
}

// Request returns one of [Inbox.Requests].
func (i *Inbox) Request(id string) (Request, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if e := i.find(id); e != nil {
		return e.Request, true
	}
	return Request{}, false
}

// Changed returns a channel that is closed at the next change. Call it before reading
// the requests, so that no change is missed.
func (i *Inbox) Changed() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.changed == nil {
		i.changed = make(chan struct{})
	}
	return i.changed
}

// Updates are the changes of an inbox, for a view.
type Updates struct {
	Inbox *Inbox
	seen  map[string]State
}

// Next returns the requests that are new or have closed since the last call, in order of
// arrival.
func (u *Updates) Next() (changed []Request) {
	all := make(map[string]State)
	for _, r := range u.Inbox.Requests() {
		if all[r.ID] = r.State; u.seen[r.ID] != r.State {
			changed = append(changed, r)
		}
	}
	u.seen = all // without those that the inbox dropped
	return changed
}

// Provide answers a request for a secret.
func (i *Inbox) Provide(ctx context.Context, id string, value secret.Value) error {
	if value.Len() == 0 {
		return ErrEmpty
	}
	return i.answer(id, Provided, "", func(e *entry) error {
		if e.Kind != Secret {
			return errors.New("an authorization request takes no value")
		}
		return e.room.Provide(ctx, id, value)
	})
}

// Reject rejects a request. The requester gets the reason.
func (i *Inbox) Reject(ctx context.Context, id, reason string) error {
	reason = cmp.Or(reason, rejected)
	return i.answer(id, Rejected, text.Printable(reason, 0), func(e *entry) error {
		if e.Kind == OAuth {
			return e.room.RejectAuthorization(ctx, id, reason)
		}
		return e.room.Reject(ctx, id, reason)
	})
}

// Mute rejects the pending requests of the requester of a request, and from now on all
// others.
func (i *Inbox) Mute(ctx context.Context, id string) error {
	i.mu.Lock()
	e := i.find(id)
	if e == nil || e.From == "" {
		i.mu.Unlock()
		if e == nil {
			return ErrClosed
		}
		return errors.New("the room does not report the requester")
	}
	if !slices.Contains(i.muted, e.From) {
		i.muted = append(i.muted, e.From)
	}
	var pending []string
	for _, other := range i.requests {
		if other.From == e.From && other.State == Pending {
			pending = append(pending, other.ID)
		}
	}
	i.notify()
	i.mu.Unlock()
	var failed error
	for _, id := range pending {
		if err := i.Reject(ctx, id, ""); err != nil && !errors.Is(err, ErrClosed) {
			failed = err
		}
	}
	return failed
}

// Muted returns the muted requesters.
func (i *Inbox) Muted() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.muted)
}

// Close drops all requests without an answer, and returns when no goroutine of the inbox
// runs.
func (i *Inbox) Close() {
	i.mu.Lock()
	for _, e := range i.requests {
		e.timer.Stop()
		i.leave(e)
	}
	i.requests = nil
	i.mu.Unlock()
	i.callbacks.close()
}

// answer sends one answer at a time, and then sets the state of the request.
func (i *Inbox) answer(id string, state State, reason string, send func(*entry) error) error {
	i.mu.Lock()
	e := i.find(id)
	if e == nil || e.State != Pending || e.answering {
		i.mu.Unlock()
		return ErrClosed
	}
	e.answering = true
	i.mu.Unlock()

	err := send(e)

	i.mu.Lock()
	defer i.mu.Unlock()
	e.answering = false
	switch {
	case err == nil:
		i.end(e, state, reason)
	case errors.Is(err, room.ErrNotFound):
		i.end(e, Closed, "")
		err = ErrClosed
	case e.Kind == OAuth && errors.Is(err, room.ErrOperationFailed):
		i.end(e, Failed, err.Error())
	case !time.Now().Before(e.Expires):
		i.end(e, Expired, "")
	default:
		e.Reason = text.Printable(err.Error(), 0)
		i.notify()
	}
	return err
}

func (i *Inbox) expire(e *entry) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if e.State == Pending && !e.answering {
		i.end(e, Expired, "")
	}
}

// end closes a request. It is called with mu held, as are all below.
func (i *Inbox) end(e *entry, state State, reason string) {
	e.State, e.Reason = state, reason
	e.timer.Stop()
	i.leave(e)
	ended := 0
	for _, e := range i.requests {
		if e.State != Pending {
			ended++
		}
	}
	if ended > maxEnded {
		oldest := slices.IndexFunc(i.requests, func(e *entry) bool { return e.State != Pending })
		i.requests = slices.Delete(i.requests, oldest, oldest+1)
	}
	i.notify()
}

func (i *Inbox) find(id string) *entry {
	for _, e := range i.requests {
		if e.ID == id {
			return e
		}
	}
	return nil
}

func (i *Inbox) notify() {
	if i.changed != nil {
		close(i.changed)
		i.changed = nil
	}
}
