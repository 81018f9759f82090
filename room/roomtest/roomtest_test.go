package roomtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/roomtest"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// exampleT is a test for examples, which have none.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func newT() *exampleT { return &exampleT{} }

func (t *exampleT) Helper()                  {}
func (t *exampleT) Context() context.Context { return context.Background() }
func (t *exampleT) Cleanup(f func())         { t.cleanups = append(t.cleanups, f) }
func (t *exampleT) Error(args ...any)        { fmt.Println(args...) }
func (t *exampleT) Fatal(args ...any)        { panic(fmt.Sprint(args...)) }

func (t *exampleT) TempDir() string {
	dir, err := os.MkdirTemp("", "roomtest-")
	if err != nil {
		panic(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (t *exampleT) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

func TestRooms(t *testing.T) {
	s := roomtest.New(t)
	ann := s.Dial("one", "ann")
	if err := ann.Secrets().Set(t.Context(), room.NewSecret{ID: "k", Value: secret.New([]byte("v"))}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Dial("one", "ann").Secrets().Get(t.Context(), room.SecretQuery{ID: "k"}); err != nil || string(got.Value.Reveal()) != "v" {
		t.Errorf("ann gets %s, %v", got.Value.Reveal(), err)
	}
	for what, c := range map[string]*room.Client{"another identity": s.Dial("one", "bob"), "another room": s.Dial("two", "ann"), "another server": roomtest.New(t).Dial("one", "ann")} {
		if _, err := c.Secrets().Get(t.Context(), room.SecretQuery{ID: "k"}); !errors.Is(err, room.ErrNotFound) {
			t.Errorf("%s gets %v", what, err)
		}
	}
}

func TestToken(t *testing.T) {
	s := roomtest.New(t)
	for what, c := range map[string]struct {
		token token.Token
		want  error
	}{
		"admin":        {token.Token{Name: "ann", Room: "demo", API: &token.Scope{Secrets: &token.SecretsScope{}, Admin: true}}, nil},
		"no grant":     {token.Token{Name: "ann", Room: "demo"}, room.ErrPermissionDenied},
		"another room": {token.Token{Name: "ann", Room: "other", API: token.UserScope()}, room.ErrForbidden},
		"expired":      {token.Token{Name: "ann", Room: "demo", API: token.UserScope(), Expires: time.Now().Add(-time.Second)}, room.ErrForbidden},
	} {
		config := room.Config{URL: s.URL + "/rooms/demo", Token: func(context.Context) (secret.Value, error) { return s.Token(c.token), nil }}
		client, err := room.Dial(t.Context(), config)
		if err == nil {
			_, err = client.Secrets().List(t.Context())
			_ = client.Close()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}
