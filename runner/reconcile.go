package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/internal/notify"
	"github.com/roomenv/roomenv/internal/retry"
	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
)

// A loop is one call of Run: it has the consumer follow what the newest snapshot of
// the newest manifest says. It knows three states: what is desired, the call that is
// in flight, of which there is at most one, and the revision that is applied.
//
// What is desired is a set of values, or none: values are suspended. What follows:
//
//	    desired                   in flight         so
//	 1  as applied                -                 nothing
//	 2  other values              -                 Apply them
//	 3  values that were rejected -                 nothing, until there were others or none
//	 4  none                      -                 Suspend, once; then files with a value that
//	                                                must not be used are removed
//	 5  as in flight              Apply, Suspend    wait
//	 6  other values, or none     Apply, Suspend    end its context and wait, then rows 1 to 4
//
//	    in flight                 returns           so
//	 7  Apply                     nil               they are applied
//	 8  Apply                     cause of context  the applied ones stay; what was tried counts as
//	                                                changed in the next Apply
//	 9  Apply                     an error          the applied ones stay, and their files are put
//	                                                back; what was tried is rejected. The first one
//	                                                ends Run
//	10  before Apply              an error          the applied ones stay; again later. What a call
//	                                                that was given up has begun is undone: the
//	                                                applied ones are applied again (after row 8),
//	                                                or Suspend is completed (after row 12, and after
//	                                                row 8 if values were suspended)
//	11  Suspend                   nil               values are suspended: the next Apply is a
//	                                                restart
//	12  Suspend                   cause of context  the next Apply is a restart
//	13  Suspend                   an error          again later
//
//	    ctx ends, the consumer is done, a policy says exit:
//	14                                              end the context in flight, wait, Stop
//
// What was rejected in row 9 while something else was desired already may be tried
// again: there were others.
//
// Values are given a number when they are first tried. Those that are applied again,
// as when a change was taken back while it was in flight (row 8), keep theirs.
type loop struct {
	*Runner
	consumer Consumer

	// Of the loop's goroutine.
	view
	reload    *reload // nil: the manifest is not being read
	reloads   chan *reload
	invalid   bool            // the manifest that was read last
	violated  map[string]bool // violations that were reported
	desired   *desired
	call      *call // in flight
	applied   *Revision
	newest    *Revision      // the one with the highest number
	tried     render.Changes // in calls that were given up
	restart   bool           // the next Apply is to be a restart
	adopted   bool           // applied is of an earlier process, and the consumer has not seen it
	suspended bool
	rejected  *render.Digest
	unusable  *desired // it failed before Apply; not again before retry
	back      *desired // what undoes calls that were given up; nil: there are none
	backFails bool     // it failed before Apply too; not again before retry
	suspend   *desired // that is in effect, or was last
	problem   string   // that was reported, or ""
	backoff   retry.Backoff
	retry     <-chan time.Time

	calls    chan *call
	returned chan *call

	// Of the goroutine that calls the consumer.
	written *Revision // its files are in the directory
}

// desired is what the consumer is to have.
type desired struct {
	manifest *manifest.Manifest
	result   *render.Result
	digest   *render.Digest

	suspend  error    // why there are to be no values; nil: those above
	withdraw []string // paths of files to remove
}

// same reports whether a consumer that has one has the other.
func (d *desired) same(other *desired) bool {
	if d.suspend != nil || other.suspend != nil {
		return d.suspend != nil && other.suspend != nil
	}
	return !d.digest.Diff(other.digest).Any()
}

// A call is one of the consumer.
type call struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	want   *desired
	dir    *tmpfs.Dir

	revision *Revision // nil: Suspend
	change   Change
	previous *Revision // whose files are put back when revision stays unused; nil: none

	suspended   bool  // before
	applying    bool  // Apply was called
	err         error // what came of it
	withdrawErr error // of removing files
	restoreErr  error // of putting files back
}

var errSuperseded = errors.New("superseded by newer values")

func newLoop(r *Runner, c Consumer) *loop {
	l := &loop{
		Runner: r, consumer: c,
		view: r.view, desired: r.first,
		violated: make(map[string]bool),
		reloads:  make(chan *reload),
		calls:    make(chan *call),
		returned: make(chan *call),
		backoff:  retry.Backoff{Min: time.Second, Max: 10 * time.Second},
	}
	if reporter, ok := c.(Reporter); ok {
		r.mu.Lock()
		r.reporter = reporter
		r.mu.Unlock()
	}
	return l
}

// adopt starts from the revision that an earlier process left, with what differs in it.
func (l *loop) adopt() {
	number := l.dir.Revision()
	if number == 0 {
		return
	}
	differ := l.dir.Diff(l.desired.result.Files)
	result := &render.Result{Env: l.desired.result.Env}
	for _, f := range l.desired.result.Files {
		if i := slices.Index(differ, f.Path); i < 0 {
			result.Files = append(result.Files, f)
		} else {
			differ = slices.Delete(differ, i, i+1)
		}
	}
	for _, path := range differ { // that only it has
		result.Files = append(result.Files, render.File{Path: path})
	}
	digest := result.Digest(l.hasher)
	l.applied = &Revision{Number: number, Result: result, digest: digest, changed: changedIn(nil, number, new(render.Digest).Diff(digest))}
	l.newest, l.adopted = l.applied, true
}

// run returns why the consumer is to stop, nil if it is done.
func (l *loop) run(ctx context.Context) (cause error) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(l.work)
	defer close(l.calls)
	changed := notify.Slot()
	var snapshots <-chan *fetch.Snapshot
	if l.HasReferences() {
		watching, cancel := context.WithCancel(ctx)
		defer cancel()
		running.Go(func() { l.watch(watching, func() { notify.Send(changed) }) })
		l.startSession(ctx)
		defer l.endSession()
	}
	defer l.endReload()
	for {
		switch {
		case l.done():
			l.endCall(errSuperseded)
			return nil
		case ctx.Err() != nil:
			l.endCall(context.Cause(ctx))
			return context.Cause(ctx)
		}
		l.reconcile(ctx)
		if l.session != nil {
			snapshots = l.session.snapshots
		}
		retry := l.retry
		if l.call != nil { // that undoes something, which comes first
			retry = nil
		}
		var err error
		select {
		case s, ok := <-snapshots:
			if ok {
				l.snapshot = s
				err = l.plan()
			}
		case c := <-l.returned:
			err = l.finish(c)
		case <-retry:
			l.retry, l.unusable, l.backFails = nil, nil, false
		case <-changed:
			l.startReload(ctx)
		case n := <-l.reloads:
			err = l.finishReload(ctx, n)
		case <-l.refreshes:
			l.update(func(s *Status) { s.Refreshes++ })
			if l.session != nil {
				l.session.Refresh()
			}
			if l.invalid {
				l.startReload(ctx)
			}
		case <-l.consumer.Done():
		case <-ctx.Done():
		}
		if err != nil {
			l.endCall(err)
			return err
		}
	}
}

// reconcile starts the call that brings the consumer nearer to what is desired, or
// ends the one in flight if it does not.
func (l *loop) reconcile(ctx context.Context) {
	d := l.desired
	undo := d == l.unusable
	if undo {
		d = l.back
	}
	switch {
	case l.call != nil:
		if d == nil || !l.call.want.same(d) {
			l.call.cancel(errSuperseded)
		}
	case d == nil, undo && l.backFails:
	case d.suspend != nil:
		if !l.suspended || slices.ContainsFunc(d.withdraw, func(path string) bool { return !slices.Contains(l.suspend.withdraw, path) }) {
			l.restart = true
			l.start(ctx, &call{want: d})
		}
	case undo:
		l.start(ctx, &call{want: d, revision: l.applied, change: Change{Changes: l.tried}, previous: l.applied})
	case l.rejected != nil && !l.rejected.Diff(d.digest).Any():
	default:
		if c := l.next(d); c != nil {
			l.start(ctx, c)
		}
	}
}

// next returns the call that applies d; nil if it is applied.
func (l *loop) next(d *desired) *call {
	names := new(render.Digest).Diff(d.digest)
	if l.applied != nil {
		names = union(l.applied.digest.Diff(d.digest), l.tried)
		if !l.restart && !l.adopted && !names.Any() {
			return nil
		}
	}
	restart := l.restart || l.applied == nil
	return &call{want: d, revision: l.revision(d), change: newChange(names, d.manifest, restart), previous: l.applied}
}

// revision returns the one with the values of d, which may have been tried before.
func (l *loop) revision(d *desired) *Revision {
	for _, r := range []*Revision{l.applied, l.newest} {
		if r != nil && !r.digest.Diff(d.digest).Any() {
			return r
		}
	}
	r := &Revision{Number: 1, Result: d.result, digest: d.digest}
	if l.newest != nil {
		r.Number = l.newest.Number + 1
	}
	if l.applied == nil {
		r.changed = changedIn(nil, r.Number, new(render.Digest).Diff(d.digest))
	} else {
		r.changed = changedIn(l.applied.changed, r.Number, l.applied.digest.Diff(d.digest))
	}
	l.newest = r
	return r
}

// start makes c the call in flight.
func (l *loop) start(ctx context.Context, c *call) {
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.dir, c.suspended = l.dir, l.suspended
	if c.revision != nil {
		l.suspended = false
		l.show(c.revision)
	}
	l.call = c
	l.calls <- c
}

// work calls the consumer.
func (l *loop) work() {
	for c := range l.calls {
		switch {
		case c.revision != nil:
			l.apply(c)
		case !c.suspended:
			c.err = l.consumer.Suspend(c.ctx, c.want.suspend)
		}
		if c.revision == nil && c.err == nil {
			c.withdrawErr = c.dir.Withdraw(c.want.withdraw)
		}
		l.returned <- c
	}
}

// apply has the revision of c used. All that may fail before the consumer has
// anything of it comes first, and what the consumer may read comes last.
func (l *loop) apply(c *call) {
	r := c.revision
	c.withdrawErr = c.dir.Withdraw(c.want.withdraw)
	if p, ok := l.consumer.(Preparer); ok {
		if c.err = p.Prepare(r); c.err != nil {
			return
		}
	}
	if r.ExtraFiles == nil {
		if r.ExtraFiles, c.err = tmpfs.Memfds(r.Files, l.config.Owner); c.err != nil {
			return
		}
	}
	if c.err = l.write(c.dir, r); c.err != nil {
		return
	}
	c.applying = true
	c.err = l.consumer.Apply(c.ctx, r, c.change)
	if c.err != nil && !c.superseded() && c.previous != nil {
		c.restoreErr = l.write(c.dir, c.previous)
	}
}

// write puts the files of r in place, in the directory of its number.
func (l *loop) write(dir *tmpfs.Dir, r *Revision) error {
	if l.written == r {
		return nil
	}
	err := dir.Write(r.Number, r.Files)
	if err == nil {
		l.written = r
	}
	return err
}

// superseded reports whether c returned because its context ended.
func (c *call) superseded() bool {
	cause := context.Cause(c.ctx)
	return cause != nil && (errors.Is(c.err, cause) || errors.Is(c.err, context.Canceled))
}

// finish takes what came of the call in flight. The error ends Run.
func (l *loop) finish(c *call) error {
	l.call = nil
	defer c.cancel(nil)
	r, failed := c.revision, c.err != nil && !c.superseded()
	if c.applying {
		l.problem = ""
		l.backoff.Reset()
	}
	if c.withdrawErr != nil {
		l.config.OnError(c.withdrawErr)
	}
	for _, revision := range []*Revision{l.applied, l.newest} { // that have lost files
		if revision != nil && len(c.want.withdraw) > 0 {
			revision.digest = revision.digest.Without(c.want.withdraw)
		}
	}
	switch {
	case failed && l.done(): // run finds it
	case failed && r != nil && l.applied == nil:
		r.close()
		return c.err
	case c.err == nil && r == nil:
		l.suspended, l.suspend, l.back = true, c.want, nil
		l.update(func(s *Status) { s.State, s.Reason = CommandStopped, c.want.suspend.Error() })
	case c.err == nil:
		l.applied, r = r, l.applied
		l.tried, l.restart, l.adopted, l.back = render.Changes{}, false, false, nil
		l.update(func(s *Status) { s.Revision, s.State, s.Reason = l.applied.Number, CommandRunning, "" })
		l.log.Info("revision applied", "revision", l.applied.Number)
	case failed && c.applying:
		l.suspended, l.restart = c.suspended, c.suspended
		l.tried, l.back, l.rejected = render.Changes{}, nil, nil
		if c.want.same(l.desired) {
			l.rejected = r.digest
		}
		l.update(func(s *Status) { s.Rollbacks++ })
		l.config.OnError(fmt.Errorf("apply revision %d (rolled back): %w", r.Number, c.err))
		if c.restoreErr != nil {
			l.config.OnError(fmt.Errorf("restore files of the previous revision: %w", c.restoreErr))
		}
	case failed:
		l.suspended = c.suspended
		if c.want == l.back {
			l.backFails = true
		} else {
			l.unusable = c.want
		}
		l.retry = time.After(l.backoff.Next())
		l.report(c.err)
	default:
		l.giveUp(c)
	}
	if r != nil && r != l.applied {
		r.close()
	}
	if l.applied != nil {
		l.show(l.applied)
	}
	return nil
}

// giveUp notes what a call may have begun whose context has ended.
func (l *loop) giveUp(c *call) {
	switch {
	case c.revision == nil:
		l.back = c.want
	case c.suspended:
		l.back = l.suspend
	case l.applied != nil && (l.back == nil || l.back.suspend == nil):
		l.back = &desired{result: l.applied.Result, digest: l.applied.digest}
	}
	if c.revision != nil {
		l.tried, l.restart = c.change.Changes, c.change.Restart || l.restart // with what was tried before
	}
}

// report reports why values cannot be used, once for the same problem.
func (l *loop) report(err error) {
	if err.Error() == l.problem {
		l.log.Debug("values still unusable", "error", err)
		return
	}
	l.problem = err.Error()
	l.config.OnError(fmt.Errorf("apply new values (keeping the previous values): %w", err))
}

func (l *loop) done() bool {
	select {
	case <-l.consumer.Done():
		return true
	default:
		return false
	}
}

// endCall ends the call in flight and waits for it.
func (l *loop) endCall(cause error) {
	if l.call == nil {
		return
	}
	l.call.cancel(cause)
	if c := <-l.returned; c.err == nil { // it took effect all the same
		_ = l.finish(c)
	}
}

// release closes what revisions hold open, when nothing uses them any longer.
func (l *loop) release() {
	if l.call != nil && l.call.revision != nil {
		l.call.revision.close()
	}
	if l.applied != nil {
		l.applied.close()
	}
}
