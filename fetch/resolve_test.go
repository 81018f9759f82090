package fetch_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

var update = flag.Bool("update", false, "write the golden files")

// source is a Source made of a function.
type source func(ctx context.Context, t manifest.Target) (secret.Value, error)

func (s source) Resolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	return s(ctx, t)
}

// A target fails with the state that its id starts with, for the reason given
// for that state; every other id is its own value.
func answer(reasons map[error]string) source {
	return func(_ context.Context, t manifest.Target) (secret.Value, error) {
		for _, state := range []error{
			fetch.ErrMissing, fetch.ErrDenied, fetch.ErrUnreachable, fetch.ErrUnsupported, fetch.ErrRejected, fetch.ErrNoAnswer,
		} {
			switch reason := reasons[state]; {
			case !strings.HasPrefix(t.ID(), state.Error()):
			case reason == "":
				return secret.Value{}, state
			default:
				return secret.Value{}, fmt.Errorf("%w: %s", state, reason)
			}
		}
		return secret.New([]byte(t.ID())), nil
	}
}

var byID = answer(nil)

func mux(s fetch.Source) fetch.Mux { return fetch.Mux{manifest.SchemeRoom: s} }

func target(id string) manifest.Target {
	return manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/" + id}
}

func ref(id string) manifest.Part {
	return manifest.Part{Reference: &manifest.Reference{Target: target(id)}}
}

func optional(id string) manifest.Part {
	return manifest.Part{Reference: &manifest.Reference{Target: target(id), Optional: true}}
}

func variable(name, operator string, word ...manifest.Part) manifest.Part {
	return manifest.Part{Variable: &manifest.Variable{Name: name, Operator: operator, Operand: word}}
}

// file is a manifest with an entry on each line, named A, B, …
func file(values ...manifest.Expr) *manifest.Manifest {
	m := new(manifest.Manifest)
	for i, v := range values {
		name := string(rune('A' + i%26))
		if i >= 26 {
			name += fmt.Sprint(i / 26)
		}
		m.Entries = append(m.Entries, manifest.Entry{
			Name: name, Value: v,
			Pos: manifest.Position{File: ".env.room", Line: i + 1, Column: len(name) + 2},
		})
	}
	return m
}

func TestEachTargetIsAskedForOnce(t *testing.T) {
	var mu sync.Mutex
	asked := make(map[manifest.Target]int)
	s := source(func(ctx context.Context, t manifest.Target) (secret.Value, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[t]++
		return byID(ctx, t)
	})
	field := manifest.Part{Reference: &manifest.Reference{Target: target("a"), Field: "user"}}
	elsewhere := manifest.Target{Scheme: manifest.SchemeRoom, Group: "other", Path: "secret/a"}
	m := file(
		manifest.Expr{ref("a"), {Literal: "-"}, ref("a"), field},
		manifest.Expr{variable("X", ":-", manifest.Part{Literal: "y"}, variable("Y", "+", ref("deep")))},
		manifest.Expr{variable("X", "?", ref("message")), variable("X", ":?", ref("message"))},
		manifest.Expr{{Reference: &manifest.Reference{Target: elsewhere}}},
		manifest.Expr{ref("a")},
	)
	snapshot, err := fetch.Resolve(t.Context(), m, mux(s))
	if err != nil {
		t.Fatal(err)
	}
	want := map[manifest.Target]int{target("a"): 1, target("deep"): 1, elsewhere: 1}
	if len(asked) != len(want) {
		t.Errorf("asked for %v", asked)
	}
	for tg, n := range want {
		if asked[tg] != n {
			t.Errorf("asked for %v %d times", tg, asked[tg])
		}
		if v, ok := snapshot.Value(tg); !ok || string(v.Reveal()) != tg.ID() {
			t.Errorf("the value of %v is %q, %v", tg, v.Reveal(), ok)
		}
	}
}

// A round trip for each of 1,000 references in turn would be a deadlock here,
// which synctest reports.
func TestAThousandReferencesAreOneRound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n = 1000
		var all sync.WaitGroup
		all.Add(n)
		values := make([]manifest.Expr, n)
		for i := range values {
			values[i] = manifest.Expr{ref(fmt.Sprint(i))}
		}
		_, err := fetch.Resolve(t.Context(), file(values...), mux(source(func(ctx context.Context, t manifest.Target) (secret.Value, error) {
			all.Done()
			all.Wait()
			return byID(ctx, t)
		})))
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestWhatMayBeMissing(t *testing.T) {
	empty := ""
	withDefault := manifest.Part{Reference: &manifest.Reference{Target: target("missing"), Default: &empty}}
	for name, test := range map[string]struct {
		value manifest.Expr
		want  error
	}{
		"required":              {manifest.Expr{ref("missing")}, fetch.ErrMissing},
		"optional":              {manifest.Expr{optional("missing")}, nil},
		"defaulted":             {manifest.Expr{withDefault}, nil},
		"in a word":             {manifest.Expr{variable("X", "-", ref("missing"))}, nil},
		"required elsewhere":    {manifest.Expr{optional("missing"), ref("missing")}, fetch.ErrMissing},
		"optional, rejected":    {manifest.Expr{optional("rejected")}, nil},
		"optional, no answer":   {manifest.Expr{optional("no answer")}, nil},
		"rejected":              {manifest.Expr{ref("rejected")}, fetch.ErrRejected},
		"no answer":             {manifest.Expr{ref("no answer")}, fetch.ErrNoAnswer},
		"optional, denied":      {manifest.Expr{optional("denied")}, fetch.ErrDenied},
		"optional, unreachable": {manifest.Expr{optional("unreachable")}, fetch.ErrUnreachable},
		"in a word, denied":     {manifest.Expr{variable("X", "-", ref("denied"))}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot, err := fetch.Resolve(t.Context(), file(test.value), mux(byID))
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if test.want != nil {
				return
			}
			for id, state := range map[string]error{"missing": fetch.ErrMissing, "denied": fetch.ErrDenied} {
				if _, ok := snapshot.Value(target(id)); ok {
					t.Errorf("a %s target has a value", id)
				}
				if err := snapshot.Err(target(id)); err != nil && !errors.Is(err, state) {
					t.Errorf("the reason for a %s target is %v", id, err)
				}
			}
		})
	}
}

func TestTable(t *testing.T) {
	many := make([]manifest.Expr, 1000)
	for i := range many {
		many[i] = manifest.Expr{ref(fmt.Sprint("unreachable-", i))}
	}
	for name, test := range map[string]struct {
		m       *manifest.Manifest
		reasons map[error]string
	}{
		"one": {file(manifest.Expr{ref("missing")}), nil},
		"mixed": {file(
			manifest.Expr{ref("missing-b")},
			manifest.Expr{ref("denied-a")},
			manifest.Expr{ref("here")},
			manifest.Expr{{Literal: "x"}, ref("missing-a"), ref("missing-c"), ref("missing-a")},
			manifest.Expr{ref("unsupported")},
			manifest.Expr{optional("unreachable")},
			manifest.Expr{optional("missing")},
		), map[error]string{
			fetch.ErrDenied:      "permission denied (1001)",
			fetch.ErrUnreachable: "connection refused",
			fetch.ErrUnsupported: "no OAuth here",
		}},
		"a room is away": {file(many...), map[error]string{
			fetch.ErrUnreachable: "cannot reach ws://127.0.0.1:1/rooms/demo: connection refused",
		}},
		"a hostile room": {file(manifest.Expr{ref("denied-" + strings.Repeat("x", 5000))}), map[error]string{
			fetch.ErrDenied: "\x1b[2J\x1b]0;owned\a\r\nhint: run this \u202e" + strings.Repeat("é", 5000),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fetch.Resolve(t.Context(), test.m, mux(answer(test.reasons)))
			if _, ok := errors.AsType[*fetch.Error](err); !ok {
				t.Fatalf("got %v", err)
			}
			golden(t, err.Error())
		})
	}
}

// asker is a source all of whose values take a person.
type asker struct{ source }

func (asker) TryResolve(context.Context, manifest.Target) (secret.Value, error) {
	return secret.Value{}, fetch.ErrPending
}

// Only what nothing can replace is waited for.
func TestWhoIsWaitedFor(t *testing.T) {
	byDefault := ref("default")
	byDefault.Reference.Default = new(string)
	snapshot, err := fetch.Resolve(t.Context(), file(
		manifest.Expr{ref("needed"), optional("optional"), byDefault},
		manifest.Expr{optional("both"), ref("both")},
		manifest.Expr{variable("X", "-", ref("in a word"), optional("optional"))},
	), mux(asker{byID}))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"needed", "both", "in a word"} {
		if _, ok := snapshot.Value(target(id)); !ok {
			t.Errorf("%s was not waited for", id)
		}
	}
	for _, id := range []string{"default", "optional"} {
		if st := snapshot.State(target(id)).Status(); st != fetch.Pending {
			t.Errorf("%s is %s", id, st)
		}
	}
}

// someAsked is a source where the values called "ask…" take a person who never answers, and
// those called "no…" one who rejects after a minute; "slow…" come after a second, "away…"
// are unreachable and "gone…" missing.
func someAsked(ctx context.Context, t manifest.Target) (secret.Value, error) {
	is := func(prefix string) bool { return strings.HasPrefix(t.ID(), prefix) }
	switch {
	case is("ask"):
		<-ctx.Done()
		return secret.Value{}, ctx.Err()
	case is("no"):
		time.Sleep(time.Minute)
		return secret.Value{}, fetch.ErrRejected
	case is("slow"):
		time.Sleep(time.Second)
	case is("away"):
		return secret.Value{}, fetch.ErrUnreachable
	case is("gone"):
		return secret.Value{}, fetch.ErrMissing
	}
	return byID(ctx, t)
}

type peopleSource struct{ source }

func (s peopleSource) TryResolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	if strings.HasPrefix(t.ID(), "ask") || strings.HasPrefix(t.ID(), "no") {
		return secret.Value{}, &fetch.PendingError{From: "alice"}
	}
	return s.Resolve(ctx, t)
}

// When something is missing that no person provides, persons are not waited for, and all
// that is missing is reported at once.
func TestNobodyIsWaitedForInVain(t *testing.T) {
	for name, of := range map[string]struct {
		m     *manifest.Manifest
		after time.Duration // when it fails; an hour is the deadline
		rows  []string      // of which there is an error
	}{
		"missing":            {file(manifest.Expr{ref("ask"), ref("gone"), ref("slow"), ref("gone too")}), time.Second, []string{"ask", "gone", "gone too"}},
		"unreachable":        {file(manifest.Expr{ref("ask"), optional("away")}), 0, []string{"ask", "away"}},
		"rejected":           {file(manifest.Expr{ref("ask"), ref("no")}), time.Minute, []string{"ask", "no"}},
		"optional":           {file(manifest.Expr{ref("ask"), optional("gone")}), time.Hour, []string{"ask"}},
		"an operand":         {file(manifest.Expr{ref("ask"), variable("X", "-", ref("away"))}), time.Hour, []string{"ask"}},
		"perhaps not needed": {file(manifest.Expr{ref("ask"), variable("X", "-", ref("gone"))}), time.Hour, []string{"ask"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				start := time.Now()
				snapshot, err := fetch.Resolve(ctx, of.m, mux(peopleSource{someAsked}))
				table, ok := errors.AsType[*fetch.Error](err)
				if d := time.Since(start); !ok || d != of.after {
					t.Fatalf("after %v, want %v: %v", d, of.after, err)
				}
				var rows []string
				for _, f := range table.Failures {
					rows = append(rows, strings.TrimPrefix(f.Reference, "room:secret/"))
				}
				for i, want := range of.rows {
					if len(rows) != len(of.rows) || !strings.HasPrefix(strings.ReplaceAll(rows[i], "%20", " "), want) {
						t.Errorf("got %q, want %q", rows, of.rows)
						break
					}
				}
				if pending := snapshot.State(target("ask")).Status() == fetch.Pending; pending != (of.after < time.Hour) {
					t.Errorf("pending: %v", pending)
				}
			})
		})
	}
}

// golden compares text with the file named after the test.
func golden(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(strings.ReplaceAll(t.Name(), " ", "_"))+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text+"\n" != string(want) {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

func TestRows(t *testing.T) {
	m := file(manifest.Expr{ref("missing")}, manifest.Expr{ref("here")}, manifest.Expr{ref("denied")})
	_, err := fetch.Resolve(t.Context(), m, mux(byID))
	table, ok := errors.AsType[*fetch.Error](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	var names []string
	for _, r := range table.Failures {
		names = append(names, r.Name)
	}
	if !slices.Equal(names, []string{"A", "C"}) {
		t.Errorf("the rows are of %v", names)
	}
	if !errors.Is(err, fetch.ErrMissing) || !errors.Is(err, fetch.ErrDenied) || errors.Is(err, fetch.ErrUnreachable) {
		t.Error("the table does not say which states are in it")
	}
}

// wait never answers.
func wait(ctx context.Context, _ manifest.Target) (secret.Value, error) {
	<-ctx.Done()
	return secret.Value{}, fmt.Errorf("cannot wait: %w", ctx.Err())
}

func TestCancel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			synctest.Wait()
			cancel(enough)
		}()
		_, err := fetch.Resolve(ctx, file(manifest.Expr{ref("a")}, manifest.Expr{ref("b")}), mux(source(wait)))
		if !errors.Is(err, enough) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := fetch.Resolve(ctx, file(manifest.Expr{ref("a")}, manifest.Expr{ref("slow")}),
			mux(source(func(ctx context.Context, t manifest.Target) (secret.Value, error) {
				if t.ID() == "slow" {
					return wait(ctx, t)
				}
				return byID(ctx, t)
			})))
		if !errors.Is(err, fetch.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if table, ok := errors.AsType[*fetch.Error](err); !ok || len(table.Failures) != 1 || table.Failures[0].Name != "B" {
			t.Errorf("got %v", err)
		}
	})
}

func TestNothingToResolve(t *testing.T) {
	snapshot, err := fetch.Resolve(t.Context(), file(manifest.Expr{{Literal: "x"}}), mux(source(nil)))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := snapshot.Value(target("x")); ok {
		t.Error("an empty snapshot has a value")
	}
}
