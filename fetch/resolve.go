package fetch

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// maxInFlight is how many references wait for their answers at once. Requests
// share a connection and do not wait for each other, so that a manifest of up
// to this many references costs one round trip; a larger one costs one more
// for each further maxInFlight.
const maxInFlight = 1024

// A Snapshot is the values of a manifest's references at one time. It does not
// change. The zero Snapshot holds nothing.
type Snapshot struct {
	values map[manifest.Target]secret.Value
	failed map[manifest.Target]error
}

// Value returns the value of t. It is false for a target that the room does not
// hold, and for one that was not asked for.
func (s *Snapshot) Value(t manifest.Target) (secret.Value, bool) {
	v, ok := s.values[t]
	return v, ok
}

// Err says why there is no value of t; it is nil when t was not asked for.
func (s *Snapshot) Err(t manifest.Target) error { return s.failed[t] }

// Pending returns the targets that participants are asked for, which is not
// waited for, in no order.
func (s *Snapshot) Pending() (targets []manifest.Target) {
	for t, err := range s.failed {
		if errors.Is(err, ErrPending) {
			targets = append(targets, t)
		}
	}
	return targets
}

// Resolve asks s for all that m refers to, all at once and each target once.
//
// A reference may be missing when it is optional or has a default; then nobody is
// waited for either (see [Asker]). That forgives absence and nothing else: when an optional reference is denied or its room
// unreachable, nobody knows whether the value exists, and a child must not start
// without a value that is there. A reference in the word of a variable
// (${NAME:-room:secret/x}) may fail in any way, since it may not be needed;
// [Snapshot.Err] has the reason for whoever finds that it is.
//
// The error is an [*Error] that holds every reference without a value. When ctx
// is cancelled it wraps the cause of that instead. References that have no
// answer at the deadline of ctx are unreachable.
func Resolve(ctx context.Context, m *manifest.Manifest, s Source) (*Snapshot, error) {
	targets, needed := distinct(m)
	values := make([]secret.Value, len(targets))
	errs := make([]error, len(targets))
	var asking errgroup.Group
	asking.SetLimit(maxInFlight)
	for i, t := range targets {
		asking.Go(func() error {
			resolve := s.Resolve
			if asker, ok := s.(Asker); ok && !needed[t] {
				resolve = asker.Ask
			}
			values[i], errs[i] = resolve(ctx, t)
			return nil // one failure does not end the others: the table needs all
		})
	}
	_ = asking.Wait()
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, fmt.Errorf("cannot resolve references: %w", context.Cause(ctx))
	}

	snapshot := &Snapshot{make(map[manifest.Target]secret.Value, len(targets)), make(map[manifest.Target]error)}
	for i, t := range targets {
		switch err := errs[i]; {
		case err == nil:
			snapshot.values[t] = values[i]
		case ctx.Err() != nil && state(err) == nil:
			snapshot.failed[t] = fmt.Errorf("%w: %w", ErrUnreachable, err)
		default:
			snapshot.failed[t] = err
		}
	}
	if rows := table(m, snapshot.failed); len(rows) > 0 {
		return nil, &Error{rows}
	}
	return snapshot, nil
}

// distinct returns what m refers to, in order, and which of that it does not do
// without.
func distinct(m *manifest.Manifest) (targets []manifest.Target, needed map[manifest.Target]bool) {
	needed = make(map[manifest.Target]bool)
	for _, e := range m.Values() {
		walk(e.Value, false, func(r *manifest.Reference, _ bool) {
			before, seen := needed[r.Target]
			if !seen {
				targets = append(targets, r.Target)
			}
			needed[r.Target] = before || !optional(r)
		})
	}
	return targets, needed
}

func optional(r *manifest.Reference) bool { return r.Optional || r.Default != nil }

// table returns a row for every reference of m that failed and may not.
func table(m *manifest.Manifest, failed map[manifest.Target]error) (rows []Row) {
	if len(failed) == 0 {
		return nil
	}
	for _, e := range m.Values() {
		seen := make(map[string]bool)
		walk(e.Value, false, func(r *manifest.Reference, inWord bool) {
			err := failed[r.Target]
			forgiven := inWord || Absent(err) && optional(r)
			if err == nil || forgiven || seen[r.String()] {
				return
			}
			seen[r.String()] = true
			rows = append(rows, Row{e.Name, e.Pos, r.String(), err})
		})
	}
	return rows
}

// walk visits the references of t, in order, and says which of them are inside
// the word of a variable. The word of ? is a message, which shows no values.
func walk(t manifest.Template, inWord bool, visit func(r *manifest.Reference, inWord bool)) {
	for _, p := range t {
		switch v := p.Variable; {
		case p.Reference != nil:
			visit(p.Reference, inWord)
		case v != nil && v.Operator != "?" && v.Operator != ":?":
			walk(v.Word, true, visit)
		}
	}
}
