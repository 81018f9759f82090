package fetch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// people is an Asker whose every value takes a person, who answers after a time.
type people map[string]struct {
	after time.Duration
	err   error
}

func (p people) Ask(context.Context, manifest.Target) (secret.Value, error) {
	return secret.Value{}, fetch.ErrPending
}

func (p people) Resolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	select {
	case <-time.After(p[t.ID].after):
		return secret.New([]byte(t.ID)), p[t.ID].err
	case <-ctx.Done():
		return secret.Value{}, ctx.Err()
	}
}

func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := people{"slow": {after: time.Hour}, "quick": {after: time.Second}, "unwilling": {after: time.Minute, err: fetch.ErrRejected}}
		last, err := fetch.Resolve(t.Context(), file(
			manifest.Template{optional("slow")}, manifest.Template{optional("quick")}, manifest.Template{optional("unwilling")},
		), s)
		if err != nil || len(last.Pending()) != 3 {
			t.Fatalf("%v, %d pending", err, len(last.Pending()))
		}

		order := []string{"quick", "slow"}
		for snapshot := range fetch.Answers(t.Context(), s, last) {
			now := order[0]
			order = order[1:]
			value, ok := snapshot.Value(target(now))
			if !ok || string(value.Reveal()) != now || snapshot.Err(target(now)) != nil {
				t.Errorf("no value of %s: %v", now, snapshot.Err(target(now)))
			}
			if refused := errors.Is(snapshot.Err(target("unwilling")), fetch.ErrRejected); refused != (now == "slow") {
				t.Errorf("after %s: refused is %t", now, refused)
			}
		}
		if len(order) > 0 {
			t.Errorf("no answer of %v", order)
		}
		if len(last.Pending()) != 3 {
			t.Error("the snapshot before has changed")
		}

		// Nobody is waited for any more when the loop or the context ends.
		for range fetch.Answers(t.Context(), s, last) {
			break
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		for range fetch.Answers(ctx, s, last) {
			t.Error("an answer after the end")
		}
	})
}
