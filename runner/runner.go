// Package runner keeps a program current with a manifest. It fetches what the
// manifest refers to, renders it, and hands each set of values that differs, a
// [Revision], to a [Consumer]: a supervised command (package inject), or a function
// of yours ([Func]). When values change at their source, or the manifest is edited,
// the consumer gets the next revision; when one is of no use to it, the previous one
// stays.
//
//	r, err := runner.New(runner.Config{
//		Files:   []string{".env.room"},
//		Sources: runner.Sources{"room": roomsource.FromEnv},
//	})
//	...
//	defer r.Close()
//	_, err = r.Run(ctx, runner.Func(func(ctx context.Context, rev *runner.Revision) error { ... }))
package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/internal/filewatch"
	"github.com/roomenv/roomenv/internal/notify"
	"github.com/roomenv/roomenv/internal/retry"
	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/secret"
)

// A Config says what a [Runner] keeps current, and from where.
type Config struct {
	// Files are the files of the manifest, each one over the previous ones. They are
	// watched while Run runs. With none, the manifest is what Environ refers to.
	Files []string

	// Environ is the inherited environment, NAME=VALUE. It is read once. nil is that
	// of this process.
	Environ []string

	// Sources are where values come from.
	Sources Sources

	// Policy says what of Environ is inherited and which variables a fetched value
	// may set. What the manifest says under exec is added to it.
	Policy render.Policy

	// Dir is the directory on a tmpfs for the files of the manifest, which is made if
	// need be. "" makes one for this process alone, in the first place that will do:
	// $XDG_RUNTIME_DIR/roomenv, /run/roomenv or /dev/shm/roomenv-UID, if the manifest
	// has files.
	Dir string

	// Owner is the user who gets the files; nil is the user of this process. Only
	// root can name a different user.
	Owner *syscall.Credential

	// Share is for files that other processes read, in Dir; nil has them for the
	// consumer alone. They outlive the Runner, and the next one takes them over: it
	// begins with their revision, and until the sources answer they stay. A value that
	// must not be used any longer has the files with it removed, and the consumer is not
	// suspended.
	Share *Share

	// Wait is how long [Runner.Resolve] asks sources again that are unreachable; 0 asks
	// once, and less than 0 has no end.
	Wait time.Duration

	// Check is called with each manifest that was read, before a value is fetched.
	// Its error refuses the manifest. It may change what the manifest says, such as
	// for a flag that overrides a setting. nil accepts all.
	Check func(*manifest.Manifest) error

	// OnError is called, by one goroutine, with each problem that does not end Run:
	// a value that was revoked, a manifest or values that cannot be used, a revision
	// that was rolled back. The text is for people. nil logs it, with [slog.Default]
	// if Log is nil.
	OnError func(error)

	// Log gets what happens; nil discards it.
	Log *slog.Logger
}

// A Share says who reads the files of a manifest, beside this user.
type Share struct {
	// Group may read them; nil is for this user alone. This process has to be in it.
	Group *int
	// Remove has them removed by [Runner.Close].
	Remove bool
}

// Sources open a source by the scheme of its references, such as "room". Each is opened
// when a manifest first refers to it, and closed by [Runner.Close] if it is an
// [io.Closer].
type Sources map[string]func() (fetch.Source, error)

// A Runner keeps a consumer at the newest revision of a manifest. Refresh, Reconnect,
// Status and Token may be called by several goroutines at any time; the other methods
// are for one goroutine.
type Runner struct {
	config Config
	log    *slog.Logger
	watch  func(ctx context.Context, changed func())
	hasher *secret.Hasher
	dir    *tmpfs.Dir // nil: there are no files
	first  *desired   // what Resolve found
	left   bool       // an earlier process left files
	ran    bool       // Run was called
	closed bool

	opening sync.Mutex // guards opened
	opened  fetch.Mux

	refreshes chan struct{} // requested; one slot

	mu       sync.Mutex // guards what Status and Token tell, below
	view     view
	tally    Status // without entries
	changed  map[name]int
	reporter Reporter // nil: the consumer is not one
}

// New reads the manifest and opens nothing. The error has all problems of the manifest,
// each a [*manifest.Error]. Call Close when done.
func New(c Config) (*Runner, error) {
	if c.Environ == nil {
		c.Environ = os.Environ()
	}
	if c.OnError == nil {
		log := cmp.Or(c.Log, slog.Default())
		c.OnError = func(err error) { log.Error(err.Error()) }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Runner{
		config: c, log: c.Log,
		watch:     filewatch.New(c.Files...).Watch, // before they are read
		hasher:    secret.NewHasher(),
		opened:    make(fetch.Mux),
		refreshes: notify.Slot(),
	}
	m, err := r.load()
	if err != nil {
		return nil, err
	}
	r.view = view{manifest: m, snapshot: new(fetch.Snapshot)}
	r.tally = Status{Manifest: c.Files, Started: time.Now(), State: CommandStarting}
	r.config.Policy.Strip = slices.Concat(c.Policy.Strip, m.Exec.Strip)
	r.config.Policy.Allow = slices.Concat(c.Policy.Allow, m.Exec.Allow)
	r.config.Policy.Pristine = c.Policy.Pristine || m.Exec.Pristine
	return r, nil
}

// load reads the manifest.
func (r *Runner) load() (*manifest.Manifest, error) {
	schemes := slices.DeleteFunc(slices.Sorted(maps.Keys(r.config.Sources)), func(s string) bool { return s == manifest.SchemeRoom })
	m, err := manifest.Load(r.config.Files, r.config.Environ, schemes...)
	if err == nil && r.config.Check != nil {
		err = r.config.Check(m)
	}
	return m, err
}

// Manifest returns the manifest that is in use. It is not modified.
func (r *Runner) Manifest() *manifest.Manifest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view.manifest
}

// HasReferences reports whether the manifest refers to any source. One that does not
// is read once: Run has nothing to keep current, and no source is opened.
func (r *Runner) HasReferences() bool {
	for range targets(r.Manifest()) {
		return true
	}
	return false
}

// OpenDir opens the directory for the files, if there are any. Resolve does that first,
// unless OpenDir was called.
func (r *Runner) OpenDir() (err error) {
	if r.closed {
		return errClosed
	}
	m := r.view.manifest
	if r.dir, err = r.openDir(r.dir, m); err != nil || r.dir.Revision() == 0 {
		return err
	}
	r.left = true
	serving := !slices.ContainsFunc(m.Files, func(f manifest.File) bool { return needed(f) && !r.dir.Has(f.Path) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tally.Revision = r.dir.Revision(); serving {
		r.view.stale, r.tally.State = r.tally.Started, CommandRunning
	}
	return nil
}

// needed reports whether f is there whatever its sources hold.
func needed(f manifest.File) bool {
	for _, e := range f.Entries {
		for ref := range e.Value.References() {
			if ref.Optional && ref.Default == nil {
				return false
			}
		}
	}
	return !f.Memfd
}

// Resolve fetches all values of the manifest and renders them. Run does that first,
// unless Resolve was called. The error says what is missing, for all references at once
// ([fetch.Error]), or what cannot be rendered. A cancelled ctx ends it with its cause.
func (r *Runner) Resolve(ctx context.Context) (*render.Result, error) {
	if err := r.OpenDir(); err != nil {
		return nil, err
	}
	v := r.view
	var err error
	if v.sources, err = r.open(targets(v.manifest)); err != nil {
		return nil, err
	}
	r.setView(v) // Status says what it waits for
	if v.snapshot, err = r.fetch(ctx, v); err != nil {
		return nil, err
	}
	v.stale = time.Time{}
	r.setView(v)
	if r.first, err = r.render(v.manifest, v.snapshot, r.dir); err != nil {
		return nil, err
	}
	return r.first.result, nil
}

// fetch fetches all values, and again while sources do not answer, for as long as
// [Config.Wait] says. What an earlier process left is given up for what sources say and
// for nothing else.
func (r *Runner) fetch(ctx context.Context, v view) (*fetch.Snapshot, error) {
	backoff := retry.Backoff{Min: 100 * time.Millisecond, Max: 30 * time.Second}
	started, reported := time.Now(), ""
	for {
		snapshot, err := fetch.Resolve(ctx, v.manifest, v.sources)
		if snapshot != nil {
			v.snapshot = snapshot
			r.setView(v) // Status says what is missing
		}
		table, failed := errors.AsType[*fetch.Error](err)
		again := failed && slices.ContainsFunc(table.Failures, func(f fetch.Failure) bool {
			return errors.Is(f.Err, fetch.ErrUnreachable) || r.left && fetch.IsUnknown(f.Err)
		})
		wait := backoff.Next()
		if r.config.Wait > 0 {
			wait = min(wait, r.config.Wait-time.Since(started))
		}
		switch {
		case failed && r.left && !again:
			r.config.OnError(fmt.Errorf("removing files without a value: %w", err))
			return snapshot, nil
		case !again || r.config.Wait == 0 || wait <= 0:
			return snapshot, err
		}
		if text := err.Error(); text != reported {
			reported = text
			r.config.OnError(fmt.Errorf("waiting for values: %w", err))
		}
		select {
		case <-time.After(wait):
		case <-r.refreshes:
			r.update(func(s *Status) { s.Refreshes++ })
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Run has c use the values of the manifest, and each revision that follows. It ends, and
// stops c, when c is done, when ctx ends, when c does not take the first revision, and
// when the manifest says exit ([manifest.ActionExit]). It returns what Stop of c does,
// an exit code and an error:
//
//	                    Func                     inject.Consumer
//	c is done           never                    the command's, nil
//	ctx ends            125, the cause of ctx    the command's, such as 143 after SIGTERM, nil
//	first revision      125, the error           that of the command that did not start
//	manifest says exit  125, a *PolicyError      125, a *PolicyError
//
// An error of [Runner.Resolve] is returned with 125, before c is called. So are those of
// calling Run a second time, or after Close: a Runner runs once.
func (r *Runner) Run(ctx context.Context, c Consumer) (code int, err error) {
	switch {
	case r.closed:
		return exitFailure, errClosed
	case r.ran:
		return exitFailure, errRan
	}
	r.ran = true
	if r.first == nil {
		if _, err := r.Resolve(ctx); err != nil {
			return c.Stop(err)
		}
	}
	l := newLoop(r, c)
	l.adopt()
	cause := l.run(ctx)
	code, err = c.Stop(cause)
	l.release()
	l.show(l.applied)
	l.update(func(s *Status) {
		s.State, s.Reason = CommandStopped, ""
		if cause != nil {
			s.Reason = cause.Error()
		}
	})
	if policy, ok := errors.AsType[*PolicyError](cause); ok {
		if err := r.dir.Withdraw(r.withdrawn(l.manifest, l.snapshot)); err != nil {
			r.config.OnError(err)
		}
		return exitFailure, policy
	}
	return code, err
}

var (
	errRan    = errors.New("run: this Runner has run before")
	errClosed = errors.New("run: this Runner is closed")
)

// exitFailure is the exit code of a program that runs a command and fails itself
// (env(1), docker-run(1)).
const exitFailure = 125

// Refresh has all values fetched again now, except those that a person would be
// asked for, and the manifest read again if it could not be used. It does not wait.
func (r *Runner) Refresh() { notify.Send(r.refreshes) }

// Reconnect makes sources reconnect, with credentials that are read then, and
// refreshes.
func (r *Runner) Reconnect() {
	r.mu.Lock()
	sources := r.view.sources
	r.mu.Unlock()
	sources.Reconnect()
	r.Refresh()
}

// Close closes the sources and removes the files. Call it when Run and Token have
// returned. A second call does nothing.
func (r *Runner) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	errs := []error{r.dir.Close()}
	for _, s := range r.opened {
		if closer, ok := s.(io.Closer); ok {
			errs = append(errs, closer.Close())
		}
	}
	return errors.Join(errs...)
}

// openDir opens the directory for the files of m, if it has any or the directory has a
// name, and dir is nil.
func (r *Runner) openDir(dir *tmpfs.Dir, m *manifest.Manifest) (*tmpfs.Dir, error) {
	if dir != nil || r.config.Dir == "" && !slices.ContainsFunc(m.Files, func(f manifest.File) bool { return !f.Memfd }) {
		return dir, nil
	}
	var err error
	if share := r.config.Share; share != nil {
		dir, err = tmpfs.OpenShared(r.config.Dir, tmpfs.Share{Group: share.Group, Remove: share.Remove})
	} else {
		dir, err = tmpfs.Open(r.config.Dir, r.config.Owner)
	}
	if err == nil {
		r.update(func(s *Status) { s.Dir = filepath.Dir(dir.Current()) })
	}
	return dir, err
}

// render makes what the consumer is to have of a snapshot.
func (r *Runner) render(m *manifest.Manifest, s *fetch.Snapshot, dir *tmpfs.Dir) (*desired, error) {
	withdraw := r.withdrawn(m, s)
	rendered := m
	if r.config.Share != nil {
		rendered = without(m, withdraw)
	}
	result, err := r.config.Policy.Render(rendered, s, r.config.Environ, dir.Current())
	if err != nil {
		return nil, err
	}
	return &desired{manifest: m, result: result, digest: result.Digest(r.hasher), withdraw: withdraw}, nil
}

// open returns all sources, with those of the targets.
func (r *Runner) open(targets iter.Seq[manifest.Target]) (fetch.Mux, error) {
	r.opening.Lock()
	defer r.opening.Unlock()
	for t := range targets {
		if r.opened[t.Scheme] != nil {
			continue
		}
		open := r.config.Sources[t.Scheme]
		if open == nil {
			continue // fetch says so
		}
		s, err := open()
		if err == nil && s == nil {
			err = fmt.Errorf("open source for %s: opener returned nil", t.Scheme)
		}
		if err != nil {
			return nil, err
		}
		r.opened[t.Scheme] = s
	}
	return maps.Clone(r.opened), nil // it is used while others are opened
}
