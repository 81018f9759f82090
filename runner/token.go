package runner

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// ErrUnknownClient is why there is no token of a client that the manifest does not
// describe.
var ErrUnknownClient = errors.New("unknown OAuth client")

// freshTokenTimeout is how long the source may take where there is a token already:
// less than programs wait for one.
const freshTokenTimeout = 2 * time.Second

// Token returns an access token of the OAuth client, and when it expires, zero if that
// is not known: the one that the source has now or, while that is unreachable, the
// last known one, which is never one that has expired. No person is asked.
func (r *Runner) Token(ctx context.Context, client string) (secret.Value, time.Time, error) {
	v := r.now()
	target, ok := tokenTarget(v.manifest, client)
	if !ok {
		return secret.Value{}, time.Time{}, ErrUnknownClient
	}
	last, held := v.snapshot.Value(target)
	st := v.snapshot.State(target)
	usable := func() bool {
		return held && st.Revoked.IsZero() && (st.Expires.IsZero() || time.Now().Before(st.Expires))
	}
	if usable() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, freshTokenTimeout)
		defer cancel()
	}
	sources, err := r.open(slices.Values([]manifest.Target{target})) // a reference may be missing
	if err != nil {
		return secret.Value{}, time.Time{}, err
	}
	value, err := sources.TryResolve(ctx, target)
	switch {
	case err == nil:
		return value, fetch.Expiry(value), nil
	case usable() && !fetch.IsAbsent(err):
		return last, st.Expires, nil
	}
	return secret.Value{}, time.Time{}, err
}

// tokenTarget returns what the manifest refers to for a token of the client, else what
// a reference would.
func tokenTarget(m *manifest.Manifest, client string) (manifest.Target, bool) {
	described, ok := m.OAuth[client]
	for t := range targets(m) {
		if t.Scheme == manifest.SchemeRoom && t.Kind() == manifest.KindOAuth && t.ID() == client {
			return t, ok
		}
	}
	return described.Target(client), ok
}
