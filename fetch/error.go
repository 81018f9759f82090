package fetch

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/manifest"
)

// Why a reference has no value.
var (
	// ErrMissing: the source holds no such value.
	ErrMissing = errors.New("missing")
	// ErrDenied: the source refuses this identity, or this value to it.
	ErrDenied = errors.New("denied")
	// ErrUnreachable: the source did not answer, so it may still hold the value.
	ErrUnreachable = errors.New("unreachable")
	// ErrUnsupported: the source does not fetch references of this kind, or there is
	// no source.
	ErrUnsupported = errors.New("unsupported")
	// ErrPending: a request to a participant is pending.
	ErrPending = errors.New("pending")
	// ErrRejected: the participant, or the provider of a token, refused.
	ErrRejected = errors.New("rejected")
	// ErrNoAnswer: the participant did not join, or not answer, in time.
	ErrNoAnswer = errors.New("no answer")
	// ErrUnknown: it is not known whether the source still holds the value, which is
	// therefore not revoked. So it is with ErrUnreachable, ErrUnsupported and an error
	// that wraps none of these; beside ErrDenied, ErrUnknown says that the connection
	// is denied and not the value.
	ErrUnknown = errors.New("unknown")
)

// PendingError is [ErrPending] with the approver.
type PendingError struct {
	From  string    // the name of the approver
	Until time.Time // when the request expires
}

func (p *PendingError) Error() string { return ErrPending.Error() + ": waiting for " + p.From }

// Unwrap returns [ErrPending].
func (p *PendingError) Unwrap() error { return ErrPending }

// IsAbsent reports whether err, of a reference without a value, says that the value
// does not exist, which optional=true and default= permit. Other errors leave that
// open.
func IsAbsent(err error) bool {
	return errors.Is(err, ErrMissing) || errors.Is(err, ErrPending) || errors.Is(err, ErrRejected) || errors.Is(err, ErrNoAnswer)
}

// unknown reports whether err leaves open what the source holds, see [ErrUnknown].
func unknown(err error) bool {
	return err != nil && !IsAbsent(err) && (!errors.Is(err, ErrDenied) || errors.Is(err, ErrUnknown))
}

// reason returns which of the errors of this package err wraps first, or nil.
func reason(err error) error {
	for _, r := range []error{ErrMissing, ErrDenied, ErrUnreachable, ErrUnsupported, ErrPending, ErrRejected, ErrNoAnswer, ErrUnknown} {
		if errors.Is(err, r) {
			return r
		}
	}
	return nil
}

// IsUnknown reports whether err, of a reference without a value, leaves open what the
// source holds, see [ErrUnknown].
func IsUnknown(err error) bool { return unknown(err) }

// An Error is the table of all references that have no value, in the order of
// the manifest.
type Error struct{ Failures []Failure }

// A Failure is one reference of one entry.
type Failure struct {
	Name      string // of the entry, or the path of the file
	Pos       manifest.Position
	Reference string
	Err       error
}

// Unwrap returns the error of every row.
func (e *Error) Unwrap() []error {
	errs := make([]error, len(e.Failures))
	for i, f := range e.Failures {
		errs[i] = f.Err
	}
	return errs
}

// Bounds on a table: what rooms and manifests write can be long, and 1,000
// entries fail for one reason when their room is unreachable. All missing ones are
// listed.
const (
	maxText  = 300 // bytes of a reason or a reference
	maxNamed = 10  // rows with one reason
)

// Error returns the rows under their reasons, each reason once.
func (e *Error) Error() string {
	var order []string
	rows := make(map[string][]Failure)
	for _, f := range e.Failures {
		reason := text.Printable(f.Err.Error(), maxText)
		if rows[reason] == nil {
			order = append(order, reason)
		}
		rows[reason] = append(rows[reason], f)
	}
	var aligned strings.Builder // whose writes do not fail
	w := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "resolve %s", text.Count(len(e.Failures), "reference", "references"))
	for _, reason := range order {
		_, _ = io.WriteString(w, "\n  "+reason)
		group := rows[reason]
		named := group
		if !errors.Is(group[0].Err, ErrMissing) {
			named = group[:min(len(group), maxNamed)]
		}
		for _, f := range named {
			_, _ = fmt.Fprintf(w, "\n    %s\t%s\t%s", f.Name, f.Pos, text.Printable(f.Reference, maxText))
		}
		if more := len(group) - len(named); more > 0 {
			_, _ = fmt.Fprintf(w, "\n    and %d more", more)
		}
	}
	_ = w.Flush()
	return aligned.String()
}
