package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/httpserver"
	"github.com/roomenv/roomenv/internal/status"
	"github.com/roomenv/roomenv/internal/tokenserver"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/secret"
)

// A keeper keeps what the command has current while it runs. Snapshots and
// manifests come in and updates go out; one goroutine, that of loop, owns all but
// the record.
type keeper struct {
	*execution
	rooms     *roomsource.Source
	sources   fetch.Mux
	hasher    *secret.Hasher // of the digests of releases
	cancel    context.CancelCauseFunc
	updates   chan inject.Update
	results   chan result
	manifests chan *loading
	changed   chan struct{} // a file of the manifest; one slot
	refreshed chan struct{} // somebody asks for it; one slot

	following *following
	loading   *loading // the manifest is being read anew; nil: it is not
	unusable  bool     // the manifest is, as its files were read last
	snapshot  *fetch.Snapshot
	releases  []*release // what may still be started
	installed *release   // its files are in the folder
	sent      *release   // the supervisor has it
	confirmed *release   // the command has it
	offered   *offer     // to the supervisor; nil is nothing
	failed    *release   // the command did not come up with it
	stopped   bool       // the supervisor was told to stop the command
	retry     <-chan time.Time
	trouble   string          // with the snapshot; "" is none
	lapsed    map[string]bool // what was said

	record record
	status *status.Server
	health *httpserver.Server
}

// An offer waits until the supervisor takes it.
type offer struct {
	*release
	update inject.Update
}

// A result is what became of a release.
type result struct {
	*release
	err error
}

// A following is one manifest that is followed.
type following struct {
	fetch.Refresher
	manifest  *manifest.Manifest
	last      *fetch.Snapshot // before
	snapshots <-chan *fetch.Snapshot
	ctx       context.Context
	stop      func() // and wait
}

// A loading is one attempt to use the manifest as its files are now.
type loading struct {
	cancel   context.CancelFunc
	manifest *manifest.Manifest
	snapshot *fetch.Snapshot
	err      error
}

// retryInterval is the time until what could not be written is tried again.
const retryInterval = time.Second

func newKeeper(e *execution, rooms *roomsource.Source, snapshot *fetch.Snapshot) *keeper {
	k := &keeper{
		execution: e,
		rooms:     rooms,
		sources:   fetch.Mux{manifest.SchemeRoom: rooms},
		hasher:    secret.NewHasher(),
		updates:   make(chan inject.Update),
		results:   make(chan result, 16), // more than the supervisor has at a time
		manifests: make(chan *loading),
		changed:   make(chan struct{}, 1),
		refreshed: make(chan struct{}, 1),
		snapshot:  snapshot,
		lapsed:    make(map[string]bool),
	}
	k.record.begin(k)
	return k
}

// serve answers those who ask about the command, and the command itself.
func (k *keeper) serve() (err error) {
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	if k.status, err = status.Serve(k.record.report, k.refresh, k.log); err != nil {
		k.log.Info("`roomenv status` will not find this process", "error", err)
	}
	if k.listen != "" {
		if k.health, err = status.Listen(k.listen, k.record.report, k.log); err != nil {
			return err
		}
	}
	if k.endpoint != "" {
		k.tokens, err = tokenserver.Serve(k.endpoint, k.record.token, k.command.User, k.log)
		return err
	}
	return nil
}

func (k *keeper) close() {
	var errs []error
	if k.status != nil {
		errs = append(errs, k.status.Close())
	}
	if k.health != nil {
		errs = append(errs, k.health.Close())
	}
	if k.tokens != nil {
		errs = append(errs, k.tokens.Close())
	}
	if err := errors.Join(errs...); err != nil {
		k.log.Warn("a server did not end well", "error", err)
	}
}

// run returns the exit code of the command that begins with the first release.
func (k *keeper) run(ctx context.Context, first *release) (int, error) {
	ctx, k.cancel = context.WithCancelCause(ctx)
	defer k.cancel(nil)
	k.releases = []*release{first}
	k.installed, k.sent, k.confirmed = first, first, first
	k.supervisor.Observe = k.record.observe

	var running sync.WaitGroup
	running.Go(func() { k.loop(ctx) })
	running.Go(func() { k.manifestFiles.Watch(ctx, func() { notify(k.changed) }) })
	running.Go(func() {
		k.tokenFile.Watch(ctx, func() {
			k.rooms.Reconnect()
			k.refresh()
		})
	})
	code, err := k.supervisor.Run(ctx, first.command, k.updates)
	k.cancel(nil)
	running.Wait()
	for _, r := range k.releases {
		r.close()
	}
	if lapsed, ok := errors.AsType[*errLapsed](context.Cause(ctx)); ok {
		return exitFailure, lapsed
	}
	return code, err
}

// notify fills the only slot of a channel.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// refresh has all values asked for anew. Any goroutine may call it.
func (k *keeper) refresh() { notify(k.refreshed) }

func (k *keeper) loop(ctx context.Context) {
	k.sent.digest = k.sent.generation.Digest(k.hasher)
	k.follow(ctx)
	defer func() { k.following.stop() }()
	for {
		var updates chan<- inject.Update
		var update inject.Update
		// An update is made for what the command has: results go first.
		if k.offered != nil && len(k.results) == 0 {
			updates, update = k.updates, k.offered.update
		}
		select {
		case updates <- update:
			k.sent, k.stopped = k.offered.release, update.Action == inject.ActionStop
			k.offered = nil
		case r := <-k.results:
			k.finish(ctx, r)
		case s, ok := <-k.following.snapshots:
			if ok {
				k.snapshot = s
				k.apply(ctx)
			}
		case <-k.retry:
			k.apply(ctx)
		case <-k.changed:
			k.load(ctx)
		case l := <-k.manifests:
			k.replace(ctx, l)
		case <-k.refreshed:
			k.record.note(func(r *status.Report) { r.Refreshes++ })
			k.following.Refresh()
			if k.unusable {
				k.load(ctx)
			}
		case <-k.command.Signals.Hangup:
			k.refresh()
		case <-ctx.Done():
			if k.loading != nil {
				k.loading.cancel()
				<-k.manifests
			}
			return
		}
		k.forget()
	}
}

// follow has the snapshots of the manifest come.
func (k *keeper) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	settings := k.manifest.Refresh
	f := &following{
		Refresher: fetch.Refresher{
			Sources: k.sources, Interval: settings.Interval, Debounce: settings.Debounce, MaxWait: settings.MaxWait, Log: k.log,
		},
		manifest: k.manifest,
		last:     k.snapshot,
		ctx:      ctx,
	}
	f.snapshots = f.Run(ctx, f.manifest, f.last)
	f.stop = func() {
		cancel()
		for range f.snapshots { // until it is closed
		}
	}
	k.following = f
	k.record.follows(f)
}

// load reads the manifest again, beside the loop: to fetch what it names may take
// as long as a person does.
func (k *keeper) load(ctx context.Context) {
	if k.loading != nil {
		k.loading.cancel()
		<-k.manifests
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &loading{cancel: cancel}
	k.loading = l
	go func() { // whoever sets k.loading to nil waits for it
		defer cancel()
		if l.manifest, l.err = loadManifest(k.files); l.err == nil {
			l.snapshot, l.err = fetch.Resolve(ctx, l.manifest, k.sources)
		}
		k.manifests <- l
	}()
}

// replace takes the manifest that was read, unless it is of no use.
func (k *keeper) replace(ctx context.Context, l *loading) {
	k.loading = nil
	if l.err == nil && k.folder == nil {
		k.folder, l.err = openFolder(l.manifest, k.dir, k.command.User)
	}
	if k.unusable = l.err != nil; k.unusable {
		k.complain(fmt.Errorf("cannot use the manifest as it is now, the one before stays: %w", l.err))
		return
	}
	k.log.Info("the manifest was read again")
	// What it needs may have taken a person, and their time.
	l.snapshot = l.snapshot.With(k.following.Latest(ctx))
	k.following.stop()
	k.manifest, k.snapshot = l.manifest, l.snapshot
	k.follow(ctx)
	k.apply(ctx)
}

// apply has the command told of what is different in the snapshot.
func (k *keeper) apply(ctx context.Context) {
	k.retry = nil
	if k.lapse() {
		return
	}
	generation, err := k.render(k.snapshot)
	if err == nil {
		err = k.offer(ctx, generation)
	}
	trouble := ""
	if err != nil {
		trouble = err.Error()
		k.retry = time.After(retryInterval)
	}
	switch {
	case err != nil && trouble == k.trouble:
		k.log.Debug("the values can still not be used", "error", err)
	case err != nil:
		k.complain(fmt.Errorf("cannot use the values as they are now, those before stay: %w", err))
	}
	k.trouble = trouble
}

// lapse does what the manifest says of values that are revoked or too old, and
// reports whether the command is not to run.
func (k *keeper) lapse() bool {
	lapses := k.snapshot.Violations(k.manifest, time.Now())
	before := k.lapsed
	k.lapsed = make(map[string]bool)
	for _, l := range lapses {
		key := fmt.Sprintf("%s %s %t %s", l.Name, l.Reference, l.Revoked, l.Action)
		if k.lapsed[key] = true; !before[key] && l.Action != manifest.ActionExit {
			k.complain(errors.New(describeLapse(l) + consequences[l.Action]))
		}
	}
	if len(lapses) == 0 {
		return false
	}
	switch worst := lapses[0]; worst.Action {
	case manifest.ActionExit:
		k.cancel(&errLapsed{worst})
		return true
	case manifest.ActionStop:
		k.offered, k.failed = nil, nil // whatever comes is better than no command
		if !k.stopped {
			k.offered = &offer{k.sent, inject.Update{Command: k.sent.command, Action: inject.ActionStop}}
		}
		k.record.note(func(r *status.Report) { r.Reason = describeLapse(worst) })
		return true
	}
	return false
}

// errLapsed ends roomenv.
type errLapsed struct{ fetch.Violation }

func (e *errLapsed) Error() string { return "cannot go on: " + describeLapse(e.Violation) }

func describeLapse(l fetch.Violation) string {
	text := fmt.Sprintf("%s (%s): %s ", l.Name, l.Pos, l.Reference)
	if l.Revoked {
		return text + fmt.Sprintf("is revoked: %v", l.Err)
	}
	return text + fmt.Sprintf("is stale since %s: %v", l.Since.Format(time.RFC3339), l.Err)
}

// consequences of an action, for people.
var consequences = map[manifest.Action]string{
	manifest.ActionKeep: "; the last value stays",
	manifest.ActionStop: "; the command is stopped until it is there again",
}

// offer makes a release of a generation that is another one, and offers what it
// asks for.
func (k *keeper) offer(ctx context.Context, g *render.Result) error {
	latest := k.sent
	if k.offered != nil {
		latest = k.offered.release
	}
	digest := g.Digest(k.hasher)
	if k.failed != nil && !k.failed.digest.Diff(digest).Any() {
		return nil // until there are other values
	}
	k.failed = nil
	if !k.stopped && !latest.digest.Diff(digest).Any() {
		if k.offered != nil && k.offered.update.Action == inject.ActionStop {
			k.offered = nil // it is not needed any more
		}
		return nil
	}
	r, err := k.install(g, len(k.installed.digest.Diff(digest).Files) > 0)
	if err != nil {
		if r != nil {
			r.close()
		}
		return err
	}
	if r.directory == 0 {
		r.directory = k.installed.directory
	}
	r.digest = digest
	k.releases = append(k.releases, r)
	k.installed, k.offered = r, nil
	changes := k.sent.digest.Diff(digest)
	if !k.stopped && !changes.Any() {
		return nil // it is as it was before what nobody was told of
	}
	update, err := asksFor(changes.Actions(k.manifest))
	if err != nil {
		return err
	}
	if k.stopped {
		update = inject.Update{Action: inject.ActionRestart}
	}
	update.Command = r.command
	update.Applied = func(err error) {
		select {
		case k.results <- result{r, err}:
		case <-ctx.Done():
		}
	}
	r.number = k.record.makes(changes)
	k.offered = &offer{r, update}
	return nil
}

// asksFor returns what becomes of the command.
func asksFor(asks []manifest.OnChange) (u inject.Update, err error) {
	for _, ask := range asks {
		switch ask.Kind {
		case manifest.ChangeRestart:
			u.Action = inject.ActionRestart
		case manifest.ChangeSignal:
			var sig syscall.Signal
			if sig, err = parseSignal("on_change", ask.Signal); err != nil {
				return u, err
			}
			u.Signals = append(u.Signals, sig)
		case manifest.ChangeCommand:
			u.Hooks = append(u.Hooks, ask.Command)
		}
	}
	return u, nil
}

// finish takes what became of a release. The command that did not come up with
// its values goes on with those before, and so do its files.
func (k *keeper) finish(ctx context.Context, r result) {
	switch {
	case errors.Is(r.err, inject.ErrDropped):
	case r.err == nil:
		k.confirmed = r.release
		k.record.note(func(tally *status.Report) { tally.Generation = r.number })
	case r.release == k.sent:
		k.complain(fmt.Errorf("cannot run the command with the new values, it goes on with those before: %w", r.err))
		k.rollBack(ctx)
		k.record.note(func(tally *status.Report) { tally.Rollbacks++ })
	}
}

// rollBack goes back to the release that the command has.
func (k *keeper) rollBack(ctx context.Context) {
	if !k.stopped {
		k.failed = k.sent
	}
	k.sent = k.confirmed
	if k.offered != nil { // what it asks for is what is different from these values
		k.offered = nil
		k.apply(ctx)
		return
	}
	if err := k.folder.Write(k.confirmed.directory, k.confirmed.generation.Files); err != nil {
		k.complain(fmt.Errorf("cannot put the files back that the command had: %w", err))
		return
	}
	k.installed = k.confirmed
}

// forget lets go of releases that nobody starts any more.
func (k *keeper) forget() {
	k.releases = slices.DeleteFunc(k.releases, func(r *release) bool {
		used := r == k.sent || r == k.confirmed || r == k.installed || k.offered != nil && r == k.offered.release
		if !used {
			r.close()
		}
		return !used
	})
}

// complain says what went wrong while the command runs.
func (k *keeper) complain(err error) {
	if k.LogFormat == "json" {
		k.log.Error(err.Error())
		return
	}
	report(os.Stderr, err)
}
