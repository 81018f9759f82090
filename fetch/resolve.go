package fetch

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/roomenv/roomenv/manifest"
)

// maxInFlight is how many references wait for their answers at once. Requests
// share a connection and do not wait for each other, so that a manifest of up
// to this many references costs one round trip; a larger one costs one more
// for each further maxInFlight.
const maxInFlight = 1024

// Resolve asks s for all that m refers to, all at once and each target once.
//
// A reference may be missing when it is optional or has a default; then nobody is
// waited for either (see [TryResolver]). That forgives absence and nothing else: when an optional reference is denied or its room
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
	states := make([]State, len(targets))
	var asking errgroup.Group
	asking.SetLimit(maxInFlight)
	for i, t := range targets {
		asking.Go(func() error {
			resolve := s.Resolve
			if asker, ok := s.(TryResolver); ok && !needed[t] {
				resolve = asker.TryResolve
			}
			value, err := resolve(ctx, t)
			states[i].record(value, unanswered(ctx, err), wallClock(), needed[t])
			return nil // one failure does not end the others: the table needs all
		})
	}
	_ = asking.Wait()
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, fmt.Errorf("cannot resolve references: %w", context.Cause(ctx))
	}

	snapshot := &Snapshot{make(map[manifest.Target]State, len(targets))}
	for i, t := range targets {
		snapshot.states[t] = states[i]
	}
	if rows := table(m, snapshot); len(rows) > 0 {
		return nil, &Error{rows}
	}
	return snapshot, nil
}

// unanswered is err, which says that the room is unreachable when it had no
// answer until the end of ctx.
func unanswered(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && state(err) == nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

// distinct returns what m refers to, in order, and which of that it does not do
// without.
func distinct(m *manifest.Manifest) (targets []manifest.Target, needed map[manifest.Target]bool) {
	needed = make(map[manifest.Target]bool)
	for _, e := range m.Values() {
		for r := range e.Value.References() {
			before, seen := needed[r.Target]
			if !seen {
				targets = append(targets, r.Target)
			}
			needed[r.Target] = before || !optional(r)
		}
	}
	return targets, needed
}

func optional(r *manifest.Reference) bool { return r.Optional || r.Default != nil }

// table returns a row for every reference of m that failed and may not.
func table(m *manifest.Manifest, s *Snapshot) (rows []Failure) {
	for _, e := range m.Values() {
		seen := make(map[string]bool)
		for r, inWord := range e.Value.References() {
			err := s.Err(r.Target)
			forgiven := inWord || IsAbsent(err) && optional(r)
			if err == nil || forgiven || seen[r.String()] {
				continue
			}
			seen[r.String()] = true
			rows = append(rows, Failure{e.Name, e.Pos, r.String(), err})
		}
	}
	return rows
}
