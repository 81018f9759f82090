package fetch

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// maxInFlight is how many references wait for their answers at once. The requests
// to a room share a connection and do not wait for each other, so that a manifest
// of up to this many references costs one round trip; a larger one costs one more
// for each further maxInFlight.
const maxInFlight = 1024

// Resolve fetches all that m refers to, all at once and each target once. It waits for
// participants as long as nothing else is missing.
//
// A reference may be missing when it is optional or has a default; then it waits
// for no participant either (see [TryResolver]). That forgives absence and nothing
// else: when an optional reference is denied or its source unreachable, it is not
// known whether the value exists, and a process must not start without a value that
// exists. A reference in the operand of a variable (${NAME:-room:secret/x}) may fail
// in any way, since it may not be needed; [Snapshot.Err] has the reason for the
// caller that finds that it is.
//
// The error is an [*Error] that holds every reference without a value; the snapshot has
// what is known of each. When ctx is cancelled the error wraps the cause of that
// instead, and there is no snapshot. References that have no answer at the deadline of
// ctx are unreachable.
func Resolve(ctx context.Context, m *manifest.Manifest, sources Mux) (*Snapshot, error) {
	targets, needed := distinct(m)
	states := make([]State, len(targets))
	var fetching, waiting errgroup.Group
	fetching.SetLimit(maxInFlight)
	wait, stop := context.WithCancel(ctx)
	defer stop()
	forgives := forgiving(m)
	record := func(i int, value secret.Value, err error) {
		t := targets[i]
		states[i] = State{}
		states[i].record(value, unanswered(ctx, err), wallClock(), needed[t])
		if none := states[i].none; none != nil && !errors.Is(none, ErrPending) && !forgives[t].all && !(forgives[t].absence && IsAbsent(none)) {
			stop() // whatever participants provide
		}
	}
	for i, t := range targets {
		fetching.Go(func() error {
			value, err := sources.TryResolve(ctx, t)
			record(i, value, err)
			if needed[t] && errors.Is(err, ErrPending) {
				waiting.Go(func() error {
					value, err := sources.Resolve(wait, t)
					if err == nil || wait.Err() == nil || ctx.Err() != nil { // else it is still pending
						record(i, value, err)
					}
					return nil
				})
			}
			return nil // one failure does not end the others: the table needs all
		})
	}
	_ = fetching.Wait()
	_ = waiting.Wait()
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, fmt.Errorf("resolve references: %w", context.Cause(ctx))
	}
	snapshot := &Snapshot{make(map[manifest.Target]State, len(targets))}
	for i, t := range targets {
		snapshot.states[t] = states[i]
	}
	if failures := snapshot.Failures(m); len(failures) > 0 {
		return snapshot, &Error{failures}
	}
	return snapshot, nil
}

// unanswered is err, which says that the source is unreachable when it had not
// answered at the end of ctx.
func unanswered(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && reason(err) == nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

// distinct returns what m refers to, in order, and which of it m needs.
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

// forgiven reports whether r may fail with err.
func forgiven(r *manifest.Reference, inOperand bool, err error) bool {
	return inOperand || IsAbsent(err) && optional(r)
}

// forgiveness is of all references to a target.
type forgiveness struct{ all, absence bool }

// forgiving returns what [forgiven] says of each target, whatever its error is.
func forgiving(m *manifest.Manifest) map[manifest.Target]forgiveness {
	targets := make(map[manifest.Target]forgiveness)
	for _, e := range m.Values() {
		for r, inOperand := range e.Value.References() {
			f, seen := targets[r.Target]
			targets[r.Target] = forgiveness{
				all:     (f.all || !seen) && forgiven(r, inOperand, ErrUnknown),
				absence: (f.absence || !seen) && forgiven(r, inOperand, ErrMissing),
			}
		}
	}
	return targets
}

// Failures returns every reference of m that has no value and may not be without.
func (s *Snapshot) Failures(m *manifest.Manifest) (failures []Failure) {
	for _, e := range m.Values() {
		seen := make(map[string]bool)
		for r, inOperand := range e.Value.References() {
			err := s.Err(r.Target)
			if err == nil || forgiven(r, inOperand, err) || seen[r.String()] {
				continue
			}
			seen[r.String()] = true
			failures = append(failures, Failure{e.Name, e.Pos, r.String(), err})
		}
	}
	return failures
}
