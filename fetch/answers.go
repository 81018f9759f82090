package fetch

import (
	"context"
	"iter"
	"maps"
	"sync"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// Answers yields, for each value that is provided of what is pending in last, the
// snapshot that has the answers so far. That somebody refuses, or nobody answers,
// is in [Snapshot.Err] of the next one. It ends when nothing is pending any more
// and when ctx ends.
func Answers(ctx context.Context, s Source, last *Snapshot) iter.Seq[*Snapshot] {
	return func(yield func(*Snapshot) bool) {
		type answer struct {
			target manifest.Target
			value  secret.Value
			err    error
		}
		pending := last.Pending()
		answers := make(chan answer, len(pending))
		var waiting sync.WaitGroup
		defer waiting.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for _, t := range pending {
			waiting.Go(func() {
				value, err := s.Resolve(ctx, t)
				answers <- answer{t, value, err}
			})
		}
		for snapshot := last; len(pending) > 0; pending = pending[1:] {
			a := <-answers
			if ctx.Err() != nil {
				return
			}
			snapshot = snapshot.with(a.target, a.value, a.err)
			if a.err == nil && !yield(snapshot) {
				return
			}
		}
	}
}

// with returns a copy of s in which t has an answer.
func (s *Snapshot) with(t manifest.Target, value secret.Value, err error) *Snapshot {
	next := &Snapshot{maps.Clone(s.values), maps.Clone(s.failed)}
	if err != nil {
		next.failed[t] = err
		return next
	}
	next.values[t] = value
	delete(next.failed, t)
	return next
}
