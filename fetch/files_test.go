package fetch_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

type sourceFunc func(manifest.Target) (secret.Value, error)

func (f sourceFunc) Resolve(_ context.Context, t manifest.Target) (secret.Value, error) { return f(t) }

// What files need is fetched with the rest, and named by the file.
func TestResolveFiles(t *testing.T) {
	target := func(id string) manifest.Target {
		return manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/" + id}
	}
	m := &manifest.Manifest{Files: []manifest.File{
		{Path: "tls/key", Entries: []manifest.Entry{{Value: manifest.Expr{{Reference: &manifest.Reference{Target: target("there")}}}}}},
		{Path: "app.json", Entries: []manifest.Entry{
			{Name: "A", Value: manifest.Expr{{Reference: &manifest.Reference{Target: target("there")}}}},
			{Name: "B", Value: manifest.Expr{{Reference: &manifest.Reference{Target: target("gone"), Optional: true}}}},
		}},
	}}
	asked := make(chan string, 10)
	source := sourceFunc(func(t manifest.Target) (secret.Value, error) {
		asked <- t.ID()
		if t.ID() == "there" {
			return secret.New([]byte("x")), nil
		}
		return secret.Value{}, fetch.ErrMissing
	})
	s, err := fetch.Resolve(t.Context(), m, mux(source))
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := s.Value(target("there")); !ok || string(v.Reveal()) != "x" || len(asked) != 2 {
		t.Errorf("got %t, asked %d times", ok, len(asked))
	}
	m.Files[1].Entries[1].Value[0].Reference.Optional = false
	_, err = fetch.Resolve(t.Context(), m, mux(source))
	if e, ok := errors.AsType[*fetch.Error](err); !ok || !strings.Contains(e.Error(), "app.json") {
		t.Errorf("got %v", err)
	}
}
