package runner_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/runner"
	"github.com/roomenv/roomenv/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble is synctest.Test for a while: a loop that spins stops the clock of its bubble,
// and so the test would last for ever.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	watchdog := time.AfterFunc(20*time.Second, func() { panic(t.Name() + ": nothing in the bubble waits, for 20 s") })
	defer watchdog.Stop()
	synctest.Test(t, f)
}

// A source holds what a test puts there: by ID a text, an error, a channel of texts, or
// nil for a value that never comes. It pushes changes.
type source struct {
	mu       sync.Mutex
	holds    map[string]any
	resolved []manifest.Target
	changes  chan []string
}

// targets returns what was resolved since it was called last.
func (s *source) targets() []manifest.Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.resolved
	s.resolved = nil
	return all
}

func newSource(holds map[string]any) *source {
	return &source{holds: holds, changes: make(chan []string)}
}

func (s *source) put(id string, what any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds[id] = what
}

func (s *source) Resolve(ctx context.Context, t manifest.Target) (secret.Value, error) {
	s.mu.Lock()
	s.resolved = append(s.resolved, t)
	what, ok := s.holds[t.ID()]
	s.mu.Unlock()
	switch what := what.(type) {
	case string:
		return secret.New([]byte(what)), nil
	case error:
		return secret.Value{}, what
	case chan string:
		select {
		case text := <-what:
			return secret.New([]byte(text)), nil
		case <-ctx.Done():
		}
	}
	if !ok {
		return secret.Value{}, fmt.Errorf("%w: not here", fetch.ErrMissing)
	}
	<-ctx.Done()
	return secret.Value{}, ctx.Err()
}

func (s *source) Watch(ctx context.Context, _ string, f func(func(manifest.Target) bool)) error {
	f(nil)
	for {
		select {
		case ids := <-s.changes:
			f(func(t manifest.Target) bool { return slices.Contains(ids, t.ID()) })
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A call is one of the consumer: of Apply, or of Suspend if revision is nil.
type call struct {
	revision *runner.Revision
	change   runner.Change
	why      error
	ctx      context.Context
	answer   chan error
}

// A consumer offers its calls to a test, which answers them. When its context ends a
// call returns the cause, or effect, once.
type consumer struct {
	calls  chan *call
	effect func() error

	mu             sync.Mutex
	offered        [][]string // names and values that Prepare was offered
	refuse         error      // what Prepare returns
	refuseRevision int        // 0: all
	done           chan struct{}
	stopped        []error // causes of Stop
}

// refuseWith has Prepare return err, for that revision alone unless it is 0.
func (c *consumer) refuseWith(err error, revision int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse, c.refuseRevision = err, revision
}

// prepared returns how often Prepare was called.
func (c *consumer) prepared() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.offered)
}

func (c *consumer) Prepare(rev *runner.Revision) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, s := range rev.Secrets {
		all = append(all, s.Name+"="+string(s.Value.Reveal()))
	}
	if c.offered = append(c.offered, all); len(c.offered) > 10000 {
		panic("prepared too often")
	}
	if c.refuseRevision != 0 && c.refuseRevision != rev.Number {
		return nil
	}
	return c.refuse
}

func (c *consumer) Apply(ctx context.Context, rev *runner.Revision, change runner.Change) error {
	return c.call(&call{revision: rev, change: change, ctx: ctx, answer: make(chan error, 1)})
}

func (c *consumer) Suspend(ctx context.Context, why error) error {
	return c.call(&call{why: why, ctx: ctx, answer: make(chan error, 1)})
}

func (c *consumer) call(n *call) error {
	select {
	case c.calls <- n:
	case <-n.ctx.Done():
		return context.Cause(n.ctx)
	}
	select {
	case err := <-n.answer:
		return err
	case <-n.ctx.Done():
		if effect := c.effect; effect != nil {
			c.effect = nil
			return effect()
		}
		return context.Cause(n.ctx)
	}
}

func (c *consumer) Done() <-chan struct{} { return c.done }

func (c *consumer) Stop(cause error) (int, error) {
	c.stopped = append(c.stopped, cause)
	return 7, cause
}

// A world is a runner with a consumer and a source, in a bubble.
type world struct {
	t        *testing.T
	manifest string // path
	source   *source
	runner   *runner.Runner
	consumer *consumer
	changed  chan struct{} // the manifest
	cancel   context.CancelCauseFunc

	mu     sync.Mutex
	errors []string

	ended chan struct{}
	code  int
	err   error

	closeError error // of the runner
	over       bool
}

// run runs a test with a world whose first revision is applied, if a manifest is
// given. Values have no debounce to speak of.
func run(t *testing.T, text string, holds map[string]any, test func(w *world)) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, text, holds)
		w.start()
		w.next(1).answer <- nil
		w.settle()
		test(w)
	})
}

func newWorld(t *testing.T, text string, holds map[string]any, configure ...func(*runner.Config)) *world {
	t.Helper()
	w := &world{
		t: t, manifest: filepath.Join(t.TempDir(), "roomenv.yaml"), source: newSource(holds),
		consumer: &consumer{calls: make(chan *call), done: make(chan struct{})},
		changed:  make(chan struct{}), ended: make(chan struct{}),
	}
	w.write(text)
	c := w.config()
	for _, f := range configure {
		f(&c)
	}
	r, err := runner.New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWatch(func(ctx context.Context, changed func()) {
		for {
			select {
			case <-w.changed:
				changed()
			case <-ctx.Done():
				return
			}
		}
	})
	w.runner = r
	return w
}

func (w *world) config() runner.Config {
	return runner.Config{
		Files: []string{w.manifest}, Environ: []string{"INHERITED=1"}, // not that of the test
		Sources: runner.Sources{"room": func() (fetch.Source, error) { return w.source, nil }},
		OnError: func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.errors = append(w.errors, err.Error())
		},
	}
}

func (w *world) write(text string) {
	w.t.Helper()
	if !strings.Contains(text, "refresh:") {
		text = "refresh: {debounce: 1ms, interval: 1m}\n" + text
	}
	if err := os.WriteFile(w.manifest, []byte("version: 1\n"+text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// edit changes the manifest.
func (w *world) edit(text string) {
	w.t.Helper()
	w.write(text)
	w.changed <- struct{}{}
	w.settle()
}

func (w *world) start() {
	ctx, cancel := context.WithCancelCause(w.t.Context())
	w.cancel = cancel
	w.t.Cleanup(w.end)
	go func() {
		defer close(w.ended)
		w.code, w.err = w.runner.Run(ctx, w.consumer)
	}()
}

// end ends Run and closes the runner, once.
func (w *world) end() {
	if w.over {
		return
	}
	w.over = true
	w.cancel(nil)
	w.awaitEnd()
	if err := w.runner.Close(); !errors.Is(err, w.closeError) {
		w.t.Error(err)
	}
	if n := len(w.consumer.stopped); n != 1 {
		w.t.Errorf("stopped %d times", n)
	}
}

// awaitEnd waits until Run has returned.
func (w *world) awaitEnd() {
	w.t.Helper()
	select {
	case <-w.ended:
	case <-time.After(24 * time.Hour):
		w.t.Fatal("Run does not return")
	}
}

// settle waits for all that happens soon.
func (w *world) settle() {
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
}

// set puts a value at the source, which pushes the change.
func (w *world) set(id string, what any) {
	w.source.put(id, what)
	w.source.changes <- []string{id}
	w.settle()
}

func (w *world) remove(id string) {
	w.source.mu.Lock()
	delete(w.source.holds, id)
	w.source.mu.Unlock()
	w.source.changes <- []string{id}
	w.settle()
}

// next returns the call that waits for an answer: of Apply with that revision, or of
// Suspend for 0.
func (w *world) next(number int) *call {
	w.t.Helper()
	synctest.Wait()
	select {
	case c := <-w.consumer.calls:
		got := 0
		if c.revision != nil {
			got = c.revision.Number
		}
		if got != number {
			w.t.Fatalf("a call with revision %d (0: Suspend), want %d; errors %q", got, number, w.reported())
		}
		return c
	default:
		w.t.Fatalf("no call with revision %d (0: Suspend); errors %q", number, w.reported())
		return nil
	}
}

// none checks that no call waits for an answer.
func (w *world) none() {
	w.t.Helper()
	synctest.Wait()
	select {
	case c := <-w.consumer.calls:
		w.t.Fatalf("an unexpected call: %+v", c)
	default:
	}
}

// quiet checks that no call waits for an answer, nor will.
func (w *world) quiet() {
	w.t.Helper()
	time.Sleep(10 * time.Minute)
	w.none()
}

// answer answers a call.
func (w *world) answer(c *call, err error) {
	c.answer <- err
	w.settle()
}

// reported returns the errors since it was called last.
func (w *world) reported() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	errors := w.errors
	w.errors = nil
	return errors
}

func (w *world) wantReported(want ...string) {
	w.t.Helper()
	got := w.reported()
	if !slices.EqualFunc(got, want, strings.Contains) {
		w.t.Errorf("reported %q, want %q", got, want)
	}
}

// wantStatus checks what is in use, and in which revision the entries changed.
func (w *world) wantStatus(state runner.CommandState, revision, rollbacks int, entries ...int) {
	w.t.Helper()
	s := w.runner.Status()
	var changed []int
	for _, e := range s.Entries {
		changed = append(changed, e.Revision)
	}
	if s.State != state || s.Revision != revision || s.Rollbacks != rollbacks || !slices.Equal(changed, entries) {
		w.t.Errorf("%s, revision %d, %d rollbacks, entries %d; want %s, %d, %d, %d",
			s.State, s.Revision, s.Rollbacks, changed, state, revision, rollbacks, entries)
	}
}

func value(t *testing.T, c *call, name string) string {
	t.Helper()
	v, ok := c.revision.Lookup(name)
	if !ok {
		t.Errorf("%s is unset", name)
	}
	return string(v.Reveal())
}

// wantChange checks what a call is to do.
func (w *world) wantChange(c *call, variables string, restart bool, signals string) {
	w.t.Helper()
	got := c.change
	if strings.Join(got.Variables, " ") != variables || got.Restart != restart || strings.Join(got.Signals, " ") != signals {
		w.t.Errorf("change of %q, restart %v, signals %q; want %q, %v, %q", got.Variables, got.Restart, got.Signals, variables, restart, signals)
	}
}
